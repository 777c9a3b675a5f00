/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Going back to a copy: another copy, of the frozen file, takes the disk's
 * name.  The frozen file is only read.  The copy is made under a name beside
 * the disk that only this operation knows; the rename is the only change, so
 * that all can be done again after a crash.
 */
#include "disk-copy.h"

#include <fcntl.h>
#include <sys/stat.h>

#include "qemu.h"
#include "steps.h"
#include "util.h"

/* ---- proof ---- */

static int frozen_check(const struct disk *disk, const struct stat *st,
                        struct xlsnap_error *err)
{
    if (!S_ISREG(st->st_mode))
        return xlsnap_fail(err, XLSNAP_REFUSED, "'%s' is no regular file",
                           disk->target);
    if (disk->id.dev == st->st_dev && disk->id.ino == st->st_ino)
        return xlsnap_fail(err, XLSNAP_REFUSED,
                           "'%s' and '%s' are the same file: the frozen one is "
                           "in use as the disk",
                           disk->path, disk->target);
    if (!st->st_size || (disk->size && disk->size != (uint64_t)st->st_size))
        return xlsnap_fail(err, XLSNAP_REFUSED,
                           "'%s' is of %llu bytes, but was of %llu when it was "
                           "made",
                           disk->target, (unsigned long long)st->st_size,
                           (unsigned long long)disk->size);
    return 0;
}

