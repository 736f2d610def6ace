-- Counts an asynchronous job among the stored ones, unless there are too many.
-- KEYS: jobs by the time when they end, sizes of all
-- ARGV: the job and its size as `id:images:bytes`, images, bytes, most images and most bytes that are open to its priority
-- (`StoredSize::open_to`), bytes that are open while nothing is kept, milliseconds that it is kept
-- Returns -1, or the milliseconds until the next job is forgotten where there is no room.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
-- A job that left after its size was forgotten makes no room.
local images = math.max(tonumber(redis.call('HGET', KEYS[2], 'images') or '0'), 0)
local bytes = math.max(tonumber(redis.call('HGET', KEYS[2], 'bytes') or '0'), 0)
-- Those that have ended since the last time; the rest of a great many is left for the next time.
for _, job in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, 1000)) do
  redis.call('ZREM', KEYS[1], job)
  local its_images, its_bytes = string.match(job, ':(%d+):(%d+)$')
  images = images - tonumber(its_images or '0')
  bytes = bytes - tonumber(its_bytes or '0')
end
local first = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')
local keep = math.max(tonumber(ARGV[7]), redis.call('PTTL', KEYS[1]))
local most = tonumber(images > 0 and ARGV[5] or ARGV[6])
local room = images + tonumber(ARGV[2]) <= tonumber(ARGV[4]) and bytes + tonumber(ARGV[3]) <= most
if room then
  redis.call('ZADD', KEYS[1], string.format('%.0f', now + tonumber(ARGV[7])), ARGV[1])
  images = images + tonumber(ARGV[2])
  bytes = bytes + tonumber(ARGV[3])
end
redis.call('PEXPIRE', KEYS[1], keep)
redis.call('HSET', KEYS[2], 'images', string.format('%.0f', images), 'bytes', string.format('%.0f', bytes))
redis.call('PEXPIRE', KEYS[2], keep)
if room then
  return -1
end
return math.max(tonumber(first[2] or now) - now, 0)
