-- What a key holds, in which life of which pool, and what is known of its owner's keys.
local epoch, returned = unpack(redis.call('HMGET', KEYS[1], 'epoch', 'returned'))
return { (epoch or '') .. (returned or ''), redis.call('HGET', KEYS[2], ARGV[1]), redis.call('HGET', KEYS[3], ARGV[2]) }
