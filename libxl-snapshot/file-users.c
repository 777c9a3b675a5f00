/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Which processes have a file open: /proc/PID/fd, see file.h. */
#include "file.h"

#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <sys/sysmacros.h>

#include "run.h"
#include "util.h"

/* By what the kernel knows of it: a server that is asked may never answer, and this is
 * another process's file. */
static bool file_fd_is(const struct file_id *wanted, int dir, const char *fd)
{
    struct statx known;
    struct file_id id;

    if (statx(dir, fd, AT_STATX_DONT_SYNC, STATX_TYPE | STATX_INO, &known))
        return false;
    id = file_id_of(&(struct stat){
        .st_mode = known.stx_mode,
        .st_dev = makedev(known.stx_dev_major, known.stx_dev_minor),
        .st_rdev = makedev(known.stx_rdev_major, known.stx_rdev_minor),
        .st_ino = known.stx_ino });
    return file_id_equal(&id, wanted);
}

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
    int n = 0;

    if (!dir)
        return 0;
    while ((entry = readdir(dir)))
        n += isdigit((unsigned char)entry->d_name[0]) &&
             file_fd_is(id, dirfd(dir), entry->d_name) &&
             (!writing || file_fd_writes(pid, entry->d_name));
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

int file_id_within(const char *path, int timeout_ms, struct file_id *id_r,
                   struct xlsnap_error *err)
{
    const char *argv[] = { "stat", "-Lc", "%d %i %r %f", "--", path, NULL };
    unsigned long long dev, ino, rdev;
    cleanup_free char *out = NULL;
    unsigned int mode;
    int rc = run_output(argv, timeout_ms, &out, err);

    if (!rc && sscanf(out, "%llu %llu %llu %x", &dev, &ino, &rdev, &mode) != 4)
        rc = xlsnap_fail(err, XLSNAP_FAILED, "'stat' gave '%s'", out);
    if (!rc)
        *id_r = file_id_of(&(struct stat){
            .st_mode = mode, .st_dev = dev, .st_rdev = rdev, .st_ino = ino });
    return rc;
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
