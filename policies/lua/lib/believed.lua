-- What the store believes of a lease: where it is, or was when it lapsed (nil: nowhere), and until when.
local expires, lapsed_at, was = call('ZSCORE', talking, lease), nil, talking
if not expires then
  expires, was = call('ZSCORE', pending, lease), pending
end
if not expires then
  lapsed_at, was = tonumber(call('ZSCORE', KEYS[6], 3 + own .. lease) or nil), talking
  if not lapsed_at then
    lapsed_at, was = tonumber(call('ZSCORE', KEYS[6], 1 + own .. lease) or nil), pending
  end
  if not lapsed_at then was = nil end
end
-- One that lapsed while its call waited for another leg was not counted as a failure (lib/reap.lua).
local lapsed_as_failed = was == pending and lapsed_at and lapsed_at % 1 == 0
