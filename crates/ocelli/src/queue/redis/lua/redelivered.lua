-- Raises the crash count of a job that is about to be computed alone: if its worker ends before it answers, the job did it.
-- KEYS: index; crashes
-- ARGV: stream (1..3), entry, milliseconds to keep the notes
-- Returns how often it did before; -1 where the job is gone.
local field = ARGV[1] .. '/' .. ARGV[2]
-- First a write that needs no memory, so that a full Redis, too, lets the note be taken.
redis.call('PEXPIRE', KEYS[2], ARGV[3])
if redis.call('HEXISTS', KEYS[1], field) == 0 then
  redis.call('HDEL', KEYS[2], field)
  return -1
end
local runs = redis.call('HINCRBY', KEYS[2], field, 1)
redis.call('PEXPIRE', KEYS[2], ARGV[3])
return runs - 1
