-- Takes tokens from buckets, by GCRA: a bucket is one time, from which on it would be full, in microseconds of the server's
-- clock. KEYS are the buckets of all uses; without any, one that is never kept, to see whether tokens could be given. ARGV: how late a token may be taken at no loss; then for each use how many tokens it
-- asks for, and for each of them the interval between two and the burst. Answers for each use whether it has its tokens, and for
-- each of them how long it is until its bucket is full.
local clock = redis.call('TIME')
-- From a time not long ago, so that fractions of a microsecond are left.
local now = (clock[1] - 1600000000) * 1000000 + clock[2]
local late = tonumber(ARGV[1])
local answers = {}
local key, argument = 0, 2
if #ARGV == 1 then
    redis.call('SET', KEYS[1], '', 'PX', 1)
end

local function look(name, interval, burst)
    local bucket = { name = name, interval = interval, slack = (burst - 1) * interval + late }
    -- No more than a bucket of this rate can be in debt: the rate, or the clock, was another one.
    bucket.full = math.min(tonumber(redis.call('GET', name) or 0), now + bucket.slack + interval)
    return bucket
end

local function wait(bucket)
    return bucket.full - bucket.slack - now
end

-- As those who ask see it: they may come late.
local function left(bucket)
    return math.max(0, math.ceil(bucket.full - late - now))
end

while argument <= #ARGV do
    local buckets, is_granted = {}, 1
    for token = 1, tonumber(ARGV[argument]) do
        key = key + 1
        local at = argument + 2 * token
        buckets[token] = look(KEYS[key], tonumber(ARGV[at - 1]), tonumber(ARGV[at]))
        if wait(buckets[token]) > 0 then
            is_granted = 0
        end
    end
    argument = argument + 1 + 2 * #buckets
    table.insert(answers, is_granted)
    for _, bucket in ipairs(buckets) do
        if is_granted == 1 then
            bucket.full = math.max(bucket.full, now) + bucket.interval
            local left = math.max(1, math.ceil((bucket.full - now) / 1000))
            redis.call('SET', bucket.name, string.format('%.3f', bucket.full), 'PX', string.format('%.0f', left))
        end
        table.insert(answers, left(bucket))
    end
end
return answers
