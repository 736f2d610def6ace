-- Queues a job unless the model's queue is full: the only place where its limits are enforced.
-- KEYS: job streams high, normal, low; bytes; index
-- ARGV: stream (1..3), most jobs and most bytes that are open to this priority (`admission::open_to`), bytes that an empty
-- queue takes, milliseconds to keep the keys, most bytes of the reply, header, payload
-- Returns {1, depth, entry}, or {0, depth}, or an error that begins with OOM; the depth counts the waiting jobs and those that
-- are being computed. A job's bytes include those of its reply.
-- The index has the size of each job that is there, so that one can be asked about without reading its payload.
local depth = redis.call('XLEN', KEYS[1]) + redis.call('XLEN', KEYS[2]) + redis.call('XLEN', KEYS[3])
local bytes, most = 0, tonumber(ARGV[4])
if depth > 0 then
  most = tonumber(ARGV[3])
  bytes = tonumber(redis.call('GET', KEYS[4]) or '0')
end
local reply = tonumber(ARGV[6])
local size = #ARGV[7] + #ARGV[8] + reply
if depth >= tonumber(ARGV[2]) or bytes + size > most then
  return {0, depth}
end
-- The jobs that are there will have replies, for which memory must be left.
local left = memory_left() - reply * depth
if size > left then
  return no_room()
end
-- Where memory is what limits the queue, lower priorities leave the same part of that free.
if depth > 0 and bytes + size > (bytes + left) * (tonumber(ARGV[3]) / tonumber(ARGV[4])) then
  return {0, depth}
end
local time = redis.call('TIME')
local now = string.format('%d%06d', time[1], time[2])
local stream = KEYS[tonumber(ARGV[1])]
local entry = redis.call('XADD', stream, '*', 'j', ARGV[7], 't', now, 'p', ARGV[8])
redis.call('HSET', KEYS[5], ARGV[1] .. '/' .. entry, size)
redis.call('SET', KEYS[4], string.format('%.0f', bytes + size), 'KEEPTTL')
-- Nothing outlives the jobs in it by more than this, even if no process is left to tidy up.
local keep = tonumber(ARGV[5])
for _, key in ipairs({stream, KEYS[4], KEYS[5]}) do
  if redis.call('PTTL', key) < keep then
    redis.call('PEXPIRE', key, keep)
  end
end
return {1, depth + 1, entry}
