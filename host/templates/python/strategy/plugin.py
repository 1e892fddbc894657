"""{{name}}: everybody by speed. Who answers twice as fast gets twice the requests."""

from proxywhirl import Plan

# Uses after which a new plan is worth its price.
USES_A_PLAN = 100

exploration = 0.05
uses = 0


def configure(options):
    """Called once, before everything else, with options that fit options.json. A ValueError refuses them."""
    global exploration
    exploration = options.get("exploration", exploration)


def observe(observations, members):
    """Called once a second with what happened meanwhile; the members show it. True asks for a new plan."""
    global uses
    uses += len(observations)
    return uses >= USES_A_PLAN


def plan(members, view, now, seed):
    """How to pick from these members from now on. The host picks by itself, and leaves out who is not usable."""
    global uses
    uses = 0
    speeds = sum(1e6 / member.latency for member in members if member.latency)
    unknown = sum(1 for member in members if not member.latency)
    if not speeds:
        return Plan.everyone("draw")
    explored = exploration if unknown else 0.0

    def share(member):
        if not member.latency:
            return explored / unknown
        return (1 - explored) * (1e6 / member.latency) / speeds

    return Plan.these("draw", ((member, share(member)) for member in members))
