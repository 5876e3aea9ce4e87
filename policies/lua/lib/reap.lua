-- Leases that were not renewed lapse, in the order of their expiry: talk is settled up to it and not beyond, a pending
-- attempt failed at it; but one whose call still waited for another leg (half a ms in its expiry, admit-8.lua) leaves no
-- trace. They stay in KEYS[6] for a day, for the case that their instance was only cut off (late-8.lua).
-- @include first
-- @include touched
local found, batch_max = {}, 250
local horizon = now
for key = 2, 5 do
  local batch = call('ZRANGEBYSCORE', KEYS[key], '-inf', now, 'WITHSCORES', 'LIMIT', 0, batch_max)
  for i = 1, #batch, 2 do found[#found + 1] = {at = tonumber(batch[i + 1]), key = key, lease = batch[i]} end
  if #batch == 2 * batch_max then horizon = math.min(horizon, math.ceil(tonumber(batch[2 * batch_max]))) end
end
table.sort(found, function(a, b) return a.at < b.at end)
for _, one in ipairs(found) do
  if one.at <= horizon then
    if total_max > 0 then
      local at, running, period = math.floor(one.at), counted(total_counts, talking_out, talking_in), total_period
-- @include drain
    end
    if one.key < 4 and one.at % 1 == 0 and fail_max > 0 and fail_counts ~= 4 - one.key then
      fw, fn = touched(fw, fn, one.at, fail_period)
    end
    call('ZREM', KEYS[one.key], one.lease)
    call('ZADD', KEYS[6], one.at, one.key .. one.lease)
-- @include talking
    lapsed = lapsed + 1
  end
end
if lapsed > 0 then
  call('ZREMRANGEBYSCORE', KEYS[6], '-inf', now - 86400000)
  call('PEXPIRE', KEYS[6], 86400000)
end
-- More than a batch: this script runs at the moment of the last one reaped, the next script goes on from there.
now, due, dirty, moved, kept = horizon, first_expiry(horizon + ttl), true, lapsed > 0, false
