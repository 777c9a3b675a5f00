/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Which process is a domain's monitor: see monitor.h. */
#include "monitor.h"

#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <libgen.h>
#include <sys/stat.h>

#include "cgroup.h"
#include "file.h"
#include "run.h"
#include "util.h"
#include "xl-command.h"

#define LOG_MAX (32 << 20) /* bytes of a log that are searched */

/* Is this the program of the process, and root's? */
static bool monitor_runs(const char *pid, const char *program)
{
    cleanup_free char *link = xasprintf("/proc/%s/exe", pid);
    char exe[4096];
    ssize_t n = readlink(link, exe, sizeof(exe) - 1);
    struct stat st;
    char *end;

    /* proc(5): the owner is its effective user. */
    if (n <= 0 || lstat(link, &st) || st.st_uid)
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

bool monitor_is_ours(pid_t pid)
{
    cleanup_free char *text = xasprintf("%d", (int)pid);

    return monitor_runs(text, "xl-snapshot");
}

/* ---- those that no log knows ---- */

struct process {
    int parent;
    unsigned long long start; /* in clock ticks since the boot */
};

/* False: it has ended. */
static bool process_read(const char *pid, struct process *process)
{
    cleanup_free char *path = xasprintf("/proc/%s/stat", pid);
    struct xlsnap_error ignored = { 0 };
    cleanup_free char *text = NULL;
    char *name_end, state;

    if (file_read(path, 65536, &text, NULL, &ignored))
        return false;
    name_end = strrchr(text, ')'); /* proc(5): starttime is the 22nd */
    return name_end &&
           sscanf(name_end + 1,
                  " %c %d %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s "
                  "%*s %*s %*s %*s %llu",
                  &state, &process->parent, &process->start) == 3 &&
           state != 'Z';
}

/* 0: it has ended. */
static unsigned long long process_start(const char *pid)
{
    struct process process;

    return process_read(pid, &process) ? process.start : 0;
}

/* The log tells whose it is; not that of the domain at hand, then. */
static bool process_is_known(const char *pid)
{
    cleanup_free char *text = monitor_log(pid);

    return text && monitor_log_names(text, pid, "(domid ");
}

/* In the background: it was forked when its domain was there. */
static bool process_has_log(const char *pid)
{
    cleanup_free char *link = xasprintf("/proc/%s/fd/1", pid);
    char log[4096];
    ssize_t n = readlink(link, log, sizeof(log) - 1);

    if (n <= 0)
        return false;
    log[n] = 0;
    return !strncmp(basename(log), "xl-", 3);
}

/* The second in which it was started. */
static time_t process_started(const char *pid)
{
    unsigned long long ticks = process_start(pid);
    struct timespec now, up;

    clock_gettime(CLOCK_REALTIME, &now);
    clock_gettime(CLOCK_BOOTTIME, &up);
    return now.tv_sec - up.tv_sec + (time_t)(ticks / sysconf(_SC_CLK_TCK));
}

/* An xl whose command makes a domain, and no log tells which; of that name, if one
 * is given. */
static bool process_may_monitor(const char *pid, const char *name)
{
    struct xl_command command = { 0 };
    cleanup_free char *creates = NULL;
    bool may = monitor_runs(pid, "xl") &&
               xl_command_makes_domain(pid, &command) && !process_is_known(pid);

    if (may && name) {
        /* One second more: both clocks were cut to seconds. */
        creates = xl_command_creates(pid, &command, process_started(pid) + 1);
        may = creates && !strcmp(creates, name);
    }
    xl_command_clear(&command);
    return may;
}

pid_t monitor_find_name(const char *name, bool *known_r)
{
    cleanup_free char *subject = xasprintf("domain %s (domid ", name);
    pid_t pid = monitor_search(subject);
    DIR *proc = pid ? NULL : opendir("/proc");
    struct dirent *e;

    *known_r = pid;

    while (proc && !pid && (e = readdir(proc)))
        if (isdigit((unsigned char)e->d_name[0]) &&
            process_may_monitor(e->d_name, name))
            pid = (pid_t)strtol(e->d_name, NULL, 10);
    if (proc)
        closedir(proc);
    return pid;
}

char *monitor_find_maybe(const struct domain *dom)
{
    cleanup_free char *qemu = xasprintf("%d", (int)dom->qemu_pid);
    cleanup_free char *self = xasprintf("%d", (int)getpid());
    unsigned long long latest = dom->qemu_pid > 0 ? process_start(qemu) : 0;
    DIR *proc = opendir("/proc");
    struct dirent *e;
    char *maybe = NULL;

    if (!latest) /* no QEMU: at least those that have come since are none */
        latest = process_start(self);
    while (proc && (e = readdir(proc))) {
        unsigned long long start;
        char *more;

        if (!isdigit((unsigned char)e->d_name[0]) ||
            !process_may_monitor(e->d_name, NULL))
            continue;
        start = process_start(e->d_name);
        if (!start || (start > latest && !process_has_log(e->d_name)))
            continue;
        more = xasprintf("%s%s%s:%llu", maybe ? maybe : "", maybe ? "," : "",
                         e->d_name, start);
        free(maybe);
        maybe = more;
    }
    if (proc)
        closedir(proc);
    return maybe;
}

/* The next of "PID:START,..."; NULL: no more. */
static const char *maybe_next(const char *maybe, pid_t *pid,
                              unsigned long long *start)
{
    int n = 0, p;

    if (!maybe || sscanf(maybe, "%d:%llu%n", &p, start, &n) != 2 || !n)
        return NULL;
    *pid = p;
    return maybe + n + (maybe[n] == ',');
}

bool monitor_maybe_ended(const char *maybe)
{
    unsigned long long start;
    pid_t pid;

    while ((maybe = maybe_next(maybe, &pid, &start))) {
        cleanup_free char *text = xasprintf("%d", (int)pid);

        if (process_start(text) != start)
            return true;
    }
    return false;
}

/* ---- units of systemd ---- */

/* Is it the process, or what has started it and waits for its end? */
static bool is_or_started(pid_t main_pid, pid_t pid)
{
    while (pid > 1 && pid != main_pid) {
        cleanup_free char *text = xasprintf("%d", (int)pid);
        struct process process;

        pid = process_read(text, &process) ? process.parent : 0;
    }
    return pid > 1;
}

/* When that process ends the unit stops, and something happens to the domain. */
static bool unit_ends_with(const char *unit, pid_t pid, bool others)
{
    static const char main_pid[] = "MainPID=";
    const char *const argv[] = { "systemctl",
                                 "show",
                                 "-p",
                                 "MainPID,RemainAfterExit,Restart,"
                                 "KillMode,ExecStop,ExecStopPost",
                                 "--",
                                 unit,
                                 NULL };
    struct xlsnap_error ignored = { 0 };
    cleanup_free char *out = NULL;
    bool is = false, remains = false, kills = true, stops = false;
    char *rest, *line;

    if (run_output(argv, RUN_TIMEOUT_MS, &out, &ignored))
        return false; /* no systemd, or no such unit */
    for (rest = out; (line = strsep(&rest, "\n"));) {
        if (!strncmp(line, main_pid, strlen(main_pid)))
            is = is_or_started(atoi(line + strlen(main_pid)), pid);
        remains |= !strcmp(line, "RemainAfterExit=yes");
        kills &=
            strcmp(line, "KillMode=process") && strcmp(line, "KillMode=none");
        stops |= (!strncmp(line, "ExecStop", 8) && !text_ends(line, "=")) ||
                 !strcmp(line, "Restart=always") ||
                 !strcmp(line, "Restart=on-success");
    }
    return is && !remains && (stops || (kills && others));
}

/* Of a `known` monitor; one that is not must be where the domain's QEMU is. */
static char *unit_of(const struct domain *dom, pid_t monitor, bool known)
{
    cleanup_free char *group = cgroup_of(monitor);
    cleanup_free char *qemus = cgroup_of(dom->qemu_pid);
    const char *unit = group ? strrchr(group, '/') : NULL;

    if (!unit || !text_ends(unit, ".service") ||
        (!known && (!qemus || strcmp(group, qemus))))
        return NULL;
    return unit_ends_with(unit + 1, monitor, cgroup_has_others(group, monitor))
               ? xstrdup(unit + 1)
               : NULL;
}

char *monitor_unit(const struct domain *dom, pid_t *monitor_r)
{
    cleanup_free char *all = NULL;
    unsigned long long start;
    const char *maybe;
    char *unit = NULL;

    *monitor_r = monitor_find(dom->domid);
    if (*monitor_r)
        return unit_of(dom, *monitor_r, true);
    maybe = all = monitor_find_maybe(dom);
    while (!unit && (maybe = maybe_next(maybe, monitor_r, &start)))
        unit = unit_of(dom, *monitor_r, false);
    return unit;
}
