-- Replaces a claim by the outcome of its request. Without an outcome, deletes the claim.
-- KEYS: the key
-- ARGV: the claim; the outcome, milliseconds to keep it
-- Returns 1, or 0 if another claim has the key. A claim that expired in the meantime is still the first, unless another
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
