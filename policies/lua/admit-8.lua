-- Admission of one leg: checks every limit of its payer and takes all of them, or none (SPEC §3).
--
-- KEYS  1 state  2 pending outgoing  3 pending incoming  4 talking outgoing  5 talking incoming  6 gone  7 idle
--       8 the nonce's key, the callee's bindings, or (neither) state again
-- ARGV  1 limits  2 counters' names  3 lease's life, ms; half a ms more until another leg of the call is taken, too
--       4 lease  5 direction: 1 outgoing, 2 incoming
--       6 what KEYS[8] is: 'nonce' or 'aor', else none  7 nonce count  8 nonce's life, ms  last: not after
-- Output: admitted: the number of leases found lapsed; with bindings: {0, lapsed, record …}
--         refused: {why, ms until that limit's window ends or -1, lapsed}; why: 1 total_duration  2 success_calls
--         3 fail_calls  4 lines  5 replayed nonce count  6 callee not registered
-- @include clock
-- @include punctual
-- @include payer
local own, why, resets_in, found = tonumber(ARGV[5]), nil, -1, nil

if ARGV[6] == 'nonce' then
-- @include replay
  if replayed(KEYS[8], tonumber(ARGV[7]), ARGV[8]) then why = 5 end
elseif ARGV[6] == 'aor' then
-- @include bindings
  found = {0, lapsed}
  for _, binding in ipairs(call('HVALS', KEYS[8])) do
    local expires, _, _, record = parsed(binding)
    if expires > now then found[#found + 1] = record end
  end
  if #found == 2 then why = 6 end
end

-- An attempt that is pending holds a place in both counters until its outcome is known. Places so held come free at no
-- time that could be told, unlike those of outcomes.
local pending_out, pending_in = call('ZCARD', KEYS[2]), 0
if success_counts > 1 or fail_counts > 1 or lines_max > 0 then pending_in = call('ZCARD', KEYS[3]) end

if not why and total_max > 0 and total_counts ~= 3 - own and tn >= total_max and now < tw + total_period then
  why, resets_in = 1, tw + total_period - now
end
if not why and success_max > 0 and success_counts ~= 3 - own then
  local code, max, period, counts, w, n = 2, success_max, success_period, success_counts, sw, sn
-- @include place
end
if not why and fail_max > 0 and fail_counts ~= 3 - own then
  local code, max, period, counts, w, n = 3, fail_max, fail_period, fail_counts, fw, fn
-- @include place
end
if not why and lines_max > 0 and pending_out + pending_in + talking_out + talking_in >= lines_max then why = 4 end

if not why then
  call('ZADD', KEYS[1 + own], now + ttl, ARGV[4])
  if now + ttl < due then due, dirty = now + ttl, true end
end
-- @include save
if why then return {why, resets_in, lapsed} end
return found or lapsed
