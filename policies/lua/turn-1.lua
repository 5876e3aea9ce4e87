-- Whose turn it is: of several instances one registers the accounts of a trunk. It stays that one's while it asks in time.
--
-- KEYS  1 the trunk's turn
-- ARGV  1 instance  2 ms it is its turn for; 0 = it gives the turn away
-- Output: 1 the instance's turn, else 0
-- @include clock
local call, instance, life = redis.call, ARGV[1], tonumber(ARGV[2])
local whose, ends = string.match(call('GET', KEYS[1]) or '', '^(%S+) (%d+)$')
if whose and whose ~= instance and tonumber(ends) > now then return 0 end
if life == 0 then
  call('DEL', KEYS[1])
  return 0
end
call('SET', KEYS[1], string.format('%s %.0f', instance, now + life), 'PX', life)
return 1
