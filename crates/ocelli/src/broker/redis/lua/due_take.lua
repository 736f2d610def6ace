-- Takes jobs whose webhooks are to be called now. Unless they are done with by then, others take them after a while.
-- KEYS: jobs by the time of their next call, how often each was called
-- ARGV: most jobs, milliseconds until others take them
-- Returns job, calls with this one, ..
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local taken = {}
for _, job in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, ARGV[1])) do
  redis.call('ZADD', KEYS[1], string.format('%.0f', now + tonumber(ARGV[2])), job)
  taken[#taken + 1] = job
  taken[#taken + 1] = redis.call('HINCRBY', KEYS[2], job, 1)
end
if #taken > 0 then
  redis.call('PEXPIRE', KEYS[2], redis.call('PTTL', KEYS[1]))
end
return taken
