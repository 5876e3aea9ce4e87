-- The last argument of every script is the moment, in Redis's ms, after which its sender waits no longer. Then nothing is
-- done: the sender takes it for not done, and tells later what happened meanwhile, with the times it happened at.
if now > tonumber(ARGV[#ARGV]) then return redis.error_reply('LATE') end
