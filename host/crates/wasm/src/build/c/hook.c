// The exports of a hook.
#include "proxywhirl.h"

#include <stdlib.h>
#include <string.h>

__attribute__((weak)) const char *plugin_configure(const char *options) {
    (void)options;
    return NULL;
}

__attribute__((weak)) const char *const *plugin_topics(void) {
    static const char *const all[] = {NULL};
    return all;
}

static char *ended(const bindings_string_t *text) {
    char *copy = pw_allocate(text->len + 1, 1);
    memcpy(copy, text->ptr, text->len);
    return copy;
}

bool exports_proxywhirl_plugin_hook_configure(bindings_string_t *options, bindings_string_t *err) {
    char *text = ended(options);
    bindings_string_free(options);
    const char *refusal = plugin_configure(text);
    free(text);
    if (refusal) {
        bindings_string_dup(err, refusal);
    }
    return refusal == NULL;
}

void exports_proxywhirl_plugin_hook_topics(bindings_list_string_t *ret) {
    const char *const *topics = plugin_topics();
    size_t count = 0;
    while (topics[count]) {
        count++;
    }
    ret->len = count;
    ret->ptr = pw_allocate(count, sizeof *ret->ptr);
    for (size_t i = 0; i < count; i++) {
        bindings_string_dup(&ret->ptr[i], topics[i]);
    }
}

bool exports_proxywhirl_plugin_hook_handle(exports_proxywhirl_plugin_hook_list_event_t *events, bindings_string_t *err) {
    const char *error = NULL;
    for (size_t i = 0; i < events->len && !error; i++) {
        const exports_proxywhirl_plugin_hook_event_t *event = &events->ptr[i];
        char *topic = ended(&event->topic), *payload = ended(&event->payload);
        error = plugin_handle(&(pw_event){event->sequence, event->at, topic, payload});
        if (error) {
            bindings_string_dup(err, error);
        }
        free(topic);
        free(payload);
    }
    exports_proxywhirl_plugin_hook_list_event_free(events);
    return error == NULL;
}
