-- Makes the pool's layout when there is none yet; of which version and epoch it is, how many notices there were, and who restores
-- what was lost: of those who offer it, the first.
local layout = KEYS[1]
local version, epoch, restorer = ARGV[1], ARGV[2], ARGV[3]
if redis.call('EXISTS', layout) == 0 then
    redis.call('HSET', layout, 'version', version, 'epoch', epoch, 'joined', 0, 'notices', 0)
end
if restorer ~= '' then
    redis.call('HSETNX', layout, 'restorer', restorer)
end
return redis.call('HMGET', layout, 'version', 'epoch', 'notices', 'restorer')
