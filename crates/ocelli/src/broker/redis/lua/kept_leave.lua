-- Counts an asynchronous job no more.
-- KEYS: jobs by the time when they end, images of all
-- ARGV: the job and its images as `id:images`, images
-- Returns 1, or 0 where it was not counted.
local left = redis.call('ZREM', KEYS[1], ARGV[1])
if left == 1 then
  local images = tonumber(redis.call('GET', KEYS[2]) or '0') - tonumber(ARGV[2])
  redis.call('SET', KEYS[2], string.format('%.0f', math.max(images, 0)), 'KEEPTTL')
end
return left
