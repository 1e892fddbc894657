-- Keeps changes of members, sessions and bans, in one step. Answers with `done` and what the counts of the members are now,
-- or why nothing was done: `lost` when it is not
-- the pool that the changes are about, `turn` when another save was done last than the one that these follow.
local layout, members, joined, statistics, sessions, notices, saved, bans, ends, restored, lifts, begins =
    KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6], KEYS[7], KEYS[8], KEYS[9], KEYS[10], KEYS[11], KEYS[12]
local epoch, node, before, turn, seconds, now, most = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6], ARGV[7]
if redis.call('HGET', layout, 'epoch') ~= epoch then
    return { 'lost' }
end
local last = redis.call('GET', saved)
-- In a cluster it may come twice.
if last == turn then
    return { 'done' }
end
if last ~= before then
    return { 'turn' }
end

-- Members of whom others have to hear.
local changed = {}
for url in string.gmatch(ARGV[8], '[^\n]+') do
    if redis.call('HDEL', members, url) == 1 then
        table.insert(changed, url)
    end
    redis.call('ZREM', joined, url)
    redis.call('HDEL', statistics, url)
end
for name in string.gmatch(ARGV[9], '[^\n]+') do
    redis.call('HDEL', sessions, name)
end
-- A session is what was made of it last by somebody who knew what it was. Of two who did not know of each other, the later life
-- counts, then what began earlier, then the smaller member.
local function wins(member, began, life, other, other_began, other_life)
    if life ~= other_life then
        return tonumber(life) > tonumber(other_life)
    end
    if began ~= other_began then
        return tonumber(began) < tonumber(other_began)
    end
    return member < other
end
local changed_sessions = {}
local session = '(%x+) (%x+) (%d+) (%d+) (%d+) (%S+)\n'
for name, member, began, used, life, known in string.gmatch(ARGV[10], session) do
    local held = redis.call('HGET', sessions, name) or ''
    local held_member, held_began, held_used, held_life = string.match(held, '^(%x+) (%d+) (%d+) (%d+)$')
    local is_known = not held_member or known == held_member .. ':' .. held_life
    -- It may be used at several gateways.
    if held_member and tonumber(held_used) > tonumber(used) then
        used = held_used
    end
    if held_member == member and held_life == life then
        if tonumber(held_began) < tonumber(began) then
            began = held_began
        end
        -- Or it would be over at those where nobody uses it.
        if used ~= held_used then
            table.insert(changed_sessions, name)
        end
    elseif is_known or wins(member, began, life, held_member, held_began, held_life) then
        table.insert(changed_sessions, name)
    else
        member, began, life = held_member, held_began, held_life
    end
    redis.call('HSET', sessions, name, member .. ' ' .. began .. ' ' .. used .. ' ' .. life)
end

-- Bans: the later end counts, unless there was a lift. Those that are over go, and when there are too many, those that end first.
local function end_ban(place)
    redis.call('ZREM', ends, place)
    redis.call('HDEL', begins, place)
    return redis.call('HDEL', bans, place) == 1
end
local changed_bans, refused_bans = {}, {}
for place in string.gmatch(ARGV[11], '[^\n]+') do
    if end_ban(place) then
        table.insert(changed_bans, place)
    end
    redis.call('ZADD', lifts, now, place)
end
local function set_ban(place, till, rule)
    if tonumber(redis.call('ZSCORE', ends, place) or 0) < tonumber(till) then
        redis.call('ZADD', ends, till, place)
        redis.call('HSET', bans, place, till .. ' ' .. rule)
        table.insert(changed_bans, place)
    end
end
local ban = '([^\n]+)\n(%d+) ([^\n]*)\n'
for place, till, rule in string.gmatch(ARGV[12], ban) do
    redis.call('ZREM', lifts, place)
    set_ban(place, till, rule)
    redis.call('HSET', begins, place, now)
end
-- Lifts that are told again after they were lost are of before, too: what was set since stays, and what somebody has brought back, or
-- what the server has gone back to, does not.
for place, at in string.gmatch(ARGV[14], '([^\n]+)\n(%d+)\n') do
    if tonumber(redis.call('HGET', begins, place) or 0) <= tonumber(at) then
        if end_ban(place) then
            table.insert(refused_bans, place)
        end
        if tonumber(redis.call('ZSCORE', lifts, place) or 0) < tonumber(at) then
            redis.call('ZADD', lifts, at, place)
        end
    end
end
-- Those that are brought back after they were lost are of before. Whoever brings one may not have heard that it was lifted since.
for place, till, rule in string.gmatch(ARGV[13], ban) do
    if redis.call('ZSCORE', lifts, place) then
        table.insert(refused_bans, place)
    else
        set_ban(place, till, rule)
    end
end
if ARGV[11] ~= '' or ARGV[14] ~= '' then
    redis.call('ZREMRANGEBYSCORE', lifts, '-inf', now - seconds * 1000000)
    redis.call('ZREMRANGEBYRANK', lifts, 0, -most - 1)
    redis.call('EXPIRE', lifts, seconds)
