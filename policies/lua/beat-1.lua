-- An instance says that it lives, and learns who has stopped saying so.
--
-- KEYS  1 the instances: sorted set, id -> until when it counts as alive
-- ARGV  1 id  2 life, ms  3 for how long those that lapsed are the caller's to look after, ms  last: not after
-- Output: ids whose leases have all lapsed
-- @include clock
-- @include punctual
redis.call('ZADD', KEYS[1], now + ARGV[2], ARGV[1])
local dead = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, 10)
for _, id in ipairs(dead) do redis.call('ZADD', KEYS[1], now + ARGV[3], id) end
return dead
