-- Schedules the call of a job's webhook for a time at the latest.
-- KEYS: jobs by the time of their next call, the receiver of each
-- ARGV: job, milliseconds until then, milliseconds to keep, receiver
local time = redis.call('TIME')
local at = time[1] * 1000 + math.floor(time[2] / 1000) + tonumber(ARGV[2])
redis.call('ZADD', KEYS[1], string.format('%.0f', at), ARGV[1])
local keep = math.max(tonumber(ARGV[3]), redis.call('PTTL', KEYS[1]))
redis.call('PEXPIRE', KEYS[1], keep)
redis.call('HSET', KEYS[2], ARGV[1], ARGV[4])
redis.call('PEXPIRE', KEYS[2], keep)
return 1
