-- Renewal of leases of one payer, in bulk; says when their total_duration runs out as the limits now stand.
--
-- KEYS  1 state  2 pending outgoing  3 pending incoming  4 talking outgoing  5 talking incoming  6 gone  7 idle
-- ARGV  1 limits  2 counters' names  3 lease's life, ms  4 how many of the leases are outgoing
--       5 … leases, outgoing ones first; 1,000 at most  last: not after
-- Output: {now, ms until total_duration is used up or -1, lapsed, lease not held …}
-- @include clock
-- @include punctual
local last_outgoing, last = 4 + ARGV[4], #ARGV - 1
local function renewed(pending, talking, from, to)
  if from > to then return 0 end
  local scored = {}
  for i = from, to do
    scored[#scored + 1] = now + ARGV[3]
    scored[#scored + 1] = ARGV[i]
  end
  local count = redis.call('ZADD', talking, 'XX', 'CH', unpack(scored))
  if count > to - from then return count end
  return count + redis.call('ZADD', pending, 'XX', 'CH', unpack(scored))
end
-- Before lapsed leases are looked for: an owner who is late, but ahead of anyone who would have noticed, loses nothing.
local count = renewed(KEYS[2], KEYS[4], 5, last_outgoing) + renewed(KEYS[3], KEYS[5], last_outgoing + 1, last)
-- @include payer
-- @include exhaustion
-- @include save
local answer = {now, exhausts_in, lapsed}
if count < last - 4 then
  for i = 5, last do
    local own = i > last_outgoing and 2 or 1
    if not call('ZSCORE', KEYS[3 + own], ARGV[i]) and not call('ZSCORE', KEYS[1 + own], ARGV[i]) then
      answer[#answer + 1] = ARGV[i]
    end
  end
end
return answer
