/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Finding, keeping and starting a domain's monitor; the process itself is
 * monitor-process.c.
 */
#include "monitor.h"

#include <fcntl.h>
#include <linux/close_range.h>
#include <sys/syscall.h>

#include "cgroup.h"
#include "file.h"
#include "util.h"

#define OLD_EXIT_MS 10000 /* it goes within moments, if it goes at all */
#define READY_TIMEOUT_MS 30000
#define XL_STAYS 420     /* the version of Xen whose xl does */
#define RESTART_MS 15000 /* it waits 2 s between destroy and create */

/* A domain that was renamed keeps its monitor, whose log has the old name.  One
 * that is being torn down is listed still. */
static bool monitor_has_domain(struct xlsnap *xs, pid_t monitor)
{
    int n = 0;
    libxl_dominfo *list = libxl_list_domain(xs->ctx, &n);
    bool has = false;

    for (int i = 0; list && i < n && !has; i++)
        has = !list[i].dying && !list[i].shutdown &&
              monitor_find(list[i].domid) == monitor;
    if (list)
        libxl_dominfo_list_free(list, n);
    return has;
}

int monitor_await_domain(struct xlsnap *xs, const char *uuid, const char *name,
                         bool force, struct domain *dom,
                         struct xlsnap_error *err)
{
    int64_t deadline = now_ms() + RESTART_MS;
    bool found, known;
    pid_t monitor;

    do {
        if (domain_find_uuid_or_name(xs, uuid, name, dom, err))
            return -err->code;
        found = dom->domid != DOMAIN_NONE;
        if (found && !domain_has_ended(xs, dom))
            return 0;
        monitor =
            found ? monitor_find(dom->domid) : monitor_find_name(name, &known);
        if (monitor && !found && monitor_has_domain(xs, monitor))
            monitor = 0;
        if (monitor)
            usleep(100000);
    } while (monitor && now_ms() < deadline);
    if (found || !monitor || (force && !known))
        return 0;
    if (known)
        return xlsnap_fail(err, XLSNAP_REFUSED,
                           "domain '%s' does not run, but its monitor (pid %d) "
                           "does, and may be about to start it",
                           name, (int)monitor);
    return xlsnap_fail(err, XLSNAP_REFUSED,
                       "domain '%s' does not run, but process %d, an 'xl "
                       "create' of its name, does, and may be about to start "
                       "it (wait for that, or end it)",
                       name, (int)monitor);
}

char *monitor_home(const struct domain *dom)
{
    char *home = NULL;

    if (dom->domid == DOMAIN_NONE)
        return NULL;
    if (monitor_find(dom->domid))
        home = cgroup_of(dom->qemu_pid);
    return home ? home : xstrdup(CGROUP_OWN);
}

static void __attribute__((noreturn))
monitor_exec(struct xlsnap *xs, const struct domain *dom, const char *home,
             int fd)
{
    cleanup_free char *domid = xasprintf("%" PRIu32, dom->domid);
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);

    setsid();
    cgroup_enter(home); /* or it stays in ours */
    for (int i = 0; i < 3; i++)
        if (null >= 0)
            dup2(null, i);
    if (fd == MONITOR_FD)
        fcntl(fd, F_SETFD, 0);
    else
        dup2(fd, MONITOR_FD);
    /* It outlives us: no lock or pipe of ours may live on in it. */
    close_range(MONITOR_FD + 1, ~0U, 0);
    if (chdir("/"))
        _exit(127);
    execl(xs->helper, "xl-snapshot", "monitor", dom->name, domid, (char *)NULL);
    _exit(127);
}

int monitor_start(struct xlsnap *xs, const struct domain *dom,
                  struct xlsnap_error *err)
{
    /* For guard, recover and revert, who do not know where its monitor was. */
    cleanup_free char *qemus = dom->home ? NULL : cgroup_of(dom->qemu_pid);
    const char *home = dom->home ? dom->home : qemus;
    cleanup_close int in = -1;
    int fd[2];
    char ready;
    pid_t pid;

    if (pipe2(fd, O_CLOEXEC))
        return xlsnap_fail_errno(err, XLSNAP_FAILED, errno,
                                 "cannot make a pipe");
    in = fd[0];
    pid = fork();
    if (!pid)
        monitor_exec(xs, dom, home ? home : CGROUP_OWN, fd[1]);
    close(fd[1]);
    if (pid < 0 || !file_wait_readable(in, READY_TIMEOUT_MS) ||
        read(in, &ready, 1) != 1)
        return xlsnap_fail(err, XLSNAP_FAILED,
                           "cannot start the monitor of domain '%s'; without "
                           "one a reboot of the guest hangs (see "
                           "/var/log/xen/xl-snapshot-%s.log)",
                           dom->name, dom->name);
    return 0;
}

/* Waits for its end, as long as that. */
static void monitor_wait(pid_t pid, int timeout_ms)
{
    cleanup_close int pidfd = syscall(SYS_pidfd_open, pid, 0);

    if (pidfd >= 0)
        file_wait_readable(pidfd, timeout_ms);
}

/* xl's goes when it has seen its domain suspend; ours, and newer ones, stay. */
static bool monitor_stays(struct xlsnap *xs, pid_t pid)
{
    return handle_xen_version(xs) >= XL_STAYS || monitor_is_ours(pid);
}

static int monitor_keep_known(struct xlsnap *xs, const struct domain *dom,
                              pid_t old, struct xlsnap_error *err)
{
    if (!old)
        old = monitor_find(dom->domid);
    if (old)
        monitor_wait(old, monitor_stays(xs, old) ? 0 : OLD_EXIT_MS);
    /* Not the pid but what it does counts: it may be another's by now. */
    return monitor_find(dom->domid) ? 0 : monitor_start(xs, dom, err);
}

static int monitor_keep_maybe(struct xlsnap *xs, const struct domain *dom,
                              const char *maybe, struct xlsnap_error *err)
{
    int64_t deadline = now_ms() + OLD_EXIT_MS;

    if (handle_xen_version(xs) >= XL_STAYS)
        return 0;
    while (!monitor_maybe_ended(maybe)) {
        if (now_ms() >= deadline)
            return 0;
        usleep(100000);
    }
    if (monitor_find(dom->domid))
        return 0;
    handle_log(xs, XTL_NOTICE,
               "the monitor of domain '%s' was in the foreground, or its log "
               "was cut; it has ended, and another takes its place",
               dom->name);
    return monitor_start(xs, dom, err);
}

int monitor_keep(struct xlsnap *xs, const struct domain *dom, pid_t old,
                 const char *was, struct xlsnap_error *err)
{
    if (!was)
        return 0;
    return strcmp(was, MONITOR_KNOWN) ? monitor_keep_maybe(xs, dom, was, err)
                                      : monitor_keep_known(xs, dom, old, err);
}

int monitor_check_unit(struct xlsnap *xs, const struct domain *dom,
                       bool suspends, struct xlsnap_error *err)
{
    cleanup_free char *unit = NULL;
    pid_t monitor;

    if (suspends && handle_xen_version(xs) >= XL_STAYS)
        return 0;
    unit = monitor_unit(dom, &monitor);
    if (!unit || (suspends && monitor_is_ours(monitor)))
        return 0;
    return xlsnap_fail(err, XLSNAP_REFUSED,
                       "the monitor of domain '%s' (process %d) is the main "
                       "process of %s: it ends when the domain %s, and systemd "
                       "then stops the unit and what is of the domain; the "
                       "unit needs RemainAfterExit=yes ('systemctl edit %s')",
                       dom->name, (int)monitor, unit,
                       suspends ? "suspends" : "is destroyed", unit);
}
