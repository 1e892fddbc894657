// What the C library would import of WASI. Plugins are given none of it, so it is answered here: standard
// output and standard error are lines of the host's log, time and chance are the host's, and of
// everything else there is none. The linker takes these definitions in the place of imports.
#include "proxywhirl.h"

#include <string.h>

enum { SUCCESS = 0, BAD_DESCRIPTOR = 8, NOT_SUPPORTED = 52, NOTHING_THERE = 44, NOT_SEEKABLE = 70 };

#define WASI(name) __imported_wasi_snapshot_preview1_##name

// The longest line that is gathered; the host cuts at this length too.
enum { LINE = 4096 };

typedef struct {
    const char *at;
    size_t length;
} part;

static void write_line(uint8_t level, const char *at, size_t length) {
    bindings_string_t message = {(uint8_t *)at, length};
    proxywhirl_plugin_log_write(level, &message);
}

static void gather(int32_t descriptor, const char *at, size_t length) {
    static char lines[2][LINE];
    static size_t filled[2];
    char *line = lines[descriptor - 1];
    size_t *fill = &filled[descriptor - 1];
    for (size_t i = 0; i < length; i++) {
        if (at[i] == '\n' || *fill == LINE) {
            write_line(descriptor == 1 ? PW_INFO : PW_WARN, line, *fill);
            *fill = 0;
        }
        if (at[i] != '\n') {
            line[(*fill)++] = at[i];
        }
    }
}

int32_t WASI(fd_write)(int32_t descriptor, int32_t parts, int32_t count, int32_t written) {
    if (descriptor != 1 && descriptor != 2) {
        return BAD_DESCRIPTOR;
    }
    const part *from = (const part *)parts;
    size_t total = 0;
    for (int32_t i = 0; i < count; i++) {
        gather(descriptor, from[i].at, from[i].length);
        total += from[i].length;
    }
    *(size_t *)written = total;
    return SUCCESS;
}

int32_t WASI(fd_fdstat_get)(int32_t descriptor, int32_t status) {
    if (descriptor < 0 || descriptor > 2) {
        return BAD_DESCRIPTOR;
    }
    // A character device, so that the C library ends its writes with each line.
    memset((void *)status, 0, 24);
    *(uint8_t *)status = 2;
    return SUCCESS;
}

int32_t WASI(clock_time_get)(int32_t clock, int64_t precision, int32_t time) {
    (void)clock, (void)precision;
    *(uint64_t *)time = pw_now() * 1000;
    return SUCCESS;
}

int32_t WASI(clock_res_get)(int32_t clock, int32_t resolution) {
    (void)clock;
    *(uint64_t *)resolution = 1000;
    return SUCCESS;
}

int32_t WASI(random_get)(int32_t buffer, int32_t length) {
    for (int32_t i = 0; i < length; i++) {
        ((uint8_t *)buffer)[i] = (uint8_t)pw_random();
    }
    return SUCCESS;
}

static int32_t none(int32_t count, int32_t size) {
    *(size_t *)count = 0;
    *(size_t *)size = 0;
    return SUCCESS;
}

int32_t WASI(args_sizes_get)(int32_t count, int32_t size) {
    return none(count, size);
}

int32_t WASI(environ_sizes_get)(int32_t count, int32_t size) {
    return none(count, size);
}

int32_t WASI(args_get)(int32_t pointers, int32_t buffer) {
    (void)pointers, (void)buffer;
    return SUCCESS;
}

int32_t WASI(environ_get)(int32_t pointers, int32_t buffer) {
    (void)pointers, (void)buffer;
    return SUCCESS;
}

int32_t WASI(fd_read)(int32_t descriptor, int32_t parts, int32_t count, int32_t read) {
    (void)descriptor, (void)parts, (void)count;
    *(size_t *)read = 0;
    return SUCCESS;
}

int32_t WASI(fd_seek)(int32_t descriptor, int64_t offset, int32_t whence, int32_t position) {
    (void)descriptor, (void)offset, (void)whence, (void)position;
    return NOT_SEEKABLE;
}

int32_t WASI(fd_close)(int32_t descriptor) {
    (void)descriptor;
    return SUCCESS;
}

int32_t WASI(fd_fdstat_set_flags)(int32_t descriptor, int32_t flags) {
    (void)descriptor, (void)flags;
    return NOT_SUPPORTED;
}

int32_t WASI(fd_filestat_get)(int32_t descriptor, int32_t status) {
    (void)descriptor, (void)status;
    return BAD_DESCRIPTOR;
}

int32_t WASI(fd_prestat_get)(int32_t descriptor, int32_t status) {
    (void)descriptor, (void)status;
    return BAD_DESCRIPTOR;
}

int32_t WASI(fd_prestat_dir_name)(int32_t descriptor, int32_t path, int32_t length) {
    (void)descriptor, (void)path, (void)length;
    return BAD_DESCRIPTOR;
}

int32_t WASI(path_open)(int32_t descriptor, int32_t flags, int32_t path, int32_t length, int32_t open, int64_t rights,
                        int64_t inheriting, int32_t status, int32_t opened) {
    (void)descriptor, (void)flags, (void)path, (void)length, (void)open, (void)rights;
    (void)inheriting, (void)status, (void)opened;
    return NOTHING_THERE;
}

int32_t WASI(path_filestat_get)(int32_t descriptor, int32_t flags, int32_t path, int32_t length, int32_t status) {
    (void)descriptor, (void)flags, (void)path, (void)length, (void)status;
    return NOTHING_THERE;
}

int32_t WASI(poll_oneoff)(int32_t in, int32_t out, int32_t count, int32_t events) {
    (void)in, (void)out, (void)count, (void)events;
    return NOT_SUPPORTED;
}

int32_t WASI(sched_yield)(void) {
    return SUCCESS;
}

_Noreturn void WASI(proc_exit)(int32_t code) {
    pw_log(PW_ERROR, "the plugin called exit(%d)", (int)code);
    __builtin_trap();
}
