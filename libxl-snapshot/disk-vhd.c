/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * External snapshots of VHD images that tapdisk serves (script=block-tap), the
 * disk's name staying what it is:
 *     link(P, TARGET)                                              before
 *     tap-ctl pause; an empty child TMP of TARGET; tap-ctl unpause
 *     tap-ctl pause; rename(TMP, P); tap-ctl unpause               in the pause
 * A pause closes the image, so nothing but its names matters then; unpausing
 * opens P, which in the end is the child, and TARGET below it.  Until the
 * rename P and TARGET are one file: cut off anywhere, P is whole.
 *
 * The child is made while the guest runs, so that it stands still for the rename
 * only; its requests wait meanwhile, as blktap's own users have it: an image in
 * use is without its last footer (block-vhd.c, vhd_kill_footer).  What is written
 * to the parent after that is the child's, too: it names its parent by uuid and
 * path.
 *
 * Parent locators are relative names: TARGET must be in P's directory, and the
 * child gets TARGET's name and never P's.
 *
 * Undone, once switched, by coalescing the child into TARGET, with tapdisk
 * paused, and giving that the name P: disk-vhd-undo.c.  Revert:
 * disk-vhd-revert.c.
 *
 * What is proved, and what is not: tapdisk, tap-ctl and vhd-util are not in
 * Debian.  All tests run stand-ins of them (tests/xen/fakes), written after
 * blktap's source and what a real vhd-util was seen to do; in the lab Xen's
 * own block-tap script, xen-blkback and a guest work with them.  So names,
 * order, undo and the data's way are tried; a real tapdisk has never run under
 * this.
 */
#include "disk-vhd.h"

#include <fcntl.h>
#include <libgen.h>
#include <sys/statvfs.h>

#include "op.h"
#include "steps.h"
#include "util.h"

#define SPACE_MARGIN (16 << 20)

static bool vhd_takes(const struct disk *disk, enum xlsnap_method method)
{
    return method == XLSNAP_METHOD_EXTERNAL &&
           disk->backend == LIBXL_DISK_BACKEND_TAP;
}

static bool vhd_moves(const struct disk *disk)
{
    return true;
}

static void vhd_release(struct disk_group *group)
{
    free(group->state);
    group->state = NULL;
}

/* ---- files ---- */

bool vhd_name_is(const char *path, const struct file_id *id)
{
    struct xlsnap_error ignored = { 0 };
    struct file_id found;

    return id->ino && !file_id(path, &found, &ignored) &&
           file_id_equal(&found, id);
}

bool vhd_name_exists(const char *path)
{
    struct stat st;

    return !lstat(path, &st) || errno != ENOENT;
}

int vhd_link(const char *from, const char *to, struct xlsnap_error *err)
{
    if (link(from, to))
        return xlsnap_fail_errno(err, XLSNAP_FAILED, errno,
                                 "cannot link '%s' to '%s'", from, to);
    return file_fsync_dir_of(to, err);
}

int vhd_rename(const char *from, const char *to, struct xlsnap_error *err)
{
    if (rename(from, to))
        return xlsnap_fail_errno(err, XLSNAP_FAILED, errno,
                                 "cannot rename '%s' to '%s'", from, to);
    return file_fsync_dir_of(to, err);
}

int vhd_settle_child(const char *child, const char *like,
                     struct xlsnap_error *err)
{
    cleanup_close int fd = file_open_known(child, O_RDONLY, NULL, err);

    if (fd < 0 || file_copy_attributes(like, fd, child, err))
        return -err->code;
    if (fsync(fd))
        return xlsnap_fail_errno(err, XLSNAP_FAILED, errno,
                                 "cannot write '%s' to disk", child);
    return file_fsync_dir_of(child, err);
}

/* ---- checks ---- */

int vhd_check_place(const struct disk *disk, struct xlsnap_error *err)
{
    cleanup_free char *copy = xstrdup(disk->path);
    cleanup_free char *target_copy = xstrdup(disk->target);
    const char *dir = dirname(copy), *target_dir = dirname(target_copy);
    struct file_id id, target_id;
    int rc = file_id(dir, &id, err);

    if (!rc)
        rc = file_id(target_dir, &target_id, err);
    if (rc)
        return rc;
    if (!file_id_equal(&id, &target_id))
        return xlsnap_fail(err, XLSNAP_REFUSED,
                           "target '%s' is not in '%s': a VHD image finds its "
                           "parent by a name relative to its own directory",
                           disk->target, dir);
    if (!file_same_mount(dir, disk->path))
        return xlsnap_fail(err, XLSNAP_REFUSED,
                           "'%s' is mounted itself: its name cannot be given "
                           "to another file",
                           disk->path);
    if (access(dir, W_OK | X_OK))
        return xlsnap_fail_errno(err, XLSNAP_REFUSED, errno,
                                 "cannot write to '%s', where the new image "
                                 "goes",
                                 dir);
    return 0;
}

static int check_target(struct op *op, struct disk *disk,
                        struct xlsnap_error *err)
{
    int rc = vhd_check_place(disk, err);

