// {{name}}: a proxy a line, `HOST:PORT` and perhaps a country.
import { Proxy, Rejected } from "proxywhirl";

/**
 * How sure it is that the document is in its format, from 0 to 100; the document is its beginning only. The bundled
 * parsers are surer of what they know; a format that can be told from its beginning answers more.
 */
export function sniff(document) {
    for (const found of parse(document)) {
        if (found instanceof Proxy) {
            return 10;
        }
    }
    return 0;
}

/**
 * Yields what is in the document. A bad line is rejected and the rest is read; a plain Error would mean that the
 * document is not in this format at all.
 */
export function* parse(document) {
    const comment = document.options.comment ?? "#";
    let number = 0;
    for (const text of document.text.split("\n")) {
        number += 1;
        const line = text.trim();
        if (line === "" || line.startsWith(comment)) {
            continue;
        }
        // No regular expression on text of any length: it would take memory for each character.
        const space = line.indexOf(" ");
        const address = space < 0 ? line : line.slice(0, space);
        const country = space < 0 ? "" : line.slice(space).trim();
        const colon = address.lastIndexOf(":");
        const host = address.slice(0, Math.max(colon, 0));
        const port = address.slice(colon + 1);
        if (host === "" || !/^\d{1,10}$/.test(port)) {
            yield new Rejected(number, line, "not HOST:PORT");
        } else if (Number(port) < 1 || Number(port) > 65535) {
            yield new Rejected(number, line, `port ${port} is not in 1..65535`);
        } else {
            yield new Proxy(host, Number(port), { country: country.toUpperCase(), line: number });
        }
    }
}
