-- Holds a place among sip_accounts for a while, because a registrar elsewhere is being asked, or gives it back: only its
-- 200 makes an account active (register-3.lua). What is not given back lapses by itself.
--
-- KEYS  1 the payer's active accounts in the mode
-- ARGV  1 sip_accounts, 0 = no limit; -1 = give back  2 account  3 ms to hold; when giving back: the end that was told
--       4 when giving back: the end before that, 0 = none  last: not after
-- Output: {end of the hold, end before it or 0}; {0, 0} the account is active for longer and nothing is held;
--         {-1, 0} no place. Giving back: {0, 0}
-- @include clock
-- @include punctual
local call, accounts_max, account = redis.call, tonumber(ARGV[1]), ARGV[2]
local active = tonumber(call('ZSCORE', KEYS[1], account) or 0)
if accounts_max < 0 then
  -- Another REGISTER of the account may have been granted since, or hold it for longer.
  if active == tonumber(ARGV[3]) then
    local before = tonumber(ARGV[4])
    if before > now then call('ZADD', KEYS[1], before, account) else call('ZREM', KEYS[1], account) end
  end
  return {0, 0}
end
local ends = now + tonumber(ARGV[3])
if active >= ends then return {0, 0} end
if active <= now then active = 0 end
call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
if active == 0 and accounts_max > 0 and call('ZCARD', KEYS[1]) >= accounts_max then return {-1, 0} end
call('ZADD', KEYS[1], ends, account)
return {ends, active}
