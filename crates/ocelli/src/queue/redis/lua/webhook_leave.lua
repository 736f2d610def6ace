-- Forgets the webhook of a job.
-- KEYS: jobs by the time of their next call, how often each was called, the receiver of each
-- ARGV: job
redis.call('HDEL', KEYS[2], ARGV[1])
redis.call('HDEL', KEYS[3], ARGV[1])
return redis.call('ZREM', KEYS[1], ARGV[1])
