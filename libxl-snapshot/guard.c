/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The guard process, both sides of it: see guard.h. */
#include "guard.h"

#include <fcntl.h>
#include <linux/close_range.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <xenstore.h>

#include "cgroup.h"
#include "file.h"
#include "monitor.h"
#include "pending.h"
#include "recover.h"
#include "util.h"

#define READY_TIMEOUT_MS 30000
#define NO_MONITOR "none" /* in the place of what monitor_keep takes */

/* What is said on the socket, a byte each. */
enum guard_word {
    GUARD_READY = 'r',    /* guard: I watch */
    GUARD_ARMED = 'a',    /* tool: the guest may be suspended from now on */
    GUARD_PAUSING = 'p',  /* tool: and now it is paused, too, as was asked */
    GUARD_LOOKING = 'l',  /* tool: it is paused, and nothing but that */
    GUARD_LATE = 't',     /* tool: I give up, but it may be suspended yet */
    GUARD_DISARMED = 'd', /* tool: the guest runs again */
    GUARD_FAREWELL = 'f', /* tool: all is well, go */
};

struct guard {
    pid_t pid;
    int fd;
    bool armed;
};

/* ---- our side ---- */

static void __attribute__((noreturn))
guard_exec(struct xlsnap *xs, const struct domain *dom, const char *monitor,
           int fd, struct lock_set *locks)
{
    cleanup_free char *domid = xasprintf("%" PRIu32, dom->domid);
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);

    lock_set_inherit(locks, true);
    setsid();
    if (dom->home)
        cgroup_enter(dom->home); /* or it stays in ours */
    if (null >= 0) {
        dup2(null, 0);
        dup2(null, 1);
    }
    if (fd == GUARD_FD)
        fcntl(fd, F_SETFD, 0);
    else
        dup2(fd, GUARD_FD);
    if (chdir("/"))
        _exit(127);
    execl(xs->helper, "xl-snapshot", "guard", dom->name, domid, dom->uuid,
          monitor ? monitor : NO_MONITOR, (char *)NULL);
    _exit(127);
}

static int guard_wait_ready(struct guard *g, struct xlsnap_error *err)
{
    char word;

    if (file_wait_readable(g->fd, READY_TIMEOUT_MS) &&
        read(g->fd, &word, 1) == 1 && word == GUARD_READY)
        return 0;
    kill(g->pid, SIGKILL); /* it guards nothing yet */
    return xlsnap_fail(err, XLSNAP_FAILED, "cannot start the guard process");
}

int guard_start(struct xlsnap *xs, const struct domain *dom,
                const char *monitor, struct lock_set *locks,
                struct guard **guard_r, struct xlsnap_error *err)
{
    struct guard *g = xcalloc(1, sizeof(*g));
    int sock[2];

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sock)) {
        free(g);
        return xlsnap_fail_errno(err, XLSNAP_FAILED, errno,
                                 "cannot make a socket pair");
    }
    *guard_r = g;
    g->fd = sock[0];
    g->pid = fork();
    if (!g->pid)
        guard_exec(xs, dom, monitor, sock[1], locks);
    close(sock[1]);
    if (g->pid < 0) {
        g->pid = 0;
        return xlsnap_fail_errno(err, XLSNAP_FAILED, errno,
                                 "cannot start the guard process");
    }
    return guard_wait_ready(g, err);
}

static int guard_say(struct guard *g, char word)
{
    return send(g->fd, &word, 1, MSG_NOSIGNAL) == 1 ? 0 : -1;
}

static int guard_arm_for(struct guard *g, char word, struct xlsnap_error *err)
{
    if (guard_say(g, word))
        return xlsnap_fail_errno(err, XLSNAP_FAILED, errno,
                                 "the guard process has died");
    g->armed = true;
    return 0;
}

int guard_arm(struct guard *g, struct xlsnap_error *err)
{
    return guard_arm_for(g, GUARD_ARMED, err);
}

int guard_looking(struct guard *g, struct xlsnap_error *err)
{
    return guard_arm_for(g, GUARD_LOOKING, err);
}

void guard_pausing(struct guard *g)
{
    guard_say(g, GUARD_PAUSING);
}

