/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "process.h"

#include <ctype.h>
#include <dirent.h>
#include <grp.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>

#include "file.h"
#include "util.h"

/* More than a process can have been given: six MiB (fs/exec.c of Linux,
 * bprm_stack_limits). */
#define ARGUMENTS_MAX (8 << 20)
/* Ids that nobody gives to users; a pid fits in what comes after it (systemd, Users,
 * Groups, UIDs and GIDs on systemd Systems: unused up to 2147352575). */
#define NOBODYS_ID 0x70000000

pid_t process_find(bool (*is)(const char *pid, void *arg), void *arg)
{
    DIR *proc = opendir("/proc");
    struct dirent *e;
    struct stat st;
    pid_t pid = 0;

    while (proc && !pid && (e = readdir(proc)))
        if (isdigit((unsigned char)e->d_name[0]) &&
            !fstatat(dirfd(proc), e->d_name, &st, 0) &&
            st.st_uid == geteuid() && is(e->d_name, arg))
            pid = (pid_t)strtol(e->d_name, NULL, 10);
    if (proc)
        closedir(proc);
    return pid;
}

char *process_arguments(const char *pid, size_t *len_r)
{
    cleanup_free char *path = xasprintf("/proc/%s/cmdline", pid);
    struct xlsnap_error ignored = { 0 };
    char *arguments = NULL;

    *len_r = 0;
    if (file_read(path, ARGUMENTS_MAX, &arguments, len_r, &ignored))
        return xstrdup("");
    return arguments;
}

const char *process_argument_next(const char *arguments, size_t len,
                                  const char *arg)
{
    arg += strlen(arg) + 1;
    return arg < arguments + len ? arg : NULL;
}

bool process_read(const char *pid, struct process *process)
{
    cleanup_free char *path = xasprintf("/proc/%s/stat", pid);
    struct xlsnap_error ignored = { 0 };
    cleanup_free char *text = NULL;
    char *name_end, state;

    if (file_read(path, 65536, &text, NULL, &ignored))
        return false;
    name_end = strrchr(text, ')'); /* starttime is the 22nd */
    return name_end &&
           sscanf(name_end + 1,
                  " %c %d %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s "
                  "%*s %*s %*s %*s %llu",
                  &state, &process->parent, &process->start) == 3 &&
           state != 'Z';
}

unsigned long long process_start(const char *pid)
{
    struct process process;

    return process_read(pid, &process) ? process.start : 0;
}

time_t process_started(const char *pid)
{
    unsigned long long ticks = process_start(pid);
    struct timespec now, up;

    clock_gettime(CLOCK_REALTIME, &now);
    clock_gettime(CLOCK_BOOTTIME, &up);
    return now.tv_sec - up.tv_sec + (time_t)(ticks / sysconf(_SC_CLK_TCK));
}

bool process_is_killed(const char *pid)
{
    cleanup_free char *path = xasprintf("/proc/%s/status", pid);
    FILE *f = fopen(path, "re");
    unsigned long long pending = 0, mask;
    char line[256];

    while (f && fgets(line, sizeof(line), f))
        if (sscanf(line, "SigPnd: %llx", &mask) == 1 ||
            sscanf(line, "ShdPnd: %llx", &mask) == 1)
            pending |= mask;
    if (f)
        fclose(f);
    return pending & 1ULL << (SIGKILL - 1);
}

int process_drop_privileges(void)
{
    unsigned id = NOBODYS_ID + (unsigned)getpid();

    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
        return -1;
    if (!geteuid() &&
        (setgroups(0, NULL) || setresgid(id, id, id) || setresuid(id, id, id)))
        return -1;
    return prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
}
