-- An instance says that it lives, and learns who has stopped saying so.
--
-- KEYS  1 the instances: sorted set, id -> until when it counts as alive
-- ARGV  1 id  2 life, ms  3 for how long those that lapsed are the caller's to look after, ms  last: not after
-- Output: ids whose leases have all lapsed
-- @include clock
-- @include punctual
local own = tonumber(redis.call('ZSCORE', KEYS[1], ARGV[1]) or nil)
redis.call('ZADD', KEYS[1], now + ARGV[2], ARGV[1])
-- Who was silent itself is no judge of others: the store was away, and they are as alive as the caller. Who is new is none
-- yet, for that may just be over.
local judge = own and own > now
if not own then return {} end
local dead = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, judge and 10 or -1)
for _, id in ipairs(dead) do redis.call('ZADD', KEYS[1], now + (judge and ARGV[3] or ARGV[2]), id) end
return judge and dead or {}
