-- When the first lease expires, if it does before `latest`.
local function first_expiry(latest)
  for key = 2, 5 do latest = math.min(latest, tonumber(call('ZRANGE', KEYS[key], 0, 0, 'WITHSCORES')[2] or latest)) end
  return latest
end
