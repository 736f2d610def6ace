-- Deletes consumers of workers that have ended and have no jobs.
-- KEYS: job streams high, normal, low
-- ARGV: group, then the live workers
-- Returns how many. A consumer that has jobs stays: deleting it would delete the note that they are being computed.
local live = {}
for i = 2, #ARGV do
  live[ARGV[i]] = true
end
local forgotten = 0
for _, key in ipairs(KEYS) do
  local consumers = redis.pcall('XINFO', 'CONSUMERS', key, ARGV[1])
  if type(consumers) == 'table' and not consumers.err then
    for _, consumer in ipairs(consumers) do
      local fields = {}
      for i = 1, #consumer, 2 do
        fields[consumer[i]] = consumer[i + 1]
      end
      if fields['pending'] == 0 and not live[fields['name']] then
        redis.call('XGROUP', 'DELCONSUMER', key, ARGV[1], fields['name'])
        forgotten = forgotten + 1
      end
    end
  end
end
return forgotten
