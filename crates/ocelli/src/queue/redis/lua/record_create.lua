-- Creates the record of an asynchronous job.
-- KEYS: record
-- ARGV: the request, number of parts, parts that are to be computed, microseconds until the deadline, milliseconds to keep the
-- record until the job is accepted, its webhook or nothing, most bytes of the replies of all parts
-- Returns microseconds of Redis' clock, or an error that begins with OOM.
if #ARGV[1] + tonumber(ARGV[7]) > memory_left() then
  return no_room()
end
local time = redis.call('TIME')
local now = string.format('%d%06d', time[1], time[2])
local deadline = string.format('%.0f', tonumber(now) + tonumber(ARGV[4]))
redis.call('HSET', KEYS[1], 'asked', ARGV[1], 'created', now, 'deadline', deadline, 'parts', ARGV[2], 'left', ARGV[3])
if ARGV[6] ~= '' then
  redis.call('HSET', KEYS[1], 'webhook', ARGV[6])
end
redis.call('PEXPIRE', KEYS[1], ARGV[5])
return now
