-- Takes an asynchronous job out of the count of stored ones.
-- KEYS: jobs by the time when they end, sizes of all
-- ARGV: the job and its size as `id:images:bytes`, images, bytes
-- Returns 1, or 0 where it was not counted.
local left = redis.call('ZREM', KEYS[1], ARGV[1])
if left == 1 then
  redis.call('HINCRBY', KEYS[2], 'images', -tonumber(ARGV[2]))
  redis.call('HINCRBY', KEYS[2], 'bytes', -tonumber(ARGV[3]))
end
return left
