-- The notices that follow one: `lost` when it is not the pool that is asked about; otherwise how many there ever were, by what that
-- one is known, by what the last one is known that is told, and their numbers, by whom, about what, and which.
local layout, notices = KEYS[1], KEYS[2]
local epoch, after = ARGV[1], ARGV[2]
if redis.call('HGET', layout, 'epoch') ~= epoch then
    return { 'lost' }
end
local function mark(notice)
    return notice and redis.sha1hex(table.concat(notice[2], '\n')) or ''
end
local newest = redis.call('XRANGE', notices, after .. '-0', after .. '-0')[1]
local told = { redis.call('HGET', layout, 'notices') or '0', mark(newest), '' }
for _, notice in ipairs(redis.call('XRANGE', notices, '(' .. after .. '-0', '+', 'COUNT', 1000)) do
    local number, fields = string.match(notice[1], '^%d+'), notice[2]
    table.insert(told, number)
    table.insert(told, fields[2])
    table.insert(told, fields[3])
    table.insert(told, fields[4])
    newest = notice
end
told[3] = mark(newest)
return told
