-- What a payer has used, brought up to now, and its calls: for people (`callgate payer`).
--
-- KEYS  1 state  2 pending outgoing  3 pending incoming  4 talking outgoing  5 talking incoming  6 gone  7 idle
-- ARGV  1 limits  2 counters' names  3 lease's life, ms  4 calls listed at most  last: not after
-- Output: {now, ms until total_duration is used up or -1, lapsed, then window's start, 0 = none open, and what is used of
--         it for total_duration (ms), fail_calls, success_calls; then how many calls there are of KEYS[2] … KEYS[5];
--         then, call by call, which of KEYS it is in, its lease, and until when that lasts}
-- @include clock
-- @include punctual
-- @include payer
-- @include exhaustion
-- @include save
local answer = {now, exhausts_in, lapsed}
local function window(w, n, period)
  local open = w > 0 and now < w + period
  answer[#answer + 1] = open and w or 0
  answer[#answer + 1] = open and math.ceil(n) or 0
end
window(tw, tn, total_period)
window(fw, fn, fail_period)
window(sw, sn, success_period)
for key = 2, 5 do answer[#answer + 1] = call('ZCARD', KEYS[key]) end
local left = tonumber(ARGV[4])
for key = 2, 5 do
  local listed = left > 0 and call('ZRANGE', KEYS[key], 0, left - 1, 'WITHSCORES') or {}
  for i = 1, #listed, 2 do
    answer[#answer + 1], answer[#answer + 2], answer[#answer + 3] = key, listed[i], math.floor(tonumber(listed[i + 1]))
  end
  left = left - #listed / 2
end
return answer
