-- When the calls now running will have used up total_duration: ms from now, -1 = not as things stand. n calls drain it
-- n times as fast; what outlasts this window drains the next one from its beginning.
local exhausts_in = -1
running = total_max > 0 and counted(total_counts, talking_out, talking_in) or 0
if running > 0 then
  local left, rest, whole = math.ceil((total_max - tn) / running), tw + total_period - now, math.ceil(total_max / running)
  if left < rest then
    exhausts_in = math.max(0, left)
  elseif whole < total_period then
    exhausts_in = rest + whole
  end
end
