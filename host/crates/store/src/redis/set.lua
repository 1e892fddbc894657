-- Sets a key, if its version is the expected one, when one is expected. Its new version; 0 when the version is another,
-- -1 when the quota would be exceeded.
reserve()
expire()
local key, expected, quota, expires, value = ARGV[4], ARGV[5], ARGV[6], ARGV[7], ARGV[8]
if expected ~= '' then
    local held = redis.call('HGET', keys, key)
    if tonumber(held and string.sub(held, 1, 20) or 0) ~= tonumber(expected) then
        return finish(0)
    end
end
if bytes - size(key) + #key + #value > tonumber(quota) then
    return finish(-1)
end
drop(key)
version = version + 1
hold(key, version, expires, value)
return finish(version)
