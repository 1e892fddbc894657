-- Tells what a gateway has found, and what others have found since: where that ends, and their texts. A gateway that has heard
-- nothing yet begins with what comes next.
local stream = KEYS[1]
local node, after, told = ARGV[1], ARGV[2], ARGV[3]
local heard = {}
if after == '' then
    local last = redis.call('XREVRANGE', stream, '+', '-', 'COUNT', 1)[1]
    after = last and last[1] or '0-0'
else
    for _, entry in ipairs(redis.call('XRANGE', stream, '(' .. after, '+', 'COUNT', 1000)) do
        after = entry[1]
        if entry[2][2] ~= node then
            table.insert(heard, entry[2][4])
        end
    end
end
if told ~= '' then
    redis.call('XADD', stream, 'MAXLEN', '~', 1000, '*', 'node', node, 'found', told)
    redis.call('EXPIRE', stream, 3600)
end
return { after, heard }
