-- Replaces a claim by what came of it, or, with no more arguments, gives it up.
-- KEYS: the key
-- ARGV: the claim; what came of it, milliseconds to keep that
-- Returns 1, or 0 where another claim has the key. A claim that expired in the meantime is still the first, unless another
-- request has claimed the key since.
local now = redis.call('GET', KEYS[1])
if now and now ~= ARGV[1] then
  return 0
end
if ARGV[2] then
  redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
elseif now then
  redis.call('DEL', KEYS[1])
end
return 1
