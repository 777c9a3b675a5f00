/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Opens and closes the library: a libxl context whose child processes are
 * reaped selectively (libxl_event.h: by default libxl reaps every child of
 * the process while an operation runs, also ours), and a check that this is a
 * Xen host of the version we were built for: libxl's SONAME and the domctl
 * interface are of one Xen release.
 */
#include "handle.h"

#include <poll.h>

#include "util.h"

static const libxl_childproc_hooks childproc_hooks = {
    .chldowner = libxl_sigchld_owner_libxl_always_selective_reap,
};

void handle_log(struct xlsnap *xs, xentoollog_level level, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    xtl_logv(xs->logger, level, -1, "xl-snapshot", fmt, ap);
    va_end(ap);
}

static void tap_vmessage(xentoollog_logger *logger, xentoollog_level level,
                         int errnoval, const char *context, const char *format,
                         va_list al)
{
    xentoollog_logger *to = ((struct handle_tap *)logger)->xs->logger;

    to->vmessage(to, level, errnoval, context, format, al);
}

/* libxenguest names its rounds, from 0 on (xg_sr_save.c, update_progress_string);
 * nothing else tells of them. */
static void tap_progress(xentoollog_logger *logger, const char *context,
                         const char *doing_what, int percent,
                         unsigned long done, unsigned long total)
{
    struct xlsnap *xs = ((struct handle_tap *)logger)->xs;
    unsigned round;

    if (sscanf(doing_what, "Frames iteration %u", &round) == 1)
        xs->rounds = round + 1;
    if (xs->logger->progress)
        xs->logger->progress(xs->logger, context, doing_what, percent, done,
                             total);
}

static void tap_destroy(xentoollog_logger *logger)
{
    /* The caller destroys his. */
}

bool handle_cancelled(const struct xlsnap *xs)
{
    struct pollfd pfd = { .fd = xs->cancel_fd, .events = POLLIN };

    return xs->cancel_fd >= 0 && poll(&pfd, 1, 0) > 0;
}

int handle_xen_version(struct xlsnap *xs)
{
    const libxl_version_info *info = libxl_get_version_info(xs->ctx);

    return info ? info->xen_version_major * 100 + info->xen_version_minor : 0;
}

static int handle_check_xen(struct xlsnap *xs, struct xlsnap_error *err)
{
    int version = handle_xen_version(xs);
    int major = 0, minor = 0;

    if (!version)
        return xlsnap_fail(err, XLSNAP_REFUSED,
                           "the hypervisor does not answer: is this the "
                           "dom0 of a Xen host, and are you root?");
    sscanf(XEN_BUILD_VERSION, "%d.%d", &major, &minor);
    if (version != major * 100 + minor)
        return xlsnap_fail(err, XLSNAP_REFUSED,
                           "this build is for Xen %d.%d, but Xen %d.%d is "
                           "running",
                           major, minor, version / 100, version % 100);
    return 0;
}

int xlsnap_open(const struct xlsnap_settings *settings, struct xlsnap **xs_r,
                struct xlsnap_error *err)
{
    struct xlsnap *xs = xcalloc(1, sizeof(*xs));
    int rc;

    xs->logger = settings->logger;
    xs->tap = (struct handle_tap){
        .vtable = { tap_vmessage, tap_progress, tap_destroy },
        .xs = xs,
    };
    xs->helper = xstrdup(settings->helper);
    xs->cancel_fd = settings->cancel_fd;
    xs->snapshot_dir = xstrdup(settings->snapshot_dir ?: XLSNAP_SNAPSHOT_DIR);
    xs->state_dir = xstrdup(settings->state_dir ?: XLSNAP_STATE_DIR);
    xs->run_dir = xstrdup(settings->run_dir ?: XLSNAP_RUN_DIR);
    if (libxl_ctx_alloc(&xs->ctx, LIBXL_VERSION, 0, &xs->tap.vtable)) {
        xs->ctx = NULL;
        rc = xlsnap_fail(err, XLSNAP_REFUSED,
                         "cannot open libxl: is this the dom0 of a Xen host, "
                         "and are you root?");
        xlsnap_close(xs);
        return rc;
    }
    libxl_childproc_setmode(xs->ctx, &childproc_hooks, NULL);
    rc = handle_check_xen(xs, err);
    if (rc) {
        xlsnap_close(xs);
        return rc;
    }
    *xs_r = xs;
    return 0;
}

void xlsnap_close(struct xlsnap *xs)
{
    if (!xs)
        return;
    if (xs->ctx)
        libxl_ctx_free(xs->ctx);
    free(xs->helper);
    free(xs->snapshot_dir);
    free(xs->state_dir);
    free(xs->run_dir);
    free(xs);
}
