// Reading one member of a JSON object. The host has checked options against their schema before, so
// that a scanner is enough: what it does not understand it does not find.
#include "proxywhirl.h"

#include <stdlib.h>
#include <string.h>

static const char *spaces(const char *at) {
    while (*at == ' ' || *at == '\t' || *at == '\n' || *at == '\r') {
        at++;
    }
    return at;
}

// After a string that begins here; its end if it has none.
static const char *string_end(const char *at) {
    for (at++; *at && *at != '"'; at++) {
        if (*at == '\\' && at[1]) {
            at++;
        }
    }
    return *at ? at + 1 : at;
}

// After a value that begins here.
static const char *value_end(const char *at) {
    size_t depth = 0;
    while (*at) {
        if (*at == '"') {
            at = string_end(at);
        } else if (*at == '{' || *at == '[') {
            depth++;
            at++;
        } else if (*at == '}' || *at == ']') {
            if (depth == 0) {
                return at;
            }
            depth--;
            at++;
        } else if (*at == ',' && depth == 0) {
            return at;
        } else {
            at++;
        }
    }
    return at;
}

// Where the value of a member begins, or NULL.
static const char *find(const char *json, const char *name) {
    size_t length = strlen(name);
    const char *at = spaces(json);
    if (*at != '{') {
        return NULL;
    }
    for (at = spaces(at + 1); *at == '"'; at = spaces(at + 1)) {
        const char *end = string_end(at);
        bool found = (size_t)(end - at) == length + 2 && memcmp(at + 1, name, length) == 0;
        at = spaces(end);
        if (*at != ':') {
            return NULL;
        }
        at = spaces(at + 1);
        if (found) {
            return at;
        }
        at = value_end(at);
        if (*at != ',') {
            return NULL;
        }
    }
    return NULL;
}

bool pw_json_number(const char *json, const char *name, double *number) {
    const char *at = find(json, name);
    if (!at || !(*at == '-' || (*at >= '0' && *at <= '9'))) {
        return false;
    }
    *number = strtod(at, NULL);
    return true;
}

bool pw_json_bool(const char *json, const char *name, bool *value) {
    const char *at = find(json, name);
    if (at && strncmp(at, "true", 4) == 0) {
        *value = true;
    } else if (at && strncmp(at, "false", 5) == 0) {
        *value = false;
    } else {
        return false;
    }
    return true;
}

static unsigned hex(const char *at) {
    unsigned value = 0;
    for (int i = 0; i < 4; i++) {
        char c = at[i];
        unsigned digit = c >= '0' && c <= '9' ? (unsigned)(c - '0') : (c | 32) >= 'a' && (c | 32) <= 'f' ? (unsigned)((c | 32) - 'a' + 10) : 99;
        if (digit == 99) {
            return 0xfffd;
        }
        value = value * 16 + digit;
    }
    return value;
}

// Writes a character in UTF-8; how many bytes that are.
static size_t encode(unsigned code, char *out) {
    if (code < 0x80) {
        out[0] = (char)code;
        return 1;
    }
    if (code < 0x800) {
        out[0] = (char)(0xc0 | code >> 6);
        out[1] = (char)(0x80 | (code & 0x3f));
        return 2;
    }
    if (code < 0x10000) {
        out[0] = (char)(0xe0 | code >> 12);
        out[1] = (char)(0x80 | (code >> 6 & 0x3f));
        out[2] = (char)(0x80 | (code & 0x3f));
        return 3;
    }
    out[0] = (char)(0xf0 | code >> 18);
    out[1] = (char)(0x80 | (code >> 12 & 0x3f));
    out[2] = (char)(0x80 | (code >> 6 & 0x3f));
    out[3] = (char)(0x80 | (code & 0x3f));
    return 4;
}

// The character that an escape stands for; moves to its last byte.
static unsigned escape(const char **at, const char *end) {
    static const char from[] = "bfnrt", to[] = "\b\f\n\r\t";
    const char *simple = strchr(from, **at);
    if (simple) {
        return (unsigned char)to[simple - from];
    }
    if (**at != 'u' || end - *at < 5) {
        return (unsigned char)**at;
    }
    unsigned code = hex(*at + 1);
    *at += 4;
    if (code >= 0xd800 && code < 0xdc00 && end - *at > 6 && (*at)[1] == '\\' && (*at)[2] == 'u') {
        unsigned low = hex(*at + 3);
        if (low >= 0xdc00 && low < 0xe000) {
            *at += 6;
            return 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
        }
    }
    return code >= 0xd800 && code < 0xe000 ? 0xfffd : code;
}

bool pw_json_text(const char *json, const char *name, char *text, size_t size) {
    const char *at = find(json, name);
    if (!at || *at != '"' || size == 0) {
        return false;
    }
    const char *end = string_end(at) - 1;
    size_t length = 0;
    for (at++; at < end; at++) {
        char bytes[4] = {*at};
        size_t count = 1;
        if (*at == '\\') {
            at++;
            count = encode(escape(&at, end), bytes);
        }
        if (length + count >= size) {
            break;
        }
        memcpy(text + length, bytes, count);
        length += count;
    }
    text[length] = 0;
    return true;
}
