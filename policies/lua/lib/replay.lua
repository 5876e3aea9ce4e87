-- RFC 7616 §3.4: a nonce count that is not higher than the highest one seen with its nonce is a replay.
local function replayed(key, nc, life_ms)
  if redis.call('SET', key, nc, 'PX', life_ms, 'NX') then return false end
  if nc <= tonumber(redis.call('GET', key)) then return true end
  redis.call('SET', key, nc, 'PX', life_ms)
  return false
end
