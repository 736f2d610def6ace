-- Counts an asynchronous job among those that are kept, unless there are too many.
-- KEYS: jobs by the time when they end, images of all
-- ARGV: the job and its images as `id:images`, images, most images, milliseconds that it is kept
-- Returns -1, or the milliseconds until the next job is forgotten where there is no room.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local images = tonumber(redis.call('GET', KEYS[2]) or '0')
-- Those that have ended since the last time; the rest of a great many is left for the next time.
for _, job in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, 1000)) do
  redis.call('ZREM', KEYS[1], job)
  images = images - tonumber(string.match(job, ':(%d+)$'))
end
local first = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')
local keep = math.max(tonumber(ARGV[4]), redis.call('PTTL', KEYS[1]))
local room = images + tonumber(ARGV[2]) <= tonumber(ARGV[3])
if room then
  redis.call('ZADD', KEYS[1], string.format('%.0f', now + tonumber(ARGV[4])), ARGV[1])
  images = images + tonumber(ARGV[2])
end
redis.call('PEXPIRE', KEYS[1], keep)
redis.call('SET', KEYS[2], string.format('%.0f', images), 'PX', keep)
if room then
  return -1
end
return math.max(tonumber(first[2] or now) - now, 0)
