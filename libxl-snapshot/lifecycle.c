/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The moves of a domain's life: save, resume, settle after a failed save,
 * destroy, restore.  All of them through libxl's public API.
 *
 * The save runs as an asynchronous libxl operation in a poll loop of ours, so
 * that it can be cancelled (libxl_ao_abort is not signal-safe) and so that the
 * moment at which the guest stands still is known: libxl tells it by a
 * DOMAIN_SHUTDOWN event; its log lines are no API.  A watch on control/shutdown
 * tells whether the guest was asked to suspend at all (when a save fails before
 * that, in the pre-copy, say, there is nothing to wait for), and when it obeyed:
 * it empties the node and stops its work, so the pause is counted from there.
 */
#include "domain.h"

#include <poll.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <xenstore.h>

#include "file.h"
#include "process.h"
#include "util.h"

#define QEMU_EXIT_TIMEOUT_MS 120000
#define HELPER_END_MS 10000
#define WITHDRAWN_MS 30000

struct save {
    struct xlsnap *xs;
    const struct domain *dom;
    libxl_asyncop_how how;
    bool done, aborted, broken;
    int rc;                  /* libxl's */
    struct xs_handle *watch; /* on the domain's control/shutdown */
    int watch_events;
    int64_t suspended_ms;
};

static void save_done(libxl_ctx *ctx, int rc, void *user)
{
    struct save *s = user;

    s->done = true;
    s->rc = rc;
}

struct xs_handle *domain_watch_requests(uint32_t domid)
{
    cleanup_free char *path =
        xasprintf("/local/domain/%" PRIu32 "/control/shutdown", domid);
    struct xs_handle *xsh = xs_open(0);

    if (xsh && !xs_watch(xsh, path, "")) {
        xs_close(xsh);
        xsh = NULL;
    }
    return xsh;
}

/* The first event of a watch is its registration, each further one a write. */
int domain_count_requests(struct xs_handle *watch)
{
    int n = 0;
    char **vec;

    while ((vec = xs_check_watch(watch))) {
        free(vec);
        n++;
    }
    return n ? n - 1 : 0;
}

static void save_read_watch(struct save *s)
{
    bool obeyed = false;
    char **vec;

    while (s->watch && (vec = xs_check_watch(s->watch))) {
        cleanup_free char *value =
            domain_xs_read(s->dom->domid, "control/shutdown");

        free(vec);
        s->watch_events++;
        obeyed = s->watch_events > 1 && value && !*value;
    }
    if (obeyed && !s->suspended_ms)
        s->suspended_ms = now_ms();
}

static void save_read_events(struct save *s)
{
    libxl_event *ev;

    while (
        !libxl_event_check(s->xs->ctx, &ev, LIBXL_EVENTMASK_ALL, NULL, NULL)) {
        if (ev->type == LIBXL_EVENT_TYPE_DOMAIN_SHUTDOWN &&
            ev->domid == s->dom->domid && !s->suspended_ms)
            s->suspended_ms = now_ms();
        libxl_event_free(s->xs->ctx, ev);
    }
}

/* libxl's descriptors, then ours; the array is grown as libxl asks. */
static int save_beforepoll(struct save *s, struct pollfd **fds_r,
                           int *timeout_r)
{
    struct timeval now;
    int room = 16, n, rc;

    do {
        *fds_r = xrealloc(*fds_r, room + 2, sizeof(**fds_r));
        n = room;
        gettimeofday(&now, NULL);
        *timeout_r = -1;
        rc = libxl_osevent_beforepoll(s->xs->ctx, &n, *fds_r, timeout_r, now);
        room *= 2;
    } while (rc == ERROR_BUFFERFULL);
    return rc ? -1 : n;
}

static int save_turn(struct save *s, struct pollfd **fds)
{
    int timeout, n = save_beforepoll(s, fds, &timeout);
    struct timeval now;

    if (n < 0)
        return -1;
    (*fds)[n] = (struct pollfd){ .fd = s->aborted ? -1 : s->xs->cancel_fd,
                                 .events = POLLIN };
    (*fds)[n + 1] = (struct pollfd){ .fd = s->watch ? xs_fileno(s->watch) : -1,
                                     .events = POLLIN };
    if (poll(*fds, n + 2, timeout) < 0 && errno != EINTR)
        return -1;
    gettimeofday(&now, NULL);
    libxl_osevent_afterpoll(s->xs->ctx, n, *fds, now);
    save_read_watch(s);
    save_read_events(s);
    if (!s->done && !s->aborted && handle_cancelled(s->xs)) {
        s->aborted = true;
        libxl_ao_abort(s->xs->ctx, &s->how);
    }
    return 0;
}

static void sleep_ms(int ms)
{
    struct timespec ts = { .tv_sec = ms / 1000,
                           .tv_nsec = ms % 1000 * 1000000L };

    nanosleep(&ts, NULL);
}

/* Polling does not work (out of memory, say): abort, and turn slowly. */
static void save_give_up(struct save *s)
{
    if (!s->broken)
        libxl_ao_abort(s->xs->ctx, &s->how);
    s->broken = true;
    sleep_ms(100);
}

