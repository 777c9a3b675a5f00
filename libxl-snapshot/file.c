/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Files and directories.  "Durable" is: the data by fsync, the name by fsync
 * of the directory that holds it, in this order.  What fails leaves nothing
 * of ours behind.
 *
 * No function trusts a name twice: what is opened is judged by fstat, a target
 * that must be absent is proved so by the rename itself.
 */
#include "file.h"

#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

#include "util.h"

#define TEMP_NAME ".xl-snapshot.XXXXXX" /* fits beside the longest name */

struct file_id file_id_of(const struct stat *st)
{
    if (S_ISBLK(st->st_mode))
        return (struct file_id){ .ino = st->st_rdev, .block = true };
    return (struct file_id){ .dev = st->st_dev, .ino = st->st_ino };
}

int file_id(const char *path, struct file_id *id_r, struct xlsnap_error *err)
{
    struct stat st;

    if (stat(path, &st))
        return xlsnap_fail_errno(err, XLSNAP_FAILED, errno,
                                 "cannot examine '%s'", path);
    *id_r = file_id_of(&st);
    return 0;
}

static int64_t sectors_written(dev_t rdev)
{
    cleanup_free char *path =
        xasprintf("/sys/dev/block/%u:%u/stat", major(rdev), minor(rdev));
    FILE *f = fopen(path, "re");
    long long sectors = 0;

    if (f && fscanf(f, "%*s %*s %*s %*s %*s %*s %lld", &sectors) != 1)
        sectors = 0;
    if (f)
        fclose(f);
    return sectors;
}

struct file_stamp file_stamp(const char *path)
{
    struct file_stamp stamp = { 0 };
    struct stat st;

    if (stat(path, &st))
        return stamp;
    if (S_ISBLK(st.st_mode)) {
        stamp.ino = st.st_rdev;
        stamp.written = sectors_written(st.st_rdev);
    } else {
        stamp.ino = st.st_ino;
        stamp.written =
            st.st_mtim.tv_sec * INT64_C(1000000000) + st.st_mtim.tv_nsec;
    }
    return stamp;
}

bool file_was_written(const char *path, const struct file_stamp *then,
                      bool same_boot)
{
    struct file_stamp now = file_stamp(path);
    struct file_id id;
    struct xlsnap_error ignored = { 0 };

    if (!then->ino || !now.ino || file_id(path, &id, &ignored))
        return false;
    if (id.block &&
        (!same_boot || now.ino != then->ino || now.written < then->written))
        return now.written;
    /* A crash of the host may have set its time back to what was on disk. */
    return now.ino != then->ino || now.written > then->written ||
           (same_boot && now.written < then->written);
}

bool file_id_equal(const struct file_id *a, const struct file_id *b)
{
    return a->dev == b->dev && a->ino == b->ino && a->block == b->block;
}

/* All of a file of unknown length (it may grow, in /proc it says 0), but at
 * most `max` + 1 bytes.  -1 with errno. */
static ssize_t file_slurp(int fd, size_t guess, size_t max, char **data_r)
{
    size_t size = (guess < max ? guess : max) + 512, len = 0;
    cleanup_free char *data = xcalloc(size + 1, 1);
    ssize_t n;

    while ((n = read(fd, data + len, size - len))) {
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -1;
        len += n;
        if (len > max)
            break;
        if (len == size) {
            size *= 2;
            data = xrealloc(data, size + 1, 1);
        }
    }
    data[len] = '\0';
    *data_r = data;
    data = NULL;
    return len;
}

int file_read(const char *path, size_t max, char **data_r, size_t *len_r,
              struct xlsnap_error *err)
{
    /* O_NONBLOCK: a FIFO must not hold us. */
    cleanup_close int fd =
        open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    cleanup_free char *data = NULL;
    struct stat st;
    ssize_t len;

    if (fd < 0 || fstat(fd, &st))
        return xlsnap_fail_errno(err, XLSNAP_FAILED, errno, "cannot read '%s'",
                                 path);
    if (!S_ISREG(st.st_mode))
        return xlsnap_fail(
            err, XLSNAP_FAILED, "cannot read '%s': it is %s", path,
            S_ISDIR(st.st_mode) ? "a directory" : "not a regular file");
    len = file_slurp(fd, st.st_size, max, &data);
    if (len < 0)
        return xlsnap_fail_errno(err, XLSNAP_FAILED, errno, "cannot read '%s'",
                                 path);
    if ((size_t)len > max)
        return xlsnap_fail(err, XLSNAP_FAILED,
                           "cannot read '%s': it is larger than %zu bytes",
                           path, max);
    *data_r = data;
    data = NULL;
    if (len_r)
        *len_r = len;
    return 0;
}

