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
/* The guest stands still, and nothing moves: longer than libxl waits for a guest, twice
 * 60 s, and than any command or reply is waited for. */
#define STALL_MS 180000
#define END_MS 5000 /* for a process that was killed */
#define RESCUE_MS 150000
#define STANDS_MS \
    (30 * 60 * 1000)      /* how long it is tried to let the guest go on */
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
           int fd, int pulse_fd, struct lock_set *locks)
{
    cleanup_free char *domid = xasprintf("%" PRIu32, dom->domid);
    cleanup_free char *watched = NULL;
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);

    lock_set_inherit(locks, true);
    setsid();
    if (dom->home)
        cgroup_enter(dom->home); /* or it stays in ours */
    if (null >= 0) {
        dup2(null, 0);
        dup2(null, 1);
    }
    pulse_fd = fcntl(pulse_fd, F_DUPFD, GUARD_FD + 1);
    if (fd == GUARD_FD)
        fcntl(fd, F_SETFD, 0);
    else
        dup2(fd, GUARD_FD);
    if (pulse_fd < 0 || chdir("/"))
        _exit(127);
    watched = xasprintf("%d", pulse_fd);
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
    int sock[2], pulse_fd = pulse_share();

    if (pulse_fd < 0) {
        free(g);
        return xlsnap_fail_errno(err, XLSNAP_FAILED, errno,
                                 "cannot share memory with the guard process");
    }
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sock)) {
        free(g);
        return xlsnap_fail_errno(err, XLSNAP_FAILED, errno,
                                 "cannot make a socket pair");
    }
    *guard_r = g;
    g->fd = sock[0];
    g->pid = fork();
    if (!g->pid)
        guard_exec(xs, dom, monitor, sock[1], pulse_fd, locks);
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
    pid_t pid, group; /* of the process, and its process group */
    int pidfd;
    const unsigned *pulse;
};

static bool ward_init(struct ward *w, struct xlsnap *xs, struct domain *dom,
                      int pulse_fd)
{
    w->xs = xs;
    w->dom = dom;
    w->pid = getppid(); /* it waits for us to be ready */
    w->group = getpgid(w->pid);
    w->pidfd = syscall(SYS_pidfd_open, w->pid, 0);
    w->pulse = pulse_watch(pulse_fd);
    return w->pidfd >= 0 && w->group > 0 && w->pulse;
}

static bool guard_sees_it_stand(struct ward *w)
{
    return domain_refresh(w->xs, w->dom) == DOMAIN_THERE &&
           (domain_is_suspended(w->dom) || w->dom->info.paused);
}

static int guard_stall_ms(void)
{
#ifdef XLSNAP_FAULTS
    const char *ms = getenv("XLSNAP_STALL_MS");

    if (ms)
        return atoi(ms);
#endif
    return STALL_MS;
}

/*
 * The last word when the tool died or went without a farewell; else
 * GUARD_FAREWELL.  *stalled: it lives, but the guest stands still, and nothing moves.
 */
