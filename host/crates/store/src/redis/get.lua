-- What a key holds, and which pool it is in.
return { redis.call('HGET', KEYS[1], 'epoch') or '', redis.call('HGET', KEYS[2], ARGV[1]) }
