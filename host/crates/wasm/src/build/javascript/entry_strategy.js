import { Members } from "proxywhirl";

const NOBODY = 0xffff_ffff;
const members = new Members();

export const strategy = {
    configure(options) {
        fallible(optional("configure", () => undefined), JSON.parse(options || "{}"));
    },
    apply(epoch, reset, upserts, removed) {
        members.apply(reset, upserts, removed);
        call(optional("changed", () => undefined), members);
    },
    observe(observations) {
        members.record(observations);
        return Boolean(call(optional("observe", () => false), observations, members));
    },
    makePlan(view, now, seed) {
        return call(plugin.plan, members.of(view), view, Number(now), seed);
    },
    select(request) {
        const chosen = call(optional("select", () => undefined), request, members);
        return chosen == null ? NOBODY : typeof chosen === "number" ? chosen : chosen.slot;
    },
};
