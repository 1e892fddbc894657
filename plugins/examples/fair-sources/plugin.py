"""Each source gets the same share of the requests, however many members it has.

A member tells its sources by its tags, `source:NAME`. One that comes from several counts for the first, and one
that comes from none counts for a source of its own kind, so that nobody is left out.
"""

from collections import Counter

from proxywhirl import Plan, symbols

shares = {}
prefix = "source:"
# The source that tags tell. Many members have the same tags, and a symbol means the same for as long as the host runs.
sources = {}


def configure(options):
    global shares, prefix
    shares = options.get("shares", shares)
    prefix = options.get("prefix", prefix)


def source_of(member):
    """The first tag that is a source. All that users name themselves has the tag source:user, which tells nothing."""
    tags = tuple(member.tags)
    if tags not in sources:
        names = (symbols.resolve(tag) or "" for tag in tags)
        sources[tags] = next((name for name in names if name.startswith(prefix) and name != "source:user"), "")
    return sources[tags]


def plan(members, view, now, seed):
    """The weights change only with the pool, so that the host need not ask again."""
    if not members:
        return Plan.everyone("draw")
    origins = [source_of(member) for member in members]
    sizes = Counter(origins)
    weights = [shares.get(origin, 1) / sizes[origin] for origin in origins]
    if not any(weights):
        return Plan.everyone("draw")
    return Plan.these("draw", zip(members, weights))
