-- Moves the next calls of jobs' webhooks, unless they were called or the jobs were deleted.
-- KEYS: jobs by the time of their next call, how often each was called
-- ARGV: failed calls to add for each, then job, milliseconds until its next call, ..
-- Returns how many were moved.
-- First a command that needs no memory: a script that has written may go on when Redis is full.
redis.call('ZREM', KEYS[1], '')
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local moved = 0
for i = 2, #ARGV, 2 do
  if redis.call('ZSCORE', KEYS[1], ARGV[i]) then
    redis.call('ZADD', KEYS[1], 'XX', string.format('%.0f', now + tonumber(ARGV[i + 1])), ARGV[i])
    if ARGV[1] ~= '0' then
      redis.call('HINCRBY', KEYS[2], ARGV[i], ARGV[1])
    end
    moved = moved + 1
  end
end
if moved > 0 and ARGV[1] ~= '0' then
  redis.call('PEXPIRE', KEYS[2], redis.call('PTTL', KEYS[1]))
end
return moved
