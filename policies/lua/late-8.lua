-- What is known of a leg is brought into the store after the fact: because its lease had lapsed while its instance was
-- cut off, because the call was admitted while the store was away, or from the spool. Any number of times and in any
-- order with the other scripts: what has been counted is not counted again.
--
-- KEYS  1 state  2 pending outgoing  3 pending incoming  4 talking outgoing  5 talking incoming  6 gone  7 idle
--       8 the lease's dialog
-- ARGV  1 limits  2 counters' names  3 lease's life, ms  4 lease  5 direction: 1 outgoing, 2 incoming
--       6 'success', 'fail', 'void': so it ended; 'lives': its instance holds it, and takes the lease anew if it lapsed;
--       'answered': it was, and if nobody renews its lease that ends it
--       7 ms since its answer, -1 = not answered  8 ms since its end  9 1 = the store may never have heard of the lease
--       10 ms since its admission was told, -1 = it was not  11 as answered-8.lua's 6  last: not after
-- Output: {now, ms until total_duration is used up or -1, 1 = something was brought in, lapsed}
-- @include clock
-- @include punctual
-- @include payer
-- @include touched
local own, lease, what = tonumber(ARGV[5]), ARGV[4], ARGV[6]
local pending, talking = KEYS[1 + own], KEYS[3 + own]
local answered_at = tonumber(ARGV[7]) >= 0 and now - ARGV[7] or nil
local over = what ~= 'lives' and what ~= 'answered'
local draws = total_max > 0 and total_counts ~= 3 - own
local counts_fail = fail_max > 0 and fail_counts ~= 3 - own

-- @include believed
-- Unheard of is also what lives and has left no trace, and what is older than the state: the store lost it, by a failover
-- or with all it had.
local unheard = ARGV[9] == '1' or what == 'lives' or tonumber(ARGV[10]) > now - born
local news = was or unheard and not call('ZSCORE', KEYS[6], 'x' .. lease)

-- More or less talk between two moments: what lies before the end of the last window belonged to that.
local function charge(from, to, sign)
  local period = total_period
-- @include window
  tn = math.max(0, tn + sign * math.max(0, to - math.max(from, tp)))
end

if news then
  local talks = answered_at or was == talking
  local upto = over and now - ARGV[8] or now
  if what == 'answered' and not expires then upto = math.max(answered_at, lapsed_at or math.min(now, answered_at + ttl)) end
  if lapsed_as_failed and counts_fail and what ~= 'fail' then
    if lapsed_at >= fw and lapsed_at < fw + fail_period then fn = math.max(0, fn - 1) end
  elseif what == 'fail' and was ~= talking and not lapsed_as_failed and counts_fail then
    fw, fn = touched(fw, fn, upto, fail_period)
  end
  if answered_at and was ~= talking and success_max > 0 and success_counts ~= 3 - own then
    sw, sn = touched(sw, sn, answered_at, success_period)
  end
  if draws and talks then
    local settled = was == talking and (lapsed_at or now) or answered_at
    if upto >= settled then charge(settled, upto, 1) else charge(upto, settled, -1) end
  end
  call('ZREM', pending, lease)
  call('ZREM', talking, lease)
  call('ZREM', KEYS[6], 1 + own .. lease, 3 + own .. lease)
  if what == 'lives' or not over and expires then
    local until_ = what == 'lives' and now + ttl or tonumber(expires)
    call('ZADD', talks and talking or pending, until_, lease)
    due = math.min(due, until_)
    if talks then home = talking_out + talking_in == 0 and instance or home ~= instance and -1 or instance end
  elseif unheard or not over then
    call('ZADD', KEYS[6], over and now or upto, (over and 'x' or 3 + own) .. lease)
    call('PEXPIRE', KEYS[6], 86400000)
  end
-- @include talking
  if over then
    call('DEL', KEYS[8])
  elseif talks and ARGV[11] ~= '' then
    call('SET', KEYS[8], ARGV[11], 'PX', 172800000)
  end
  dirty, moved = true, true
end
-- @include exhaustion
-- @include save
return {now, exhausts_in, news and 1 or 0, lapsed}
