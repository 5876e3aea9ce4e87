-- How every script on a payer's calls begins: the limits it was asked with, and the payer's state brought up to now.
--
-- Limits, ARGV[1], eleven doubles: for total_duration, fail_calls and success_calls the value, the period in ms, and which
-- calls count (1 outgoing, 2 incoming, 3 both); then lines. Value 0 = no such limit. Last, the number of the instance
-- that asks. ARGV[2] names the counters.
-- State, KEYS[1], thirteen doubles and the names of the counters they belong to:
--   due    no lease expires before this moment, so until then nobody looks for lapsed ones
--   t      the talk of the calls now running is in tn up to this moment
--   tp     the window of total_duration before this one ended then (or 0: there was none)
--   tw tn  window's start and used ms of total_duration; fw fn and sw sn, with counts, of fail_calls and success_calls
--   talking_out talking_in  the sizes of KEYS[4] and KEYS[5], read whenever those change
--   born   the state was made then: what is older than it is unknown to it because the store has lost it
--   home   the instance that carries every call that talks; 0 = nobody does, -1 = several (then they are told of changes)
-- A window is [w, w + period). Fields are doubles because a state so packed is read five times faster than a hash.
local call, ttl = redis.call, tonumber(ARGV[3])
local total_max, total_period, total_counts, fail_max, fail_period, fail_counts,
  success_max, success_period, success_counts, lines_max, instance = struct.unpack('<ddddddddddd', ARGV[1])
local due, t, tp, tw, tn, fw, fn, sw, sn, talking_out, talking_in, born, home = 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, now, 0
local state, names, dirty, moved, kept, lapsed = call('GET', KEYS[1]), '', false, false, true, 0
if state then
  due, t, tp, tw, tn, fw, fn, sw, sn, talking_out, talking_in, born, home = struct.unpack('<ddddddddddddd', state)
  names = string.sub(state, 105)
end

-- Of two numbers, of outgoing and incoming calls, what counts.
local function counted(counts, outgoing, incoming)
  return (counts ~= 2 and outgoing or 0) + (counts ~= 1 and incoming or 0)
end

if names ~= ARGV[2] then
-- @include swap
end
if now >= due then
-- @include reap
end
local running = 0
if total_max > 0 then
  running = counted(total_counts, talking_out, talking_in)
  local at, period = now, total_period
-- @include drain
end
