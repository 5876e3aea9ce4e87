-- Other counters are in force than when the state was written: the old ones are put aside under their names (KEYS[7]),
-- so that they go on where they stood when their activation wins again. Running calls change over at once. Nobody is told:
-- an instance that goes by other plans would ask, change back and tell in turn, as fast as the store answers.
-- @include first
local pattern = '^(.*)\n(.*)\n(.*)\n(.*) (.*)$'
local moment = state and first_expiry(now) or now
local total, fail, success, counts, drained = string.match(names, pattern)
if total and total ~= '' then
  local at, running, period = moment, counted(tonumber(counts), talking_out, talking_in), tonumber(drained)
-- @include drain
end
local function put_aside(name, w, n, p)
  if name and name ~= '' then call('HSET', KEYS[7], name, w .. ' ' .. n .. ' ' .. p) end
end
put_aside(total, tw, tn, tp)
put_aside(fail, fw, fn, 0)
put_aside(success, sw, sn, 0)
total, fail, success = string.match(ARGV[2], pattern)
local function taken_up(name)
  local w, n, p = string.match(call('HGET', KEYS[7], name) or '0 0 0', '(.*) (.*) (.*)')
  return tonumber(w), tonumber(n), tonumber(p)
end
tw, tn, tp = taken_up(total)
fw, fn = taken_up(fail)
sw, sn = taken_up(success)
call('PEXPIRE', KEYS[7], 400 * 86400000)
-- @include talking
t, names, dirty, kept = moment, ARGV[2], true, false
