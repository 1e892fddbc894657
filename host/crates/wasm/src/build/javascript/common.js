// What a ProxyWhirl plugin in JavaScript imports from "proxywhirl": the host's log, clock and symbols, and the
// types of its kind. The language is all there is: no console, no timers, no network. `Date.now()`, `new Date()`
// and `Math.random()` work, on the host's clock and from the host's seed. Numbers of 64 bits arrive as numbers,
// exact up to 2^53.
import clockOfHost from "proxywhirl:plugin/clock@0.1.0";
import logOfHost from "proxywhirl:plugin/log@0.1.0";

/** Lines in the host's log, under the plugin's name. The host caps their length and rate. */
export const log = {
    trace: (message) => logOfHost.write("trace", String(message)),
    debug: (message) => logOfHost.write("debug", String(message)),
    info: (message) => logOfHost.write("info", String(message)),
    warn: (message) => logOfHost.write("warn", String(message)),
    error: (message) => logOfHost.write("error", String(message)),
};

/** Microseconds since the Unix epoch, from a clock that does not go backwards. */
export const now = () => Number(clockOfHost.now());
