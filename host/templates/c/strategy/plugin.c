// {{name}}: everybody by speed. Who answers twice as fast gets twice the requests.
#include "proxywhirl.h"

// Uses after which a new plan is worth its price.
enum { USES_A_PLAN = 100 };

static double exploration = 0.05;
static size_t uses;

// How fast a latency in microseconds is; 0 when it was never measured.
static double speed(uint32_t latency) {
    return latency > 0 ? 1e6 / latency : 0;
}

// Called once, before everything else, with options that fit options.json. A text refuses them.
const char *plugin_configure(const char *options) {
    pw_json_number(options, "exploration", &exploration);
    return NULL;
}

// Called once a second with what happened meanwhile; the members show it. True asks for a new plan.
bool plugin_observe(const pw_observation *observations, size_t count) {
    (void)observations;
    uses += count;
    return uses >= USES_A_PLAN;
}

// How to pick from a view from now on. The host picks by itself, and leaves out who is not usable.
void plugin_plan(const pw_view *view, uint64_t now, uint64_t seed, pw_plan *plan) {
    (void)now, (void)seed;
    uses = 0;
    double speeds = 0;
    size_t count = 0, unknown = 0, cursor = 0;
    for (const pw_member *member; (member = pw_next(view, &cursor)); count++) {
        speeds += speed(member->latency);
        unknown += member->latency == 0;
    }
    if (speeds == 0) {
        pw_everyone(plan, PW_DRAW);
        return;
    }
    double explored = unknown > 0 ? exploration : 0;
    pw_tier *tier = pw_these(plan, PW_DRAW, count);
    cursor = 0;
    for (const pw_member *member; (member = pw_next(view, &cursor));) {
        double share = member->latency > 0 ? (1 - explored) * speed(member->latency) / speeds : explored / unknown;
        pw_add(tier, member->slot, (float)share);
    }
}
