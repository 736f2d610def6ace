-- Prepended to the scripts that add jobs. They may add one only if enough memory remains for the replies to all jobs, so
-- that jobs cannot fill Redis until no reply fits.

-- For writes without this check: heartbeats, crash counts, the buffers of connections.
local SPARE = 1048576

-- How many bytes are left below maxmemory. Redis counts as it does when it refuses a command with OOM.
local function memory_left()
  local info = redis.pcall('INFO', 'memory')
  if type(info) ~= 'string' then
    -- This user may not ask. Redis itself still refuses what does not fit, but keeps no room for replies.
    return math.huge
  end
  local function field(name)
    return tonumber(string.match(info, '\n' .. name .. ':(%d+)') or '0')
  end
  local most = field('maxmemory')
  if most == 0 then
    return math.huge
  end
  return most - SPARE - (field('used_memory') - field('mem_not_counted_for_evict'))
end

-- The answer where they do not fit. Clients know it by its code, as the answer of a Redis that is full.
local function no_room()
  return redis.error_reply('OOM the memory that is left is needed for replies')
end

