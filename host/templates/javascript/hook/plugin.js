// {{name}}: counts failed requests, and tells one of so many.
import { log } from "proxywhirl";

let every = 1;
let failures = 0;

/** Called once, before everything else, with options that fit options.json. A plain Error refuses them. */
export function configure(options) {
    every = options.every ?? every;
}

/** What is not named here is never sent. None at all stands for everything. */
export function topics() {
    return ["request-failure"];
}

/** Called for each event: topic, payload, sequence and at. No request waits for it. */
export function handle(event) {
    failures += 1;
    if (failures % every === 0) {
        log.warn(`${failures} failures, the last one with ${event.payload.proxy}`);
    }
}
