-- Says what has to be the same at all gateways, and answers with what the others say. KEYS: what all say. ARGV: the gateway, for
-- how many milliseconds it holds, what it says.
local said, node, term = KEYS[1], ARGV[1], tonumber(ARGV[2])
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
redis.call('HSET', said, node, string.format('%.0f', now + term) .. '\n' .. ARGV[3])
redis.call('PEXPIRE', said, term)
local all, others = redis.call('HGETALL', said), {}
for at = 1, #all, 2 do
    local until_when, text = string.match(all[at + 1], '^(%d+)\n(.*)$')
    if all[at] == node then
        -- That is this gateway.
    elseif until_when and tonumber(until_when) > now then
        table.insert(others, { all[at], text })
    else
        redis.call('HDEL', said, all[at])
    end
end
return others
