-- Says how a model's queue stands, and which jobs are not in it any more.
-- KEYS: job streams high, normal, low; dead letters
-- ARGV: group, then for each job its stream (1..3) and its entry
-- Returns the depth, how many jobs workers have, the age of the oldest in milliseconds, the dead letters, and then the
-- positions (1..) of the jobs that are missing.
local depth, in_flight, oldest = 0, 0, 0
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
for i = 1, 3 do
  depth = depth + redis.call('XLEN', KEYS[i])
  local pending = redis.pcall('XPENDING', KEYS[i], ARGV[1])
  if type(pending) == 'table' and not pending.err then
    in_flight = in_flight + pending[1]
  end
  local first = redis.call('XRANGE', KEYS[i], '-', '+', 'COUNT', 1)
  if #first > 0 then
    oldest = math.max(oldest, now - tonumber(string.match(first[1][1], '^%d+')))
  end
end
local answer = {depth, in_flight, oldest, redis.call('XLEN', KEYS[4])}
for i = 2, #ARGV, 2 do
  if #redis.call('XRANGE', KEYS[tonumber(ARGV[i])], ARGV[i + 1], ARGV[i + 1], 'COUNT', 1) == 0 then
    answer[#answer + 1] = i / 2
  end
end
return answer
