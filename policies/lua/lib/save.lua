-- Kept a day longer than the longest window: then it means nothing any more. (`kept`: that was seen to a moment ago.)
if dirty then
  local state = struct.pack('<ddddddddddddd', due, t, tp, tw, tn, fw, fn, sw, sn, talking_out, talking_in, born, home) .. names
  if kept then
    call('SET', KEYS[1], state, 'KEEPTTL')
  else
    call('SET', KEYS[1], state, 'PX', math.max(total_period, fail_period, success_period) + 86400000)
  end
  -- The moment of exhaustion is another one now, and other instances plan with it: each asks for itself (policies/notices.py).
  if moved and home < 0 and running > 0 then call('PUBLISH', 'cg:notices', 'plan ' .. instance .. ' ' .. KEYS[1]) end
end
