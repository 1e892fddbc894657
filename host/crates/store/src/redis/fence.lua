-- Whether a save that is in doubt was done. When it was not, it never will be: another one takes its turn. `back` when neither it nor the
-- one before it was done last: then the server is at what it was before that.
local saved = KEYS[1]
local doubtful, turn, seconds, last = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local held = redis.call('GET', saved)
if held == doubtful then
    return 'done'
end
-- One that comes late, or twice, takes no turn from a later one.
if (tonumber(held or '') or 0) < tonumber(turn) then
    redis.call('SET', saved, turn, 'EX', seconds)
end
if last ~= '' and held ~= last then
    return 'back'
end
return 'undone'
