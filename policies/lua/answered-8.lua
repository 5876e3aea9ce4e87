-- A leg got its 2xx: the attempt is a success, and its talk begins.
--
-- KEYS  1 state  2 pending outgoing  3 pending incoming  4 talking outgoing  5 talking incoming  6 gone  7 idle
--       8 the lease's dialog
-- ARGV  1 limits  2 counters' names  3 lease's life, ms  4 lease  5 direction: 1 outgoing, 2 incoming
--       6 what another instance needs to end the call, or ''; kept for two days at most  last: not after
-- Output: {now, ms until total_duration is used up or -1, 1 = the lease is held and answered, lapsed}
--         with 0 in the third place nothing was counted: the lease is not held (late-8.lua then)
-- @include clock
-- @include punctual
-- @include payer
-- @include touched
local own = tonumber(ARGV[5])
local pending, talking = KEYS[1 + own], KEYS[3 + own]

local done = call('ZREM', pending, ARGV[4])
if done == 1 then
  if total_max > 0 and total_counts ~= 3 - own then
    local from, to, period = now, now, total_period
-- @include window
  end
  if success_max > 0 and success_counts ~= 3 - own then
    sw, sn = touched(sw, sn, now, success_period)
  end
  if talking_out + talking_in == 0 then home = instance elseif home ~= instance then home = -1 end
  call('ZADD', talking, now + ttl, ARGV[4])
  if ARGV[6] ~= '' then call('SET', KEYS[8], ARGV[6], 'PX', 172800000) end
  if own == 1 then talking_out = call('ZCARD', talking) else talking_in = call('ZCARD', talking) end
  due, dirty, moved = math.min(due, now + ttl), true, true
elseif call('ZSCORE', talking, ARGV[4]) then
  done = 1
  if ARGV[6] ~= '' then call('SET', KEYS[8], ARGV[6], 'PX', 172800000) end
end
-- @include exhaustion
-- @include save
return {now, exhausts_in, done, lapsed}
