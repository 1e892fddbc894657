-- The server has gone back to what it held before, as one does that crashes between two snapshots. From now on the pool's keys are in
-- another life: whoever has heard of newer versions brings them. Notes for each owner which versions were there, and answers with
-- which life it is; when another one has begun meanwhile, with that.
local layout, owners = KEYS[1], KEYS[2]
local known, name = ARGV[1], ARGV[2]
local epoch, returned = unpack(redis.call('HMGET', layout, 'epoch', 'returned'))
local life = (epoch or '') .. (returned or '')
if life ~= known or not epoch then
    return life
end
local all = redis.call('HGETALL', owners)
for first = 1, #all, 2 do
    redis.call('HSET', layout, 'floor:' .. all[first], string.match(all[first + 1], '^%d+') or 0)
end
local count = tonumber(string.match(returned or '', '^%+(%d+)') or 0) + 1
returned = '+' .. count .. ':' .. name
redis.call('HSET', layout, 'returned', returned)
return epoch .. returned
