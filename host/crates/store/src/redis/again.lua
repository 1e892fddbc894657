-- Brings keys back that the server has lost, as far as a gateway knows them: `held`, or `gone` for one that was deleted. Several
-- bring them: the newest version counts, of the same one that it was deleted, and what was set since the loss counts more. Where the
-- server went back to what it held before, it has whatever is not newer than its newest version was then.
local floor = tonumber(redis.call('HGET', layout, 'floor:' .. owner) or 0)
reserve()
expire()
for first = 5, #ARGV, 5 do
    local kind, newest, key, expires, value = unpack(ARGV, first, first + 4)
    local held = redis.call('HGET', keys, key)
    local held_version = held and tonumber(string.sub(held, 1, 20)) or 0
    local brought_version = tonumber(redis.call('HGET', brought, key) or 0)
    newest = tonumber(newest)
    -- A deletion has the newest version of any key when it was done, which may be that of the key itself.
    local is_newer = brought_version < newest or kind == 'gone' and brought_version == newest
    local is_lost = newest > floor or kind == 'gone' and newest == floor
    local is_of_before = not held or held_version <= floor or held_version == brought_version
    if is_lost and is_of_before and is_newer then
        drop(key)
        if kind == 'held' then
            hold(key, newest, expires, value)
        end
        redis.call('HSET', brought, key, string.format('%.0f', newest))
        version = math.max(version, newest)
        is_changed = true
    end
end
redis.call('EXPIRE', brought, ARGV[4])
return finish(1)
