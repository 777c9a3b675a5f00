/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Which processes have a file open: /proc/PID/fd, see file.h. */
#include "file.h"

#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>

#include "util.h"

/* How a descriptor was opened: the octal flags in /proc/PID/fdinfo/FD. */
static bool file_fd_writes(const char *pid, const char *fd)
{
    cleanup_free char *path = xasprintf("/proc/%s/fdinfo/%s", pid, fd);
    cleanup_close int info = open(path, O_RDONLY | O_CLOEXEC);
    char text[512], *flags;
    ssize_t n = info < 0 ? -1 : read(info, text, sizeof(text) - 1);

    text[n > 0 ? n : 0] = 0;
    flags = strstr(text, "flags:");
    return flags && (strtoul(flags + 6, NULL, 8) & O_ACCMODE) != O_RDONLY;
}

/* So many descriptors of the process are this file (for writing); none, if it is
 * gone or not ours to ask. */
static int file_count_fds(const struct file_id *id, const char *pid,
                          bool writing)
{
    cleanup_free char *path = xasprintf("/proc/%s/fd", pid);
    DIR *dir = opendir(path);
    struct dirent *entry;
    struct file_id other;
    struct stat st;
    int n = 0;

    if (!dir)
        return 0;
    while ((entry = readdir(dir))) {
        if (!isdigit((unsigned char)entry->d_name[0]) ||
            fstatat(dirfd(dir), entry->d_name, &st, 0))
            continue;
        other = file_id_of(&st);
        n += file_id_equal(id, &other) &&
             (!writing || file_fd_writes(pid, entry->d_name));
    }
    closedir(dir);
    return n;
}

static int file_count_users(const struct file_id *id, pid_t except,
                            bool writing, pid_t *pid_r)
{
    DIR *proc = opendir("/proc");
    struct dirent *entry;
    int n = 0;
    pid_t pid;

    if (!proc)
        return -1;
    while ((entry = readdir(proc))) {
        pid =
            isdigit((unsigned char)entry->d_name[0]) ? atoi(entry->d_name) : 0;
        if (pid == 0 || pid == except ||
            file_count_fds(id, entry->d_name, writing) == 0)
            continue;
        if (n++ == 0 && pid_r)
            *pid_r = pid;
    }
    closedir(proc);
    return n;
}

int file_users(const struct file_id *id, pid_t except, pid_t *pid_r)
{
    return file_count_users(id, except, false, pid_r);
}

int file_writers(const struct file_id *id, pid_t except, pid_t *pid_r)
{
    return file_count_users(id, except, true, pid_r);
}

int file_opened_in(const struct file_id *id, pid_t pid)
{
    char text[16];

    snprintf(text, sizeof(text), "%d", (int)pid);
    return file_count_fds(id, text, false);
}

bool file_is_open_in(const struct file_id *id, pid_t pid)
{
    return file_opened_in(id, pid) > 0;
}
