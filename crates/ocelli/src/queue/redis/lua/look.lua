-- Reports the state of a model's queue, and which of some jobs are missing from it, without reading payloads.
-- KEYS: job streams high, normal, low; dead letters; index
-- ARGV: group, then for each job its stream (1..3) and its entry
-- Returns the depth, how many jobs workers have, the age of the oldest in milliseconds, the dead letters, and then the
-- positions (1..) of the jobs that are missing.
local depth, in_flight, oldest = 0, 0, 0
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
for i = 1, 3 do
  local length = redis.call('XLEN', KEYS[i])
  depth = depth + length
  local first
  local pending = redis.pcall('XPENDING', KEYS[i], ARGV[1])
  if type(pending) == 'table' and not pending.err and pending[1] > 0 then
    in_flight = in_flight + pending[1]
    first = pending[2]
  elseif length > 0 then
    first = redis.call('XRANGE', KEYS[i], '-', '+', 'COUNT', 1)[1][1]
  end
  if first then
    oldest = math.max(oldest, now - tonumber(string.match(first, '^%d+')))
  end
end
local answer = {depth, in_flight, oldest, redis.call('XLEN', KEYS[4])}
for i = 2, #ARGV, 2 do
  if redis.call('HEXISTS', KEYS[5], ARGV[i] .. '/' .. ARGV[i + 1]) == 0 then
    answer[#answer + 1] = i / 2
  end
end
return answer