end
if #changed_bans > 0 then
    for _, place in ipairs(redis.call('ZRANGEBYSCORE', ends, '-inf', now)) do
        end_ban(place)
    end
    local beyond = redis.call('ZCARD', ends) - most
    if beyond > 0 then
        for _, place in ipairs(redis.call('ZRANGE', ends, 0, beyond - 1)) do
            end_ban(place)
        end
    end
end

-- Of a server that went back, what it counts now is of before, and with it whatever came since from those who did not notice.
local function raise(url, successes, failures)
    local held = redis.call('HGET', statistics, url) or ''
    local successes_held, failures_held = string.match(held, '^(%d+) (%d+) ')
    return math.max(successes - (successes_held or 0), 0), math.max(failures - (failures_held or 0), 0)
end

-- What is brought back of counts that the server has lost: several know some of them, and who knows most is right.
local function bring(url, successes, failures)
    local before = redis.call('HGET', restored, url) or '0 0'
    local successes_before, failures_before = string.match(before, '^(%d+) (%d+)$')
    successes = math.max(tonumber(successes), tonumber(successes_before))
    failures = math.max(tonumber(failures), tonumber(failures_before))
    redis.call('HSET', restored, url, string.format('%.0f %.0f', successes, failures))
    redis.call('EXPIRE', restored, seconds)
    return successes - successes_before, failures - failures_before
end

-- Adds what came to the statistics of a member; latency, last use and health are those of the latest use.
local function count(url, successes, failures, latency, used, health)
    local held = redis.call('HGET', statistics, url)
    if held then
        local successes_held, failures_held, latency_held, used_held, health_held =
            string.match(held, '^(%d+) (%d+) (%S+) (%d+) (%a+)$')
        if successes_held then
            successes = successes + successes_held
            failures = failures + failures_held
            if tonumber(used_held) > tonumber(used) then
                latency, used, health = latency_held, used_held, health_held
            end
        end
    end
    local sum = string.format('%.0f %.0f', successes, failures)
    redis.call('HSET', statistics, url, sum .. ' ' .. latency .. ' ' .. used .. ' ' .. health)
    return sum
end

-- A row, of which what the writer has not changed is as others have made it: the URL, with the password in it, or the rest.
local PARTS = '^{"url":"([^"]*)"(.*)$'
local function merge(row, stays, held)
    local url, rest = string.match(row, PARTS)
    local url_held, rest_held = string.match(held or '', PARTS)
    if not url or not url_held then
        return row
    end
    if stays == 'url' or stays == 'all' then
        url = url_held
    end
    if stays == 'rest' or stays == 'all' then
        rest = rest_held
    end
    return '{"url":"' .. url .. '"' .. rest
end

local answer = { 'done' }
local member = '([^\n]+)\n(%a*)\n([^\n]*)\n(%d+) (%d+) (%d+) (%d+) (%S+) (%d+) (%a+)\n'
for batch = 16, #ARGV do
    local sums = {}
    for url, stays, row, successes, failures, most, most_failures, latency, used, health in string.gmatch(ARGV[batch], member) do
        local is_there = redis.call('ZSCORE', joined, url)
        if row ~= '' then
            local held = redis.call('HGET', members, url)
            row = merge(row, stays, held)
            if row ~= held then
                redis.call('HSET', members, url, row)
                table.insert(changed, url)
            end
            if not is_there then
                redis.call('ZADD', joined, redis.call('HINCRBY', layout, 'joined', 1), url)
                is_there = true
            end
        end
        -- Whoever was removed meanwhile is not counted.
        local sum = '-'
        if is_there then
            if most ~= '0' or most_failures ~= '0' then
                local lost = ARGV[15] == 'raise' and raise or bring
                most, most_failures = lost(url, most, most_failures)
            end
            sum = count(url, successes + most, failures + most_failures, latency, used, health)
        end
        table.insert(sums, sum)
    end
    table.insert(answer, table.concat(sums, '\n'))
end
-- Notices have numbers without gaps, so that whoever misses one knows it.
local MOST_TOLD = 1000
local function notice(what, told, from)
    local number = redis.call('HINCRBY', layout, 'notices', 1)
    redis.call('XADD', notices, 'MAXLEN', '~', 1000, number .. '-0', 'node', from or node, what, told, 'turn', node .. turn)
end
-- Of very many members it is said that there are.
if #changed > MOST_TOLD then
    notice('members', 'all')
elseif #changed > 0 then
    notice('members', table.concat(changed, '\n'))
end
local function notices_of(what, changed, from)
    for first = 1, #changed, MOST_TOLD do
        notice(what, table.concat(changed, '\n', first, math.min(first + MOST_TOLD - 1, #changed)), from)
    end
end
notices_of('sessions', changed_sessions)
notices_of('bans', changed_bans)
-- From nobody, because whoever brought them has to hear of them too.
notices_of('bans', refused_bans, '-')
redis.call('SET', saved, turn, 'EX', seconds)
return answer
