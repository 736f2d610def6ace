-- Registers a worker until its next heartbeat is overdue.
-- KEYS: workers, the digest of each worker of this name and version, card
-- ARGV: worker, its process, digest, announcement, card, milliseconds that it counts
-- Returns {1, microseconds of Redis' clock}, or {0, digest} where only processes other than this one serve the name and
-- version, and none of them this digest.
local keep = tonumber(ARGV[6])
local time = redis.call('TIME')
local now = string.format('%d%06d', time[1], time[2])
-- The digest in an entry that counts.
local function live(entry)
  local at = tonumber(string.sub(entry, 1, 16))
  if at and math.abs(tonumber(now) - at) <= keep * 1000 then
    return string.sub(entry, 17)
  end
end
-- A worker that is registered stays so; only a new one is checked.
local own = redis.call('HGET', KEYS[2], ARGV[1])
if not own or live(own) ~= ARGV[3] then
  local welcome, other = false, nil
  local holders = redis.call('HGETALL', KEYS[2])
  for i = 1, #holders, 2 do
    local digest = live(holders[i + 1])
    if not digest then
      redis.call('HDEL', KEYS[2], holders[i])
    elseif digest == ARGV[3] or string.match(holders[i], '^[^/]*') == ARGV[2] then
      welcome = true
    else
      other = digest
    end
  end
  if other and not welcome then
    return {0, other}
  end
end
-- First a command that needs no memory: a script that has written may go on when Redis is full, and a full Redis must
-- not forget live workers.
redis.call('PEXPIRE', KEYS[1], keep)
redis.call('HSET', KEYS[2], ARGV[1], now .. ARGV[3])
redis.call('PEXPIRE', KEYS[2], keep)
-- Results are labelled with the card after the last worker has gone.
local card = redis.call('PTTL', KEYS[3])
if card == -2 then
  redis.call('SET', KEYS[3], ARGV[5], 'PX', keep)
elseif card < keep then
  redis.call('PEXPIRE', KEYS[3], keep)
end
redis.call('HSET', KEYS[1], ARGV[1], now .. ARGV[4])
redis.call('PEXPIRE', KEYS[1], keep)
return {1, now}
