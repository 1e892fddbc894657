// Of some members drawn at random, the one that was picked least. It decides for each request: its plan has
// no tiers, so the host calls `plugin_select`, on an instance for each processor. It draws from the whole pool,
// whatever a request is bound to: what it may not have, the host's fallback finds.
//
// With d choices the most used of n members is ahead of the average by about log log n / log d only, however
// many requests come: see Mitzenmacher, "The Power of Two Choices in Randomized Load Balancing".
#include "proxywhirl.h"

#include <string.h>

static double choices = 4;

// How often this instance picked each slot, and whom it meant by that: slots are used again.
typedef struct {
    uint64_t id;
    uint64_t picks;
} tally;

static tally *tallies;
static size_t room;

// The members as an array to draw from, made anew when the pool has changed.
static uint32_t *slots;
static size_t count;
static bool stale = true;

const char *plugin_configure(const char *options) {
    pw_json_number(options, "choices", &choices);
    return NULL;
}

void plugin_changed(void) {
    stale = true;
}

void plugin_plan(const pw_view *view, uint64_t now, uint64_t seed, pw_plan *plan) {
    // No tiers.
    (void)view, (void)now, (void)seed, (void)plan;
}

// Reads the pool into the array. The others' picks are not known here, so a newcomer begins with what the
// least used of all have: it is not flooded until it has caught up.
static void refresh(void) {
    size_t cursor = 0, length = 0;
    uint64_t least = UINT64_MAX;
    slots = pw_resize(slots, pw_count(), sizeof *slots);
    for (const pw_member *member; (member = pw_next(NULL, &cursor));) {
        slots[length++] = member->slot;
        if (member->slot >= room) {
            size_t larger = member->slot + 1 > room * 2 ? member->slot + 1 : room * 2;
            tallies = pw_resize(tallies, larger, sizeof *tallies);
            memset(tallies + room, 0, (larger - room) * sizeof *tallies);
            room = larger;
        }
        if (tallies[member->slot].id == member->id && tallies[member->slot].picks < least) {
            least = tallies[member->slot].picks;
        }
    }
    count = length;
    for (size_t i = 0; i < count; i++) {
        const pw_member *member = pw_at(slots[i]);
        if (tallies[slots[i]].id != member->id) {
            tallies[slots[i]] = (tally){member->id, least == UINT64_MAX ? 0 : least};
        }
    }
    stale = false;
}

// A step of SplitMix64: the request's seed gives as many numbers as are wanted.
static uint64_t next(uint64_t *state) {
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

uint32_t plugin_select(const pw_request *request) {
    if (stale) {
        refresh();
    }
    if (count == 0) {
        return PW_NOBODY;
    }
    uint64_t state = request->seed;
    uint32_t best = PW_NOBODY;
    for (int i = 0; i < (int)choices; i++) {
        uint32_t slot = slots[next(&state) % count];
        if (best == PW_NOBODY || tallies[slot].picks < tallies[best].picks) {
            best = slot;
        }
    }
    tallies[best].picks++;
    return best;
}