    if (!rc && vhd_name_exists(disk->target))
        rc = xlsnap_fail(err, XLSNAP_REFUSED,
                         "target '%s' exists already, and nothing is ever "
                         "overwritten",
                         disk->target);
    return rc;
}

/* It must have the very file open, and nobody else. */
static int check_tapdisk(const struct disk *disk, struct tapdisk *t,
                         struct xlsnap_error *err)
{
    pid_t other = 0;
    int rc = tapdisk_find(disk->source, t, err);

    if (rc)
        return rc;
    if (!t->pid)
        return xlsnap_fail(err, XLSNAP_REFUSED,
                           "no tapdisk serves '%s' ('tap-ctl list')",
                           disk->source);
    if (t->state)
        return xlsnap_fail(err, XLSNAP_REFUSED,
                           "the tapdisk of '%s' (pid %d) is not just running, "
                           "but in state %#x: paused by somebody, or in "
                           "trouble",
                           disk->source, (int)t->pid, t->state);
    if (!file_is_open_in(&disk->id, t->pid))
        return xlsnap_fail(err, XLSNAP_REFUSED,
                           "'%s' is not the file that tapdisk (pid %d) has "
                           "open; was it replaced?",
                           disk->path, (int)t->pid);
    if (file_users(&disk->id, t->pid, &other) > 0)
        return xlsnap_fail(err, XLSNAP_REFUSED,
                           "'%s' is open in process %d, too", disk->path,
                           (int)other);
    return 0;
}

static int check_image(const struct disk *disk, struct xlsnap_error *err)
{
    int depth, rc = vhd_check(disk->path, true, false, err);

    if (!rc)
        rc = vhd_check_visible(disk->path, err);
    if (!rc)
        rc = vhd_depth(disk->path, &depth, err);
    if (!rc && depth >= VHD_DEPTH_MAX)
        rc = xlsnap_fail(err, XLSNAP_REFUSED,
                         "'%s' has a chain of %d images already, and %d is "
                         "the limit (see 'vhd-util coalesce')",
                         disk->path, depth, VHD_DEPTH_MAX);
    return rc;
}

/* An empty child has tables, 4 bytes and some bits for each 2 MiB. */
int vhd_check_space(const struct disk *disk, const char *like,
                    struct xlsnap_error *err)
{
    uint64_t mib = 0, need, have;
    struct statvfs vfs;
    int rc = vhd_size(like, &mib, err);

    if (rc)
        return rc;
    if (statvfs(like, &vfs))
        return xlsnap_fail_errno(err, XLSNAP_REFUSED, errno,
                                 "cannot look at '%s'", like);
    need = mib * 8 + SPACE_MARGIN;
    have = (uint64_t)vfs.f_bavail * vfs.f_frsize;
    if (have >= need)
        return 0;
    return xlsnap_fail(err, XLSNAP_REFUSED,
                       "the new image beside '%s' needs %llu MiB at once, and "
                       "more as the guest writes, but only %llu MiB are free",
                       disk->path, (unsigned long long)(need >> 20),
                       (unsigned long long)(have >> 20));
}

static int check_disk(struct op *op, struct disk *disk, struct tapdisk *t,
                      struct xlsnap_error *err)
{
    int rc = check_target(op, disk, err);

    if (!rc && disk->id.block)
        rc = xlsnap_fail(err, XLSNAP_REFUSED,
                         "'%s' is a block device: a second image cannot be "
                         "made beside it",
                         disk->path);
    if (!rc)
        rc = check_tapdisk(disk, t, err);
    if (!rc)
        rc = check_image(disk, err);
    return rc ? rc : vhd_check_space(disk, disk->path, err);
}

static int vhd_check_group(struct op *op, struct disk_group *group,
                           struct xlsnap_error *err)
{
    struct tapdisk *t = xcalloc(group->n, sizeof(*t));
    int rc = tapdisk_check_tools(err);

    vhd_release(group);
    group->state = t;
    if (rc)
        xlsnap_prefix(err, "disk '%s'", group->disks[0]->vdev);
    for (size_t i = 0; i < group->n && !rc; i++) {
        struct disk *disk = group->disks[i];
        char *target = disk_file_target(op, disk);

        free(disk->target);
        disk->target = target;
        rc = disk_check_target(op, disk, err);
        if (rc)
            return rc;
        if (check_disk(op, disk, &t[i], err))
            rc = xlsnap_prefix(err, "disk '%s'", disk->vdev);
    }
    if (rc)
        err->code = XLSNAP_REFUSED; /* nothing was touched */
    return rc ? -err->code : 0;
}

/* ---- create ---- */

/* The record must know the child before it gets a name that others know. */
static int note_made(struct op *op, struct disk *disk, const char *file,
                     struct xlsnap_error *err)
{
    int rc = file_id(file, &disk->made, err);

    if (rc)
        return rc;
    pending_update_disks(&op->pending, op);
    return pending_write(op->xs, &op->pending, err);
}

