-- Notes where the parts of an asynchronous job are queued, so that they can be taken out again.
-- KEYS: record
-- ARGV: the places
-- Returns 1, or 0 where the job was deleted in the meantime.
if redis.call('EXISTS', KEYS[1]) == 0 then
  return 0
end
redis.call('HSET', KEYS[1], 'queued', ARGV[1])
return 1
