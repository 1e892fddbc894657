-- Whether a save that is in doubt was done. When it was not, it never will be: another one takes its turn.
local saved = KEYS[1]
local doubtful, turn, seconds = ARGV[1], ARGV[2], ARGV[3]
local held = redis.call('GET', saved)
if held == doubtful then
    return 1
end
-- One that comes late, or twice, takes no turn from a later one.
if (tonumber(held or '') or 0) < tonumber(turn) then
    redis.call('SET', saved, turn, 'EX', seconds)
end
return 0
