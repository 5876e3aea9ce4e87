-- The calls of an instance that died, for whoever takes them up: the same one started again, or another.
--
-- KEYS  1 state  2 pending outgoing  3 pending incoming  4 talking outgoing  5 talking incoming  6 gone  7 idle
-- ARGV  1 limits  2 counters' names  3 lease's life, ms  4 what the leases of that instance begin with
--       5 '' = it is another's; else it has started again, and leases that it took since begin so: its attempts failed with
--       it, and calls whose lease still lasts are its own once more  last: not after
-- Output: {now, ms until total_duration would be used up if the calls found lapsed went on draining it, or -1, lapsed,
--         how many of its leases last, and of its lapsed calls are not cut yet (so it is to be looked after again),
--         then, call by call, 'held' or 'lapsed', direction: 1 outgoing, 2 incoming, its lease, and its dialog}
-- @include clock
-- @include punctual
-- @include payer
-- @include touched
local prefix, since, again, lasting, orphans = ARGV[4], ARGV[5], ARGV[5] ~= '', 0, 0
local answer = {}
local function is_its(lease)
  return string.sub(lease, 1, #prefix) == prefix and not (again and string.sub(lease, 1, #since) == since)
end
-- A dialog stands with one leg of its call only. Its key is no argument, for nobody knows the leases yet; it is in the same
-- slot. Of a lapsed call it stays until that is cut, and it has one heir at a time: who claims it, as long as it lives.
local function listed(kind, own, lease)
  local place = string.sub(KEYS[1], 1, -6)
  local dialog = call('GET', place .. 'd:' .. lease)
  if not dialog then return false end
  if kind == 'lapsed' then
    lasting = lasting + 1
    if not call('SET', place .. 'h:' .. lease, instance, 'PX', ttl, 'NX') then return false end
  end
  for _, value in ipairs({kind, own, lease, dialog}) do answer[#answer + 1] = value end
  return true
end
for own = 1, 2 do
  for _, lease in ipairs(call('ZRANGE', KEYS[1 + own], 0, -1)) do
    if is_its(lease) and again then
      call('ZREM', KEYS[1 + own], lease)
      if fail_max > 0 and fail_counts ~= 3 - own then fw, fn = touched(fw, fn, now, fail_period) end
      dirty = true
    elseif is_its(lease) then
      lasting = lasting + 1
    end
  end
  for _, lease in ipairs(call('ZRANGE', KEYS[3 + own], 0, -1)) do
    if is_its(lease) then
      lasting = lasting + 1
      if again then listed('held', own, lease) end
    end
  end
  for _, member in ipairs(call('ZRANGE', KEYS[6], 0, -1)) do
    local lease = string.sub(member, 2)
    if string.sub(member, 1, 1) == tostring(3 + own) and is_its(lease) and listed('lapsed', own, lease)
      and total_counts ~= 3 - own then orphans = orphans + 1 end
  end
end
-- @include save
-- As if those that lapsed talked on: they are cut when the budget would have been used up with them.
talking_out = talking_out + orphans
if total_counts == 2 then talking_out, talking_in = 0, talking_in + orphans end
-- @include exhaustion
return {now, exhausts_in, lapsed, lasting, unpack(answer)}