/* The frozen file, whole as far as its size tells.  -1 and err. */
static int frozen_open(const struct disk *disk, struct xlsnap_error *err)
{
    int fd = open(disk->target, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    struct stat st;

    if (fd < 0 || fstat(fd, &st))
        xlsnap_fail_errno(err, XLSNAP_REFUSED, errno, "cannot open '%s'",
                          disk->target);
    else if (!frozen_check(disk, &st, err))
        return fd;
    if (fd >= 0)
        close(fd);
    return -1;
}

/* What an image tells of itself; a raw one may hold anything. */
static int prove_format(const struct disk *disk, int fd,
                        struct xlsnap_error *err)
{
    struct json *root = NULL;
    int rc;

    if (disk->format == LIBXL_DISK_FORMAT_RAW)
        return 0;
    rc = disk_check_vhd(disk, disk->target, fd, err);
    if (rc)
        return rc;
    rc = qemu_img_info(disk->target, qemu_format(disk->format), &root, err);
    if (!rc && !json_get_int(root, "virtual-size", 0))
        rc = xlsnap_fail(err, XLSNAP_REFUSED, "'%s' is damaged", disk->target);
    json_free(root);
    return rc;
}

/* What a revert that was cut off has left, and the next one removes. */
static uint64_t left_over(const struct op *op, const struct disk *disk)
{
    cleanup_free char *tmp =
        op->pending.token ? disk_temporary(op, disk) : NULL;
    struct stat st;

    return tmp && !lstat(tmp, &st) ? (uint64_t)st.st_blocks * 512 : 0;
}

static int prove_disk(struct op *op, struct disk *disk, struct copy_plan *plan,
                      struct xlsnap_error *err)
{
    uint64_t there = left_over(op, disk);
    cleanup_close int fd = -1;
    int rc;

    if (!disk->target)
        return xlsnap_fail(err, XLSNAP_INVALID, "it has no target");
    fd = frozen_open(disk, err);
    rc = fd < 0 ? -err->code : prove_format(disk, fd, err);
    if (!rc)
        rc = disk_check_frozen(disk->target, 0, err);
    if (!rc)
        rc = disk_prove_keep(op, disk, err);
    plan->dir = file_dir_of(disk->path);
    if (!rc && !file_same_mount(plan->dir, disk->path))
        rc = xlsnap_fail(err, XLSNAP_REFUSED,
                         "'%s' is mounted itself, so its name cannot be given "
                         "to another file",
                         disk->path);
    if (!rc)
        rc = copy_plan_fill(plan, disk->target, fd, err);
    if (rc || !plan->no_reflink)
        return rc;
    handle_log(op->xs, XTL_NOTICE,
               "disk '%s': %llu MiB will be copied from '%s' (no shared "
               "blocks: %s)",
               disk->vdev, copy_mib(plan->bytes), disk->target,
               copy_reflink_reason(plan->no_reflink));
    plan->bytes -= there < plan->bytes ? there : plan->bytes;
    return 0;
}

int copy_prove(struct op *op, struct disk_group *group,
               struct xlsnap_error *err)
{
    struct copy_plan *plans = copy_plans(group);
    int rc = 0;

    for (size_t i = 0; i < group->n && !rc; i++)
        if (prove_disk(op, group->disks[i], &plans[i], err))
            rc = xlsnap_prefix(err, "disk '%s'", group->disks[i]->vdev);
    for (size_t i = 0; i < group->n && !rc; i++)
        if (plans[i].no_reflink)
            rc = copy_check_space(group, i, 0, err);
    if (rc && err->code == XLSNAP_FAILED)
        err->code = XLSNAP_REFUSED;
    return rc ? -err->code : 0;
}

/* ---- revert ---- */

/*
 * Fills the new file `to`, named `tmp`.  A snapshot that took a full copy must
 * not need --force to go back to.
 */
static int revert_fill(struct op *op, const struct disk *disk, int to,
                       const char *tmp, struct xlsnap_error *err)
{
    struct copy_progress progress = { .op = op, .disk = disk };
    struct xlsnap_error no_reflink = { 0 };
    cleanup_close int from = frozen_open(disk, err);
    struct copy copy = { .from = from,
                         .to = to,
                         .from_name = disk->target,
                         .to_name = tmp,
                         .go_on = copy_go_on,
                         .user = &progress };
    int rc = from < 0 ? -err->code : 0;

    if (!rc && copy_reflink(&copy, &no_reflink))
        rc = copy_data(&copy, err);
    if (!rc && fsync(to))
        rc = xlsnap_fail_errno(err, XLSNAP_FAILED, errno,
                               "cannot write '%s' to disk", tmp);
    return rc;
}

static int revert_make(struct op *op, const struct disk *disk, const char *tmp,
                       struct xlsnap_error *err)
{
    const char *like = access(disk->path, F_OK) ? disk->target : disk->path;
    int rc = file_unlink(tmp, err); /* of a try that was cut off */
    cleanup_close int to = rc ? -1 : file_make_empty(tmp, err);

    if (to < 0)
        return -err->code;
    rc = file_copy_attributes(like, to, tmp, err);
    return rc ? rc : revert_fill(op, disk, to, tmp, err);
}

static int revert_disk(struct op *op, const struct disk *disk,
                       struct xlsnap_error *err)
{
    cleanup_free char *tmp = disk_temporary(op, disk);
    struct xlsnap_error ignored = { 0 };
    int rc = revert_make(op, disk, tmp, err);

    if (!rc && op->pending.keep &&
        (!access(disk->path, F_OK) || errno != ENOENT))
        rc = disk_keep(op, disk, err);
    if (!rc && rename(tmp, disk->path))
        rc = xlsnap_fail_errno(err, XLSNAP_FAILED, errno,
                               "cannot rename '%s' to '%s'", tmp, disk->path);
    if (rc) {
        file_unlink(tmp, &ignored);
        return rc;
    }
    return file_fsync_dir_of(disk->path, err);
}

int copy_revert(struct op *op, struct disk_group *group,
                struct xlsnap_error *err)
{
    for (size_t i = 0; i < group->n; i++)
        if (revert_disk(op, group->disks[i], err) ||
            steps_disk_done(op, "disk-revert", group->disks[i], err))
            return xlsnap_prefix(err, "disk '%s'", group->disks[i]->vdev);
    return 0;
}
