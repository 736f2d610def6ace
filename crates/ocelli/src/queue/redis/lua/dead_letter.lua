-- Copies a job to the bounded stream of dead letters. Its reply takes it out of its own stream.
-- KEYS: the job stream; dead letters
-- ARGV: entry, most dead letters, milliseconds to keep them, reason, worker
-- Returns 1, or 0 where the job is gone.
local found = redis.call('XRANGE', KEYS[1], ARGV[1], ARGV[1])
if #found == 0 then
  return 0
end
local fields = found[1][2]
fields[#fields + 1] = 'reason'
fields[#fields + 1] = ARGV[4]
fields[#fields + 1] = 'worker'
fields[#fields + 1] = ARGV[5]
redis.call('XADD', KEYS[2], 'MAXLEN', ARGV[2], '*', unpack(fields))
redis.call('PEXPIRE', KEYS[2], ARGV[3])
return 1
