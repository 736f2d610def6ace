-- Takes jobs whose webhooks are to be called now. If a call does not end in time, another process takes it.
-- KEYS: jobs by the time of their next call, how often each was called, the receiver of each
-- ARGV: most jobs, milliseconds until others take them
-- Returns job, failed calls so far, receiver or nothing, ..
-- First a command that needs no memory: a script that has written may go on when Redis is full.
redis.call('ZREM', KEYS[1], '')
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local taken = {}
for _, job in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, ARGV[1])) do
  redis.call('ZADD', KEYS[1], string.format('%.0f', now + tonumber(ARGV[2])), job)
  taken[#taken + 1] = job
  taken[#taken + 1] = tonumber(redis.call('HGET', KEYS[2], job) or '0')
  taken[#taken + 1] = redis.call('HGET', KEYS[3], job) or ''
end
return taken
