-- Stores the reply of a part of an asynchronous job: once, and neither after the deadline nor after the job was deleted, so
-- that a finished job does not change.
-- KEYS: record
-- ARGV: part, reply
-- Returns -1 where the reply is not wanted, 1 where it is the last one and there is a webhook to call, otherwise 0.
local record = redis.pcall('HMGET', KEYS[1], 'deadline', 'parts')
if record.err or not record[1] or not record[2] then
  return -1
end
local time = redis.call('TIME')
if tonumber(string.format('%d%06d', time[1], time[2])) >= tonumber(record[1]) then
  return -1
end
if tonumber(ARGV[1]) >= tonumber(record[2]) then
  return -1
end
-- First a command that needs no memory: a script that has written may go on when Redis is full, and a full Redis must
-- be able to answer. The reply takes the place of its job, which goes next.
redis.call('HDEL', KEYS[1], '')
local left
if redis.call('HSETNX', KEYS[1], 'part' .. ARGV[1], ARGV[2]) == 1 then
  left = redis.call('HINCRBY', KEYS[1], 'left', -1)
else
  left = tonumber(redis.call('HGET', KEYS[1], 'left'))
end
-- Also where this reply was there already: the worker that wrote it may have died before it scheduled the webhook.
if left <= 0 and redis.call('HEXISTS', KEYS[1], 'webhook') == 1 then
  return 1
end
return 0
