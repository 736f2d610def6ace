-- Publishes what a worker serves, for as long as it goes on saying so.
-- KEYS: workers, digest of its name and version, card
-- ARGV: worker, digest, announcement, card, milliseconds that it counts
-- Returns {1, microseconds of Redis' clock}, or {0, digest} where another digest is served under the same name and
-- version.
local keep = tonumber(ARGV[5])
local served = redis.call('GET', KEYS[2])
if served and served ~= ARGV[2] then
  return {0, served}
end
-- First a command that needs no memory: a script that has written may go on when Redis is full, and a full Redis must
-- not forget who lives.
redis.call('PEXPIRE', KEYS[1], keep)
redis.call('SET', KEYS[2], ARGV[2], 'PX', keep)
-- Results are labelled with the card after the last worker has gone.
local card = redis.call('PTTL', KEYS[3])
if card == -2 then
  redis.call('SET', KEYS[3], ARGV[4], 'PX', keep)
elseif card < keep then
  redis.call('PEXPIRE', KEYS[3], keep)
end
local time = redis.call('TIME')
local now = string.format('%d%06d', time[1], time[2])
redis.call('HSET', KEYS[1], ARGV[1], now .. ARGV[3])
redis.call('PEXPIRE', KEYS[1], keep)
return {1, now}
