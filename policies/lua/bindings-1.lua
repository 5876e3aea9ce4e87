-- Where an account can be reached now.
--
-- KEYS  1 bindings of the address of record
-- ARGV  last: not after
-- Output: record …
-- @include clock
-- @include punctual
-- @include bindings
local answer = {}
for _, binding in ipairs(redis.call('HVALS', KEYS[1])) do
  local expires, _, _, record = parsed(binding)
  if expires > now then answer[#answer + 1] = record end
end
return answer
