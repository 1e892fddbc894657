// {{name}}: counts failed requests, and tells one of so many.
#include "proxywhirl.h"

static uint64_t every = 1;
static uint64_t failures;

// Called once, before everything else, with options that fit options.json. A text refuses them.
const char *plugin_configure(const char *options) {
    double number = 1;
    pw_json_number(options, "every", &number);
    every = (uint64_t)number;
    return NULL;
}

// What is not named here is never sent. None at all stands for everything.
const char *const *plugin_topics(void) {
    static const char *const topics[] = {"request-failure", NULL};
    return topics;
}

// Called for each event. No request waits for it.
const char *plugin_handle(const pw_event *event) {
    failures++;
    char proxy[256] = "?";
    pw_json_text(event->payload, "proxy", proxy, sizeof proxy);
    if (failures % every == 0) {
        pw_log(PW_WARN, "%llu failures, the last one with %s", (unsigned long long)failures, proxy);
    }
    return NULL;
}
