-- Renews the leases that a worker still has, and keeps its streams alive while they are empty.
-- KEYS: job streams high, normal, low
-- ARGV: group, consumer, milliseconds to keep the streams, then for each lease its stream (1..3) and its entry
-- Returns the positions (1..) of the leases that are not this worker's any more.
local lost = {}
for i = 4, #ARGV, 2 do
  local stream = KEYS[tonumber(ARGV[i])]
  -- Checked first: a worker that was frozen must not take back jobs that another one is computing.
  local pending = redis.pcall('XPENDING', stream, ARGV[1], ARGV[i + 1], ARGV[i + 1], 1, ARGV[2])
  if type(pending) == 'table' and not pending.err and #pending > 0 then
    redis.call('XCLAIM', stream, ARGV[1], ARGV[2], 0, ARGV[i + 1], 'JUSTID')
  else
    lost[#lost + 1] = (i - 2) / 2
  end
end
local keep = tonumber(ARGV[3])
for _, key in ipairs(KEYS) do
  if redis.call('EXISTS', key) == 1 and redis.call('PTTL', key) < keep then
    redis.call('PEXPIRE', key, keep)
  end
end
return lost
