-- Accepts an asynchronous job: notes where its parts are queued, so that they can be taken out again, and keeps its record.
-- KEYS: record
-- ARGV: the places, milliseconds to keep the record
-- Returns 1, or 0 where there is no record any more: accepting took longer than the record was kept.
if redis.call('EXISTS', KEYS[1]) == 0 then
  return 0
end
redis.call('HSET', KEYS[1], 'queued', ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return 1
