-- Brings back what users had used when the server lost it. KEYS are for each user its counter, and what was brought to it. ARGV: for
-- each of them the bytes that a gateway knows of, and how long its period is yet, in milliseconds. Several bring them: who knows most
-- is right, and what came since is added.
for first = 1, #KEYS, 2 do
    local counter, brought, bytes, left = KEYS[first], KEYS[first + 1], tonumber(ARGV[first]), tonumber(ARGV[first + 1])
    local before = tonumber(redis.call('GET', brought) or 0)
    if bytes > before then
        if type(redis.pcall('INCRBY', counter, string.format('%.0f', bytes - before))) ~= 'table' then
            redis.call('SET', brought, string.format('%.0f', bytes), 'PX', left)
            -- It ends when the one before would have ended.
            local until_then = redis.call('PTTL', counter)
            if until_then < 0 or until_then > left then
                redis.call('PEXPIRE', counter, left)
            end
        end
    end
end
return 1
