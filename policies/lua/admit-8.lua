-- Admission of one leg: checks every limit of its payer and takes all of them, or none (SPEC §3).
--
-- KEYS  1 state  2 pending outgoing  3 pending incoming  4 talking outgoing  5 talking incoming  6 gone  7 idle
--       8 the nonce's key, the callee's bindings, or (neither) state again
-- ARGV  1 limits  2 counters' names  3 lease's life, ms  4 lease  5 direction: 1 outgoing, 2 incoming
--       6 what KEYS[8] is: 'nonce', 'aor' or ''  7 nonce count  8 nonce's life, ms
-- Output: admitted: the number of leases found lapsed; with bindings: {0, lapsed, record …}
--         refused: {why, ms until that limit's window ends or -1, lapsed}; why: 1 total_duration  2 success_calls
--         3 fail_calls  4 lines  5 replayed nonce count  6 callee not registered
-- @include clock
-- @include payer
-- @include replay
-- @include bindings
local own, why, resets_in, found = tonumber(ARGV[5]), nil, -1, nil

if ARGV[6] == 'nonce' and replayed(KEYS[8], tonumber(ARGV[7]), ARGV[8]) then
  why = 5
elseif ARGV[6] == 'aor' then
  found = {0, lapsed}
  for _, binding in ipairs(call('HVALS', KEYS[8])) do
    local expires, _, _, record = parsed(binding)
    if expires > now then found[#found + 1] = record end
  end
  if #found == 2 then why = 6 end
end

-- An attempt that is pending holds a place in both counters until its outcome is known. Places so held come free at no
-- time that could be told, unlike those of outcomes.
local pending_out, pending_in = call('ZCARD', KEYS[2]), call('ZCARD', KEYS[3])
local function check(code, max, period, counts, w, n)
  if why or max == 0 or counts == 3 - own then return end
  if now >= w + period then n = 0 end
  if n >= max then
    why, resets_in = code, w + period - now
  elseif n + (counts ~= 2 and pending_out or 0) + (counts ~= 1 and pending_in or 0) >= max then
    why = code
  end
end

if not why and total_max > 0 and total_counts ~= 3 - own and tn >= total_max and now < tw + total_period then
  why, resets_in = 1, tw + total_period - now
end
check(2, success_max, success_period, success_counts, sw, sn)
check(3, fail_max, fail_period, fail_counts, fw, fn)
if not why and lines_max > 0 then
  local talking = total_max > 0 and total_counts == 3 and running or drawing(3)
  if pending_out + pending_in + talking >= lines_max then why = 4 end
end

if not why then
  call('ZADD', KEYS[1 + own], now + ttl, ARGV[4])
  if now + ttl < due then due, dirty = now + ttl, true end
end
-- @include save
if why then return {why, resets_in, lapsed} end
return found or lapsed
