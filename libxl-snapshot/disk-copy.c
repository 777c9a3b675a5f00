/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * External snapshots of image files by copying them while the guest stands
 * still: raw files behind a loop device (blkback), and what QEMU serves but
 * cannot freeze under a stable path: raw, vhd.
 *     an empty file TMP beside TARGET; flush what is dirty        before
 *     drain QEMU, flush the loop device, copy the disk to TMP     in the pause
 *     fsync; rename(TMP, TARGET); fsync                           after it
 * The copy is a reflink, which takes hardly any time and at first no space;
 * where the file system has none, all data is copied, but only with --force.
 * The disk itself is only read.
 *
 * QEMU at rest is enough: for VHD it keeps no metadata of an answered write to
 * itself, as it does for qcow2 (QEMU's block/vpc.c).
 *
 * Requests that blkback has not answered when the guest is suspended may be in
 * the copy or not: in the saved memory they are under way, too, and a restored
 * guest sends them again (blkif_recover in Linux' xen-blkfront.c).
 */
#include "disk-copy.h"

#include <fcntl.h>
#include <linux/loop.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include "paths.h"
#include "qemu.h"
#include "steps.h"
#include "util.h"

static bool copy_takes(const struct disk *disk, enum xlsnap_method method)
{
    return method == XLSNAP_METHOD_EXTERNAL && !disk->id.block &&
           (disk->format == LIBXL_DISK_FORMAT_RAW ||
            disk->format == LIBXL_DISK_FORMAT_VHD);
}

static bool copy_moves(const struct disk *disk)
{
    return true;
}

/* ---- the loop device ---- */

/* Opens it if it is a loop device on the disk's very file.  -1: it is not. */
static int loop_open(const char *loop, const struct disk *disk)
{
    int fd = loop ? open(loop, O_RDONLY | O_CLOEXEC) : -1;
    struct loop_info64 info;

    if (fd >= 0 && !ioctl(fd, LOOP_GET_STATUS64, &info) &&
        info.lo_inode == disk->id.ino && info.lo_device == disk->id.dev)
        return fd;
    if (fd >= 0)
        close(fd);
    return -1;
}

/*
 * What was written to the loop device itself, by somebody in dom0, is in that
 * device's own cache and would be missing in a copy of the file.
 */
static int loop_flush(const char *loop, const struct disk *disk,
                      struct xlsnap_error *err)
{
    cleanup_close int fd = loop_open(loop, disk);

    if (fd < 0)
        return xlsnap_fail(err, XLSNAP_FAILED, "'%s' is no longer on '%s'",
                           loop, disk->path);
    if (fsync(fd))
        return xlsnap_fail_errno(err, XLSNAP_FAILED, errno, "cannot flush '%s'",
                                 loop);
    return 0;
}

/* ---- checks ---- */

static int check_loop(struct op *op, const struct disk *disk,
                      struct copy_plan *plan, struct xlsnap_error *err)
{
    cleanup_close int fd = -1;

    plan->loop = domain_disk_backend_read(op->xs, op->dom.domid, disk->vdev,
                                          "physical-device-path");
    fd = loop_open(plan->loop, disk);
    if (fd >= 0)
        return 0;
    return xlsnap_fail(err, XLSNAP_REFUSED,
                       "disk '%s': '%s' is not the file behind '%s', to which "
                       "the guest writes; was it replaced?",
                       disk->vdev, disk->source,
                       plan->loop ? plan->loop : "a loop device");
}

static int check_qemu(struct op *op, const struct disk *disk,
                      const struct json *blocks, struct xlsnap_error *err)
{
    const struct json *entry = qemu_find_node(op, blocks, disk, err);
    const char *backing;

    if (!entry)
        return -err->code;
    if (qemu_check_opened(op, disk, err))
        return -err->code;
    if (qemu_check_backing_chain(json_get(entry, "image"), err))
        return xlsnap_prefix(err, "disk '%s'", disk->vdev);
    backing = json_get_string(json_get(entry, "image"), "backing-filename");
    if (!backing || backing[0] == '/' || strchr(backing, ':') ||
        file_same_dir(disk->source, disk->target))
        return 0;
    return xlsnap_fail(err, XLSNAP_REFUSED,
                       "disk '%s': '%s' has the backing file '%s', relative "
                       "to its own directory, so the target must be in that "
                       "directory, too",
                       disk->vdev, disk->source, backing);
}

static int check_target(struct op *op, struct disk *disk,
                        struct xlsnap_error *err)
{
    char *target = disk_file_target(op, disk);
    struct stat st;
    int rc;

    free(disk->target);
    disk->target = target;
    rc = disk_check_target(op, disk, err);
    if (rc || (lstat(target, &st) && errno == ENOENT))
        return rc;
    return xlsnap_fail(err, XLSNAP_REFUSED,
                       "disk '%s': target '%s' exists already, and nothing is "
                       "ever overwritten",
                       disk->vdev, target);
}

/* What the guest overwrites from now on takes space; there may be little. */
static void tell_sharing(struct op *op, const struct disk *disk,
                         const struct copy_plan *plan)
{
    uint64_t have = copy_free_in(plan->dir);

    if (have < plan->bytes)
        handle_log(op->xs, XTL_WARN,
                   "disk '%s': the copy shares %llu MiB with '%s'; what the "
                   "guest overwrites of that takes space anew, and only %llu "
                   "MiB are free",
                   disk->vdev, copy_mib(plan->bytes), disk->source,
                   copy_mib(have));
}

static int check_full(struct op *op, const struct disk *disk,
                      const struct copy_plan *plan, struct xlsnap_error *err)
{
    const char *why = copy_reflink_reason(plan->no_reflink);

    if (!op->force)
        return xlsnap_fail(
            err, XLSNAP_REFUSED,
            "'%s' cannot share the blocks of '%s': %s; --force permits a full "
            "copy, of %llu MiB, for which the guest would stand still%s",
            disk->target, disk->path, why, copy_mib(plan->bytes),
            disk->backend == LIBXL_DISK_BACKEND_QDISK
                ? "; snapshot=overlay needs no copy"
                : "");
    handle_log(op->xs, XTL_NOTICE,
               "disk '%s': the guest will stand still while %llu MiB are "
               "copied to '%s' (no shared blocks: %s)",
               disk->vdev, copy_mib(plan->bytes), disk->target, why);
    return 0;
}

static int check_file(struct op *op, struct disk *disk, struct copy_plan *plan,
                      struct xlsnap_error *err)
{
    cleanup_close int fd =
        file_open_known(disk->path, O_RDONLY, &disk->id, err);
    int rc = fd < 0 ? -err->code : disk_check_vhd(disk, disk->source, fd, err);

    plan->dir = file_dir_of(disk->target);
    if (!rc)
        rc = copy_plan_fill(plan, disk->source, fd, err);
    if (rc)
        return rc;
    disk->size = 0; /* until there is a copy */
    disk->size_percent = 0;
    if (plan->no_reflink)
        return check_full(op, disk, plan, err);
    tell_sharing(op, disk, plan);
    return 0;
}

static int check_disk(struct op *op, struct disk *disk, struct copy_plan *plan,
                      const struct json *blocks, struct xlsnap_error *err)
{
    int rc = check_target(op, disk, err);

    if (!rc && disk->backend == LIBXL_DISK_BACKEND_QDISK)
        rc = check_qemu(op, disk, blocks, err);
    else if (!rc)
        rc = check_loop(op, disk, plan, err);
    if (rc)
        return rc;
    rc = check_file(op, disk, plan, err);
    return rc ? xlsnap_prefix(err, "disk '%s'", disk->vdev) : 0;
}

/* What the memory image may need of the same file system. */
static uint64_t memory_need(const struct op *op, dev_t dev)
{
    cleanup_free char *dir = paths_existing(op->snap.memory);
    uint64_t bytes = op->dom.info.current_memkb * 1024;
    struct stat st;

    if (stat(dir, &st) || st.st_dev != dev)
        return 0;
    return op->live ? bytes * 2 : bytes;
}

static bool any_qdisk(const struct disk_group *group)
{
    for (size_t i = 0; i < group->n; i++)
        if (group->disks[i]->backend == LIBXL_DISK_BACKEND_QDISK)
            return true;
    return false;
}

static int copy_check(struct op *op, struct disk_group *group,
                      struct xlsnap_error *err)
{
    struct copy_plan *plans = copy_plans(group);
    struct json *reply = NULL;
    int rc = any_qdisk(group) ? qemu_query_block(op, &reply, err) : 0;

    for (size_t i = 0; i < group->n && !rc; i++)
        rc = check_disk(op, group->disks[i], &plans[i], qmp_result(reply), err);
    for (size_t i = 0; i < group->n && !rc; i++)
        if (plans[i].no_reflink)
            rc = copy_check_space(group, i, memory_need(op, plans[i].dev), err);
    if (rc && err->code == XLSNAP_FAILED)
        err->code = XLSNAP_REFUSED; /* untouched */
    json_free(reply);
    qemu_session_end(op);
    return rc ? -err->code : 0;
}

/* ---- create ---- */

/* The copy's name until it is whole and on disk. */
static char *copy_waiting(const struct op *op, const struct disk *disk)
{
    return disk_temporary_beside(op, disk, disk->target);
}

/* Also one that blkback serves: an HVM guest may use it as emulated disk. */
static bool qemu_has_any(const struct op *op, const struct disk_group *group)
{
    for (size_t i = 0; i < group->n; i++)
        if (op->dom.qemu_pid > 0 &&
            file_is_open_in(&group->disks[i]->id, op->dom.qemu_pid))
            return true;
    return false;
}

static int prepare_file(struct op *op, struct disk *disk,
                        struct xlsnap_error *err)
{
    cleanup_free char *tmp = copy_waiting(op, disk);
    cleanup_close int fd = file_make_empty(tmp, err);

    if (fd < 0 || file_fd_id(fd, &disk->made, err))
        return -err->code;
    return file_copy_attributes(disk->path, fd, tmp, err);
}

/* Else the guest would wait for it. */
static int prepare_flush(struct disk *disk, const struct copy_plan *plan,
                         struct xlsnap_error *err)
{
    int rc = plan->loop ? loop_flush(plan->loop, disk, err) : 0;

    return rc ? rc : qemu_flush_early(disk->path, err);
}

static int copy_prepare(struct op *op, struct disk_group *group,
                        struct xlsnap_error *err)
{
    const struct copy_plan *plans = group->state;
    int rc = 0;

    group->touched = true;
    for (size_t i = 0; i < group->n && !rc; i++)
        if (prepare_file(op, group->disks[i], err))
            rc = xlsnap_prefix(err, "disk '%s'", group->disks[i]->vdev);
    /* The record must know them before they get names that others know. */
    pending_update_disks(&op->pending, op);
    if (!rc)
        rc = pending_write(op->xs, &op->pending, err);
    for (size_t i = 0; i < group->n && !rc; i++)
        if (prepare_flush(group->disks[i], &plans[i], err) ||
            steps_disk_done(op, "disk-prepare", group->disks[i], err))
            rc = xlsnap_prefix(err, "disk '%s'", group->disks[i]->vdev);
    return rc || !qemu_has_any(op, group) ? rc : qemu_session(op, err);
}

static int create_disk(struct op *op, struct disk *disk,
                       const struct copy_plan *plan, struct xlsnap_error *err)
{
    cleanup_free char *tmp = copy_waiting(op, disk);
    cleanup_close int from =
        file_open_known(disk->path, O_RDONLY, &disk->id, err);
    cleanup_close int to =
        from < 0 ? -1 : file_open_known(tmp, O_WRONLY, &disk->made, err);
    struct copy_progress progress = { .op = op,
                                      .disk = disk,
                                      .cancellable = true };
    struct copy copy = { .from = from,
                         .to = to,
                         .from_name = disk->path,
                         .to_name = tmp,
                         .go_on = copy_go_on,
                         .user = &progress };
    int rc = to < 0 ? -err->code : 0;

    if (!rc && plan->loop)
        rc = loop_flush(plan->loop, disk, err);
    if (rc)
        return rc;
    return plan->no_reflink ? copy_data(&copy, err) : copy_reflink(&copy, err);
}

static int copy_create(struct op *op, struct disk_group *group,
                       struct xlsnap_error *err)
{
    const struct copy_plan *plans = group->state;
    int rc = qemu_has_any(op, group) ? qemu_drain(op, err) : 0;

    for (size_t i = 0; i < group->n && !rc; i++)
        if (create_disk(op, group->disks[i], &plans[i], err) ||
            steps_disk_done(op, "disk-create", group->disks[i], err))
            rc = xlsnap_prefix(err, "disk '%s'", group->disks[i]->vdev);
    return rc;
}

static int sync_disk(struct op *op, struct disk *disk, struct xlsnap_error *err)
{
    cleanup_free char *tmp = copy_waiting(op, disk);
    cleanup_close int fd = file_open_known(tmp, O_RDONLY, &disk->made, err);
    struct stat st;

    if (fd < 0)
        return -err->code;
    if (fsync(fd) || fstat(fd, &st))
        return xlsnap_fail_errno(err, XLSNAP_FAILED, errno,
                                 "cannot write '%s' to disk", tmp);
    /* In snapshot.cfg it tells a revert whether the copy was cut off. */
    disk->size = st.st_size;
    xlsnap_snapshot_find_disk(&op->snap, disk->vdev)->size = disk->size;
    return file_rename_new(tmp, disk->target, err);
}

static int copy_sync(struct op *op, struct disk_group *group,
                     struct xlsnap_error *err)
{
    int rc = 0;

    qemu_session_end(op);
    for (size_t i = 0; i < group->n && !rc; i++)
        if (sync_disk(op, group->disks[i], err))
            rc = xlsnap_prefix(err, "disk '%s'", group->disks[i]->vdev);
    return rc;
}

/*
 * The waiting name is known to this operation only; TARGET is ours if it is
 * the file that was made for it.
 */
static int remove_disk(struct op *op, struct disk *disk,
                       struct xlsnap_error *err)
{
    const struct file_id *made = &op->pending.disks[disk - op->disks].made;
    cleanup_free char *tmp = copy_waiting(op, disk);
    struct stat st;
    int rc;

    /* Create leaves the disk where it is: a missing one is out of sight, and
     * with it what we made. */
    if (lstat(disk->path, &st))
        return xlsnap_fail_errno(err, XLSNAP_FAILED, errno,
                                 "disk '%s': cannot look at '%s' (is its file "
                                 "system mounted?)",
                                 disk->vdev, disk->path);
    rc = file_unlink(tmp, err);
    if (!rc && made->ino && pending_is_file(&op->pending, disk->target, made))
        rc = file_unlink(disk->target, err);
    return rc;
}

static int copy_remove(struct op *op, struct disk_group *group,
                       struct xlsnap_error *err)
{
    int rc = 0;

    qemu_session_end(op);
    for (size_t i = 0; i < group->n && !rc; i++)
        if (group->disks[i]->target)
            rc = remove_disk(op, group->disks[i], err);
    return rc;
}

const struct disk_driver disk_copy = {
    .name = "copy",
    .what = "copy",
    .takes = copy_takes,
    .moves = copy_moves,
    .sized = true,
    .check = copy_check,
    .prepare = copy_prepare,
    .create = copy_create,
    .remove = copy_remove,
    .sync = copy_sync,
    .release = copy_release,
    .prove = copy_prove,
    .revert = copy_revert,
};
