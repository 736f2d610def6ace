-- Moves the next call of a job's webhook, unless it was called or the job was deleted.
-- KEYS: jobs by the time of their next call
-- ARGV: job, milliseconds until then
-- Returns 1, or 0 where there is nothing to be called any more.
if not redis.call('ZSCORE', KEYS[1], ARGV[1]) then
  return 0
end
local time = redis.call('TIME')
local at = time[1] * 1000 + math.floor(time[2] / 1000) + tonumber(ARGV[2])
redis.call('ZADD', KEYS[1], 'XX', string.format('%.0f', at), ARGV[1])
return 1
