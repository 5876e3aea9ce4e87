-- How every script on a payer's calls begins: the limits it was asked with, and the payer's state brought up to now.
--
-- Limits, ARGV[1], ten doubles: for total_duration, fail_calls and success_calls the value, the period in ms, and which
-- calls count (1 outgoing, 2 incoming, 3 both); then lines. Value 0 = no such limit. ARGV[2] names their counters.
-- State, KEYS[1], nine doubles and the names of the counters they belong to:
--   due    no lease expires before this moment, so until then nobody looks for lapsed ones
--   t      the talk of the calls now running is in tn up to this moment
--   tp     the window of total_duration before this one ended then (or 0: there was none)
--   tw tn  window's start and used ms of total_duration; fw fn and sw sn, with counts, of fail_calls and success_calls
-- A window is [w, w + period). Fields are doubles because a state so packed is read five times faster than a hash.
local call, ttl = redis.call, tonumber(ARGV[3])
local total_max, total_period, total_counts, fail_max, fail_period, fail_counts,
  success_max, success_period, success_counts, lines_max = struct.unpack('<dddddddddd', ARGV[1])
local due, t, tp, tw, tn, fw, fn, sw, sn = 0, 0, 0, 0, 0, 0, 0, 0, 0
local state, names, dirty, kept, lapsed = call('GET', KEYS[1]), '', false, true, 0
if state then
  due, t, tp, tw, tn, fw, fn, sw, sn = struct.unpack('<ddddddddd', state)
  names = string.sub(state, 73)
end

-- How many of the calls that run now draw on total_duration, if these count.
local function drawing(counts)
  return (counts ~= 2 and call('ZCARD', KEYS[4]) or 0) + (counts ~= 1 and call('ZCARD', KEYS[5]) or 0)
end

-- When the first lease expires, if it does before `latest`.
local function first_expiry(latest)
  for key = 2, 5 do latest = math.min(latest, tonumber(call('ZRANGE', KEYS[key], 0, 0, 'WITHSCORES')[2] or latest)) end
  return latest
end

-- Talk at `at` finds its window open, or opens one.
local function opened(at, period)
  if at >= tw + period then tp, tw, tn = tw > 0 and tw + period or 0, at, 0 end
end

-- The same for talk that went on from before: a call in progress when a window ends opens the next at that very moment.
local function rolled(at, period)
  if at >= tw + period then
    tw, tn = at - (at - tw) % period, 0
    tp = tw
  end
end

-- The talk of `running` calls from t to `at` goes to its windows.
local function drain(at, running, period)
  if running > 0 and at >= t then
    opened(t, period)
    rolled(at, period)
    tn = tn + running * (at - (t > tw and t or tw))
  end
  if at > t then t = at end
end

-- One more outcome at `at`: the window and count it leaves.
local function touched(w, n, at, period)
  if at >= w + period then return at, 1 end
  return w, n + 1
end

if names ~= ARGV[2] then
-- @include swap
end
if now >= due then
-- @include reap
end
local running = 0
if total_max > 0 then
  running = drawing(total_counts)
  drain(now, running, total_period)
end
