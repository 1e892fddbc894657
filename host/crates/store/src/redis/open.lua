-- Makes the pool's layout when there is none yet; of which version and epoch it is, and how many notices there were.
local layout = KEYS[1]
local version, epoch = ARGV[1], ARGV[2]
if redis.call('EXISTS', layout) == 0 then
    redis.call('HSET', layout, 'version', version, 'epoch', epoch, 'joined', 0, 'notices', 0)
end
return redis.call('HMGET', layout, 'version', 'epoch', 'notices')