/* Is what write(2) returned an error that ends the loop? */
static bool file_write_failed(ssize_t n)
{
    if (n == 0) /* impossible for a regular file, but would loop for ever */
        errno = EIO;
    return n == 0 || (n < 0 && errno != EINTR);
}

int file_write_all(int fd, const void *data, size_t len)
{
    const char *p = data;
    size_t done = 0;
    ssize_t n;

    while (done < len) {
        n = write(fd, p + done, len - done);
        if (file_write_failed(n))
            return -1;
        done += n > 0 ? n : 0;
    }
    return 0;
}

int file_pwrite_all(int fd, const void *data, size_t len, off_t at)
{
    const char *p = data;
    size_t done = 0;
    ssize_t n;

    while (done < len) {
        n = pwrite(fd, p + done, len - done, at + done);
        if (file_write_failed(n))
            return -1;
        done += n > 0 ? n : 0;
    }
    return 0;
}

char *file_dir_of(const char *path)
{
    const char *slash = strrchr(path, '/');

    if (!slash)
        return xstrdup(".");
    if (slash == path)
        return xstrdup("/");
    return xasprintf("%.*s", (int)(slash - path), path);
}

bool file_same_dir(const char *a, const char *b)
{
    cleanup_free char *dir_a = file_dir_of(a), *dir_b = file_dir_of(b);
    struct xlsnap_error ignored = { 0 };
    struct file_id id_a, id_b;

    return !file_id(dir_a, &id_a, &ignored) &&
           !file_id(dir_b, &id_b, &ignored) && file_id_equal(&id_a, &id_b);
}

bool file_same_mount(const char *a, const char *b)
{
    struct statx x = { 0 }, y = { 0 };

    if (statx(AT_FDCWD, a, 0, STATX_MNT_ID, &x) ||
        statx(AT_FDCWD, b, 0, STATX_MNT_ID, &y) ||
        !(x.stx_mask & y.stx_mask & STATX_MNT_ID))
        return true;
    return x.stx_mnt_id == y.stx_mnt_id;
}

int file_fsync_dir_of(const char *path, struct xlsnap_error *err)
{
    cleanup_free char *dir = file_dir_of(path);
    cleanup_close int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    /* EINVAL: a file system that cannot sync directories, nor needs to. */
    if (fd < 0 || (fsync(fd) && errno != EINVAL))
        return xlsnap_fail_errno(err, XLSNAP_FAILED, errno,
                                 "cannot sync directory '%s'", dir);
    return 0;
}

/* rename(2) that does not replace.  Where the file system cannot: link(2),
 * which does not either. */
int file_rename_noreplace(const char *from, const char *to)
{
    int errnum;

    if (!renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE))
        return 0;
    if (errno != EINVAL && errno != ENOSYS)
        return -1;
    if (link(from, to))
        return -1;
    if (!unlink(from))
        return 0;
    errnum = errno;
    unlink(to);
    errno = errnum;
    return -1;
}

/* Makes the temporary file (`temp` as for mkstemp) hold the data. */
static int file_write_temp(char *temp, const void *data, size_t len)
{
    int fd = mkostemp(temp, O_CLOEXEC);
    int errnum = 0;

    if (fd < 0)
        return -1;
    if (fchmod(fd, 0600) || file_write_all(fd, data, len) || fsync(fd))
        errnum = errno;
    if (close(fd) && !errnum)
        errnum = errno;
    if (!errnum)
        return 0;
    unlink(temp);
    errno = errnum;
    return -1;
}

int file_write_durable(const char *path, const void *data, size_t len,
                       bool replace, struct xlsnap_error *err)
{
    cleanup_free char *dir = file_dir_of(path);
    cleanup_free char *temp = xasprintf("%s/" TEMP_NAME, dir);
    int errnum;

    if (file_write_temp(temp, data, len))
        return xlsnap_fail_errno(err, XLSNAP_FAILED, errno, "cannot write '%s'",
                                 path);
    if (replace ? rename(temp, path) : file_rename_noreplace(temp, path)) {
        errnum = errno;
        unlink(temp);
        return xlsnap_fail_errno(err, XLSNAP_FAILED, errnum,
                                 "cannot write '%s'", path);
    }
    return file_fsync_dir_of(path, err);
}

#define ACL_XATTR "system.posix_acl_access"

/* An ACL that a new file has got from its directory. */
static int file_drop_acl(int to)
{
    if (!fremovexattr(to, ACL_XATTR) || errno == ENODATA || errno == ENOTSUP)
        return 0;
    return -1;
}

/* Not what gives a program powers, or is true of that very file only. */
static bool file_xattr_goes_along(const char *name)
{
    return !strcmp(name, "security.selinux") || !strcmp(name, ACL_XATTR) ||
           !strncmp(name, "user.", 5);
}

