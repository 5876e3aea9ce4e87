-- Kept a day longer than the longest window: then it means nothing any more. (`kept`: that was seen to a moment ago.)
if dirty then
  local state = struct.pack('<ddddddddddd', due, t, tp, tw, tn, fw, fn, sw, sn, talking_out, talking_in) .. names
  if kept then
    call('SET', KEYS[1], state, 'KEEPTTL')
  else
    call('SET', KEYS[1], state, 'PX', math.max(total_period, fail_period, success_period) + 86400000)
  end
end
