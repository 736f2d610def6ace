-- Reads the record of an asynchronous job.
-- KEYS: record
-- Returns microseconds of Redis' clock, then the record's fields and values.
local time = redis.call('TIME')
return {string.format('%d%06d', time[1], time[2]), redis.call('HGETALL', KEYS[1])}
