-- Deletes jobs that were answered or abandoned.
-- KEYS: the job stream; bytes; index; crashes
-- ARGV: group, stream (1..3), then the entries
-- Returns how many were still there. Deleting comes first: Redis lets a script write when its memory is full only once
-- the script has freed some.
local found, size = 0, 0
for i = 3, #ARGV do
  local field = ARGV[2] .. '/' .. ARGV[i]
  local deleted = redis.call('XDEL', KEYS[1], ARGV[i])
  redis.call('XACK', KEYS[1], ARGV[1], ARGV[i])
  if deleted == 1 then
    found = found + 1
    size = size + tonumber(redis.call('HGET', KEYS[3], field) or '0')
  end
  redis.call('HDEL', KEYS[3], field)
  redis.call('HDEL', KEYS[4], field)
end
if size > 0 and redis.call('EXISTS', KEYS[2]) == 1 then
  local left = tonumber(redis.call('GET', KEYS[2])) - size
  redis.call('SET', KEYS[2], string.format('%.0f', math.max(left, 0)), 'KEEPTTL')
end
return found
