-- Claims an idempotency key.
-- KEYS: the key
-- ARGV: the claim, milliseconds that it holds
-- Returns nothing, or the claim that was there before.
local before = redis.call('GET', KEYS[1])
if before then
  return before
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return false
