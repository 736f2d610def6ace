-- Extends the life of a record whose job is being accepted.
-- KEYS: record
-- ARGV: milliseconds to keep it from now on
-- Returns 1, or 0 where there is no such record, or its job was accepted and it is kept for longer.
if redis.call('HEXISTS', KEYS[1], 'queued') == 1 then
  return 0
end
return redis.call('PEXPIRE', KEYS[1], ARGV[1])
