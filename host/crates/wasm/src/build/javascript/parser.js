/**
 * A proxy as the document says it; the host checks every field again. Of `scheme` ("http", "https", "socks4",
 * "socks4a", "socks5", "socks5h"), `username`, `password`, `country`, `anonymity` and `line`, any may be left out.
 */
export class Proxy {
    constructor(host, port, more = {}) {
        this.host = host;
        this.port = port;
        this.scheme = more.scheme ?? null;
        this.username = more.username ?? null;
        this.password = more.password ?? null;
        this.country = more.country ?? "";
        this.anonymity = more.anonymity ?? "unknown";
        this.line = more.line ?? 0;
    }
}

/** An entry that is no proxy: where it stands, what it says, and why it is none, in words for people. */
export class Rejected {
    constructor(line, excerpt, reason) {
        this.line = line;
        this.excerpt = excerpt;
        this.reason = reason;
    }
}

/** Another page to fetch: an absolute or a relative URL. */
export class Follow {
    constructor(url) {
        this.url = url;
    }
}
