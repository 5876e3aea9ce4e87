-- Talk between two moments finds its window of total_duration: the one that is open at `from`, or opens then; and a call
-- in progress when a window ends opens the next one at that very moment.
if from >= tw + period then tp, tw, tn = tw > 0 and tw + period or 0, from, 0 end
if to >= tw + period then
  tw, tn = to - (to - tw) % period, 0
  tp = tw
end
