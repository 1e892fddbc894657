// A hook: hears what happens. Included by proxywhirl.h. The functions of the capabilities that plugin.toml
// asks for (kv, metrics, http) are in bindings.h, as proxywhirl_plugin_kv_get and so on.
#ifndef PROXYWHIRL_HOOK_H
#define PROXYWHIRL_HOOK_H

// Something that happened. The payload is a JSON object, and both texts end with a zero.
typedef struct {
    uint64_t sequence;
    uint64_t at;
    const char *topic;
    const char *payload;
} pw_event;

// Optional. Reads the options, JSON that fits the schema; NULL, or why they are refused.
const char *plugin_configure(const char *options);

// Optional. The topics that it wants to hear, NULL after the last; none for all.
const char *const *plugin_topics(void);

// Hears one event; NULL, or an error for the host's log.
const char *plugin_handle(const pw_event *event);

#endif
