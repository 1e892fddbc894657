-- Takes a record of another store: `owner` for its newest version alone, `gone` for a key that holds nothing, `held`.
reserve()
expire()
local kind, newest, key, expires, value = ARGV[4], ARGV[5], ARGV[6], ARGV[7], ARGV[8]
version = math.max(version, tonumber(newest))
is_changed = true
if kind ~= 'owner' then
    drop(key)
end
if kind == 'held' then
    hold(key, tonumber(newest), expires, value)
end
return finish(1)
