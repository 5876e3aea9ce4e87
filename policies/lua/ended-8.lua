-- A leg is over: its lease is given back, once, with its outcome.
--
-- KEYS  1 state  2 pending outgoing  3 pending incoming  4 talking outgoing  5 talking incoming  6 gone  7 idle
--       8 the lease's dialog
-- ARGV  1 limits  2 counters' names  3 lease's life, ms  4 lease  5 direction: 1 outgoing, 2 incoming
--       6 outcome: 'success', 'fail', or 'void' = as if it never was  last: not after
-- Output: {now, ms until total_duration is used up by the calls that go on or -1, 1 = given back, lapsed}
--         with 0 in the third place nothing was counted: the lease is not held, or it ended as a success and the store
--         does not know that it was answered (late-8.lua then)
-- @include clock
-- @include punctual
-- @include payer
-- @include touched
local own, lease, outcome = tonumber(ARGV[5]), ARGV[4], ARGV[6]

local done = call('ZREM', KEYS[3 + own], lease)
if done == 1 then
  call('DEL', KEYS[8])
  moved = true
  if own == 1 then talking_out = call('ZCARD', KEYS[4]) else talking_in = call('ZCARD', KEYS[5]) end
elseif outcome ~= 'success' then
  done = call('ZREM', KEYS[1 + own], lease)
  if done == 1 and outcome == 'fail' and fail_max > 0 and fail_counts ~= 3 - own then
    fw, fn = touched(fw, fn, now, fail_period)
  end
end
dirty = dirty or done == 1
-- @include exhaustion
-- @include save
return {now, exhausts_in, done, lapsed}
