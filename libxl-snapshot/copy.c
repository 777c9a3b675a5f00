/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Copies of image files: reflinks (ioctl_ficlonerange(2)) and sparse copies.
 * Owns nothing and makes no names; an unnamed file for trying out a reflink
 * is all that it ever makes.
 */
#include "copy.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include "file.h"
#include "pulse.h"
#include "util.h"

#define TRY_LENGTH (64 << 10) /* a multiple of every block size there is */
#define COPY_CHUNK (1 << 20)

/* ---- reflink ---- */

/* A file in `dir` that is gone when it is closed.  -1 with errno. */
static int open_unnamed(const char *dir)
{
    int fd = open(dir, O_TMPFILE | O_WRONLY | O_CLOEXEC, 0600);
    cleanup_free char *name = NULL;

    if (fd >= 0 || (errno != EOPNOTSUPP && errno != EISDIR))
        return fd;
    /* OCFS2 and NFS know reflinks, but no such files. */
    name = xasprintf("%s/.xl-snapshot.XXXXXX", dir);
    fd = mkostemp(name, O_CLOEXEC);
    if (fd >= 0)
        unlink(name);
    return fd;
}

/*
 * btrfs shares blocks only between two files with, or two without checksums;
 * an empty file may still change sides.  Elsewhere there is no such flag.
 */
static void take_checksum_flag(int from, int to)
{
    int is, want;

    if (ioctl(from, FS_IOC_GETFLAGS, &want) || ioctl(to, FS_IOC_GETFLAGS, &is))
        return;
    if ((is ^ want) & FS_NOCOW_FL) {
        is ^= FS_NOCOW_FL;
        ioctl(to, FS_IOC_SETFLAGS, &is);
    }
}

int copy_try_reflink(int from, const char *dir)
{
    struct file_clone_range range = { .src_fd = from };
    cleanup_close int to = open_unnamed(dir);
    struct stat st;

    if (to < 0 || fstat(from, &st))
        return errno;
    take_checksum_flag(from, to);
    /* A length of 0 is up to the end, which need not be that of a block. */
    range.src_length = st.st_size > TRY_LENGTH ? TRY_LENGTH : 0;
    return ioctl(to, FICLONERANGE, &range) ? errno : 0;
}

const char *copy_reflink_reason(int errnum)
{
    switch (errnum) {
    case EXDEV:
        return "they are on different file systems";
    case EOPNOTSUPP:
    case ENOTTY:
    case ENOSYS:
        return "the file system cannot do that (XFS made with reflink=1, and "
               "btrfs, can)";
    case EINVAL:
        return "the file system will not do that with this file";
    default:
        return strerror(errnum);
    }
}

static int copy_check_size(const struct copy *c, struct xlsnap_error *err)
{
    struct stat from, to;

    if (!fstat(c->from, &from) && !fstat(c->to, &to) &&
        from.st_size == to.st_size)
        return 0;
    return xlsnap_fail(err, XLSNAP_FAILED,
                       "'%s' has not become as large as '%s'", c->to_name,
                       c->from_name);
}

int copy_reflink(const struct copy *c, struct xlsnap_error *err)
{
    int r;

    take_checksum_flag(c->from, c->to);
    do {
        r = ioctl(c->to, FICLONE, c->from);
    } while (r && errno == EINTR);
    if (r)
        return xlsnap_fail_errno(err, XLSNAP_FAILED, errno,
                                 "'%s' cannot share the blocks of '%s'",
                                 c->to_name, c->from_name);
    return copy_check_size(c, err);
}

/* ---- sparse copy ---- */

/*
 * The next run of data at or after `at`: 1, and where it begins and ends;
 * 0: none is left; -1 with errno.
 */
static int next_data(int fd, off_t at, off_t *start_r, off_t *end_r)
{
    *start_r = lseek(fd, at, SEEK_DATA);
    if (*start_r < 0 && errno == EINVAL) { /* cannot tell: all of it is */
        *start_r = at;
        *end_r = lseek(fd, 0, SEEK_END);
        return *end_r < 0 ? -1 : *end_r > at;
    }
    if (*start_r < 0)
        return errno == ENXIO ? 0 : -1;
    *end_r = lseek(fd, *start_r, SEEK_HOLE);
    return *end_r < 0 ? -1 : 1;
}

int64_t copy_data_bytes(int from)
{
    off_t at = 0, start;
    int64_t bytes = 0;
    int r;

    while ((r = next_data(from, at, &start, &at)) > 0)
        bytes += at - start;
    return r ? -1 : bytes;
}

