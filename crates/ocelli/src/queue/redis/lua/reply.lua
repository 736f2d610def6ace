-- Writes a reply into the stream of a web process, also when Redis is full: the reply takes the place of its job, which
-- goes next.
-- KEYS: the stream
-- ARGV: the reply
-- Returns 1, or 0 where the stream is gone, and with it the process that waited.
-- First a command that needs no memory: a script that has written may go on when Redis is full.
redis.call('XDEL', KEYS[1], '0-1')
if redis.call('XADD', KEYS[1], 'NOMKSTREAM', '*', 'r', ARGV[1]) then
  return 1
end
return 0
