-- Deletes a key; whether it held something.
local held = redis.call('HEXISTS', keys, ARGV[3])
drop(ARGV[3])
return finish(held)
