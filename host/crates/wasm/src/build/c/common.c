// What every kind of plugin has.
#include "proxywhirl.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void *pw_allocate(size_t count, size_t size) {
    void *memory = calloc(count ? count : 1, size);
    if (!memory) {
        __builtin_trap();
    }
    return memory;
}

void *pw_resize(void *memory, size_t count, size_t size) {
    size_t bytes;
    if (__builtin_mul_overflow(count ? count : 1, size, &bytes) || !(memory = realloc(memory, bytes))) {
        __builtin_trap();
    }
    return memory;
}

void pw_log(enum pw_level level, const char *format, ...) {
    // The host cuts lines at this length.
    char line[4096];
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    if (length > 0) {
        size_t shown = (size_t)length < sizeof line ? (size_t)length : sizeof line - 1;
        bindings_string_t message = {(uint8_t *)line, shown};
        proxywhirl_plugin_log_write((proxywhirl_plugin_log_level_t)level, &message);
    }
}

uint64_t pw_now(void) {
    return proxywhirl_plugin_clock_now();
}

uint64_t pw_random(void) {
    return proxywhirl_plugin_random_next();
}

bool pw_is(pw_text text, const char *expected) {
    return text.length == strlen(expected) && memcmp(text.at, expected, text.length) == 0;
}

static bool is_space(char c) {
    return c == ' ' || (c >= '\t' && c <= '\r');
}

pw_text pw_trim(pw_text text) {
    while (text.length > 0 && is_space(text.at[0])) {
        text.at++;
        text.length--;
    }
    while (text.length > 0 && is_space(text.at[text.length - 1])) {
        text.length--;
    }
    return text;
}

bool pw_line(pw_text *rest, pw_text *line) {
    if (rest->length == 0) {
        return false;
    }
    const char *end = memchr(rest->at, '\n', rest->length);
    size_t length = end ? (size_t)(end - rest->at) : rest->length;
    *line = (pw_text){rest->at, length};
    size_t taken = end ? length + 1 : length;
    *rest = (pw_text){rest->at + taken, rest->length - taken};
    if (line->length > 0 && line->at[line->length - 1] == '\r') {
        line->length--;
    }
    return true;
}

bool pw_number(pw_text text, uint64_t limit, uint64_t *number) {
    uint64_t value = 0;
    for (size_t i = 0; i < text.length; i++) {
        char c = text.at[i];
        if (c < '0' || c > '9' || value > (limit - (uint64_t)(c - '0')) / 10) {
            return false;
        }
        value = value * 10 + (uint64_t)(c - '0');
    }
    if (text.length == 0 || value > limit) {
        return false;
    }
    *number = value;
    return true;
}

void exports_proxywhirl_plugin_about_describe(exports_proxywhirl_plugin_about_description_t *ret) {
    // The caller frees what it gets.
    bindings_string_dup(&ret->name, pw_description[0]);
    bindings_string_dup(&ret->version, pw_description[1]);
    bindings_string_dup(&ret->summary, pw_description[2]);
    bindings_string_dup(&ret->options_schema, pw_description[3]);
    size_t count = 0;
    while (pw_capabilities[count]) {
        count++;
    }
    ret->capabilities.len = count;
    ret->capabilities.ptr = pw_allocate(count, sizeof *ret->capabilities.ptr);
    for (size_t i = 0; i < count; i++) {
        bindings_string_dup(&ret->capabilities.ptr[i], pw_capabilities[i]);
    }
}

#ifdef PROXYWHIRL_HANDOVER
void exports_proxywhirl_plugin_handover_save(bindings_list_u8_t *ret) {
    void *state = NULL;
    size_t length = 0;
    plugin_save(&state, &length);
    ret->ptr = state;
    ret->len = length;
}

bool exports_proxywhirl_plugin_handover_restore(bindings_list_u8_t *state, bindings_string_t *err) {
    const char *refusal = plugin_restore(state->ptr, state->len);
    bindings_list_u8_free(state);
    if (refusal) {
        bindings_string_dup(err, refusal);
    }
    return refusal == NULL;
}
#endif