static int save_run(struct save *s, int fd, bool live)
{
    struct pollfd *fds = NULL;
    int rc;

    rc = libxl_domain_suspend(s->xs->ctx, s->dom->domid, fd,
                              live ? LIBXL_SUSPEND_LIVE : 0, &s->how);
    /* Whatever breaks, the operation holds pointers to *s until it is done. */
    while (!rc && !s->done)
        if (save_turn(s, &fds))
            save_give_up(s);
    free(fds);
    return rc ? rc : s->rc;
}

/*
 * Was the guest asked to suspend?  Without a watch we must assume so; old PV
 * kernels are asked through an event channel instead of the node.
 */
static bool save_requested(const struct save *s)
{
    cleanup_free char *evtchn =
        domain_xs_read(s->dom->domid, "device/suspend/event-channel");

    return !s->watch || s->watch_events > 1 || s->suspended_ms ||
           (evtchn && *evtchn);
}

/*
 * libxl waits 60 s for the guest's ack, then empties the node itself; and 60 s
 * more after an ack.  So a node emptied only just now was libxl's doing: the
 * request is withdrawn.
 */
static bool save_withdrawn(const struct save *s)
{
    return s->rc == ERROR_GUEST_TIMEDOUT && s->suspended_ms &&
           now_ms() - s->suspended_ms < WITHDRAWN_MS;
}

static int save_fail(struct save *s, struct xlsnap_error *err)
{
    const char *name = s->dom->name;

    if (s->aborted) {
        xlsnap_fail(err, XLSNAP_FAILED, "the save of domain '%s' was cancelled",
                    name);
        err->errnum = EINTR;
        return -err->code;
    }
    /* libxl says so also of a save that failed before it asked. */
    if (s->rc == ERROR_GUEST_TIMEDOUT && save_requested(s))
        return xlsnap_fail(err, XLSNAP_FAILED,
                           "the guest of domain '%s' did not suspend in time "
                           "(it must have a kernel that can)",
                           name);
    return xlsnap_fail(err, XLSNAP_FAILED,
                       "libxl could not save domain '%s' (libxl error %d; "
                       "its messages above say why)",
                       name, s->rc);
}

int domain_save(struct xlsnap *xs, const struct domain *dom, int fd, bool live,
                int64_t *suspended_ms, bool *requested,
                struct xlsnap_error *err)
{
    struct save s = { .xs = xs, .dom = dom };
    libxl_evgen_domain_death *evgen = NULL;
    int rc;

    *suspended_ms = 0;
    *requested = false;
    s.how.callback = save_done;
    s.how.u.for_callback = &s;
    if (libxl_evenable_domain_death(xs->ctx, dom->domid, 0, &evgen))
        return xlsnap_fail(err, XLSNAP_FAILED, "cannot watch domain '%s'",
                           dom->name);
    s.watch = domain_watch_requests(dom->domid);
    s.rc = save_run(&s, fd, live);
    save_read_events(&s);
    save_read_watch(&s);
    libxl_evdisable_domain_death(xs->ctx, evgen);
    *requested = save_requested(&s) && !save_withdrawn(&s);
    *suspended_ms = s.suspended_ms;
    rc = s.rc ? save_fail(&s, err) : 0;
    if (s.watch)
        xs_close(s.watch);
    if (rc)
        return rc;
    if (!*suspended_ms)
        *suspended_ms = now_ms();
    return 0;
}

int domain_resume(struct xlsnap *xs, uint32_t domid, struct xlsnap_error *err)
{
    int rc = libxl_domain_resume(xs->ctx, domid, 1, NULL);

    if (rc)
        return xlsnap_fail(err, XLSNAP_FAILED,
                           "cannot resume the suspended domain (libxl error "
                           "%d)",
                           rc);
    return 0;
}

/* argv: libxl-save-helper --save-domain FD BACKFD DOMID ... */
static bool is_save_helper(const char *pid, void *domid)
{
    size_t len;
    cleanup_free char *arguments = process_arguments(pid, &len);
    const char *arg = len ? arguments : NULL;

    for (int n = 0; arg; n++) {
        if (n == 0 && !strstr(arg, "libxl-save-helper"))
            return false;
        if (n == 1 && strcmp(arg, "--save-domain"))
            return false;
        if (n == 4)
            return !strcmp(arg, domid);
        arg = process_argument_next(arguments, len, arg);
    }
    return false;
}

pid_t domain_save_helper(uint32_t domid)
{
    cleanup_free char *text = xasprintf("%" PRIu32, domid);

    return process_find(is_save_helper, text);
}

pid_t domain_wait_helper(uint32_t domid)
{
    int64_t deadline = now_ms() + HELPER_END_MS;
    pid_t helper;

    while ((helper = domain_save_helper(domid)) && now_ms() < deadline)
        sleep_ms(100);
    return helper;
}

