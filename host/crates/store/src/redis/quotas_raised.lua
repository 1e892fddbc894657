-- Counts what users had used when the server went back to less. KEYS are their counters; ARGV for each of them the bytes that a gateway
-- has heard of, and how long the period is yet, in milliseconds. Who has heard of most is right.
for number, counter in ipairs(KEYS) do
    local bytes, left = tonumber(ARGV[2 * number - 1]), ARGV[2 * number]
    local held = redis.pcall('GET', counter)
    local count = type(held) ~= 'table' and tonumber(held or 0)
    if count and count < bytes then
        redis.call('INCRBY', counter, string.format('%.0f', bytes - count))
        if redis.call('PTTL', counter) < 0 then
            redis.call('PEXPIRE', counter, left)
        end
    end
end
return 1