static char guard_listen(int fd, struct ward *w, bool *stalled)
{
    unsigned now, seen = pulse_count(w->pulse);
    int64_t moved = now_ms();
    char last = GUARD_READY;
    char word;
    ssize_t n;

    for (;;) {
        bool armed = last == GUARD_ARMED || last == GUARD_PAUSING ||
                     last == GUARD_LOOKING;

        if (!file_wait_readable(fd, 1000)) {
            now = pulse_count(w->pulse);
            *stalled = armed && now == seen &&
                       now_ms() - moved > guard_stall_ms() &&
                       guard_sees_it_stand(w);
            if (*stalled)
                return last;
            if (now != seen || now_ms() - moved > guard_stall_ms())
                moved = now_ms();
            seen = now;
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
        moved = now_ms();
    }
}

/*
 * Whatever it waits for in the kernel, it does no more after that.  A process that does
 * not end then is one that never returns from there.
 */
static void guard_end_tool(struct ward *w, int fd)
{
    int64_t deadline = now_ms() + END_MS;
    char word;

    syscall(SYS_pidfd_send_signal, w->pidfd, SIGKILL, NULL, 0);
    while (now_ms() < deadline && file_wait_readable(fd, END_MS) &&
           read(fd, &word, 1) == 1)
        ;
}

/* libxl's helper of the tool's save ends by itself, unless it waits for a reader that
 * hangs; that of anybody else's save is theirs. */
static void guard_end_helper(const struct ward *w)
{
    pid_t helper = domain_wait_helper(w->dom->domid);
    cleanup_free char *pid = xasprintf("%d", (int)helper);
    cleanup_close int fd = helper ? syscall(SYS_pidfd_open, helper, 0) : -1;
    struct process p;

    if (fd >= 0 && process_read(pid, &p) &&
        (p.parent == w->pid || getpgid(helper) == w->group) &&
        domain_save_helper(w->dom->domid) == helper)
        syscall(SYS_pidfd_send_signal, fd, SIGKILL, NULL, 0);
}

/*
 * What the disks need.  By another process, since the guest does not wait longer than
 * that for storage that does not answer; and with libxl's connections of its own.
 */
static void guard_rescue(struct xlsnap *xs, const char *uuid)
{
    const struct xlsnap_settings same = { .logger = xs->logger,
                                          .helper = xs->helper,
                                          .cancel_fd = -1,
                                          .snapshot_dir = xs->snapshot_dir,
                                          .state_dir = xs->state_dir,
                                          .run_dir = xs->run_dir };
    struct xlsnap_error err = { 0 };
    struct xlsnap *own;
    pid_t pid = fork();
    cleanup_close int pidfd = -1;

    if (pid < 0) {
        recover_rescue_domain(xs, uuid);
    } else if (!pid) {
        if (xlsnap_open(&same, &own, &err))
            handle_log(xs, XTL_ERROR, "guard: %s", err.msg);
        else
            recover_rescue_domain(own, uuid);
        _exit(0);
    } else {
        pidfd = syscall(SYS_pidfd_open, pid, 0);
        if (pidfd < 0 || file_wait_readable(pidfd, RESCUE_MS)) {
            waitpid(pid, NULL, 0);
            return;
        }
        kill(pid, SIGKILL);
        handle_log(xs, XTL_ERROR,
                   "guard: the disks of the domain were not put right within "
                   "%d s",
                   RESCUE_MS / 1000);
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

/* The guest may stand still all the same; but not for a save of somebody else. */
static int guard_resume_unasked(struct xlsnap *xs, struct domain *dom,
                                int left_ms, struct xlsnap_error *err)
{
    if (domain_wait_helper(dom->domid))
        return 0;
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

static void guard_tell(struct xlsnap *xs, const struct domain *dom)
{
    cleanup_free char *cure = pending_cure(dom->name, false);

    handle_log(xs, XTL_WARN,
               "guard: the work on domain '%s' was interrupted; run '%s'",
               dom->name, cure);
}

/* The tool is gone: what it would have done for the guest.  Its disks first:
 * between a switch and its end their names are wrong. */
static int guard_act(const struct ward *w, char last, const char *monitor,
                     struct xs_handle *watch)
{
    struct xlsnap *xs = w->xs;
    struct domain *dom = w->dom;
    bool armed = last == GUARD_ARMED || last == GUARD_PAUSING, unasked;
    int rc = 0;

    if (last == GUARD_LATE) {
        if (guard_watch_late(xs, dom))
            guard_monitor(xs, dom, monitor);
        return 0;
    }
    if (last == GUARD_LOOKING) {
        recover_unbegin_revert(xs, dom->uuid, false);
        rc = guard_insist(xs, dom, guard_unpause);
        if (!rc)
            recover_unbegin_revert(xs, dom->uuid, true);
        guard_tell(xs, dom);
        return rc;
    }
    guard_rescue(xs, dom->uuid);
    unasked = armed && !guard_requested(dom, watch);
    if (armed && !unasked)
        rc = guard_insist(xs, dom,
                          last == GUARD_PAUSING ? guard_resume_unpause
                                                : guard_resume);
    if (armed)
        guard_end_helper(w);
    if (unasked) /* libxl does not ask an HVM guest without PV drivers */
        rc = guard_insist(xs, dom, guard_resume_unasked);
    /* Whoever reads it may be what hangs. */
    guard_tell(xs, dom);
    /* What a command has done since that hung, and was given up for the guest's
     * sake. */
    if (armed)
        guard_rescue(xs, dom->uuid);
    if (!rc && (armed || last == GUARD_DISARMED))
        recover_note_settled(xs, dom->uuid);
    /* What ended while it could not suspend was no monitor of it. */
    if (armed || last == GUARD_DISARMED)
        guard_monitor(xs, dom, monitor);
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
    if (!ward_init(&ward, xs, &dom, pulse_fd) ||
        !domain_find_uuid(xs, uuid, &dom) || dom.domid != domid ||
        send(GUARD_FD, &ready, 1, MSG_NOSIGNAL) != 1) {
        domain_clear(&dom);
        return XLSNAP_FAILED;
    }
    last = guard_listen(GUARD_FD, &ward, &stalled);
    if (stalled)
        guard_end_tool(&ward, GUARD_FD);
    if (last != GUARD_FAREWELL)
        rc = guard_act(&ward, last,
                       strcmp(monitor, NO_MONITOR) ? monitor : NULL, watch);
    if (stalled)
        handle_log(xs, XTL_ERROR,
                   "guard: domain '%s' stood still for %d s in which nothing "
                   "moved (storage that does not answer?), and so the command "
                   "was ended",
                   dom.name, guard_stall_ms() / 1000);
    if (watch)
        xs_close(watch);
    domain_clear(&dom);
    return rc ? XLSNAP_UNFINISHED : 0;
}
