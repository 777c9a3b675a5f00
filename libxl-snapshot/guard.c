/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The guard process, both sides of it: see guard.h. */
#include "guard.h"

#include <fcntl.h>
#include <linux/close_range.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <xenstore.h>

#include "cgroup.h"
#include "file.h"
#include "monitor.h"
#include "pending.h"
#include "process.h"
#include "pulse.h"
#include "recover.h"
#include "util.h"

#define READY_TIMEOUT_MS 30000
/* The guest stands still, and nothing moves: libxl waits for a guest for twice 60 s, and
 * no command or reply is waited for without a pulse for as long. */
#define STALL_S 180
#define END_MS 5000       /* for a process that was killed */
#define RESCUE_S 120      /* without a pulse */
#define STANDS_MS 1800000 /* so long it is tried to let the guest go on */
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
    cleanup_free char *watched = NULL;
    int pulse_fd;
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);

    lock_set_inherit(locks, true);
    setsid();
    if (dom->home)
        cgroup_enter(dom->home); /* or it stays in ours */
    if (null >= 0) {
        dup2(null, 0);
        dup2(null, 1);
    }
    pulse_fd = fcntl(pulse_share(), F_DUPFD, GUARD_FD + 1);
    if (fd == GUARD_FD)
        fcntl(fd, F_SETFD, 0);
    else
        dup2(fd, GUARD_FD);
    if (chdir("/"))
        _exit(127);
    /* Without it all is as before, but that one who hangs is not ended. */
    watched = xasprintf("%d", pulse_fd < 0 ? 0 : pulse_fd);
    execl(xs->helper, "xl-snapshot", "guard", dom->name, domid, dom->uuid,
          monitor ? monitor : NO_MONITOR, watched, (char *)NULL);
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
    pulse_share(); /* before the fork: it is ours that counts */
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

/* The tool, as long as it lives. */
struct ward {
    struct xlsnap *xs;
    struct domain *dom;
    pid_t pid, group;      /* of the process, and its process group */
    int pidfd;             /* -1: not known, and it is not ended */
    const unsigned *pulse; /* or NULL: so, too */
};

static void ward_init(struct ward *w, struct xlsnap *xs, struct domain *dom,
                      int pulse_fd)
{
    w->xs = xs;
    w->dom = dom;
    w->pid = getppid(); /* it waits for us to be ready */
    w->group = getpgid(w->pid);
    w->pidfd = syscall(SYS_pidfd_open, w->pid, 0);
    w->pulse = pulse_watch(pulse_fd);
}

static bool guard_sees_it_stand(struct ward *w)
{
    return domain_refresh(w->xs, w->dom) == DOMAIN_THERE &&
           (domain_is_suspended(w->dom) || w->dom->info.paused);
}

static int guard_stall_s(void)
{
#ifdef XLSNAP_FAULTS
    const char *s = getenv("XLSNAP_STALL_S");

    if (s)
        return atoi(s);
#endif
    return STALL_S;
}

/* Seconds in which the guest stood still and nothing moved, counted and not measured:
 * the host may have stood still as well. */
struct stall {
    unsigned seen;
    int seconds;
};

static void stall_second(struct stall *stall, struct ward *w, bool armed)
{
    unsigned now = pulse_count(w->pulse);

    if (armed && now == stall->seen && guard_sees_it_stand(w))
        stall->seconds++;
    else
        stall->seconds = 0;
    stall->seen = now;
}

/*
 * The last word when the tool died or went without a farewell, or has *stalled: it
 * lives, but the guest stands still, and nothing moves; else GUARD_FAREWELL.
 */
static char guard_listen(int fd, struct ward *w, bool *stalled)
{
    bool watched = w->pulse && w->pidfd >= 0, armed;
    struct stall stall = { 0 };
    char last = GUARD_READY;
    char word;
    ssize_t n;

    for (;;) {
        armed = last == GUARD_ARMED || last == GUARD_PAUSING ||
                last == GUARD_LOOKING;
        if (watched && !file_wait_readable(fd, 1000)) {
            stall_second(&stall, w, armed);
            *stalled = stall.seconds >= guard_stall_s();
            if (*stalled)
                return last;
            continue;
        }
        n = read(fd, &word, 1);
        if (n < 0 && errno == EINTR)
            continue;
        if (n != 1)
            return last;
        if (word == GUARD_FAREWELL)
            return word;
        last = word;
        stall.seconds = 0;
    }
}

/*
 * Whatever it waits for in the kernel, it does no more after that.  A process that does
 * not end then is one that never returns from there.  It may have gone on just before:
 * its last word.
 */
