-- Has a job's webhook called at some time, at the latest.
-- KEYS: jobs by the time of their next call
-- ARGV: job, milliseconds until then, milliseconds to keep
local time = redis.call('TIME')
local at = time[1] * 1000 + math.floor(time[2] / 1000) + tonumber(ARGV[2])
redis.call('ZADD', KEYS[1], string.format('%.0f', at), ARGV[1])
redis.call('PEXPIRE', KEYS[1], math.max(tonumber(ARGV[3]), redis.call('PTTL', KEYS[1])))
return 1
