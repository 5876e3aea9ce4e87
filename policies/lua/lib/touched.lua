-- One more outcome at `at`: the window and the count that it leaves.
local function touched(w, n, at, period)
  if at >= w + period then return at, 1 end
  return w, n + 1
end
