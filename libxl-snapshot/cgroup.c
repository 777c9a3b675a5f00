/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Control groups: see cgroup.h. */
#include "cgroup.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include "file.h"
#include "util.h"

#define CGROUP_ROOT "/sys/fs/cgroup"
#define UNIFIED "0::" /* the line of /proc/PID/cgroup that is meant */

char *cgroup_of(pid_t pid)
{
    cleanup_free char *path = xasprintf("/proc/%d/cgroup", (int)pid);
    struct xlsnap_error ignored = { 0 };
    cleanup_free char *text = NULL;
    char *line, *rest;

    if (pid <= 0 || file_read(path, 65536, &text, NULL, &ignored))
        return NULL;
    for (rest = text; (line = strsep(&rest, "\n"));)
        if (!strncmp(line, UNIFIED, strlen(UNIFIED)))
            return xstrdup(line + strlen(UNIFIED));
    return NULL;
}

bool cgroup_has_others(const char *group, pid_t pid)
{
    cleanup_free char *path = xasprintf(CGROUP_ROOT "%s/cgroup.procs", group);
    struct xlsnap_error ignored = { 0 };
    cleanup_free char *text = NULL;
    char *line, *rest;

    if (file_read(path, 16 << 20, &text, NULL, &ignored))
        return true; /* as far as we know */
    for (rest = text; (line = strsep(&rest, "\n"));)
        if (*line && atoi(line) != pid)
            return true;
    return false;
}

int cgroup_enter(const char *group)
{
    cleanup_free char *now = cgroup_of(getpid());
    cleanup_free char *path = xasprintf(CGROUP_ROOT "%s/cgroup.procs", group);
    cleanup_close int fd = -1;
    struct statfs fs;

    if (statfs(CGROUP_ROOT, &fs) || fs.f_type != CGROUP2_SUPER_MAGIC ||
        (now && !strcmp(now, group)))
        return 0;
    if (!strcmp(group, CGROUP_OWN))
        mkdir(CGROUP_ROOT CGROUP_OWN, 0755);
    fd = open(path, O_WRONLY | O_CLOEXEC);
    return fd < 0 ? -1 : file_write_all(fd, "0", 1);
}
