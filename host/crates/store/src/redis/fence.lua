-- Whether a save that is in doubt was done. When it was not, it never will be: another one takes its turn.
local saved = KEYS[1]
local doubtful, turn, seconds = ARGV[1], ARGV[2], ARGV[3]
if redis.call('GET', saved) == doubtful then
    return 1
end
redis.call('SET', saved, turn, 'EX', seconds)
return 0
