-- Creates the job streams of a model and their consumer group, where they are missing.
-- KEYS: job streams high, normal, low
-- ARGV: group, milliseconds to keep them
for _, key in ipairs(KEYS) do
  -- From the start of the stream: a job that is there already is for the group too.
  local made = redis.pcall('XGROUP', 'CREATE', key, ARGV[1], '0', 'MKSTREAM')
  if type(made) == 'table' and made.err and not string.find(made.err, 'BUSYGROUP') then
    return made
  end
  if redis.call('PTTL', key) < tonumber(ARGV[2]) then
    redis.call('PEXPIRE', key, ARGV[2])
  end
end
return redis.status_reply('OK')
