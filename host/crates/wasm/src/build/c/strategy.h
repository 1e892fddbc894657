// A strategy: chooses which member of the pool serves a request. Included by proxywhirl.h.
#ifndef PROXYWHIRL_STRATEGY_H
#define PROXYWHIRL_STRATEGY_H

// A member of the pool: slot, id, joined, scheme, anonymity, country, tags (ptr, len), latency, successes,
// failures. Latencies are microseconds, 0 when never measured; countries and tags are symbols.
typedef exports_proxywhirl_plugin_strategy_member_t pw_member;
// What a use came to: slot, site, success, latency.
typedef exports_proxywhirl_plugin_strategy_observation_t pw_observation;
// The members that a kind of request may use: id, site, members.
typedef exports_proxywhirl_plugin_strategy_view_t pw_view;
// A request that wants a member: view, site, session, attempt, now, seed.
typedef exports_proxywhirl_plugin_strategy_request_t pw_request;
// How the host picks from now on: tiers, sessions (is_some, val), per_site, refresh in microseconds.
typedef exports_proxywhirl_plugin_strategy_plan_t pw_plan;
// A part of a plan, used when no member of the tiers before it is eligible.
typedef exports_proxywhirl_plugin_strategy_tier_t pw_tier;

// How the host picks from a tier.
enum pw_mode { PW_CYCLE, PW_DRAW, PW_AFFINITY, PW_LEAST_LOADED };

// What `plugin_select` answers when it chooses nobody.
#define PW_NOBODY UINT32_MAX

// How many members there are.
size_t pw_count(void);

// The member at a slot, or NULL.
const pw_member *pw_at(uint32_t slot);

// The next member of a view, in the order of joining; NULL after the last. `*cursor` begins with 0. A view
// of NULL is the whole pool.
const pw_member *pw_next(const pw_view *view, size_t *cursor);

// Adds a tier with every member of the view, with equal weight. The cheapest plan.
void pw_everyone(pw_plan *plan, enum pw_mode mode);

// Adds a tier without members, of which there can be `capacity`.
pw_tier *pw_these(pw_plan *plan, enum pw_mode mode, size_t capacity);

// Adds a member to a tier with a weight, if there is room.
void pw_add(pw_tier *tier, uint32_t slot, float weight);

// The symbol of a text, and its text: false when there is no such symbol; what does not fit is cut.
uint32_t pw_intern(const char *text);
bool pw_resolve(uint32_t symbol, char *text, size_t size);

// Optional. Reads the options, JSON that fits the schema; NULL, or why they are refused.
const char *plugin_configure(const char *options);

// Optional. The pool has changed; what was remembered of its rows is stale.
void plugin_changed(void);

// Makes a plan for a view: an empty one is given. Without tiers the host calls `plugin_select`.
void plugin_plan(const pw_view *view, uint64_t now, uint64_t seed, pw_plan *plan);

// Optional. How uses went; the members show it already. True asks for a new plan.
bool plugin_observe(const pw_observation *observations, size_t count);

// Optional. The slot of the member for one request, or PW_NOBODY.
uint32_t plugin_select(const pw_request *request);

#endif
