import symbolsOfHost from "proxywhirl:plugin/symbols@0.1.0";

/** The texts behind the symbols of countries, tags and sites. */
export const symbols = symbolsOfHost;

// A new latency counts for an eighth, as in TCP's smoothed round-trip time.
const SMOOTHING = 8;

/**
 * The pool as a strategy sees it. Iterating gives the members in the order of joining, `get(slot)` finds one.
 * A member has `slot`, `id`, `joined`, `scheme`, `anonymity`, `country`, `tags`, `latency`, `successes` and
 * `failures`; latencies are microseconds, 0 when never measured.
 */
export class Members {
    // In the order of joining, as newcomers are added at the end; sorted again only when one was not the last.
    #rows = new Map();
    #all = [];
    #inOrder = true;
    #last = -1;

    get size() {
        return this.#rows.size;
    }

    [Symbol.iterator]() {
        return this.#listed()[Symbol.iterator]();
    }

    get(slot) {
        return this.#rows.get(slot);
    }

    /** The members of a view: all of the pool, or those that it lists, in its order. */
    of(view) {
        if (view.members == null) {
            return this.#listed();
        }
        return Array.from(view.members, (slot) => this.#rows.get(slot)).filter((member) => member !== undefined);
    }

    #listed() {
        if (!this.#inOrder) {
            const rows = [...this.#rows.values()].sort((a, b) => a.joined - b.joined || a.slot - b.slot);
            this.#rows = new Map(rows.map((row) => [row.slot, row]));
            this.#inOrder = true;
        }
        this.#all ??= [...this.#rows.values()];
        return this.#all;
    }

    /** For the glue: what the host tells. */
    apply(reset, upserts, removed) {
        if (reset) {
            this.#rows.clear();
            this.#inOrder = true;
            this.#last = -1;
        }
        for (const slot of removed) {
            this.#rows.delete(slot);
        }
        for (const row of upserts) {
            for (const name of ["id", "joined", "successes", "failures"]) {
                row[name] = Number(row[name]);
            }
            if (this.#rows.get(row.slot)?.joined !== row.joined) {
                this.#rows.delete(row.slot);
                this.#inOrder &&= row.joined > this.#last;
                this.#last = Math.max(this.#last, row.joined);
            }
            this.#rows.set(row.slot, row);
        }
        this.#all = undefined;
    }

    /** For the glue: how uses went. */
    record(observations) {
        for (const seen of observations) {
            const member = this.#rows.get(seen.slot);
            if (member === undefined) {
                continue;
            }
            member[seen.success ? "successes" : "failures"] += 1;
            if (seen.latency > 0) {
                const old = member.latency;
                // Rounded up, so that a measured latency never decays to 0, which means unmeasured.
                const smoothed = old - Math.floor(old / SMOOTHING) + Math.ceil(seen.latency / SMOOTHING);
                member.latency = old > 0 ? smoothed : seen.latency;
            }
        }
    }
}

/** A tier with every member of the view. Modes are "cycle", "draw", "affinity" and "least-loaded". */
export const everyone = (mode) => ({ mode, members: { tag: "everyone" } });

/** A tier with these members, given as pairs of a member (or its slot) and its weight. */
export const these = (mode, weights) => ({
    mode,
    members: {
        tag: "these",
        val: Array.from(weights, ([member, weight]) => ({
            slot: typeof member === "number" ? member : member.slot,
            weight,
        })),
    },
});

/** For `sessions`: how long a session lasts in seconds, 0 for ever, and whether it fails rather than moves. */
export const sticky = ({ idle = 0, lifetime = 0, strict = false, capacity = 100_000 } = {}) => ({
    idle: Math.round(idle * 1e6),
    lifetime: Math.round(lifetime * 1e6),
    strict,
    capacity,
});

/**
 * How the host picks from now on: tiers, in order of preference; without tiers it calls `select`. `perSite` asks
 * for a plan for each busy site; `refresh` for a new plan after so many seconds, whatever happens.
 */
export const plan = (tiers, { sessions = null, perSite = false, refresh = 0 } = {}) => ({
    tiers: Array.isArray(tiers) ? tiers : [tiers],
    sessions,
    perSite,
    refresh: Math.round(refresh * 1e6),
});
