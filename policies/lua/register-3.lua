-- A REGISTER: queries, replaces or removes bindings of one address of record, all or nothing (RFC 3261 §10.3), and holds
-- sip_accounts: an account counts while it has a live binding, so a refresh is never refused by it.
--
-- KEYS  1 the payer's active accounts in the mode  2 bindings of the address of record  3 nonce
-- ARGV  1 sip_accounts, 0 = no limit  2 account  3 Call-ID  4 CSeq  5 nonce count, 0 = not checked  6 nonce's life, ms
--       7 contacts at most  8 1 = remove all (Contact: *)  9 … contact key, ms to live (0 removes), record; and so on  last: not after
-- Output: {0, record …} all live bindings; or {why}: 1 sip_accounts  2 replayed nonce count  3 out of order  4 contacts
-- @include clock
-- @include punctual
-- @include replay
-- @include bindings
local call, call_id, cseq = redis.call, ARGV[3], tonumber(ARGV[4])
if ARGV[5] ~= '0' and replayed(KEYS[3], tonumber(ARGV[5]), ARGV[6]) then return {2} end

local live, stale, all = {}, {}, call('HGETALL', KEYS[2])
for i = 1, #all, 2 do
  local expires, seen, from = parsed(all[i + 1])
  if expires <= now then
    stale[#stale + 1] = all[i]
  else
    live[all[i]] = {expires = expires, text = all[i + 1], late = from == call_id and cseq <= seen}
  end
end

local added = {}
if ARGV[8] == '1' then
  for key, binding in pairs(live) do
    -- RFC 3261 §10.3 step 6: another Call-ID, or a higher CSeq; else nothing at all is changed.
    if binding.late then return {3} end
    stale[#stale + 1], live[key] = key, nil
  end
end
for i = 9, #ARGV - 1, 3 do
  local key, life = ARGV[i], tonumber(ARGV[i + 1])
  -- RFC 3261 §10.3 step 7: likewise for each contact.
  if live[key] and live[key].late then return {3} end
  if life > 0 then
    live[key] = {expires = now + life, text = string.format('%.0f %.0f %s %s', now + life, cseq, call_id, ARGV[i + 2])}
    added[#added + 1], added[#added + 2] = key, live[key].text
  elseif live[key] then
    stale[#stale + 1], live[key] = key, nil
  end
end

-- RFC 5626: the flows of one device have keys `<device>|<number>`; a device is one contact of so many, with a few flows.
local answer, last, devices, count = {0}, 0, {}, 0
for key, binding in pairs(live) do
  local device = string.match(key, '^(.+)|%d+$') or key
  if not devices[device] then devices[device], count = true, count + 1 end
  local _, _, _, record = parsed(binding.text)
  answer[#answer + 1] = record
  last = math.max(last, binding.expires)
end
if #added > 0 then
  if count > tonumber(ARGV[7]) or #answer - 1 > 4 * tonumber(ARGV[7]) then return {4} end
  call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
  local accounts_max = tonumber(ARGV[1])
  if accounts_max > 0 and not call('ZSCORE', KEYS[1], ARGV[2]) and call('ZCARD', KEYS[1]) >= accounts_max then return {1} end
end
if #stale > 0 then call('HDEL', KEYS[2], unpack(stale)) end
if #added > 0 then call('HSET', KEYS[2], unpack(added)) end
if last > 0 then
  call('ZADD', KEYS[1], last, ARGV[2])
  call('PEXPIRE', KEYS[2], last - now)
else
  call('ZREM', KEYS[1], ARGV[2])
end
return answer
