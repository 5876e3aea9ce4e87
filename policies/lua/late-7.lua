-- What is known of a leg is brought into the store after the fact: from the spool, or because the lease had lapsed while
-- its instance was cut off, or because the call was admitted while the store was away. Any number of times, in any
-- order with the other scripts: what has been counted is not counted again.
--
-- KEYS  1 state  2 pending outgoing  3 pending incoming  4 talking outgoing  5 talking incoming  6 gone  7 idle
-- ARGV  1 limits  2 counters' names  3 lease's life, ms  4 lease  5 direction: 1 outgoing, 2 incoming
--       6 outcome: 'success', 'fail', 'void', or '' = the call goes on  7 ms since its answer, -1 = not answered
--       8 ms since its end  9 1 = the store may never have heard of the lease
-- Output: {now, ms until total_duration is used up or -1, 1 = something was brought in, lapsed}
-- @include clock
-- @include payer
local own, lease, outcome, unheard = tonumber(ARGV[5]), ARGV[4], ARGV[6], ARGV[9] == '1'
local pending, talking = KEYS[1 + own], KEYS[3 + own]
local over, answered_at = outcome ~= '', tonumber(ARGV[7]) >= 0 and now - ARGV[7]
local upto = over and now - ARGV[8] or now
local draws = total_max > 0 and total_counts ~= 3 - own

-- What the store believes: `was` is pending or talking, by now or until it lapsed.
local was, lapsed_at = call('ZSCORE', talking, lease) and talking or call('ZSCORE', pending, lease) and pending, nil
if not was then
  lapsed_at = call('ZSCORE', KEYS[6], 3 + own .. lease)
  was = lapsed_at and talking
  if not lapsed_at then
    lapsed_at = call('ZSCORE', KEYS[6], 1 + own .. lease)
    was = lapsed_at and pending
  end
end
local done = (was or unheard and not call('ZSCORE', KEYS[6], 'x' .. lease)) and 1 or 0

-- The talk between two moments, more or less of it: what lies before this window belonged to one that is over.
local function charge(from, to, sign)
  if from >= tw + total_period then tw, tn = from, 0 end
  if to >= tw + total_period then tw, tn = to - (to - tw) % total_period, 0 end
  tn = math.max(0, tn + sign * math.max(0, to - math.max(from, tw)))
end

if done == 1 then
  lapsed_at = lapsed_at and tonumber(lapsed_at)
  local failed_at_lapse = was == pending and lapsed_at and fail_max > 0 and fail_counts ~= 3 - own
  if failed_at_lapse and outcome ~= 'fail' and lapsed_at >= fw and lapsed_at < fw + fail_period then
    fn = math.max(0, fn - 1)
  elseif outcome == 'fail' and was ~= talking and not lapsed_at and fail_max > 0 and fail_counts ~= 3 - own then
    fw, fn = touched(fw, fn, upto, fail_period)
  end
  if answered_at and was ~= talking and success_max > 0 and success_counts ~= 3 - own then
    sw, sn = touched(sw, sn, answered_at, success_period)
  end
  if draws and (answered_at or was == talking) then
    local settled = was == talking and (lapsed_at or now) or math.min(answered_at, upto)
    if upto >= settled then charge(settled, upto, 1) else charge(upto, settled, -1) end
  end
  call('ZREM', pending, lease)
  call('ZREM', talking, lease)
  call('ZREM', KEYS[6], 1 + own .. lease, 3 + own .. lease)
  if not over then
    call('ZADD', (answered_at or was == talking) and talking or pending, now + ttl, lease)
    due = math.min(due, now + ttl)
  elseif unheard then
    call('ZADD', KEYS[6], now, 'x' .. lease)
    call('PEXPIRE', KEYS[6], 86400000)
  end
  if total_max > 0 then running = drawing(total_counts) end
  dirty = true
end
-- @include exhaustion
-- @include save
return {now, exhausts_in, done, lapsed}
