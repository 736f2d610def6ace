-- Extends a claim on an idempotency key.
-- KEYS: the key
-- ARGV: the claim, milliseconds that it holds from now on
-- Returns 1, or 0 where the key has expired or another claim has it.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return 0
end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
