/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Which process is a domain's monitor: see monitor.h. */
#include "monitor.h"

#include <fcntl.h>
#include <libgen.h>
#include <sys/stat.h>

#include "cgroup.h"
#include "file.h"
#include "process.h"
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

/* A monitor whose log names the `subject` last. */
static bool monitor_is_of(const char *pid, void *subject)
{
    cleanup_free char *text = NULL;

    if (!monitor_runs(pid, "xl") && !monitor_runs(pid, "xl-snapshot"))
        return false;
    text = monitor_log(pid);
    return text && monitor_log_names(text, pid, subject);
}

pid_t monitor_find(uint32_t domid)
{
    cleanup_free char *subject = xasprintf("(domid %" PRIu32 ") ", domid);

    return process_find(monitor_is_of, subject);
}

bool monitor_is_ours(pid_t pid)
{
    cleanup_free char *text = xasprintf("%d", (int)pid);

    return monitor_runs(text, "xl-snapshot");
}

/* ---- those that no log knows ---- */

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

/* An xl whose command makes a domain, and no log tells which. */
static bool process_may_monitor(const char *pid, struct xl_command *command)
{
    return monitor_runs(pid, "xl") && xl_command_makes_domain(pid, command) &&
           !process_is_known(pid);
}

static bool process_may_create(const char *pid, void *name)
{
    struct xl_command command = { 0 };
    cleanup_free char *creates = NULL;

    /* One second more: both clocks were cut to seconds. */
    if (process_may_monitor(pid, &command))
        creates = xl_command_creates(pid, &command, process_started(pid) + 1);
    xl_command_clear(&command);
    return creates && !strcmp(creates, name);
}

pid_t monitor_find_name(const char *name, bool *known_r)
{
    cleanup_free char *subject = xasprintf("domain %s (domid ", name);
    pid_t pid = process_find(monitor_is_of, subject);

    *known_r = pid;
    return pid ? pid : process_find(process_may_create, (void *)name);
}

struct maybe {
    char *text;                /* "PID:START,...", of those found so far */
    unsigned long long latest; /* start; later ones have a log, or are none */
};

/* Goes on to the next. */
static bool maybe_add(const char *pid, void *arg)
{
    struct maybe *maybe = arg;
    struct xl_command command = { 0 };
    unsigned long long start =
        process_may_monitor(pid, &command) ? process_start(pid) : 0;
    char *more;

    xl_command_clear(&command);
    if (!start || (start > maybe->latest && !process_has_log(pid)))
        return false;
    more = xasprintf("%s%s%s:%llu", maybe->text ? maybe->text : "",
                     maybe->text ? "," : "", pid, start);
    free(maybe->text);
    maybe->text = more;
    return false;
}

char *monitor_find_maybe(const struct domain *dom)
{
    cleanup_free char *qemu = xasprintf("%d", (int)dom->qemu_pid);
    cleanup_free char *self = xasprintf("%d", (int)getpid());
    struct maybe maybe = { 0 };

    if (dom->qemu_pid > 0)
        maybe.latest = process_start(qemu);
    /* No QEMU: at least those that have come since are none. */
    if (!maybe.latest)
        maybe.latest = process_start(self);
    process_find(maybe_add, &maybe);
    return maybe.text;
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
