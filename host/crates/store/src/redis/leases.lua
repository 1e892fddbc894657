-- Divides work: KEYS are the register of those who check members, and for each piece of work its lease and its mark that it was
-- done. ARGV: the gateway, whether it checks, how long a lease holds in milliseconds, and for each piece of work what it wants.
-- Answers with who check, and for each piece of work who has it, or nothing, and for how many milliseconds it is done.
local checkers, node, is_checker, term = KEYS[1], ARGV[1], ARGV[2], tonumber(ARGV[3])
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
redis.call('ZREMRANGEBYSCORE', checkers, '-inf', string.format('%.0f', now - term))
if is_checker == '1' then
    redis.call('ZADD', checkers, string.format('%.0f', now), node)
    redis.call('PEXPIRE', checkers, term)
else
    redis.call('ZREM', checkers, node)
end
local holders, fresh = {}, {}
for work = 1, #ARGV - 3 do
    local lease, wish = KEYS[2 * work], ARGV[work + 3]
    local holder = redis.call('GET', lease)
    if wish == 'have' and (not holder or holder == node) then
        redis.call('SET', lease, node, 'PX', term)
        holder = node
    elseif wish == 'leave' and holder == node then
        redis.call('DEL', lease)
        holder = nil
    end
    holders[work] = holder or ''
    fresh[work] = math.max(0, redis.call('PTTL', KEYS[2 * work + 1]))
end
return { redis.call('ZRANGE', checkers, 0, -1), holders, fresh }