int domain_settle(struct xlsnap *xs, struct domain *dom, bool requested,
                  int timeout_ms, struct xlsnap_error *err)
{
    int64_t deadline = now_ms() + timeout_ms;
    enum domain_presence found;

    do {
        found = domain_refresh(xs, dom);
        if (found == DOMAIN_GONE)
            return 0; /* rebooted, crashed or destroyed: not suspended */
        if (found == DOMAIN_THERE && domain_is_suspended(dom))
            return domain_resume(xs, dom->domid, err);
        /* Any other shutdown is the monitor's business. */
        if (found == DOMAIN_THERE &&
            (dom->info.shutdown || domain_withdraw_suspend(dom->domid) ||
             !requested))
            return 0;
        sleep_ms(20);
    } while (now_ms() < deadline);
    xlsnap_fail(err, XLSNAP_FAILED,
                "the guest of domain '%s' has taken note of the request to "
                "suspend, and may still do so",
                dom->name);
    if (found == DOMAIN_THERE)
        err->errnum = ETIMEDOUT;
    return -err->code;
}

int domain_destroy(struct xlsnap *xs, struct domain *dom,
                   struct xlsnap_error *err)
{
    cleanup_close int pidfd = -1;
    int rc;

    if (dom->qemu_pid > 0)
        pidfd = syscall(SYS_pidfd_open, dom->qemu_pid, 0);
    rc = libxl_domain_destroy(xs->ctx, dom->domid, NULL);
    if (rc && domain_refresh(xs, dom) != DOMAIN_GONE) /* by somebody else */
        return xlsnap_fail(err, XLSNAP_FAILED,
                           "cannot destroy domain '%s' (libxl error %d)",
                           dom->name, rc);
    if (pidfd >= 0 && !file_wait_readable(pidfd, QEMU_EXIT_TIMEOUT_MS))
        return xlsnap_fail(err, XLSNAP_FAILED,
                           "QEMU (pid %d) of the destroyed domain '%s' does "
                           "not end",
                           (int)dom->qemu_pid, dom->name);
    return 0;
}

/* So the guest can tell that it was taken back (xl.cfg(5), ms_vm_genid): libxl writes
 * it where the guest reads it, at a restore, too (libxl__build_post). */
static int config_new_generation(struct xlsnap *xs, libxl_domain_config *config)
{
    libxl_ms_vm_genid *id = &config->b_info.u.hvm.ms_vm_genid;

    return config->b_info.type == LIBXL_DOMAIN_TYPE_HVM &&
                   !libxl_ms_vm_genid_is_zero(id)
               ? libxl_ms_vm_genid_generate(xs->ctx, id)
               : 0;
}

int domain_restore(struct xlsnap *xs, const char *config_json, int fd,
                   uint32_t domid, uint32_t *domid_r, struct xlsnap_error *err)
{
    libxl_domain_config config;
    libxl_domain_restore_params params;
    int rc;

    libxl_domain_config_init(&config);
    libxl_domain_restore_params_init(&params);
    params.stream_version = 2;
    rc = libxl_domain_config_from_json(xs->ctx, &config, config_json);
    if (!rc)
        rc = config_new_generation(xs, &config);
    if (!rc) {
        config.c_info.domid = domid;
        rc = libxl_domain_create_restore(xs->ctx, &config, domid_r, fd, -1,
                                         &params, NULL, NULL);
    }
    libxl_domain_restore_params_dispose(&params);
    libxl_domain_config_dispose(&config);
    if (rc)
        return xlsnap_fail(err, XLSNAP_FAILED,
                           "libxl could not restore the domain (libxl error "
                           "%d; its messages above say why)",
                           rc);
    return 0;
}

int domain_pause(struct xlsnap *xs, uint32_t domid, struct xlsnap_error *err)
{
    int rc = libxl_domain_pause(xs->ctx, domid, NULL);

    return rc ? xlsnap_fail(err, XLSNAP_FAILED,
                            "cannot pause the domain (libxl error %d)", rc)
              : 0;
}

int domain_unpause(struct xlsnap *xs, uint32_t domid, struct xlsnap_error *err)
{
    int rc = libxl_domain_unpause(xs->ctx, domid, NULL);

    return rc ? xlsnap_fail(err, XLSNAP_FAILED,
                            "cannot unpause the domain (libxl error %d)", rc)
              : 0;
}

int domain_wake(struct xlsnap *xs, struct domain *dom, struct xlsnap_error *err)
{
    struct xlsnap_error unpause = { 0 };

    switch (domain_refresh(xs, dom)) {
    case DOMAIN_GONE:
        return 0;
    case DOMAIN_THERE:
        if (!dom->info.paused || !domain_unpause(xs, dom->domid, &unpause) ||
            domain_has_ended(xs, dom))
            return 0;
        return xlsnap_fail(err, unpause.code, "%s", unpause.msg);
    case DOMAIN_UNKNOWN:
        break;
    }
    return xlsnap_fail(err, XLSNAP_FAILED,
                       "libxl cannot tell whether domain '%s' is paused",
                       dom->name);
}
