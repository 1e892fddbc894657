// The exports of a parser.
#include "proxywhirl.h"

#include <stdlib.h>
#include <string.h>

// As the contract has it: the first rejected entries, each cut.
enum { REJECTIONS = 100, EXCERPT = 120 };

__attribute__((weak)) uint8_t plugin_sniff(const pw_document *document) {
    (void)document;
    return 0;
}

// Room for one more in a list that grows by doubling: its capacity is the next power of two.
static void *grown(void *list, size_t length, size_t size) {
    bool full = length == 0 || (length & (length - 1)) == 0;
    return full ? pw_resize(list, length ? length * 2 : 1, size) : list;
}

// How many bytes a character has that begins here; 0 when none does.
static size_t character(const uint8_t *at, size_t left) {
    size_t length = at[0] < 0x80 ? 1 : at[0] >= 0xc2 && at[0] < 0xe0 ? 2 : (at[0] & 0xf0) == 0xe0 ? 3 : at[0] >= 0xf0 && at[0] < 0xf5 ? 4 : 0;
    for (size_t i = 1; i < length; i++) {
        if (i >= left || (at[i] & 0xc0) != 0x80) {
            return 0;
        }
    }
    // Those that are written longer than need be, surrogates, and what is beyond the last one.
    bool odd = (at[0] == 0xe0 && at[1] < 0xa0) || (at[0] == 0xed && at[1] >= 0xa0) || (at[0] == 0xf0 && at[1] < 0x90) ||
               (at[0] == 0xf4 && at[1] >= 0x90);
    return length > 2 && odd ? 0 : length;
}

// A copy that is UTF-8 whatever the text is: a byte that is none becomes a question mark.
static void set(bindings_string_t *to, pw_text text) {
    to->len = text.length;
    to->ptr = pw_allocate(text.length, 1);
    memcpy(to->ptr, text.at, text.length);
    for (size_t i = 0; i < to->len;) {
        size_t length = character(to->ptr + i, to->len - i);
        if (length == 0) {
            to->ptr[i] = '?';
        }
        i += length ? length : 1;
    }
}

pw_candidate *pw_proxy(pw_parsed *parsed, pw_text host, uint16_t port, uint32_t line) {
    size_t length = parsed->candidates.len;
    parsed->candidates.ptr = grown(parsed->candidates.ptr, length, sizeof(pw_candidate));
    parsed->candidates.len = length + 1;
    pw_candidate *added = &parsed->candidates.ptr[length];
    memset(added, 0, sizeof *added);
    added->host.tag = EXPORTS_PROXYWHIRL_PLUGIN_PARSER_HOST_TEXT;
    set(&added->host.val.text, host);
    added->port = port;
    added->line = line;
    return added;
}

bool pw_scheme(pw_candidate *candidate, pw_text scheme) {
    static const char *const names[] = {"http", "https", "socks4", "socks4a", "socks5", "socks5h"};
    for (uint8_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (pw_is(scheme, names[i])) {
            candidate->scheme.is_some = true;
            candidate->scheme.val = i;
            return true;
        }
    }
    return false;
}

void pw_credentials(pw_candidate *candidate, pw_text username, pw_text password) {
    candidate->username.is_some = true;
    set(&candidate->username.val, username);
    candidate->password.is_some = true;
    set(&candidate->password.val, password);
}

void pw_country(pw_candidate *candidate, pw_text country) {
    set(&candidate->country, country);
}

void pw_reject(pw_parsed *parsed, uint32_t line, pw_text excerpt, const char *reason) {
    parsed->rejected++;
    size_t length = parsed->rejections.len;
    if (length >= REJECTIONS) {
        return;
    }
    parsed->rejections.ptr = grown(parsed->rejections.ptr, length, sizeof *parsed->rejections.ptr);
    parsed->rejections.len = length + 1;
    exports_proxywhirl_plugin_parser_rejection_t *added = &parsed->rejections.ptr[length];
    if (excerpt.length > EXCERPT) {
        excerpt.length = EXCERPT;
        // Not within a character.
        while (excerpt.length > 0 && ((uint8_t)excerpt.at[excerpt.length] & 0xc0) == 0x80) {
            excerpt.length--;
        }
    }
    added->line = line;
    set(&added->excerpt, excerpt);
    bindings_string_dup(&added->reason, reason);
}

void pw_follow(pw_parsed *parsed, pw_text url) {
    size_t length = parsed->follow.len;
    parsed->follow.ptr = grown(parsed->follow.ptr, length, sizeof *parsed->follow.ptr);
    parsed->follow.len = length + 1;
    set(&parsed->follow.ptr[length], url);
}

static pw_document read(const exports_proxywhirl_plugin_parser_document_t *document) {
    char *options = pw_allocate(document->options.len + 1, 1);
    memcpy(options, document->options.ptr, document->options.len);
    return (pw_document){
        .url = {(const char *)document->url.ptr, document->url.len},
        .content_type = {(const char *)document->content_type.ptr, document->content_type.len},
        .body = {(const char *)document->body.ptr, document->body.len},
        .options = options,
        .default_scheme = document->default_scheme,
    };
}

// The instance answers once and is gone, so what it was given need not be given back.
uint8_t exports_proxywhirl_plugin_parser_sniff(exports_proxywhirl_plugin_parser_document_t *document) {
    pw_document given = read(document);
    uint8_t sure = plugin_sniff(&given);
    return sure < 100 ? sure : 100;
}

bool exports_proxywhirl_plugin_parser_parse(exports_proxywhirl_plugin_parser_document_t *document, pw_parsed *ret,
                                            bindings_string_t *err) {
    memset(ret, 0, sizeof *ret);
    pw_document given = read(document);
    const char *refusal = plugin_parse(&given, ret);
    if (refusal) {
        bindings_string_dup(err, refusal);
    }
    return refusal == NULL;
}
