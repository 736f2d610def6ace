-- Takes jobs away that were answered, or that nobody waits for any more.
-- KEYS: the job stream, bytes, crashes
-- ARGV: group, then for each job its entry and its size
-- Returns how many were still there. Deleting comes first: Redis lets a script write when its memory is full only once
-- the script has freed some.
local found, size = 0, 0
for i = 2, #ARGV, 2 do
  local deleted = redis.call('XDEL', KEYS[1], ARGV[i])
  redis.call('XACK', KEYS[1], ARGV[1], ARGV[i])
  redis.call('HDEL', KEYS[3], ARGV[i])
  found = found + deleted
  size = size + deleted * tonumber(ARGV[i + 1])
end
if found > 0 and redis.call('EXISTS', KEYS[2]) == 1 then
  local left = tonumber(redis.call('GET', KEYS[2])) - size
  redis.call('SET', KEYS[2], string.format('%.0f', math.max(left, 0)), 'KEEPTTL')
end
return found
