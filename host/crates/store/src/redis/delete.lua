-- Deletes a key; whether it held something.
expire()
local held = redis.call('HEXISTS', keys, ARGV[4])
drop(ARGV[4])
return finish(held)
