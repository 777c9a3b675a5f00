/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The library's handle, and logging through the caller's xentoollog. */
#ifndef XLSNAP_HANDLE_H
#define XLSNAP_HANDLE_H

#include <libxl.h>
#include <libxl_utils.h>

#include "error.h"

/* libxl's logger: passes all on to the caller's. */
struct handle_tap {
    xentoollog_logger vtable;
    struct xlsnap *xs;
};

struct xlsnap {
    libxl_ctx *ctx;
    xentoollog_logger *logger; /* the caller's */
    struct handle_tap tap;
    unsigned rounds; /* of pre-copy, of the last save; 0: it told of none */
    char *helper;
    int cancel_fd; /* the caller's, or -1 */
    char *snapshot_dir;
    char *state_dir;
    char *run_dir;
};

/* Levels as in xentoollog.h. */
void handle_log(struct xlsnap *xs, xentoollog_level level, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* Has the caller asked us to stop? */
bool handle_cancelled(const struct xlsnap *xs);
/* The running hypervisor's version: major * 100 + minor. */
int handle_xen_version(struct xlsnap *xs);

#endif