static char guard_end_tool(struct ward *w, int fd, char last)
{
    int64_t deadline = now_ms() + END_MS;
    char word;

    syscall(SYS_pidfd_send_signal, w->pidfd, SIGKILL, NULL, 0);
    while (now_ms() < deadline && file_wait_readable(fd, END_MS) &&
           read(fd, &word, 1) == 1)
        last = word;
    return last;
}

/* libxl's helper of the tool's save ends by itself, unless it waits for a reader that
 * hangs; or it is that of a tool before.  True: there is one of somebody else's save. */
static bool guard_end_helper(const struct ward *w)
{
    pid_t helper = domain_wait_helper(w->dom->domid);
    cleanup_free char *pid = xasprintf("%d", (int)helper);
    cleanup_close int fd = helper ? syscall(SYS_pidfd_open, helper, 0) : -1;
    struct process p;

    if (fd >= 0 && process_read(pid, &p) &&
        (p.parent == w->pid || p.parent == 1 || getpgid(helper) == w->group) &&
        domain_save_helper(w->dom->domid) == helper)
        return syscall(SYS_pidfd_send_signal, fd, SIGKILL, NULL, 0) ||
               !file_wait_readable(fd, END_MS);
    return helper != 0;
}

typedef void guard_work_fn(struct xlsnap *xs, const char *uuid);

/*
 * What looks at storage while the guest stands still: by another process, which is
 * waited for as long as it does something; with libxl's connections of its own.
 */
