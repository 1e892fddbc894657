-- Divides the places of users among those who hold some. KEYS are the users' places, a hash of each: by holder `turn open places ends`.
-- ARGV: for how long places are held, in milliseconds; then for each user the holder, its turn, how many are open, how many places it
-- keeps, how many it needs, and how many there are. Answers for each user with how many places the holder has now, whether more than
-- half are taken, and whether others have some that they do not need; less than nothing for a user whose places somebody else has
-- made something else of, and why.
local term = tonumber(ARGV[1])
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)

-- What others have, what of it they do not need, and the last turn of this holder and what it has. Those who are silent for too long
-- have nothing.
local function look(key, held, holder)
    local others, idle, last, own = 0, 0, 0, 0
    for first = 1, #held, 2 do
        local name = held[first]
        local turn, open, places, ends = string.match(held[first + 1], '^(%d+) (%d+) (%d+) (%d+)$')
        if not turn or tonumber(ends) <= now then
            redis.call('HDEL', key, name)
        elseif name == holder then
            last, own = tonumber(turn), tonumber(places)
        else
            others = others + places
            idle = idle + math.max(0, places - open)
        end
    end
    return others, idle, last, own
end

-- What is open stays. Nobody gets more than is left; whoever needs more gets twice as much while half of all are free, so that it need
-- not ask each time.
local function divide(others, open, keep, need, most)
    local free = math.max(0, most - others)
    local places = math.max(open, math.min(keep, free))
    if need > places then
        places = math.max(places, math.min(need, free), math.min(2 * need, math.floor(most / 2) - others))
    end
    return places
end

local answers, trouble = {}, ''
for number, key in ipairs(KEYS) do
    local at = 6 * number - 4
    local holder, turn, open = ARGV[at], tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2])
    local keep, need, most = tonumber(ARGV[at + 3]), tonumber(ARGV[at + 4]), tonumber(ARGV[at + 5])
    local held = redis.pcall('HGETALL', key)
    local places, is_scarce, is_idle = -1, 0, 0
    if held.err then
        trouble = held.err
    else
        local others, idle, last, own = look(key, held, holder)
        -- What comes late, or twice in a cluster, changes nothing.
        places = own
        if turn > last then
            places = divide(others, open, keep, need, most)
            if places > 0 then
                local ends = string.format('%.0f', now + term)
                redis.call('HSET', key, holder, string.format('%.0f %.0f %.0f ', turn, open, places) .. ends)
                redis.call('PEXPIRE', key, term)
            else
                redis.call('HDEL', key, holder)
            end
        end
        is_scarce = 2 * (others + places) > most and 1 or 0
        -- Where there are too many, none of them that ends is followed by another.
        places = math.min(places, math.max(0, most - others))
        is_idle = idle > 0 and 1 or 0
    end
    table.insert(answers, places)
    table.insert(answers, is_scarce)
    table.insert(answers, is_idle)
end
return { answers, trouble }
