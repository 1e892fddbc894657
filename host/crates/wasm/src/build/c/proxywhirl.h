// What a ProxyWhirl plugin in C includes. The functions that a plugin implements are at the end of the
// header of its kind; those marked as optional need not be there.
//
// There is no file system, no network and no environment. The C library is there; what is written to
// stdout and stderr goes into the host's log, line by line.
#ifndef PROXYWHIRL_H
#define PROXYWHIRL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "bindings.h"

// A text that ends after `length` bytes, not at a zero.
typedef struct {
    const char *at;
    size_t length;
} pw_text;

// How urgent a line of the log is.
enum pw_level { PW_TRACE, PW_DEBUG, PW_INFO, PW_WARN, PW_ERROR };

// Writes a line into the host's log, formatted as by printf. The host caps its length and rate.
void pw_log(enum pw_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));

// Microseconds since the Unix epoch, from a clock that does not go backwards.
uint64_t pw_now(void);

// 64 random bits from the host's seed, not for secrets.
uint64_t pw_random(void);

// Whether a text is exactly this.
bool pw_is(pw_text text, const char *expected);

// The text without white space at its ends.
pw_text pw_trim(pw_text text);

// Takes the next line off a text, without its end; false when nothing is left.
bool pw_line(pw_text *rest, pw_text *line);

// A decimal number without sign up to a limit; false when the text is anything else.
bool pw_number(pw_text text, uint64_t limit, uint64_t *number);

// Members of a JSON object by name, at its outermost level: options, or an event's payload. They answer
// false, and change nothing, when there is none of that name and type. A text is copied without its
// escapes and ends with a zero; what does not fit into `size` bytes is cut.
bool pw_json_number(const char *json, const char *name, double *number);
bool pw_json_bool(const char *json, const char *name, bool *value);
bool pw_json_text(const char *json, const char *name, char *text, size_t size);

// What the builder writes from plugin.toml: name, version, summary, schema of the options.
extern const char *const pw_description[4];
extern const char *const pw_capabilities[];

// Memory that is never refused: the instance ends instead, and the host says why.
void *pw_allocate(size_t count, size_t size);
void *pw_resize(void *memory, size_t count, size_t size);

#ifdef PROXYWHIRL_HANDOVER
// Hands over to the version that takes this one's place: `*state` is a new block of memory.
void plugin_save(void **state, size_t *length);
// Takes what the version before had saved; NULL, or why it cannot be used.
const char *plugin_restore(const void *state, size_t length);
#endif

#ifdef PROXYWHIRL_STRATEGY
#include "strategy.h"
#endif
#ifdef PROXYWHIRL_PARSER
#include "parser.h"
#endif
#ifdef PROXYWHIRL_HOOK
#include "hook.h"
#endif

#endif