static void guard_within(struct xlsnap *xs, const char *uuid,
                         guard_work_fn *work)
{
    const struct xlsnap_settings same = { .logger = xs->logger,
                                          .helper = xs->helper,
                                          .cancel_fd = -1,
                                          .snapshot_dir = xs->snapshot_dir,
                                          .state_dir = xs->state_dir,
                                          .run_dir = xs->run_dir };
    int shared = pulse_share();
    const unsigned *pulses = pulse_watch(shared);
    struct xlsnap_error err = { 0 };
    cleanup_close int pidfd = -1;
    unsigned now, seen = 0;
    struct xlsnap *own;
    pid_t pid = pulses ? fork() : -1;

    if (pid < 0) {
        work(xs, uuid);
        return;
    }
    if (!pid) {
        if (xlsnap_open(&same, &own, &err))
            handle_log(xs, XTL_ERROR, "guard: %s", err.msg);
        else
            work(own, uuid);
        _exit(0);
    }
    pidfd = syscall(SYS_pidfd_open, pid, 0);
    for (int quiet = 0; pidfd >= 0 && !file_wait_readable(pidfd, 1000);
         seen = now) {
        now = pulse_count(pulses);
        quiet = now == seen ? quiet + 1 : 0;
        if (quiet < RESCUE_S)
            continue;
        kill(pid, SIGKILL);
        handle_log(xs, XTL_ERROR,
                   "guard: what the disks need is not waited for any longer");
        return;
    }
    waitpid(pid, NULL, 0);
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

static guard_try_fn guard_resume;

/* The command has ended, and who reads what it says must not wait for us. */
static void guard_fall_silent(void)
{
    cleanup_close int null = open("/dev/null", O_RDWR | O_CLOEXEC);

    if (null >= 0)
        dup2(null, 2);
}

/* It stands still, as we see, and so for us alone; its QEMU may answer again when the
 * storage does. */
static bool guard_may_yet(const struct domain *dom, guard_try_fn *try_once)
{
    return (domain_is_suspended(dom) ||
            (dom->info.paused && try_once != guard_resume)) &&
           (dom->qemu_pid <= 0 || !kill(dom->qemu_pid, 0));
}

static int guard_insist(struct xlsnap *xs, struct domain *dom,
                        guard_try_fn *try_once)
{
    int64_t begun = now_ms();

    for (;;) {
        int64_t left = begun + DOMAIN_GUARD_MS - now_ms();
        struct xlsnap_error err = { 0 };
        int rc = try_once(xs, dom, left > 0 ? (int)left : 0, &err);

        if (!rc || domain_refresh(xs, dom) == DOMAIN_GONE)
            return 0;
        if (left <= 0 &&
            (!guard_may_yet(dom, try_once) || now_ms() - begun > STANDS_MS))
            return -1;
        handle_log(xs, XTL_ERROR, "guard: domain '%s': %s", dom->name, err.msg);
        if (left <= 0)
            guard_fall_silent();
        sleep(left > 0 ? 1 : 10);
    }
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

/* It may stand still all the same. */
static int guard_resume_unasked(struct xlsnap *xs, struct domain *dom,
                                int left_ms, struct xlsnap_error *err)
{
    return domain_settle(xs, dom, false, 0, err);
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

    guard_fall_silent();
    while (now_ms() < deadline && domain_refresh(xs, dom) != DOMAIN_GONE &&
           !domain_save_helper(dom->domid)) {
        if (domain_is_suspended(dom) && !domain_save_helper(dom->domid) &&
            !domain_resume(xs, dom->domid, &err))
            return true;
        usleep(100000);
    }
    return false;
}

static void guard_tell(struct xlsnap *xs, const struct domain *dom,
                       bool stalled)
{
    cleanup_free char *cure = pending_cure(dom->name, false);

    if (stalled)
        handle_log(xs, XTL_ERROR,
                   "guard: domain '%s' stood still for %d s in which nothing "
                   "moved (storage that does not answer?), and so the command "
                   "was ended",
                   dom->name, guard_stall_s());
    handle_log(xs, XTL_WARN,
               "guard: the work on domain '%s' was interrupted; run '%s'",
               dom->name, cure);
}

static void unbegin_asleep(struct xlsnap *xs, const char *uuid)
{
    recover_unbegin_revert(xs, uuid, false);
}

/* The tool is gone: what it would have done for the guest.  Its disks first:
 * between a switch and its end their names are wrong.  Whoever reads what is said may
 * be what hangs: it is said when the guest runs. */
static int guard_act(const struct ward *w, char last, bool stalled,
                     const char *monitor, struct xs_handle *watch)
{
    struct xlsnap *xs = w->xs;
    struct domain *dom = w->dom;
    bool armed = last == GUARD_ARMED || last == GUARD_PAUSING;
    bool unasked = false, theirs = false;
    int rc = 0;

    if (last == GUARD_LATE) {
        if (guard_watch_late(xs, dom))
            guard_monitor(xs, dom, monitor);
        return 0;
    }
    if (last == GUARD_LOOKING) {
        guard_within(xs, dom->uuid, unbegin_asleep);
        rc = guard_insist(xs, dom, guard_unpause);
        guard_tell(xs, dom, stalled);
        if (!rc)
            recover_unbegin_revert(xs, dom->uuid, true);
        return rc;
    }
    if (armed) {
        guard_within(xs, dom->uuid, recover_rescue_domain);
        unasked = !guard_requested(dom, watch);
        if (!unasked)
            rc = guard_insist(xs, dom,
                              last == GUARD_PAUSING ? guard_resume_unpause
                                                    : guard_resume);
        theirs = guard_end_helper(w) && unasked;
        /* libxl does not ask an HVM guest without PV drivers. */
        if (unasked && !theirs)
            rc = guard_insist(xs, dom, guard_resume_unasked);
    }
    guard_tell(xs, dom, stalled);
    /* What ended while it could not suspend was no monitor of it. */
    if (armed || last == GUARD_DISARMED)
        guard_monitor(xs, dom, monitor);
    if (stalled)
        guard_fall_silent();
    /* Also what a command has done since that hung, and was given up for the guest's
     * sake. */
    recover_rescue_domain(xs, dom->uuid);
    if (!rc && !theirs && (armed || last == GUARD_DISARMED))
        recover_note_settled(xs, dom->uuid);
    return rc;
}

int xlsnap_guard_process(struct xlsnap *xs, uint32_t domid, const char *uuid,
                         const char *monitor, int pulse_fd)
{
    const int ignored[] = { SIGINT, SIGQUIT, SIGTERM, SIGHUP, SIGPIPE };
    struct domain dom;
    struct xs_handle *watch = NULL;
    char ready = GUARD_READY, last;
    bool stalled = false;
    struct ward ward;
    int rc = 0;

    for (size_t i = 0; i < ARRAY_SIZE(ignored); i++)
        signal(ignored[i], SIG_IGN);
    /* The locks are ours, but not our children's. */
    close_range(GUARD_FD, ~0U, CLOSE_RANGE_CLOEXEC);
    domain_init(&dom);
    watch = domain_watch_requests(domid);
    ward_init(&ward, xs, &dom, pulse_fd);
    if (!domain_find_uuid(xs, uuid, &dom) || dom.domid != domid ||
        send(GUARD_FD, &ready, 1, MSG_NOSIGNAL) != 1) {
        domain_clear(&dom);
        return XLSNAP_FAILED;
    }
    last = guard_listen(GUARD_FD, &ward, &stalled);
    if (stalled)
        last = guard_end_tool(&ward, GUARD_FD, last);
    if (last != GUARD_FAREWELL)
        rc = guard_act(&ward, last, stalled,
                       strcmp(monitor, NO_MONITOR) ? monitor : NULL, watch);
    if (watch)
        xs_close(watch);
    domain_clear(&dom);
    return rc ? XLSNAP_UNFINISHED : 0;
}
