-- The talk of `running` calls from t to `at` goes to its windows, `period` long. (A fragment and no function, as it is on
-- the way of every script and a function costs a third of a microsecond to make.)
if running > 0 and at >= t then
  local from, to = t, at
-- @include window
  tn = tn + running * (at - (t > tw and t or tw))
end
if at > t then t = at end
