// Tables in Markdown, as lists in READMEs have them:
//
//     | IP address  | Port | Protocol | Country |
//     |-------------|-----:|----------|---------|
//     | 203.0.113.7 | 8080 | socks5   | DE      |
import { Proxy, Rejected } from "proxywhirl";

/** The usual headings, in lower case. A column of the first one may hold the port as well. */
const HEADINGS = {
    host: ["ip", "ip address", "host", "address", "proxy", "server", "ip:port"],
    port: ["port"],
    scheme: ["protocol", "type", "scheme"],
    country: ["country", "code", "country code", "cc"],
};

const SCHEMES = ["http", "https", "socks4", "socks4a", "socks5", "socks5h"];

/** No row is longer; a regular expression on one that is would take memory for each character. */
const LONGEST = 4096;

/** The line between a table's headings and its rows. */
const RULE = /^\|?\s*:?-+:?\s*(\|\s*:?-+:?\s*)*\|?$/;

/** A rule below a line with bars is a table; whether it is one of proxies, its headings tell. */
export function sniff(document) {
    const lines = split(document.text);
    const tables = lines.filter((line, at) => at > 0 && line.includes("|") && RULE.test(line));
    if (tables.length === 0) {
        return 0;
    }
    const known = lines.some((line, at) => RULE.test(lines[at + 1] ?? "") && columns(cells(line), {}));
    return known ? 95 : 5;
}

export function* parse(document) {
    const lines = split(document.text);
    let layout = null;
    let tables = 0;
    for (const [at, line] of lines.entries()) {
        if (!line.includes("|")) {
            layout = null;
        } else if (RULE.test(lines[at + 1] ?? "")) {
            layout = columns(cells(line), document.options.columns ?? {});
            tables += layout === null ? 0 : 1;
        } else if (layout !== null && !RULE.test(line)) {
            yield row(cells(line), layout, line, at + 1);
        }
    }
    if (tables === 0) {
        throw new Error("no table with a column of hosts");
    }
}

/** The lines of a text; none of those that are too long for a table. */
function split(text) {
    return text.split("\n").map((line) => (line.length > LONGEST ? "" : line.trim()));
}

/** A row's cells, without the marks of links and code. */
function cells(line) {
    const inner = line.trim().replace(/^\||\|$/g, "");
    return inner.split("|").map((cell) => cell.replace(/\[([^\]]*)\]\([^)]*\)/g, "$1").replace(/[`*]/g, "").trim());
}

/** Where each column stands, or null when there is none of hosts. */
function columns(headings, named) {
    const find = (what) => {
        const words = named[what] === undefined ? HEADINGS[what] : [named[what].toLowerCase()];
        return headings.findIndex((heading) => words.includes(heading.toLowerCase()));
    };
    const layout = { host: find("host"), port: find("port"), scheme: find("scheme"), country: find("country") };
    return layout.host < 0 ? null : layout;
}

/** A row's proxy, or why it has none. */
function row(values, layout, line, number) {
    const cell = (what) => values[layout[what]] ?? "";
    const [, host, inHost] = /^(.*?)(?::(\d+))?$/.exec(cell("host"));
    const port = cell("port") || (inHost ?? "");
    const scheme = cell("scheme").toLowerCase();
    const country = cell("country");
    if (host === "") {
        return new Rejected(number, line, "the row names no host");
    }
    if (!/^\d{1,5}$/.test(port) || Number(port) < 1 || Number(port) > 65535) {
        return new Rejected(number, line, `port ${port || "none"} is not in 1..65535`);
    }
    if (scheme !== "" && !SCHEMES.includes(scheme)) {
        return new Rejected(number, line, `scheme ${scheme} is none that is known`);
    }
    return new Proxy(host, Number(port), {
        scheme: scheme || null,
        country: /^[A-Za-z]{2}$/.test(country) ? country.toUpperCase() : "",
        line: number,
    });
}
