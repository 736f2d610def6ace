-- Notes that a job is about to be computed alone: if its worker ends before the note is taken away, the job did it.
-- KEYS: the job stream, crashes
-- ARGV: entry, milliseconds to keep the notes
-- Returns how often it did before; -1 where the job is gone.
if #redis.call('XRANGE', KEYS[1], ARGV[1], ARGV[1]) == 0 then
  redis.call('HDEL', KEYS[2], ARGV[1])
  return -1
end
local runs = redis.call('HINCRBY', KEYS[2], ARGV[1], 1)
redis.call('PEXPIRE', KEYS[2], ARGV[2])
return runs - 1