bool guard_late(struct guard *g)
{
    return g && !guard_say(g, GUARD_LATE);
}

void guard_disarm(struct guard *g)
{
    if (!g)
        return;
    guard_say(g, GUARD_DISARMED);
    g->armed = false;
}

void guard_stop(struct guard *g)
{
    if (!g)
        return;
    if (!g->armed)
        guard_say(g, GUARD_FAREWELL);
    close(g->fd);
    while (!g->armed && g->pid && waitpid(g->pid, NULL, 0) < 0 &&
           errno == EINTR)
        ;
    free(g);
}

void guard_forsake(struct guard *g)
{
    if (g)
        g->armed = true; /* no farewell */
}

#ifdef XLSNAP_FAULTS
void guard_kill(struct guard *g)
{
    if (g)
        kill(g->pid, SIGKILL);
}
#endif

/* ---- the guard's side ---- */

/*
 * The last word when the tool died or went without a farewell; else
 * GUARD_FAREWELL.
 */
static char guard_listen(int fd)
{
    char last = GUARD_READY;
    char word;
    ssize_t n;

    for (;;) {
        n = read(fd, &word, 1);
        if (n < 0 && errno == EINTR)
            continue;
        if (n != 1)
            return last;
        if (word == GUARD_FAREWELL)
            return word;
        last = word;
    }
}

/*
 * Was the guest asked to suspend?  In the pre-copy of a live save it was not:
 * then there is nothing to wait for, and a suspend that comes later is somebody
 * else's.  When in doubt: yes.
 */
static bool guard_requested(const struct domain *dom, struct xs_handle *watch)
{
    cleanup_free char *evtchn =
        domain_xs_read(dom->domid, "device/suspend/event-channel");

    if (!watch || (evtchn && *evtchn))
        return true;
    sleep(1); /* a request may be under way from the dying save helper */
    return domain_count_requests(watch) > 0;
}

/* One try, of so many milliseconds at most; 0 also if there is nothing to do. */
typedef int guard_try_fn(struct xlsnap *xs, struct domain *dom, int left_ms,
                         struct xlsnap_error *err);

static int guard_insist(struct xlsnap *xs, struct domain *dom,
                        guard_try_fn *try_once)
{
    int64_t deadline = now_ms() + DOMAIN_GUARD_MS;
    int64_t left;

    while ((left = deadline - now_ms()) > 0) {
        struct xlsnap_error err = { 0 };
        int rc = try_once(xs, dom, (int)left, &err);

        if (!rc || domain_refresh(xs, dom) == DOMAIN_GONE)
            return 0;
        handle_log(xs, XTL_ERROR, "guard: domain '%s': %s", dom->name, err.msg);
        sleep(1);
    }
    return -1;
}

static int guard_resume(struct xlsnap *xs, struct domain *dom, int left_ms,
                        struct xlsnap_error *err)
{
    return domain_settle(xs, dom, true, left_ms, err);
}

static int guard_resume_unpause(struct xlsnap *xs, struct domain *dom,
                                int left_ms, struct xlsnap_error *err)
{
    int rc;

    /* It was resumed already. */
    if (domain_refresh(xs, dom) == DOMAIN_THERE && dom->info.paused &&
        !domain_is_suspended(dom))
        return domain_unpause(xs, dom->domid, err);
    rc = domain_settle(xs, dom, true, left_ms, err);
    return rc ? rc : domain_unpause(xs, dom->domid, err);
}

/* It was not asked to suspend. */
static int guard_unpause(struct xlsnap *xs, struct domain *dom, int left_ms,
                         struct xlsnap_error *err)
{
    return domain_wake(xs, dom, err);
}

/* The guest may stand still all the same. */
static int guard_resume_unasked(struct xlsnap *xs, struct domain *dom)
{
    struct xlsnap_error err = { 0 };

    if (domain_wait_helper(dom->domid) ||
        domain_refresh(xs, dom) != DOMAIN_THERE ||
        !domain_settle(xs, dom, false, 0, &err))
        return 0;
    handle_log(xs, XTL_ERROR, "guard: domain '%s': %s", dom->name, err.msg);
    return -1;
}

