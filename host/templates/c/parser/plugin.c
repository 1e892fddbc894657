// {{name}}: a proxy a line, `HOST:PORT` and perhaps a country.
#include "proxywhirl.h"

#include <string.h>

// Reads one line that is neither empty nor a comment.
static void read_line(pw_text line, uint32_t number, pw_parsed *parsed) {
    const char *space = memchr(line.at, ' ', line.length);
    pw_text address = {line.at, space ? (size_t)(space - line.at) : line.length};
    pw_text country = pw_trim((pw_text){line.at + address.length, line.length - address.length});
    size_t colon = address.length;
    while (colon > 0 && address.at[colon - 1] != ':') {
        colon--;
    }
    pw_text digits = {address.at + colon, address.length - colon};
    uint64_t port;
    if (colon < 2 || !pw_number(digits, UINT32_MAX, &port)) {
        pw_reject(parsed, number, line, "not HOST:PORT");
    } else if (port < 1 || port > 65535) {
        pw_reject(parsed, number, line, "the port is not in 1..65535");
    } else {
        pw_candidate *found = pw_proxy(parsed, (pw_text){address.at, colon - 1}, (uint16_t)port, number);
        pw_country(found, country);
    }
}

// Reads the document. A bad line is rejected and the rest is read; a text as the answer would mean that the
// document is not in this format at all.
const char *plugin_parse(const pw_document *document, pw_parsed *parsed) {
    char comment[32] = "#";
    pw_json_text(document->options, "comment", comment, sizeof comment);
    uint32_t number = 0;
    for (pw_text rest = document->body, line; pw_line(&rest, &line);) {
        number++;
        line = pw_trim(line);
        size_t mark = strlen(comment);
        if (line.length > 0 && !(line.length >= mark && memcmp(line.at, comment, mark) == 0)) {
            read_line(line, number, parsed);
        }
    }
    return NULL;
}

// How sure it is that the document is in its format, from 0 to 100; the document is its beginning only. The bundled
// parsers are surer of what they know; a format that can be told from its beginning answers more.
uint8_t plugin_sniff(const pw_document *document) {
    pw_parsed parsed = {0};
    plugin_parse(document, &parsed);
    return parsed.candidates.len > 0 ? 10 : 0;
}
