/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * External snapshots and overlays: a new qcow2 file takes the guest's writes,
 * and what was there before is frozen below it.
 *
 * External ("stable path"): the disk's name stays with what the guest writes
 * to, and the frozen file gets the name TARGET, on the same file system.
 *     link(P, TARGET); an empty overlay TMP on TARGET; flush       before
 *     unlink(P); transaction: switch to TMP; rename(TMP, P); fsync  in the pause
 * The name is taken away for the transaction because QEMU, once it has
 * switched, reopens the old node read-only by the name P (bdrv_reopen in its
 * external_snapshot_commit, raw_reconfigure_getfd in file-posix.c).  If P were
 * the overlay by then, or later, when a commit reopens it for writing, the
 * overlay would be its own base.  Without P the reopening fails, QEMU passes
 * over that and goes on with the descriptor it has, now and at a commit.  TMP
 * has a name that was never used before, for the same reason.
 *
 * Overlay (libvirt's meaning): TARGET is the new file, the disk's own file is
 * frozen under its name; libxl's stored configuration follows.
 *
 * This file makes them; disk-qemu-chain-undo.c has the undo.
 */
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include "disk-qemu-chain.h"
#include "run.h"
#include "util.h"

/*
 * Subclusters (extended_l2=on) make the guest's first writes cheaper, but abort a
 * QEMU 7.2 that copies on read: block-stream, with which an admin flattens a
 * disk, took the guest's disks away ("bdrv_co_do_copy_on_readv: Assertion
 * `skip_bytes < pnum' failed", seen in the lab).
 */
#define OVERLAY_OPTIONS "extended_l2=off,cluster_size=16k"
#define OVERLAY_ROOM (4 << 20) /* bytes: tables of a few TiB */

bool chain_is_external(const struct disk *disk)
{
    return disk->method == XLSNAP_METHOD_EXTERNAL;
}

char *chain_temporary(const struct op *op, const struct disk *disk)
{
    return disk_temporary_beside(
        op, disk, chain_is_external(disk) ? disk->path : disk->target);
}

const char *chain_frozen(const struct disk *disk)
{
    return chain_is_external(disk) ? disk->target : disk->source;
}

bool chain_name_is(const char *path, const struct file_id *id)
{
    struct xlsnap_error ignored = { 0 };
    struct file_id found;

    return id->ino && !file_id(path, &found, &ignored) &&
           file_id_equal(&found, id);
}

bool chain_name_exists(const char *path)
{
    struct stat st;

    return !lstat(path, &st) || errno != ENOENT;
}

bool chain_switched(const struct op *op, const struct disk *disk)
{
    return disk->made.ino && op->dom.qemu_pid > 0 &&
           file_is_open_in(&disk->made, op->dom.qemu_pid);
}

static bool chain_external_takes(const struct disk *disk)
{
    return disk->format == LIBXL_DISK_FORMAT_QCOW2 && !disk->id.block;
}

/* An overlay names what is below it, and a block device has no name that is
 * sure to mean it after the next boot.  Of other formats none was tried. */
static bool chain_overlay_takes(const struct disk *disk)
{
    return !disk->id.block && (disk->format == LIBXL_DISK_FORMAT_RAW ||
                               disk->format == LIBXL_DISK_FORMAT_VHD ||
                               disk->format == LIBXL_DISK_FORMAT_QCOW2);
}

/* ---- checks ---- */

/* The disk's file gets another name there. */
static int check_link(const struct disk *disk, const char *dir,
                      const struct stat *st, struct xlsnap_error *err)
{
    if (st->st_dev != disk->id.dev)
        return xlsnap_fail(err, XLSNAP_REFUSED,
                           "disk '%s': target '%s' is on another file system "
                           "than '%s', which becomes the frozen file by "
                           "getting that name (snapshot=overlay has no such "
                           "limit)",
                           disk->vdev, disk->target, disk->path);
    if (!file_same_mount(dir, disk->path))
        return xlsnap_fail(err, XLSNAP_REFUSED,
                           "disk '%s': '%s' is mounted otherwise than '%s', so "
                           "that cannot get the name '%s' (snapshot=overlay "
                           "has no such limit)",
                           disk->vdev, dir, disk->path, disk->target);
    return 0;
}

static int check_target_place(const struct disk *disk, struct xlsnap_error *err)
{
    cleanup_free char *dir = file_dir_of(disk->target);
    struct stat st;

    if (!lstat(disk->target, &st))
        return xlsnap_fail(err, XLSNAP_REFUSED,
                           "disk '%s': target '%s' exists already, and nothing "
                           "is ever overwritten",
                           disk->vdev, disk->target);
    if (errno != ENOENT || stat(dir, &st))
        return xlsnap_fail_errno(err, XLSNAP_REFUSED, errno,
                                 "disk '%s': target '%s'", disk->vdev,
                                 disk->target);
    if (!S_ISDIR(st.st_mode) || access(dir, W_OK | X_OK))
        return xlsnap_fail(err, XLSNAP_REFUSED,
                           "disk '%s': cannot write to '%s', where the target "
                           "goes",
                           disk->vdev, dir);
    return chain_is_external(disk) ? check_link(disk, dir, &st, err) : 0;
}

int chain_check_place(const struct disk *disk, const char *active,
                      struct xlsnap_error *err)
{
    cleanup_free char *dir = file_dir_of(active);
    struct statvfs vfs;

    if (access(dir, W_OK | X_OK) || statvfs(dir, &vfs))
        return xlsnap_fail_errno(err, XLSNAP_REFUSED, errno,
                                 "disk '%s': cannot write to '%s', where the "
                                 "overlay goes",
                                 disk->vdev, dir);
    if (!file_same_mount(dir, active))
        return xlsnap_fail(err, XLSNAP_REFUSED,
                           "disk '%s': '%s' is mounted itself, so its name "
                           "cannot be given to another file",
                           disk->vdev, active);
    if ((uint64_t)vfs.f_bavail * vfs.f_frsize < OVERLAY_ROOM)
        return xlsnap_fail(err, XLSNAP_REFUSED,
                           "disk '%s': the file system of '%s' is full: a "
                           "fresh overlay needs %d MiB",
                           disk->vdev, active, OVERLAY_ROOM >> 20);
    return 0;
}

/*
 * A backing name that is relative is so to the directory of the file that has
 * it; as TARGET the file may be in another one.
 */
static int check_backing_name(const struct disk *disk, const struct json *image,
                              struct xlsnap_error *err)
{
    const char *backing = json_get_string(image, "backing-filename");

    if (!backing || backing[0] == '/' ||
        backing[strcspn(backing, ":/")] == ':' ||
        file_same_dir(disk->source, disk->target))
        return 0;
    return xlsnap_fail(err, XLSNAP_REFUSED,
                       "disk '%s': '%s' has the backing file '%s', relative "
                       "to its own directory, so the target must be in that "
                       "directory, too",
                       disk->vdev, disk->source, backing);
}

static int check_image(struct op *op, const struct disk *disk,
                       const struct json *image, struct xlsnap_error *err)
{
    const struct json *data = json_path(image, "format-specific", "data", NULL);

    if (json_get_bool(data, "corrupt", false))
        return xlsnap_fail(err, XLSNAP_REFUSED,
                           "disk '%s': '%s' is marked as corrupt (see "
                           "'qemu-img check')",
                           disk->vdev, disk->source);
    if (json_array_len(json_get(image, "snapshots")) && !op->force)
        return xlsnap_fail(err, XLSNAP_REFUSED,
                           "disk '%s': '%s' holds internal snapshots, which "
                           "would go with the frozen file: going back to one "
                           "of them would need that file (--force permits it)",
                           disk->vdev, disk->source);
    return chain_is_external(disk) ? check_backing_name(disk, image, err) : 0;
}

/* A VHD that QEMU reads wrong is not made the base of anything. */
static int check_vhd(const struct disk *disk, struct xlsnap_error *err)
{
    cleanup_close int fd = -1;

    if (disk->format != LIBXL_DISK_FORMAT_VHD || disk->id.block)
        return 0;
    fd = open(disk->path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return xlsnap_fail_errno(err, XLSNAP_REFUSED, errno,
                                 "disk '%s': cannot read '%s'", disk->vdev,
                                 disk->path);
    if (disk_check_vhd(disk, disk->source, fd, err))
        return xlsnap_prefix(err, "disk '%s'", disk->vdev);
    return 0;
}

static int chain_check(struct op *op, struct disk *disk,
                       const struct json *inserted, struct xlsnap_error *err)
{
    char *target;
    int rc;

    if (!chain_is_external(disk) && !disk->target)
        return xlsnap_fail(err, XLSNAP_INVALID,
                           "disk '%s': an overlay needs a target, the new "
                           "file that the guest will write to",
                           disk->vdev);
    target = disk_file_target(op, disk);
    free(disk->target);
    disk->target = target;
    rc = disk_check_target(op, disk, err);
    if (!rc)
        rc = check_target_place(disk, err);
    if (!rc)
        rc = chain_check_place(
            disk, chain_is_external(disk) ? disk->path : disk->target, err);
    if (!rc)
        rc = check_image(op, disk, json_get(inserted, "image"), err);
    if (!rc)
        rc = check_vhd(disk, err);
    disk->virtual_size =
        json_get_int(json_get(inserted, "image"), "virtual-size", 0);
    if (!rc && !disk->virtual_size)
        rc = xlsnap_fail(err, XLSNAP_REFUSED,
                         "disk '%s': QEMU does not say how large it is",
                         disk->vdev);
    return rc;
}

/* ---- making an overlay ---- */

/*
 * What the overlay's header calls its base: a bare name where it will be read
 * from the same directory, whatever name the disk goes by, so that the
 * directory can be moved.  To be freed.
 */
static char *backing_name(const struct disk *disk, const char *base)
{
    const char *config = chain_is_external(disk) ? disk->source : disk->target;
    const char *active = chain_is_external(disk) ? disk->path : disk->target;

    const char *name = strrchr(base, '/') + 1;

    if (!file_same_dir(active, base) || !file_same_dir(config, base))
        return xstrdup(base);
    /* What is before a colon QEMU takes for a protocol. */
    return xasprintf("%s%s", strchr(name, ':') ? "./" : "", name);
}

int chain_make_overlay(const struct disk *disk, const char *file,
                       const char *base, const char *like,
                       struct file_id *made_r, struct xlsnap_error *err)
{
    cleanup_free char *size_text = xasprintf("%" PRIu64, disk->virtual_size);
    cleanup_free char *backing = backing_name(disk, base);
    cleanup_close int fd = file_make_empty(file, err);
    cleanup_free char *open_file =
        xasprintf("/proc/%ld/fd/%d", (long)getpid(), fd);
    const char *argv[] = {
        "qemu-img", "create",  "-q", "-u",
        "-f",       "qcow2",   "-F", qemu_format(disk->format),
        "-b",       backing,   "-o", OVERLAY_OPTIONS,
        open_file,  size_text, NULL
    };

    if (fd >= 0 && run_ok(argv, RUN_TIMEOUT_MS, err))
        return xlsnap_prefix(err, "'%s'", file);
    if (fd < 0 || file_copy_attributes(like, fd, file, err) ||
        file_fd_id(fd, made_r, err))
        return -err->code;
    if (fsync(fd))
        return xlsnap_fail_errno(err, XLSNAP_FAILED, errno,
                                 "cannot write '%s' to disk", file);
    return file_fsync_dir_of(file, err);
}

/* ---- create ---- */

/* TARGET becomes a second name of the disk's file. */
static int external_link(struct disk *disk, struct xlsnap_error *err)
{
    if (link(disk->path, disk->target))
        return xlsnap_fail_errno(err, XLSNAP_FAILED, errno,
                                 "cannot link '%s' to '%s'", disk->path,
                                 disk->target);
    if (!chain_name_is(disk->target, &disk->id)) {
        unlink(disk->target); /* ours, but the undo would not know */
        return xlsnap_fail(err, XLSNAP_FAILED,
                           "'%s' is no longer the file it was", disk->path);
    }
    return file_fsync_dir_of(disk->target, err);
}

/* The record must know the overlay before it gets a name that others know. */
static int chain_note_made(struct op *op, struct xlsnap_error *err)
{
    pending_update_disks(&op->pending, op);
    return pending_write(op->xs, &op->pending, err);
}

static int chain_prepare(struct op *op, struct disk *disk,
                         struct xlsnap_error *err)
{
    bool external = chain_is_external(disk);
    cleanup_free char *tmp = chain_temporary(op, disk);
    int rc = external ? external_link(disk, err) : 0;

    if (!rc)
        rc = chain_make_overlay(disk, tmp, external ? disk->target : disk->path,
                                disk->path, &disk->made, err);
    if (!rc)
        rc = chain_note_made(op, err);
    if (!rc && !external)
        rc = file_rename_new(tmp, disk->target, err);
    return rc;
}

/* The disk's name goes away until the switch is made: see above. */
static int external_begin(struct op *op, struct disk *disk,
                          struct xlsnap_error *err)
{
    if (!chain_name_is(disk->target, &disk->id) ||
        !chain_name_is(disk->path, &disk->id))
        return xlsnap_fail(err, XLSNAP_FAILED,
                           "'%s' or '%s' is no longer the file it was",
                           disk->path, disk->target);
    if (unlink(disk->path))
        return xlsnap_fail_errno(err, XLSNAP_FAILED, errno,
                                 "cannot take the name '%s' away", disk->path);
    return 0;
}

/*
 * The new node with the options that Xen's block backend gives its own
 * (xen_block_drive_create): no locking, since an emulated device may have the
 * file open, too.
 */
static char *chain_node_options(const struct disk *disk, const char *file)
{
    struct json_writer *w = json_writer_new(false);
    cleanup_free char *text = NULL;

    json_open_object(w, NULL);
    json_put_string(w, "driver", "qcow2");
    if (disk->discard)
        json_put_string(w, "discard", "unmap");
    json_open_object(w, "file");
    json_put_string(w, "driver", "file");
    json_put_string(w, "filename", file);
    json_put_string(w, "locking", "off");
    if (disk->discard)
        json_put_string(w, "discard", "unmap");
    if (disk->direct_io_safe) {
        json_put_string(w, "aio", "native");
        json_open_object(w, "cache");
        json_put_bool(w, "direct", true);
        json_close_object(w);
    }
    json_close_object(w);
    json_close_object(w);
    text = json_writer_finish(w);
    return xasprintf("json:%s", text);
}

static char *chain_node_name(const struct op *op, const struct disk *disk)
{
    return xasprintf("%s-%s", disk->vdev, op->pending.token);
}

/*
 * Of the two commands that switch this is the one whose node belongs to the
 * device and goes with it: one made by blockdev-add would stay after `xl
 * block-detach` and hold the files open.
 */
static void chain_action(const struct op *op, const struct disk *disk,
                         struct json_writer *w)
{
    cleanup_free char *tmp = chain_temporary(op, disk);
    cleanup_free char *options =
        chain_node_options(disk, chain_is_external(disk) ? tmp : disk->target);
    cleanup_free char *name = chain_node_name(op, disk);

    json_put_string(w, "type", "blockdev-snapshot-sync");
    json_open_object(w, "data");
    json_put_string(w, "node-name", disk->node);
    json_put_string(w, "snapshot-file", options);
    json_put_string(w, "snapshot-node-name", name);
    json_put_string(w, "format", "qcow2");
    json_put_string(w, "mode", "existing");
    json_close_object(w);
}

/* Both must be open, and the names say which is which. */
static int chain_prove_switched(struct op *op, struct disk *disk,
                                struct xlsnap_error *err)
{
    pid_t qemu = op->dom.qemu_pid;
    const char *active = chain_is_external(disk) ? disk->path : disk->target;

    if (!chain_switched(op, disk) || !file_is_open_in(&disk->id, qemu) ||
        !chain_name_is(active, &disk->made) ||
        !chain_name_is(chain_frozen(disk), &disk->id))
        return xlsnap_fail(err, XLSNAP_FAILED,
                           "disk '%s': QEMU does not have the files open that "
                           "it should after the switch",
                           disk->vdev);
    return 0;
}

static int external_settle(struct op *op, struct disk *disk,
                           struct xlsnap_error *err)
{
    cleanup_free char *tmp = disk_temporary(op, disk);

    if (file_rename_noreplace(tmp, disk->path))
        return xlsnap_fail_errno(err, XLSNAP_FAILED, errno,
                                 "cannot rename '%s' to '%s'", tmp, disk->path);
    return chain_prove_switched(op, disk, err);
}

/*
 * libxl's configuration first: should the switch come late, when nobody waits
 * for it any more, and the guest reboot, it must not be on the frozen file.  As
 * long as QEMU has not switched the overlay is empty, and as good.
 */
static int overlay_begin(struct op *op, struct disk *disk,
                         struct xlsnap_error *err)
{
    return domain_store_disk(op->xs, &op->dom, disk->vdev, disk->target,
                             LIBXL_DISK_FORMAT_QCOW2, err);
}

static int chain_sync(struct op *op, struct disk *disk,
                      struct xlsnap_error *err)
{
    return qemu_img_sync(chain_frozen(disk), err);
}

const struct qemu_method qemu_external = {
    .method = XLSNAP_METHOD_EXTERNAL,
    .takes = chain_external_takes,
    .check = chain_check,
    .prepare = chain_prepare,
    .begin = external_begin,
    .action = chain_action,
    .settle = external_settle,
    .rescue = chain_external_rescue,
    .remove_live = chain_remove_live,
    .remove_offline = chain_external_remove_offline,
    .sync = chain_sync,
    .prove = chain_prove,
    .revert = chain_revert,
};

const struct qemu_method qemu_overlay = {
    .method = XLSNAP_METHOD_OVERLAY,
    .takes = chain_overlay_takes,
    .check = chain_check,
    .prepare = chain_prepare,
    .begin = overlay_begin,
    .action = chain_action,
    .settle = chain_prove_switched,
    .rescue = chain_overlay_rescue,
    .remove_live = chain_remove_live,
    .remove_offline = chain_overlay_remove_offline,
    .sync = chain_sync,
    .prove = chain_prove,
    .revert = chain_revert,
};
