// The exports of a strategy, and the table that they keep up to date: rows by slot, and the slots in the
// order of joining, sorted again when somebody asks after a change.
#include "proxywhirl.h"

#include <stdlib.h>
#include <string.h>

// The host numbers slots densely. Without a limit, one absurd slot would take all memory at once.
enum { MAX_SLOTS = 1 << 24 };

// A new latency counts for an eighth, as in TCP's smoothed round-trip time.
enum { SMOOTHING = 8 };

static pw_member *rows;
static bool *present;
static size_t capacity;
static uint32_t *order;
static size_t count;
static bool sorted = true;

__attribute__((weak)) const char *plugin_configure(const char *options) {
    (void)options;
    return NULL;
}

__attribute__((weak)) void plugin_changed(void) {
}

__attribute__((weak)) bool plugin_observe(const pw_observation *observations, size_t length) {
    (void)observations, (void)length;
    return false;
}

__attribute__((weak)) uint32_t plugin_select(const pw_request *request) {
    (void)request;
    return PW_NOBODY;
}

static pw_member *row(uint32_t slot) {
    return slot < capacity && present[slot] ? &rows[slot] : NULL;
}

static void forget(uint32_t slot) {
    pw_member *member = row(slot);
    if (member) {
        exports_proxywhirl_plugin_strategy_member_free(member);
        present[slot] = false;
        count--;
        sorted = false;
    }
}

static void put(const pw_member *member) {
    uint32_t slot = member->slot;
    if (slot >= capacity) {
        size_t larger = capacity ? capacity : 64;
        while (larger <= slot) {
            larger *= 2;
        }
        rows = pw_resize(rows, larger, sizeof *rows);
        present = pw_resize(present, larger, sizeof *present);
        order = pw_resize(order, larger, sizeof *order);
        memset(present + capacity, 0, larger - capacity);
        capacity = larger;
    }
    forget(slot);
    rows[slot] = *member;
    present[slot] = true;
    count++;
    sorted = false;
}

static int by_joining(const void *a, const void *b) {
    const pw_member *left = &rows[*(const uint32_t *)a], *right = &rows[*(const uint32_t *)b];
    return left->joined != right->joined ? (left->joined < right->joined ? -1 : 1)
                                         : (left->slot > right->slot) - (left->slot < right->slot);
}

static void sort(void) {
    if (sorted) {
        return;
    }
    size_t length = 0;
    bool in_order = true;
    for (uint32_t slot = 0; slot < capacity; slot++) {
        if (present[slot]) {
            order[length++] = slot;
            in_order = in_order && (length < 2 || by_joining(&order[length - 2], &order[length - 1]) < 0);
        }
    }
    if (!in_order) {
        qsort(order, length, sizeof *order, by_joining);
    }
    sorted = true;
}

size_t pw_count(void) {
    return count;
}

const pw_member *pw_at(uint32_t slot) {
    return row(slot);
}

const pw_member *pw_next(const pw_view *view, size_t *cursor) {
    if (!view || !view->members.is_some) {
        sort();
        return *cursor < count ? &rows[order[(*cursor)++]] : NULL;
    }
    while (*cursor < view->members.val.len) {
        const pw_member *member = row(view->members.val.ptr[(*cursor)++]);
        if (member) {
            return member;
        }
    }
    return NULL;
}

static pw_tier *tier(pw_plan *plan, enum pw_mode mode) {
    size_t length = plan->tiers.len + 1;
    plan->tiers.ptr = pw_resize(plan->tiers.ptr, length, sizeof *plan->tiers.ptr);
    plan->tiers.len = length;
    pw_tier *added = &plan->tiers.ptr[length - 1];
    memset(added, 0, sizeof *added);
    added->mode = (uint8_t)mode;
    return added;
}

void pw_everyone(pw_plan *plan, enum pw_mode mode) {
    tier(plan, mode)->members.tag = EXPORTS_PROXYWHIRL_PLUGIN_STRATEGY_MEMBERSHIP_EVERYONE;
}

// The room that a tier still has lies behind its last member, as the weight of one that is not counted.
pw_tier *pw_these(pw_plan *plan, enum pw_mode mode, size_t room) {
    pw_tier *added = tier(plan, mode);
    added->members.tag = EXPORTS_PROXYWHIRL_PLUGIN_STRATEGY_MEMBERSHIP_THESE;
    added->members.val.these.ptr = pw_allocate(room + 1, sizeof *added->members.val.these.ptr);
    added->members.val.these.ptr[0].slot = (uint32_t)room;
    return added;
}

