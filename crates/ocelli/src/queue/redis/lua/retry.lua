-- Queues a dead letter again, from now on and with its crashes forgiven.
-- KEYS: dead letters; the job stream; bytes; index
-- ARGV: the dead letter's entry, stream (1..3), milliseconds to keep the keys
-- Returns 1, or 0 where it is gone.
local found = redis.call('XRANGE', KEYS[1], ARGV[1], ARGV[1])
if #found == 0 then
  return 0
end
local fields = {}
for i = 1, #found[1][2], 2 do
  fields[found[1][2][i]] = found[1][2][i + 1]
end
local header, payload = fields['j'] or '', fields['p'] or ''
local time = redis.call('TIME')
local now = string.format('%d%06d', time[1], time[2])
local entry = redis.call('XADD', KEYS[2], '*', 'j', header, 't', now, 'p', payload)
redis.call('HSET', KEYS[4], ARGV[2] .. '/' .. entry, #header + #payload)
local bytes = tonumber(redis.call('GET', KEYS[3]) or '0')
redis.call('SET', KEYS[3], string.format('%.0f', bytes + #header + #payload), 'KEEPTTL')
for _, key in ipairs({KEYS[2], KEYS[3], KEYS[4]}) do
  if redis.call('PTTL', key) < tonumber(ARGV[3]) then
    redis.call('PEXPIRE', key, ARGV[3])
  end
end
redis.call('XDEL', KEYS[1], ARGV[1])
if redis.call('XLEN', KEYS[1]) == 0 then
  redis.call('DEL', KEYS[1])
end
return 1
