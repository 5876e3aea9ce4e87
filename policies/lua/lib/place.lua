-- Whether a counter has a place for one more attempt. (A fragment and no function, for the same reason as drain.lua.)
if now >= w + period then n = 0 end
if n >= max then
  why, resets_in = code, w + period - now
elseif n + (counts ~= 2 and pending_out or 0) + (counts ~= 1 and pending_in or 0) >= max then
  why = code
end
