-- The keys of one plugin: what the scripts that change them have in common. It stands before each of them. They answer with what
-- they have to say, the newest version of any key, and in which life of which pool; `LOST` when that is another than the caller knows,
-- and `BACK` when the newest version is older than the caller has heard of: then the server has gone back to what it held before.
local owners, keys, order, expiry, layout, brought = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local owner, now = ARGV[1], ARGV[2]
local expected, newest_heard = string.match(ARGV[3], '^(%S*) (%d+)$')

local LOST, BACK = -2, -3
local life = redis.call('HMGET', layout, 'epoch', 'returned')
local epoch = (life[1] or '') .. (life[2] or '')
if expected ~= '' and epoch ~= expected then
    return { LOST, 0, epoch }
end

-- The newest version of any key, those that are gone included, and how many bytes keys and values take.
local version, bytes, is_changed = 0, 0, false
local known = redis.call('HGET', owners, owner)
if known then
    local version_held, bytes_held = string.match(known, '^(%d+) (%d+)$')
    version, bytes = tonumber(version_held or 0), tonumber(bytes_held or 0)
end
if version < tonumber(newest_heard) then
    return { BACK, version, epoch }
end

-- Before a value there are its version and when it expires, in 20 digits each.
local HEAD = 40

local function size(key)
    local length = redis.call('HSTRLEN', keys, key)
    if length == 0 then
        return 0
    end
    return #key + length - HEAD
end

local function drop(key)
    bytes = math.max(bytes - size(key), 0)
    redis.call('ZREM', order, key)
    redis.call('ZREM', expiry, key)
    is_changed = redis.call('HDEL', keys, key) == 1 or is_changed
end

local function hold(key, version, expires, value)
    redis.call('HSET', keys, key, string.format('%020.0f', version) .. expires .. value)
    redis.call('ZADD', order, 0, key)
    if tonumber(expires) > 0 then
        redis.call('ZADD', expiry, expires, key)
    end
    bytes = bytes + #key + #value
    is_changed = true
end

-- Of a script the server refuses the first write alone when it is out of memory. For a script that drops something before it holds
-- something else, this is the first: it needs memory, as far as the server can tell, and changes nothing that is known.
local is_new = false
local function reserve()
    is_new = redis.call('HSETNX', owners, owner, '0 0') == 1
end

-- What has expired goes, before anything else is done.
local function expire()
    for _, key in ipairs(redis.call('ZRANGEBYSCORE', expiry, '-inf', now)) do
        drop(key)
    end
end

local function finish(answer)
    if is_changed then
        redis.call('HSET', owners, owner, string.format('%.0f %.0f', version, bytes))
    elseif is_new then
        redis.call('HDEL', owners, owner)
    end
    return { answer, version, epoch }
end
