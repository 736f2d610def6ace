-- Replaces a claim by what came of it, or, with no more arguments, gives it up.
-- KEYS: the key
-- ARGV: the claim; what came of it, milliseconds to keep that
-- Returns 1, or 0 where the key is somebody else's or nobody's.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return 0
end
if ARGV[2] then
  redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
else
  redis.call('DEL', KEYS[1])
end
return 1
