// {{name}}: everybody by speed. Who answers twice as fast gets twice the requests.
import { everyone, plan as planOf, these } from "proxywhirl";

// Uses after which a new plan is worth its price.
const USES_A_PLAN = 100;

let exploration = 0.05;
let uses = 0;

/** Called once, before everything else, with options that fit options.json. A plain Error refuses them. */
export function configure(options) {
    exploration = options.exploration ?? exploration;
}

/** Called once a second with what happened meanwhile; the members show it. True asks for a new plan. */
export function observe(observations, members) {
    uses += observations.length;
    return uses >= USES_A_PLAN;
}

/** How to pick from these members from now on. The host picks by itself, and leaves out who is not usable. */
export function plan(members, view, now, seed) {
    uses = 0;
    const speed = (member) => (member.latency > 0 ? 1e6 / member.latency : 0);
    const speeds = members.reduce((sum, member) => sum + speed(member), 0);
    const unknown = members.filter((member) => member.latency === 0).length;
    if (speeds === 0) {
        return planOf(everyone("draw"));
    }
    const explored = unknown > 0 ? exploration : 0;
    const share = (member) =>
        member.latency > 0 ? ((1 - explored) * speed(member)) / speeds : explored / unknown;
    return planOf(these("draw", members.map((member) => [member, share(member)])));
}
