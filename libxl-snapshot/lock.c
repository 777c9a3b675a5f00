/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Locks: flock on files that stay (to unlink a lock file is to give two runs
 * one lock each).  flock belongs to the open file and not to the process, so
 * a child that inherited the descriptors keeps the lock when we die; for the
 * same reason a lock is released by close and never by LOCK_UN, which would
 * take it from the child too.
 */
#include "lock.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>

#include "file.h"
#include "util.h"

struct lock {
    char *key;
    int fd;
};

struct lock_set {
    int dir_fd;
    char *dir; /* for messages */
    struct lock *locks;
    size_t n;
};

static int lock_compare(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static bool lock_is_held(const struct lock_set *set, const char *key)
{
    size_t i;

    for (i = 0; i < set->n; i++)
        if (!strcmp(set->locks[i].key, key))
            return true;
    return false;
}

/* The pid in a lock file; 0 if it names none that lives: a run that was
 * killed may have left its lock to a child. */
static pid_t lock_holder(int fd)
{
    char text[16] = "";
    long pid;

    if (pread(fd, text, sizeof(text) - 1, 0) <= 0)
        return 0;
    pid = strtol(text, NULL, 10);
    if (pid <= 0 || pid > INT32_MAX)
        return 0;
    return kill(pid, 0) && errno == ESRCH ? 0 : pid;
}

static int lock_fail_busy(int fd, const char *what, struct xlsnap_error *err)
{
    pid_t pid = lock_holder(fd);

    if (pid == 0)
        return xlsnap_fail(err, XLSNAP_BUSY, "another run holds %s", what);
    return xlsnap_fail(err, XLSNAP_BUSY, "another run (pid %d) holds %s", pid,
                       what);
}

static int lock_fail_file(const struct lock_set *set, const char *key,
                          struct xlsnap_error *err)
{
    return xlsnap_fail_errno(err, XLSNAP_FAILED, errno, "cannot lock '%s/%s'",
                             set->dir, key);
}

static int lock_write_pid(int fd)
{
    char text[16];
    int len = snprintf(text, sizeof(text), "%d\n", getpid());

    return ftruncate(fd, 0) || file_pwrite_all(fd, text, len, 0) ? -1 : 0;
}

/* Out of the way of the low numbers that a child gets its own files on. */
static int lock_move_up(int *fd)
{
    int high = fcntl(*fd, F_DUPFD_CLOEXEC, 32);

    if (high < 0)
        return -1;
    close(*fd);
    *fd = high;
    return 0;
}

static int lock_one(struct lock_set *set, const char *key, const char *what,
                    struct xlsnap_error *err)
{
    cleanup_close int fd = -1;
    int r;

    if (*key == '\0' || *key == '.' || strchr(key, '/'))
        return xlsnap_fail(err, XLSNAP_FAILED, "'%s' is no name of a lock",
                           key);
    fd = openat(set->dir_fd, key, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW,
                0600);
    if (fd < 0)
        return lock_fail_file(set, key, err);
    do
        r = flock(fd, LOCK_EX | LOCK_NB);
    while (r && errno == EINTR);
    if (r && errno == EWOULDBLOCK)
        return lock_fail_busy(fd, what, err);
    if (r || lock_write_pid(fd) || lock_move_up(&fd))
        return lock_fail_file(set, key, err);
    set->locks = xrealloc(set->locks, set->n + 1, sizeof(*set->locks));
    set->locks[set->n].key = xstrdup(key);
    set->locks[set->n++].fd = fd;
    fd = -1;
    return 0;
}

static void lock_drop_from(struct lock_set *set, size_t first)
{
    while (set->n > first) {
        set->n--;
        close(set->locks[set->n].fd);
        free(set->locks[set->n].key);
    }
}

int lock_add(struct lock_set *set, const char *const keys[], size_t n_keys,
             const char *what, struct xlsnap_error *err)
{
    cleanup_free const char **sorted = xcalloc(n_keys, sizeof(*sorted));
    size_t i, held = set->n;
    int rc = 0;

    if (n_keys > 0)
        memcpy(sorted, keys, n_keys * sizeof(*sorted));
    qsort(sorted, n_keys, sizeof(*sorted), lock_compare);
    for (i = 0; !rc && i < n_keys; i++)
        if (!lock_is_held(set, sorted[i]))
            rc = lock_one(set, sorted[i], what, err);
    if (rc)
        lock_drop_from(set, held);
    return rc;
}

int lock_take(const char *dir, const char *const keys[], size_t n_keys,
              const char *what, struct lock_set **set_r,
              struct xlsnap_error *err)
{
    struct lock_set *set;
    int dir_fd, rc;

    rc = file_make_dir(dir, NULL, err);
    if (rc)
        return xlsnap_prefix(err, "cannot lock %s", what);
    dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir_fd < 0)
        return xlsnap_fail_errno(err, XLSNAP_FAILED, errno,
                                 "cannot lock %s: cannot open '%s'", what, dir);
    set = xcalloc(1, sizeof(*set));
    set->dir = xstrdup(dir);
    set->dir_fd = dir_fd;
    rc = lock_add(set, keys, n_keys, what, err);
    if (rc)
        lock_release(set);
    else
        *set_r = set;
    return rc;
}

void lock_set_inherit(struct lock_set *set, bool inherit)
{
    size_t i;

    for (i = 0; i < set->n; i++)
        fcntl(set->locks[i].fd, F_SETFD, inherit ? 0 : FD_CLOEXEC);
}

void lock_release(struct lock_set *set)
{
    if (!set)
        return;
    lock_drop_from(set, 0);
    close(set->dir_fd);
    free(set->locks);
    free(set->dir);
    free(set);
}
