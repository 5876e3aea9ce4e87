-- An operator clears leases of a payer: what they talked is settled up to now, an attempt leaves no trace, and whoever holds
-- one cannot take it anew and ends its call.
--
-- KEYS  1 state  2 pending outgoing  3 pending incoming  4 talking outgoing  5 talking incoming  6 gone  7 idle
-- ARGV  1 limits  2 counters' names  3 lease's life, ms  4 how many at most  5 the lease, or '' = any  last: not after
-- Output: {now, ms until total_duration is used up or -1, lapsed, released lease …}
-- @include clock
-- @include punctual
-- @include payer
local answer, most = {}, tonumber(ARGV[4])
for key = 2, 5 do
  local found = {ARGV[5]}
  if ARGV[5] == '' then found = call('ZRANGE', KEYS[key], 0, most - #answer - 1) end
  for _, lease in ipairs(#answer < most and found or {}) do
    if call('ZREM', KEYS[key], lease) == 1 then
      answer[#answer + 1] = lease
      call('ZADD', KEYS[6], now, 'x' .. lease)
    end
  end
end
if #answer > 0 then
  call('PEXPIRE', KEYS[6], 86400000)
-- @include talking
  dirty, moved = true, true
  call('PUBLISH', 'cg:notices', 'released 0 ' .. KEYS[1])
end
-- @include exhaustion
-- @include save
return {now, exhausts_in, lapsed, unpack(answer)}