void pw_add(pw_tier *to, uint32_t slot, float weight) {
    size_t length = to->members.val.these.len;
    uint32_t room = to->members.val.these.ptr[length].slot;
    if (room > 0) {
        to->members.val.these.ptr[length].slot = slot;
        to->members.val.these.ptr[length].weight = weight;
        to->members.val.these.ptr[length + 1].slot = room - 1;
        to->members.val.these.len = length + 1;
    }
}

uint32_t pw_intern(const char *text) {
    bindings_string_t given = {(uint8_t *)text, strlen(text)};
    return proxywhirl_plugin_symbols_intern(&given);
}

bool pw_resolve(uint32_t symbol, char *text, size_t size) {
    bindings_string_t found;
    if (size == 0 || !proxywhirl_plugin_symbols_resolve(symbol, &found)) {
        return false;
    }
    size_t length = found.len < size ? found.len : size - 1;
    memcpy(text, found.ptr, length);
    text[length] = 0;
    bindings_string_free(&found);
    return true;
}

bool exports_proxywhirl_plugin_strategy_configure(bindings_string_t *options, bindings_string_t *err) {
    char *text = pw_allocate(options->len + 1, 1);
    memcpy(text, options->ptr, options->len);
    bindings_string_free(options);
    const char *refusal = plugin_configure(text);
    free(text);
    if (refusal) {
        bindings_string_dup(err, refusal);
    }
    return refusal == NULL;
}

void exports_proxywhirl_plugin_strategy_apply(uint64_t epoch, bool reset,
                                              exports_proxywhirl_plugin_strategy_list_member_t *upserts,
                                              exports_proxywhirl_plugin_strategy_list_slot_t *removed) {
    (void)epoch;
    for (uint32_t slot = 0; reset && slot < capacity; slot++) {
        forget(slot);
    }
    for (size_t i = 0; i < removed->len; i++) {
        forget(removed->ptr[i]);
    }
    for (size_t i = 0; i < upserts->len; i++) {
        if (upserts->ptr[i].slot < MAX_SLOTS) {
            put(&upserts->ptr[i]);
        } else {
            pw_log(PW_WARN, "slot %u is not below %d: ignored", (unsigned)upserts->ptr[i].slot, MAX_SLOTS);
        }
    }
    // The rows themselves, with their tags, are in the table now.
    if (upserts->len > 0) {
        free(upserts->ptr);
    }
    exports_proxywhirl_plugin_strategy_list_slot_free(removed);
    plugin_changed();
}

static void record(const pw_observation *seen) {
    pw_member *member = row(seen->slot);
    if (!member) {
        return;
    }
    if (seen->success) {
        member->successes++;
    } else {
        member->failures++;
    }
    if (seen->latency > 0) {
        // Rounded up, so that a measured latency never decays to 0, which means unmeasured.
        uint32_t old = member->latency, add = seen->latency / SMOOTHING + (seen->latency % SMOOTHING != 0);
        member->latency = old ? old - old / SMOOTHING + add : seen->latency;
    }
}

bool exports_proxywhirl_plugin_strategy_observe(exports_proxywhirl_plugin_strategy_list_observation_t *observations) {
    for (size_t i = 0; i < observations->len; i++) {
        record(&observations->ptr[i]);
    }
    bool wanted = plugin_observe(observations->ptr, observations->len);
    exports_proxywhirl_plugin_strategy_list_observation_free(observations);
    return wanted;
}

void exports_proxywhirl_plugin_strategy_make_plan(pw_view *view, uint64_t now, uint64_t seed, pw_plan *ret) {
    memset(ret, 0, sizeof *ret);
    plugin_plan(view, now, seed, ret);
    for (size_t i = 0; i < ret->tiers.len; i++) {
        exports_proxywhirl_plugin_strategy_membership_t *members = &ret->tiers.ptr[i].members;
        // A list without members is not freed by who frees the plan.
        if (members->tag == EXPORTS_PROXYWHIRL_PLUGIN_STRATEGY_MEMBERSHIP_THESE && members->val.these.len == 0) {
            free(members->val.these.ptr);
            members->val.these.ptr = NULL;
        }
    }
    exports_proxywhirl_plugin_strategy_view_free(view);
}

uint32_t exports_proxywhirl_plugin_strategy_select(pw_request *request) {
    return plugin_select(request);
}
