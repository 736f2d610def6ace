-- Says which jobs are not in their streams any more.
-- KEYS: job streams high, normal, low
-- ARGV: for each job its stream (1..3) and its entry
-- Returns the depth, then the positions (1..) of those that are missing.
local answer = {redis.call('XLEN', KEYS[1]) + redis.call('XLEN', KEYS[2]) + redis.call('XLEN', KEYS[3])}
for i = 1, #ARGV, 2 do
  if #redis.call('XRANGE', KEYS[tonumber(ARGV[i])], ARGV[i + 1], ARGV[i + 1], 'COUNT', 1) == 0 then
    answer[#answer + 1] = (i + 1) / 2
  end
end
return answer
