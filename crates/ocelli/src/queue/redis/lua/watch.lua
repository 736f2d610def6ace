-- Lists the live workers and forgets the others.
-- KEYS: workers
-- ARGV: milliseconds that an announcement counts
-- Returns name, announcement, ..
local time = redis.call('TIME')
local now = tonumber(string.format('%d%06d', time[1], time[2]))
local all = redis.call('HGETALL', KEYS[1])
local live = {}
for i = 1, #all, 2 do
  local at = tonumber(string.sub(all[i + 1], 1, 16))
  -- A clock that was set back must not keep dead workers registered.
  if at and math.abs(now - at) <= tonumber(ARGV[1]) * 1000 then
    live[#live + 1] = all[i]
    live[#live + 1] = string.sub(all[i + 1], 17)
  else
    redis.call('HDEL', KEYS[1], all[i])
  end
end
return live
