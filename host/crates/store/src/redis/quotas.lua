-- Counts bytes of users, each turn of a gateway once. KEYS are the layout, which turn of the gateway was done last, and the users'
-- counters. ARGV: which pool the gateway knows, its turn, which is 0 when no bytes came, and for how many seconds that is remembered;
-- then for each user the bytes that came to it, and how long its period is, in milliseconds. Answers with which pool it is, and for
-- each user with all bytes of its period, and how long that is yet, no time when none has begun; less than nothing for one that cannot
-- be counted, and why. With nothing but the pool when it is another than the gateway knows.
local layout, done = KEYS[1], KEYS[2]
local expected_epoch, turn, seconds = ARGV[1], ARGV[2], ARGV[3]
local epoch = redis.call('HGET', layout, 'epoch') or ''
if expected_epoch ~= '' and epoch ~= expected_epoch then
    return { epoch, {}, '' }
end
local is_new = tonumber(turn) > tonumber(redis.call('GET', done) or 0)
-- Before anything is counted: when this is refused, nothing is.
if is_new then
    redis.call('SET', done, turn, 'EX', seconds)
end
local answers, trouble = {}, ''
for number = 3, #KEYS do
    local counter, bytes, period = KEYS[number], ARGV[2 * number - 2], ARGV[2 * number - 1]
    local held = 0
    if is_new and bytes ~= '0' then
        held = redis.pcall('INCRBY', counter, bytes)
    end
    if type(held) ~= 'table' then
        held = redis.pcall('GET', counter) or 0
    end
    local total = type(held) ~= 'table' and tonumber(held)
    if total then
        -- A period that is shorter now ends sooner. (-2: there is no counter; -1: it has no end yet.)
        local left = redis.call('PTTL', counter)
        if left == -1 or left > tonumber(period) then
            redis.call('PEXPIRE', counter, period)
        end
        table.insert(answers, total)
        table.insert(answers, math.max(0, redis.call('PTTL', counter)))
    else
        -- What another program has put there is no reason to count the others twice.
        trouble = type(held) == 'table' and held.err or 'it holds no number'
        table.insert(answers, -1)
        table.insert(answers, 0)
    end
end
return { epoch, answers, trouble }