static int file_copy_xattrs(int from, int to)
{
    char names[65536], value[65536];
    ssize_t len = flistxattr(from, names, sizeof(names)), n;

    if (len < 0)
        return errno == ENOTSUP ? 0 : -1;
    for (char *name = names; name < names + len; name += strlen(name) + 1) {
        if (!file_xattr_goes_along(name))
            continue;
        n = fgetxattr(from, name, value, sizeof(value));
        if (n < 0 || (fsetxattr(to, name, value, n, 0) && errno != ENOTSUP))
            return -1;
    }
    return 0;
}

int file_copy_attributes(const char *from, int to, const char *to_name,
                         struct xlsnap_error *err)
{
    cleanup_close int in = open(from, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    struct stat st;
    char acl;

    if (in < 0 || fstat(in, &st))
        return xlsnap_fail_errno(err, XLSNAP_FAILED, errno,
                                 "cannot examine '%s'", from);
    /* A device's mode says nothing of a file's, but its owner does.  An ACL brings
     * the mode along. */
    if (fchown(to, st.st_uid, st.st_gid) ||
        (S_ISREG(st.st_mode) && (file_drop_acl(to) ||
                                 (fgetxattr(in, ACL_XATTR, &acl, 0) < 0 &&
                                  fchmod(to, st.st_mode & 0666)) ||
                                 file_copy_xattrs(in, to))) ||
        (!S_ISREG(st.st_mode) && fchmod(to, 0600)))
        return xlsnap_fail_errno(err, XLSNAP_FAILED, errno,
                                 "cannot give '%s' owner and mode of '%s'",
                                 to_name, from);
    return 0;
}

int file_make_empty(const char *path, struct xlsnap_error *err)
{
    int fd =
        open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);

    if (fd < 0)
        xlsnap_fail_errno(err, XLSNAP_FAILED, errno, "cannot make '%s'", path);
    return fd;
}

