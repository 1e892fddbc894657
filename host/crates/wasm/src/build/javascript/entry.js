// What the component exports. It calls the author's functions, which are in plugin.js.
import clock from "proxywhirl:plugin/clock@0.1.0";
import log from "proxywhirl:plugin/log@0.1.0";
import chance from "proxywhirl:plugin/random@0.1.0";
import { DESCRIPTION } from "./proxywhirl_about.js";
import * as plugin from "./plugin.js";

// The platform has no clock, and a snapshot of chance: these are the host's.
const milliseconds = () => Math.floor(Number(clock.now()) / 1000);
globalThis.Date = class extends Date {
    constructor(...given) {
        super(...(given.length === 0 ? [milliseconds()] : given));
    }
    static now() {
        return milliseconds();
    }
};
// Rounding must not reach 1.
Math.random = () => Math.min(Number(chance.next()) / 2 ** 64, 1 - Number.EPSILON);

// A stack is told in lines, of which the first say the most.
const LINES = 20;

/** Calls a function of the author's. What it throws is told before the instance ends. */
const call = (work, ...values) => {
    try {
        return work(...values);
    } catch (error) {
        const text = error instanceof Error ? `${error.name}: ${error.message}\n${error.stack}` : String(error);
        for (const line of text.trim().split("\n").slice(0, LINES)) {
            log.write("error", line);
        }
        throw error;
    }
};

/** The same where the contract has an error: a plain Error is the answer, any other is told as a fault as well. */
const fallible = (work, ...values) => {
    try {
        return work(...values);
    } catch (error) {
        if (error instanceof Error && error.constructor === Error) {
            throw error.message;
        }
        return call(() => {
            throw error;
        });
    }
};

const optional = (name, otherwise) => plugin[name] ?? otherwise;

export const about = {
    describe: () => ({
        name: DESCRIPTION.name,
        version: DESCRIPTION.version,
        summary: DESCRIPTION.summary,
        optionsSchema: DESCRIPTION.options_schema,
        capabilities: DESCRIPTION.capabilities,
    }),
};
