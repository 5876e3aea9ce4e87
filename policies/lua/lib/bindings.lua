-- A binding is kept as `<expires, ms> <CSeq> <Call-ID> <record>`.
local function parsed(binding)
  local expires, cseq, call_id, record = string.match(binding, '^(%d+) (%d+) (%S*) (.*)$')
  return tonumber(expires), tonumber(cseq), call_id, record
end