int file_open_known(const char *path, int flags, const struct file_id *id,
                    struct xlsnap_error *err)
{
    int fd = open(path, flags | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    struct stat st;

    if (fd < 0 || fstat(fd, &st)) {
        xlsnap_fail_errno(err, XLSNAP_FAILED, errno, "cannot open '%s'", path);
    } else if (!S_ISREG(st.st_mode) ||
               (id ? st.st_dev != id->dev || st.st_ino != id->ino
                   : st.st_nlink != 1)) {
        xlsnap_fail(err, XLSNAP_FAILED,
                    "'%s' is no longer the file it was, or no regular one",
                    path);
    } else {
        return fd;
    }
    if (fd >= 0)
        close(fd);
    return -1;
}

int file_fd_id(int fd, struct file_id *id_r, struct xlsnap_error *err)
{
    struct stat st;

    if (fstat(fd, &st))
        return xlsnap_fail_errno(err, XLSNAP_FAILED, errno,
                                 "cannot examine a file just made");
    *id_r = file_id_of(&st);
    return 0;
}

int file_rename_new(const char *from, const char *to, struct xlsnap_error *err)
{
    cleanup_free char *from_dir = file_dir_of(from);
    cleanup_free char *to_dir = file_dir_of(to);
    int rc;

    if (file_rename_noreplace(from, to))
        return xlsnap_fail_errno(err, XLSNAP_FAILED, errno,
                                 "cannot rename '%s' to '%s'", from, to);
    rc = file_fsync_dir_of(to, err);
    if (!rc && strcmp(from_dir, to_dir))
        rc = file_fsync_dir_of(from, err);
    return rc;
}

int file_unlink(const char *path, struct xlsnap_error *err)
{
    cleanup_free char *dir = file_dir_of(path);

    if (unlink(path) && errno != ENOENT)
        return xlsnap_fail_errno(err, XLSNAP_FAILED, errno,
                                 "cannot remove '%s'", path);
    if (access(dir, F_OK) && errno == ENOENT)
        return 0;
    /* Also if it was absent: an earlier try may have been cut off here. */
    return file_fsync_dir_of(path, err);
}

/* Made by us just now: nothing of the umask or of setgid may stay. */
static int file_finish_dir(const char *path, struct xlsnap_error *err)
{
    cleanup_close int fd =
        open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

    if (fd < 0 || fchmod(fd, 0700))
        return xlsnap_fail_errno(err, XLSNAP_FAILED, errno,
                                 "cannot make directory '%s'", path);
    return file_fsync_dir_of(path, err);
}

/* *made becomes the path if this is the first that was made. */
static int file_make_one_dir(const char *path, char **made,
                             struct xlsnap_error *err)
{
    if (mkdir(path, 0700)) {
        if (errno == EEXIST)
            return 0;
        return xlsnap_fail_errno(err, XLSNAP_FAILED, errno,
                                 "cannot make directory '%s'", path);
    }
    if (!*made)
        *made = xstrdup(path);
    return file_finish_dir(path, err);
}

/* May this directory hold what root trusts? */
static int file_check_dir(const char *path, struct xlsnap_error *err)
{
    struct stat st;

    if (lstat(path, &st))
        return xlsnap_fail_errno(err, XLSNAP_FAILED, errno,
                                 "cannot examine '%s'", path);
    if (!S_ISDIR(st.st_mode))
        return xlsnap_fail(err, XLSNAP_REFUSED, "'%s' is %s", path,
                           S_ISLNK(st.st_mode)
                               ? "a symbolic link, not a directory"
                               : "not a directory");
    if (st.st_uid != geteuid())
        return xlsnap_fail(err, XLSNAP_REFUSED,
                           "directory '%s' belongs to user %u instead of %u",
                           path, st.st_uid, geteuid());
    if (st.st_mode & (S_IWGRP | S_IWOTH))
        return xlsnap_fail(err, XLSNAP_REFUSED,
                           "directory '%s' is writable by others (mode %04o)",
                           path, st.st_mode & 07777);
    return 0;
}

int file_make_dir(const char *path, char **made_r, struct xlsnap_error *err)
{
    cleanup_free char *dir = file_absolute(path);
    cleanup_free char *made = NULL;
    char *slash = dir;
    int rc = 0;

    if (made_r)
        *made_r = NULL;
    while (!rc && (slash = strchr(slash + 1, '/'))) {
        *slash = '\0';
        rc = file_make_one_dir(dir, &made, err);
        *slash = '/';
    }
    if (!rc)
        rc = file_make_one_dir(dir, &made, err);
    if (!rc)
        rc = file_check_dir(dir, err);
    if (rc) {
        file_remove_dirs(dir, made);
    } else if (made_r) {
        *made_r = made;
        made = NULL;
    }
    return rc;
}

void file_remove_dirs(const char *path, const char *made)
{
    cleanup_free char *dir = file_absolute(path);
    cleanup_free char *top = made ? file_absolute(made) : NULL;
    size_t len = top ? strlen(top) : 0;

    if (!top || strncmp(dir, top, len) || (dir[len] && dir[len] != '/'))
        return;
    while (strlen(dir) >= len) {
        if (rmdir(dir) && errno != ENOENT)
            return;
        *strrchr(dir, '/') = '\0';
    }
}

char *file_absolute(const char *path)
{
    bool relative = *path != '/';
    cleanup_free char *cwd = relative ? getcwd(NULL, 0) : NULL;
    cleanup_free char *whole = NULL;
    char *result, *part, *state;

    if (relative && !cwd) /* it was removed; this still is its name */
        cwd = xstrdup("/proc/self/cwd");
    whole = xasprintf("%s/%s", relative ? cwd : "", path);
    result = xcalloc(strlen(whole) + 2, 1);
    for (part = strtok_r(whole, "/", &state); part;
         part = strtok_r(NULL, "/", &state)) {
        if (!strcmp(part, "."))
            continue;
        strcat(result, "/");
        strcat(result, part);
    }
    return *result ? result : strcpy(result, "/");
}

/* Where a symlink leads, relative to `dir`; NULL if `path` is none. */
static char *file_follow(const char *path, const char *dir)
{
    char to[PATH_MAX];
    ssize_t n = readlink(path, to, sizeof(to) - 1);

    if (n < 0)
        return NULL;
    to[n] = 0;
    return to[0] == '/' ? xstrdup(to) : xasprintf("%s/%s", dir, to);
}

char *file_resolve(const char *path)
{
    char *current = file_absolute(path);

    for (int hops = 0; hops < 40; hops++) {
        char *real = realpath(current, NULL), *next;
        cleanup_free char *dir = NULL;

        if (!real && errno == ENOENT) {
            cleanup_free char *parent = file_dir_of(current);

            dir = realpath(parent, NULL);
        }
        if (real || !dir) {
            free(current);
            return real;
        }
        next = xasprintf("%s%s", strcmp(dir, "/") ? dir : "",
                         strrchr(current, '/'));
        free(current);
        current = file_follow(next, dir);
        if (!current)
            return next;
        free(next);
    }
    free(current);
    errno = ELOOP;
    return NULL;
}

bool file_wait_readable(int fd, int timeout_ms)
{
    struct pollfd pfd = { .fd = fd, .events = POLLIN };
    int64_t deadline = now_ms() + timeout_ms;
    int r;

    do {
        int64_t left = deadline - now_ms();

        r = poll(&pfd, 1, left > 0 ? (int)left : 0);
    } while (r < 0 && errno == EINTR);
    return r > 0;
}