static void guard_monitor(struct xlsnap *xs, struct domain *dom,
                          const char *monitor)
{
    struct xlsnap_error err = { 0 };

    if (domain_refresh(xs, dom) != DOMAIN_GONE &&
        monitor_keep(xs, dom, 0, monitor, &err))
        handle_log(xs, XTL_ERROR, "guard: %s", err.msg);
}

/*
 * It runs, and may suspend yet; but a save that somebody else has begun is theirs.
 * True: it did, and was resumed.
 */
static bool guard_watch_late(struct xlsnap *xs, struct domain *dom)
{
    int64_t deadline = now_ms() + DOMAIN_GUARD_MS;
    struct xlsnap_error err = { 0 };
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);

    /* The command has ended, and who reads what it says must not wait for us. */
    if (null >= 0)
        dup2(null, 2);
    while (now_ms() < deadline && domain_refresh(xs, dom) != DOMAIN_GONE &&
           !domain_save_helper(dom->domid)) {
        if (domain_is_suspended(dom) && !domain_save_helper(dom->domid) &&
            !domain_resume(xs, dom->domid, &err))
            return true;
        usleep(100000);
    }
    return false;
}

/* The tool is gone: what it would have done for the guest.  Its disks first:
 * between a switch and its end their names are wrong. */
static int guard_act(struct xlsnap *xs, struct domain *dom, char last,
                     const char *monitor, struct xs_handle *watch)
{
    bool armed = last == GUARD_ARMED || last == GUARD_PAUSING;
    cleanup_free char *cure = pending_cure(dom->name, false);
    int rc = 0;

    if (last == GUARD_LATE) {
        if (guard_watch_late(xs, dom))
            guard_monitor(xs, dom, monitor);
        return 0;
    }
    handle_log(xs, XTL_WARN,
               "guard: the work on domain '%s' was interrupted; run '%s'",
               dom->name, cure);
    if (last == GUARD_LOOKING) {
        recover_unbegin_revert(xs, dom->uuid, false);
        rc = guard_insist(xs, dom, guard_unpause);
        if (!rc)
            recover_unbegin_revert(xs, dom->uuid, true);
        return rc;
    }
    recover_rescue_domain(xs, dom->uuid);
    if (armed && guard_requested(dom, watch))
        rc = guard_insist(xs, dom,
                          last == GUARD_PAUSING ? guard_resume_unpause
                                                : guard_resume);
    else if (armed) /* libxl does not ask an HVM guest without PV drivers */
        rc = guard_resume_unasked(xs, dom);
    /* What a command has done since that hung, and was given up for the guest's
     * sake. */
    if (armed)
        recover_rescue_domain(xs, dom->uuid);
    if (!rc && (armed || last == GUARD_DISARMED))
        recover_note_settled(xs, dom->uuid);
    /* What ended while it could not suspend was no monitor of it. */
    if (armed || last == GUARD_DISARMED)
        guard_monitor(xs, dom, monitor);
    return rc;
}

int xlsnap_guard_process(struct xlsnap *xs, uint32_t domid, const char *uuid,
                         const char *monitor)
{
    const int ignored[] = { SIGINT, SIGQUIT, SIGTERM, SIGHUP, SIGPIPE };
    struct domain dom;
    struct xs_handle *watch = NULL;
    char ready = GUARD_READY, last;
    int rc = 0;

    for (size_t i = 0; i < ARRAY_SIZE(ignored); i++)
        signal(ignored[i], SIG_IGN);
    /* The locks are ours, but not our children's. */
    close_range(GUARD_FD, ~0U, CLOSE_RANGE_CLOEXEC);
    domain_init(&dom);
    watch = domain_watch_requests(domid);
    if (!domain_find_uuid(xs, uuid, &dom) || dom.domid != domid ||
        send(GUARD_FD, &ready, 1, MSG_NOSIGNAL) != 1) {
        domain_clear(&dom);
        return XLSNAP_FAILED;
    }
    last = guard_listen(GUARD_FD);
    if (last != GUARD_FAREWELL)
        rc = guard_act(xs, &dom, last,
                       strcmp(monitor, NO_MONITOR) ? monitor : NULL, watch);
    if (watch)
        xs_close(watch);
    domain_clear(&dom);
    return rc ? XLSNAP_UNFINISHED : 0;
}
