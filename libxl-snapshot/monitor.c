/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Finding, keeping and starting a domain's monitor; the process itself is
 * monitor-process.c.
 */
#include "monitor.h"

#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <libgen.h>
#include <linux/close_range.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "cgroup.h"
#include "file.h"
#include "util.h"

#define OLD_EXIT_MS 10000 /* it goes within moments, if it goes at all */
#define READY_TIMEOUT_MS 30000
#define LOG_MAX (32 << 20) /* bytes of a log that are searched */
#define RESTART_MS 15000   /* it waits 2 s between destroy and create */

/* Is this the program of the process? */
static bool monitor_runs(const char *pid, const char *program)
{
    cleanup_free char *link = xasprintf("/proc/%s/exe", pid);
    char exe[4096];
    ssize_t n = readlink(link, exe, sizeof(exe) - 1);
    char *end;

    if (n <= 0)
        return false;
    exe[n] = 0;
    /* After an upgrade the running binary's link says so. */
    end = strstr(exe, " (deleted)");
    if (end)
        *end = 0;
    return !strcmp(basename(exe), program);
}

/* What the process has as standard output, if that is a file; else NULL. */
static char *monitor_log(const char *pid)
{
    cleanup_free char *link = xasprintf("/proc/%s/fd/1", pid);
    cleanup_close int fd = -1;
    struct stat st;
    char *text;
    ssize_t n;

    /* stat first: opening a terminal or a FIFO has side effects. */
    if (stat(link, &st) || !S_ISREG(st.st_mode))
        return NULL;
    fd = open(link, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0)
        return NULL;
    /* The line stands at the start, and again after each restart. */
    text = xcalloc(1, LOG_MAX + 1);
    n = pread(fd, text, LOG_MAX, 0);
    if (n < 0)
        n = 0;
    text[n] = 0;
    return text;
}

/*
 * Does the last line of this pid in the log that says what it waits for
 * contain `subject`, "domain NAME (domid " or "(domid N) "?
 */
static bool monitor_log_names(const char *text, const char *pid,
                              const char *subject)
{
    cleanup_free char *end = xasprintf(" to die [pid %s]", pid);
    const char *last = NULL, *line, *found;

    for (const char *p = text; (p = strstr(p, end)); p++)
        last = p;
    if (!last)
        return false;
    for (line = last; line > text && line[-1] != '\n';)
        line--;
    found = strstr(line, subject);
    return found && found < last + 1;
}

static pid_t monitor_search(const char *subject)
{
    DIR *proc = opendir("/proc");
    struct dirent *e;
    pid_t pid = 0;

    while (proc && !pid && (e = readdir(proc))) {
        cleanup_free char *text = NULL;

        if (!isdigit((unsigned char)e->d_name[0]) ||
            (!monitor_runs(e->d_name, "xl") &&
             !monitor_runs(e->d_name, "xl-snapshot")))
            continue;
        text = monitor_log(e->d_name);
        if (text && monitor_log_names(text, e->d_name, subject))
            pid = (pid_t)strtol(e->d_name, NULL, 10);
    }
    if (proc)
        closedir(proc);
    return pid;
}

pid_t monitor_find(uint32_t domid)
{
    cleanup_free char *subject = xasprintf("(domid %" PRIu32 ") ", domid);

    return monitor_search(subject);
}

pid_t monitor_find_name(const char *name)
{
    cleanup_free char *subject = xasprintf("domain %s (domid ", name);

    return monitor_search(subject);
}

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
                         struct domain *dom, struct xlsnap_error *err)
{
    int64_t deadline = now_ms() + RESTART_MS;
    bool found;
    pid_t monitor;

    do {
        found =
            domain_find_uuid(xs, uuid, dom) || domain_find_name(xs, name, dom);
        if (found && !domain_has_ended(xs, dom))
            return 0;
        monitor = found ? monitor_find(dom->domid) : monitor_find_name(name);
        if (monitor && !found && monitor_has_domain(xs, monitor))
            monitor = 0;
        if (monitor)
            usleep(100000);
    } while (monitor && now_ms() < deadline);
    if (found)
        return 0;
    dom->domid = DOMAIN_NONE;
    return monitor ? xlsnap_fail(err, XLSNAP_REFUSED,
                                 "domain '%s' does not run, but its monitor "
                                 "(pid %d) does, and may be about to start it",
                                 name, (int)monitor)
                   : 0;
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
    cleanup_free char *text = xasprintf("%d", (int)pid);

    return handle_xen_version(xs) >= 420 || monitor_runs(text, "xl-snapshot");
}

int monitor_keep(struct xlsnap *xs, const struct domain *dom, pid_t old,
                 struct xlsnap_error *err)
{
    if (!old)
        old = monitor_find(dom->domid);
    if (old)
        monitor_wait(old, monitor_stays(xs, old) ? 0 : OLD_EXIT_MS);
    /* Not the pid but what it does counts: it may be another's by now. */
    return monitor_find(dom->domid) ? 0 : monitor_start(xs, dom, err);
}
