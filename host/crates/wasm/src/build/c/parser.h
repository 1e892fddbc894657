// A parser: turns a document into candidates. Included by proxywhirl.h.
#ifndef PROXYWHIRL_PARSER_H
#define PROXYWHIRL_PARSER_H

// What was fetched. The options are JSON that fits the schema, and end with a zero.
typedef struct {
    pw_text url;
    pw_text content_type;
    pw_text body;
    const char *options;
    uint8_t default_scheme;
} pw_document;

// What is found in it.
typedef exports_proxywhirl_plugin_parser_parsed_t pw_parsed;
// A proxy as the document says it; the host checks every field again.
typedef exports_proxywhirl_plugin_parser_candidate_t pw_candidate;

// Adds a proxy; `line` counts from 1, and is 0 when there are no lines. The answer can be given more with
// the functions below until the next one is added.
pw_candidate *pw_proxy(pw_parsed *parsed, pw_text host, uint16_t port, uint32_t line);

// Its scheme: http, https, socks4, socks4a, socks5 or socks5h. False, and nothing set, for any other.
bool pw_scheme(pw_candidate *candidate, pw_text scheme);

// Its credentials.
void pw_credentials(pw_candidate *candidate, pw_text username, pw_text password);

// Its country, as a code of two letters.
void pw_country(pw_candidate *candidate, pw_text country);

// Counts an entry that is no proxy, and why, in words for people.
void pw_reject(pw_parsed *parsed, uint32_t line, pw_text excerpt, const char *reason);

// Another page to fetch: an absolute or a relative URL.
void pw_follow(pw_parsed *parsed, pw_text url);

// Optional. How sure it is that the document is in its format: 0 not at all, 100 certain. The body is only
// its beginning, of 65,536 bytes at the most.
uint8_t plugin_sniff(const pw_document *document);

// Reads the document; NULL, or why it is not in this format at all.
const char *plugin_parse(const pw_document *document, pw_parsed *parsed);

#endif
