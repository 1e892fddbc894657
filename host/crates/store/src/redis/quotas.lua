-- Counts bytes of users. KEYS are the users' counters. ARGV: for each of them the bytes that came to it, and how long its period
-- is, in milliseconds. Answers for each of them with all bytes of its period, and how long that is yet; no time when none has begun.
local answers = {}
for number, counter in ipairs(KEYS) do
    local bytes, period = ARGV[2 * number - 1], ARGV[2 * number]
    if bytes ~= '0' then
        redis.call('INCRBY', counter, bytes)
    end
    -- A period that is shorter now ends sooner. (-2: there is no counter; -1: it has no end yet.)
    local left = redis.call('PTTL', counter)
    if left == -1 or left > tonumber(period) then
        redis.call('PEXPIRE', counter, period)
    end
    table.insert(answers, tonumber(redis.call('GET', counter) or 0))
    table.insert(answers, math.max(0, redis.call('PTTL', counter)))
end
return answers
