import { Follow, Proxy, Rejected } from "proxywhirl";

// As the contract has it: the first rejected entries, each cut; a character has four bytes at the most.
const REJECTIONS = 100;
const EXCERPT = 30;
const ANONYMITIES = ["unknown", "transparent", "anonymous", "elite"];

// Arguments that one call takes.
const CHUNK = 4096;

/** The character that begins at a byte and how many bytes it has; U+FFFD for one byte that begins none. */
const character = (bytes, at) => {
    const lead = bytes[at];
    const length = lead >= 0xc2 && lead < 0xe0 ? 2 : lead >= 0xe0 && lead < 0xf0 ? 3 : lead >= 0xf0 && lead < 0xf5 ? 4 : 0;
    let code = lead & (0x7f >> length);
    for (let next = 1; next < length; next++) {
        const byte = bytes[at + next] ?? 0;
        if ((byte & 0xc0) !== 0x80) {
            return [0xfffd, 1];
        }
        code = (code << 6) | (byte & 0x3f);
    }
    const least = [0, 0, 0x80, 0x800, 0x1_0000][length];
    const isSurrogate = code >= 0xd800 && code < 0xe000;
    return length === 0 || code < least || code > 0x10_ffff || isSurrogate ? [0xfffd, 1] : [code, length];
};

/** UTF-8, without a TextDecoder, which the language alone does not have. Bytes that are none become U+FFFD. */
const decode = (bytes) => {
    const parts = [];
    for (let at = 0; at < bytes.length; ) {
        let end = at;
        while (end < bytes.length && end - at < CHUNK && bytes[end] < 0x80) {
            end += 1;
        }
        parts.push(String.fromCharCode.apply(null, bytes.subarray(at, end)));
        at = end;
        if (at < bytes.length && bytes[at] >= 0x80) {
            const [code, length] = character(bytes, at);
            parts.push(String.fromCodePoint(code));
            at += length;
        }
    }
    return parts.join("");
};

/** A text as the contract can carry it: a half of a pair, as is left where a text was cut, becomes U+FFFD. */
const whole = (text) => String(text).toWellFormed();

const read = (document) => ({
    url: document.url,
    contentType: document.contentType,
    body: document.body,
    get text() {
        return decode(document.body instanceof Uint8Array ? document.body : Uint8Array.from(document.body));
    },
    options: JSON.parse(document.options || "{}"),
    defaultScheme: document.defaultScheme,
});

const candidate = (proxy) => ({
    scheme: proxy.scheme ?? null,
    host: { tag: "text", val: whole(proxy.host) },
    port: proxy.port,
    username: proxy.username == null ? null : whole(proxy.username),
    password: proxy.password == null ? null : whole(proxy.password),
    country: whole(proxy.country),
    anonymity: ANONYMITIES.includes(proxy.anonymity) ? proxy.anonymity : "other",
    line: proxy.line,
});

const isPort = (port) => Number.isInteger(port) && port > 0 && port < 65536;

const gather = (document) => {
    const parsed = { candidates: [], rejections: [], rejected: 0, follow: [], rows: new BigUint64Array(0) };
    for (let found of plugin.parse(read(document))) {
        if (found instanceof Proxy && !isPort(found.port)) {
            // The contract has no number for such a port.
            found = new Rejected(found.line, `${found.host}:${found.port}`, `port ${found.port} is not in 1..65535`);
        }
        if (found instanceof Proxy) {
            parsed.candidates.push(candidate(found));
        } else if (found instanceof Rejected) {
            parsed.rejected += 1;
            if (parsed.rejections.length < REJECTIONS) {
                const excerpt = [...whole(found.excerpt.slice(0, 2 * EXCERPT))].slice(0, EXCERPT).join("");
                parsed.rejections.push({ line: found.line, excerpt, reason: whole(found.reason) });
            }
        } else if (found instanceof Follow) {
            parsed.follow.push(whole(found.url));
        } else {
            throw new TypeError("parse yields Proxy, Rejected or Follow");
        }
    }
    return parsed;
};

export const parser = {
    sniff(document) {
        const sure = call(optional("sniff", () => 0), read(document));
        return Math.max(0, Math.min(100, Math.round(Number(sure) || 0)));
    },
    parse(document) {
        return fallible(gather, document);
    },
};