/* It must have closed the image, too. */
static int pause_closed(const struct disk *disk, const struct tapdisk *t,
                        struct xlsnap_error *err)
{
    int rc = tapdisk_pause(t, err);

    if (!rc && file_is_open_in(&disk->id, t->pid))
        rc = xlsnap_fail(err, XLSNAP_FAILED,
                         "tapdisk (pid %d) has '%s' open still, though it "
                         "says that it is paused",
                         (int)t->pid, disk->path);
    return rc;
}

/* Whatever fails here, vhd_rescue lets tapdisk go on. */
static int prepare_child(const struct disk *disk, const struct tapdisk *t,
                         const char *child, struct xlsnap_error *err)
{
    int rc = pause_closed(disk, t, err);

    if (!rc)
        rc = vhd_snapshot(child, disk->target, err);
    if (!rc)
        rc = tapdisk_unpause(t, disk->source, err);
    if (!rc && !file_is_open_in(&disk->id, t->pid))
        rc = xlsnap_fail(err, XLSNAP_FAILED,
                         "tapdisk (pid %d) does not have '%s' open again",
                         (int)t->pid, disk->path);
    return rc;
}

static int prepare_disk(struct op *op, struct disk *disk,
                        const struct tapdisk *t, struct xlsnap_error *err)
{
    cleanup_free char *tmp = disk_temporary(op, disk);
    int rc = vhd_link(disk->path, disk->target, err);

    if (!rc && !vhd_name_is(disk->target, &disk->id))
        rc = xlsnap_fail(err, XLSNAP_FAILED,
                         "'%s' is no longer the file it was", disk->path);
    if (!rc)
        rc = prepare_child(disk, t, tmp, err);
    if (!rc)
        rc = vhd_settle_child(tmp, disk->path, err);
    return rc ? rc : note_made(op, disk, tmp, err);
}

static int vhd_prepare(struct op *op, struct disk_group *group,
                       struct xlsnap_error *err)
{
    const struct tapdisk *t = group->state;

    group->touched = true;
    for (size_t i = 0; i < group->n; i++)
        if (prepare_disk(op, group->disks[i], &t[i], err) ||
            steps_disk_done(op, "disk-prepare", group->disks[i], err))
            return xlsnap_prefix(err, "disk '%s'", group->disks[i]->vdev);
    return 0;
}

static int create_disk(struct op *op, struct disk *disk,
                       const struct tapdisk *t, struct xlsnap_error *err)
{
    cleanup_free char *tmp = disk_temporary(op, disk);
    int rc;

    if (!vhd_name_is(disk->path, &disk->id) ||
        !vhd_name_is(disk->target, &disk->id) || !vhd_name_is(tmp, &disk->made))
        return xlsnap_fail(err, XLSNAP_FAILED,
                           "'%s', '%s' or '%s' is no longer the file it was",
                           disk->path, disk->target, tmp);
    rc = pause_closed(disk, t, err);
    if (!rc)
        rc = vhd_rename(tmp, disk->path, err);
    if (!rc)
        rc = tapdisk_unpause(t, disk->source, err);
    if (!rc && (!file_is_open_in(&disk->made, t->pid) ||
                !file_is_open_in(&disk->id, t->pid)))
        rc = xlsnap_fail(err, XLSNAP_FAILED,
                         "tapdisk (pid %d) does not have the images open that "
                         "it should after the switch",
                         (int)t->pid);
    return rc;
}

static int vhd_create(struct op *op, struct disk_group *group,
                      struct xlsnap_error *err)
{
    const struct tapdisk *t = group->state;

    group->touched = true;
    for (size_t i = 0; i < group->n; i++)
        if (create_disk(op, group->disks[i], &t[i], err) ||
            steps_disk_done(op, "disk-create", group->disks[i], err))
            return xlsnap_prefix(err, "disk '%s'", group->disks[i]->vdev);
    return 0;
}

/* tapdisk has closed the frozen image: it must be sound without a pardon. */
static int vhd_sync_group(struct op *op, struct disk_group *group,
                          struct xlsnap_error *err)
{
    for (size_t i = 0; i < group->n; i++) {
        const struct disk *disk = group->disks[i];

        if (vhd_sync(disk->target, err) ||
            vhd_check(disk->target, false, false, err))
            return xlsnap_prefix(err, "disk '%s'", disk->vdev);
    }
    return 0;
}

static const char *vhd_needs(const struct disk_group *group,
                             const struct disk *disk, const char **needy_r)
{
    *needy_r = disk->path;
    return disk->target;
}

const struct disk_driver disk_vhd = {
    .name = "vhd",
    .what = "VHD image of tapdisk",
    .takes = vhd_takes,
    .opening_writes = true,
    .moves = vhd_moves,
    .check = vhd_check_group,
    .prepare = vhd_prepare,
    .create = vhd_create,
    .rescue = vhd_rescue,
    .remove = vhd_remove,
    .sync = vhd_sync_group,
    .needs = vhd_needs,
    .release = vhd_release,
    .prove = vhd_prove,
    .unused = vhd_unused,
    .revert = vhd_revert,
};