/* As pread, but for signals.  0: the file has become shorter. */
static ssize_t read_at(int fd, void *buf, size_t len, off_t at)
{
    ssize_t n;

    do {
        n = pread(fd, buf, len, at);
    } while (n < 0 && errno == EINTR);
    return n;
}

static int copy_run(const struct copy *c, char *buf, off_t at, off_t end,
                    uint64_t *done, uint64_t total, struct xlsnap_error *err)
{
    while (at < end) {
        size_t len = end - at < COPY_CHUNK ? end - at : COPY_CHUNK;
        ssize_t n = read_at(c->from, buf, len, at);

        if (n < 0)
            return xlsnap_fail_errno(err, XLSNAP_FAILED, errno,
                                     "cannot read '%s'", c->from_name);
        if (!n)
            return xlsnap_fail(err, XLSNAP_FAILED,
                               "'%s' became shorter while it was copied",
                               c->from_name);
        if (file_pwrite_all(c->to, buf, n, at))
            return xlsnap_fail_errno(err, XLSNAP_FAILED, errno,
                                     "cannot write '%s'", c->to_name);
        at += n;
        *done += n;
        pulse();
        if (c->go_on && !c->go_on(c->user, *done, total)) {
            xlsnap_fail(err, XLSNAP_FAILED, "cancelled while '%s' was copied",
                        c->from_name);
            err->errnum = EINTR;
            return -err->code;
        }
    }
    return 0;
}

int copy_data(const struct copy *c, struct xlsnap_error *err)
{
    cleanup_free char *buf = xcalloc(COPY_CHUNK, 1);
    int64_t total = copy_data_bytes(c->from);
    uint64_t done = 0;
    off_t at = 0, start;
    struct stat st;
    int rc = 0, r = 0;

    if (total < 0 || fstat(c->from, &st))
        return xlsnap_fail_errno(err, XLSNAP_FAILED, errno, "cannot read '%s'",
                                 c->from_name);
    /* Empty first: a reflink may have been tried, and failed half-way. */
    if (ftruncate(c->to, 0) || ftruncate(c->to, st.st_size))
        return xlsnap_fail_errno(err, XLSNAP_FAILED, errno, "cannot write '%s'",
                                 c->to_name);
    while (!rc && (r = next_data(c->from, at, &start, &at)) > 0)
        rc = copy_run(c, buf, start, at, &done, total, err);
    if (!rc && r)
        rc = xlsnap_fail_errno(err, XLSNAP_FAILED, errno, "cannot read '%s'",
                               c->from_name);
    return rc ? rc : copy_check_size(c, err);
}

/* ---- VHD ---- */

#define VHD_FOOTER 512
#define VHD_TYPE 60
#define VHD_CHECKSUM 64

static uint32_t vhd_u32(const unsigned char *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 |
           p[3];
}

/* Its checksum is the complement of the sum of all bytes but its own four. */
static bool vhd_is_whole(const unsigned char *footer)
{
    uint32_t sum = 0;

    for (size_t i = 0; i < VHD_FOOTER; i++)
        if (i < VHD_CHECKSUM || i >= VHD_CHECKSUM + 4)
            sum += footer[i];
    return ~sum == vhd_u32(footer + VHD_CHECKSUM);
}

static enum vhd_kind vhd_kind_at(int fd, off_t at)
{
    unsigned char footer[VHD_FOOTER];
    uint32_t type;

    if (at < 0 || read_at(fd, footer, VHD_FOOTER, at) != VHD_FOOTER ||
        memcmp(footer, "conectix", 8))
        return VHD_NONE;
    type = vhd_u32(footer + VHD_TYPE);
    /* Also in a damaged one: QEMU only warns of a wrong checksum. */
    if (type == VHD_DIFFERENCING)
        return VHD_DIFFERENCING;
    if ((type == VHD_FIXED || type == VHD_DYNAMIC) && vhd_is_whole(footer))
        return type;
    return VHD_NONE;
}

enum vhd_kind copy_vhd_kind(int fd)
{
    enum vhd_kind first, last;
    struct stat st;

    if (fstat(fd, &st))
        return VHD_NONE;
    first = vhd_kind_at(fd, 0);
    last = vhd_kind_at(fd, st.st_size - VHD_FOOTER);
    if (first == VHD_DIFFERENCING || last == VHD_DIFFERENCING)
        return VHD_DIFFERENCING;
    /*
     * The last one moves when a dynamic disk grows, and is not there for a
     * moment.  A fixed disk begins with what the guest wrote.
     */
    return last || first != VHD_DYNAMIC ? last : first;
}
