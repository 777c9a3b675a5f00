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
 * Undone, once QEMU has switched, by committing the overlay into its base.
 */
#include <fcntl.h>
#include <libgen.h>
#include <sys/stat.h>

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

bool chain_is_external(const struct disk *disk)
{
    return disk->method == XLSNAP_METHOD_EXTERNAL;
}

/* The name under which the new overlay waits for the switch. */
static char *chain_waiting(const struct op *op, const struct disk *disk)
{
    return chain_is_external(disk) ? disk_temporary(op, disk)
                                   : xstrdup(disk->target);
}

/* The name of the frozen file. */
const char *chain_frozen(const struct disk *disk)
{
    return chain_is_external(disk) ? disk->target : disk->source;
}

/* Is the file of that name this one? */
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

/* Does QEMU write to our overlay? */
static bool chain_switched(const struct op *op, const struct disk *disk)
{
    return disk->made.ino && op->dom.qemu_pid > 0 &&
           file_is_open_in(&disk->made, op->dom.qemu_pid);
}

static bool chain_external_takes(const struct disk *disk)
{
    return disk->format == LIBXL_DISK_FORMAT_QCOW2 && !disk->id.block;
}

static bool chain_overlay_takes(const struct disk *disk)
{
    return true;
}

/* ---- checks ---- */

static char *dir_of(const char *path)
{
    cleanup_free char *copy = xstrdup(path);

    return xstrdup(dirname(copy));
}

static bool same_dir(const char *a, const char *b)
{
    cleanup_free char *dir_a = dir_of(a), *dir_b = dir_of(b);
    struct xlsnap_error ignored = { 0 };
    struct file_id id_a, id_b;

    return !file_id(dir_a, &id_a, &ignored) &&
           !file_id(dir_b, &id_b, &ignored) && file_id_equal(&id_a, &id_b);
}

static int check_target_place(const struct disk *disk, struct xlsnap_error *err)
{
    cleanup_free char *dir = dir_of(disk->target);
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
    if (chain_is_external(disk) && st.st_dev != disk->id.dev)
        return xlsnap_fail(err, XLSNAP_REFUSED,
                           "disk '%s': target '%s' is on another file system "
                           "than '%s', which becomes the frozen file by "
                           "getting that name (snapshot=overlay has no such "
                           "limit)",
                           disk->vdev, disk->target, disk->path);
    return 0;
}

int chain_check_place(const struct disk *disk, struct xlsnap_error *err)
{
    cleanup_free char *dir = dir_of(disk->path);

    if (!access(dir, W_OK | X_OK))
        return 0;
    return xlsnap_fail_errno(err, XLSNAP_REFUSED, errno,
                             "disk '%s': cannot write to '%s', where the "
                             "overlay goes",
                             disk->vdev, dir);
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
        same_dir(disk->source, disk->target))
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
    if (!rc && chain_is_external(disk))
        rc = chain_check_place(disk, err);
    if (!rc)
        rc = check_image(op, disk, json_get(inserted, "image"), err);
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

    if (!same_dir(active, base) || !same_dir(config, base))
        return xstrdup(base);
    /* What is before a colon QEMU takes for a protocol. */
    return xasprintf("%s%s", strchr(name, ':') ? "./" : "", name);
}

/* An empty overlay at `file`, durable, its owner and mode as `like`'s. */
int chain_make_overlay(const struct disk *disk, const char *file,
                       const char *base, const char *like,
                       struct xlsnap_error *err)
{
    cleanup_free char *size_text = xasprintf("%" PRIu64, disk->virtual_size);
    cleanup_free char *backing = backing_name(disk, base);
    const char *argv[] = {
        "qemu-img", "create",  "-q", "-u",
        "-f",       "qcow2",   "-F", qemu_format(disk->format),
        "-b",       backing,   "-o", OVERLAY_OPTIONS,
        file,       size_text, NULL
    };
    int rc = run_ok(argv, RUN_TIMEOUT_MS, err);

    if (!rc)
        rc = file_copy_attributes(like, file, err);
    if (!rc)
        rc = qemu_img_sync(file, err);
    return rc ? rc : file_fsync_dir_of(file, err);
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
static int chain_note_made(struct op *op, struct disk *disk, const char *file,
                           struct xlsnap_error *err)
{
    int rc = file_id(file, &disk->made, err);

    if (rc)
        return rc;
    pending_update_disks(&op->pending, op);
    return pending_write(op->xs, &op->pending, err);
}

static int chain_prepare(struct op *op, struct disk *disk,
                         struct xlsnap_error *err)
{
    cleanup_free char *tmp = disk_temporary(op, disk);
    cleanup_free char *target_dir = dir_of(disk->target);
    int rc = 0;

    if (chain_is_external(disk)) {
        rc = external_link(disk, err);
    } else {
        free(tmp);
        tmp = xasprintf("%s/.xl-snapshot.%s.%s", target_dir, op->pending.token,
                        disk->vdev);
    }
    if (!rc)
        rc = chain_make_overlay(
            disk, tmp, chain_is_external(disk) ? disk->target : disk->path,
            disk->path, err);
    if (!rc)
        rc = chain_note_made(op, disk, tmp, err);
    if (!rc && !chain_is_external(disk))
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
    cleanup_free char *file = chain_waiting(op, disk);
    cleanup_free char *options = chain_node_options(disk, file);
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
    int rc = file_rename_new(tmp, disk->path, err);

    return rc ? rc : chain_prove_switched(op, disk, err);
}

static int overlay_settle(struct op *op, struct disk *disk,
                          struct xlsnap_error *err)
{
    int rc = domain_store_disk(op->xs, &op->dom, disk->vdev, disk->target,
                               LIBXL_DISK_FORMAT_QCOW2, err);

    return rc ? rc : chain_prove_switched(op, disk, err);
}

static int chain_sync(struct op *op, struct disk *disk,
                      struct xlsnap_error *err)
{
    return qemu_img_sync(chain_frozen(disk), err);
}

/* ---- rescue ---- */

/* The name goes to whichever file QEMU writes to. */
static int external_rescue(struct op *op, struct disk *disk,
                           struct xlsnap_error *err)
{
    cleanup_free char *tmp = disk_temporary(op, disk);
    int rc = chain_commit_end(op, disk, err);

    if (chain_switched(op, disk)) {
        if (chain_name_is(disk->path, &disk->made) ||
            !chain_name_is(tmp, &disk->made))
            return rc;
        if (chain_name_exists(disk->path) &&
            !chain_name_is(disk->path, &disk->id))
            return xlsnap_fail(err, XLSNAP_FAILED,
                               "'%s' is neither of the files it should be; "
                               "the guest writes to '%s'",
                               disk->path, tmp);
        if (rename(tmp, disk->path))
            return xlsnap_fail_errno(err, XLSNAP_FAILED, errno,
                                     "cannot rename '%s' to '%s'", tmp,
                                     disk->path);
        return file_fsync_dir_of(disk->path, err) ? -err->code : rc;
    }
    if (chain_name_exists(disk->path) ||
        !chain_name_is(disk->target, &disk->id))
        return rc;
    if (link(disk->target, disk->path))
        return xlsnap_fail_errno(err, XLSNAP_FAILED, errno,
                                 "cannot link '%s' to '%s'", disk->target,
                                 disk->path);
    return file_fsync_dir_of(disk->path, err) ? -err->code : rc;
}

static int overlay_rescue(struct op *op, struct disk *disk,
                          struct xlsnap_error *err)
{
    int rc = chain_commit_end(op, disk, err);
    bool switched = chain_switched(op, disk);

    /* A namesake that somebody has started has disks of its own. */
    if (!switched && !file_is_open_in(&disk->id, op->dom.qemu_pid))
        return rc;
    if (domain_store_disk(op->xs, &op->dom, disk->vdev,
                          switched ? disk->target : disk->source,
                          switched ? LIBXL_DISK_FORMAT_QCOW2 : disk->format,
                          err))
        return -err->code;
    return rc;
}

/* ---- remove ---- */

/* Unlinks a name that is nobody else's. */
static int unlink_ours(const char *path, const struct file_id *id,
                       struct xlsnap_error *err)
{
    return chain_name_is(path, id) ? file_unlink(path, err) : 0;
}

/*
 * Before the overlay is merged: from here on it is no surprise that there is
 * something in it, or that its base is the newer one.
 */
static int chain_mark_merging(struct op *op, struct xlsnap_error *err)
{
    if (op->pending.no_return)
        return 0;
    op->pending.no_return = true;
    return op->pending.file ? pending_write(op->xs, &op->pending, err) : 0;
}

/* What a guest wrote after the switch is dropped by no undo. */
static int chain_check_empty(const struct op *op, const struct disk *disk,
                             const char *overlay, struct xlsnap_error *err)
{
    bool empty = true;
    int rc;

    if (op->pending.no_return || !chain_name_is(overlay, &disk->made))
        return 0;
    rc = qemu_img_is_empty(overlay, &empty, err);
    if (rc || empty)
        return rc;
    return xlsnap_fail(err, XLSNAP_REFUSED,
                       "disk '%s': the guest has written to '%s', but runs, or "
                       "ran later, on '%s' without it; choose one, and drop "
                       "the record with 'xl snapshot-recover --abandon %s'",
                       disk->vdev, overlay, disk->source, op->pending.domain);
}

/* The base must not be newer: somebody has started the domain on it since. */
static int overlay_check_newer(const struct op *op, const struct disk *disk,
                               struct xlsnap_error *err)
{
    struct stat base, overlay;

    if (op->pending.no_return || disk->id.block || stat(disk->path, &base) ||
        stat(disk->target, &overlay) ||
        base.st_mtim.tv_sec < overlay.st_mtim.tv_sec ||
        (base.st_mtim.tv_sec == overlay.st_mtim.tv_sec &&
         base.st_mtim.tv_nsec <= overlay.st_mtim.tv_nsec))
        return 0;
    return chain_check_empty(op, disk, disk->target, err);
}

/* Not, or no longer, switched: what was made goes, the disk stays. */
static int chain_unmake(struct op *op, struct disk *disk,
                        struct xlsnap_error *err)
{
    cleanup_free char *tmp = disk_temporary(op, disk);
    cleanup_free char *dir = dir_of(disk->target);
    int rc;

    if (!chain_is_external(disk)) {
        free(tmp);
        tmp = xasprintf("%s/.xl-snapshot.%s.%s", dir, op->pending.token,
                        disk->vdev);
        rc = chain_check_empty(op, disk, disk->target, err);
        if (!rc)
            rc = unlink_ours(disk->target, &disk->made, err);
        return rc ? rc : file_unlink(tmp, err);
    }
    if (!chain_name_is(disk->path, &disk->id))
        return xlsnap_fail(err, XLSNAP_FAILED,
                           "disk '%s': '%s' is no longer the file it was",
                           disk->vdev, disk->path);
    rc = chain_check_empty(op, disk, tmp, err);
    if (!rc)
        rc = unlink_ours(disk->target, &disk->id, err);
    return rc ? rc : file_unlink(tmp, err);
}

static int chain_remove_live(struct op *op, struct disk *disk,
                             struct xlsnap_error *err)
{
    int rc = 0;

    if (chain_switched(op, disk)) {
        rc = chain_mark_merging(op, err);
        if (!rc)
            rc = chain_commit_live(op, disk, err);
    }
    return rc ? rc : chain_unmake(op, disk, err);
}

static int external_remove_offline(struct op *op, struct disk *disk,
                                   struct xlsnap_error *err)
{
    cleanup_free char *tmp = disk_temporary(op, disk);
    const char *overlay = NULL;
    int rc = 0;

    /* Which name has the overlay, if the guest may have written to it? */
    if (chain_name_is(disk->path, &disk->made))
        overlay = disk->path;
    else if (!chain_name_exists(disk->path) && chain_name_is(tmp, &disk->made))
        overlay = tmp;
    if (chain_name_is(disk->path, &disk->id))
        return chain_unmake(op, disk, err);
    /* Somebody else's file has the name, or the guest's writes are gone. */
    if (!overlay)
        return xlsnap_fail(err, XLSNAP_FAILED,
                           "disk '%s': '%s' is not the file that the guest "
                           "wrote to",
                           disk->vdev, disk->path);
    if (!chain_name_is(disk->target, &disk->id))
        return xlsnap_fail(err, XLSNAP_FAILED,
                           "disk '%s': neither '%s' nor '%s' is the file that "
                           "the disk was",
                           disk->vdev, disk->path, disk->target);
    rc = chain_mark_merging(op, err);
    if (!rc)
        rc = chain_commit_offline(overlay, err);
    if (!rc)
        rc = qemu_img_sync(disk->target, err);
    if (!rc && rename(disk->target, disk->path))
        rc = xlsnap_fail_errno(err, XLSNAP_FAILED, errno,
                               "cannot rename '%s' to '%s'", disk->target,
                               disk->path);
    if (!rc)
        rc = file_fsync_dir_of(disk->path, err);
    return rc ? rc : chain_unmake(op, disk, err);
}

/* The guest wrote to TARGET at most if it was switched to it. */
static int overlay_remove_offline(struct op *op, struct disk *disk,
                                  struct xlsnap_error *err)
{
    int rc = 0;

    if (chain_name_is(disk->target, &disk->made)) {
        rc = overlay_check_newer(op, disk, err);
        if (!rc)
            rc = chain_mark_merging(op, err);
        if (!rc)
            rc = chain_commit_offline(disk->target, err);
        if (!rc)
            rc = qemu_img_sync(disk->path, err);
    }
    return rc ? rc : chain_unmake(op, disk, err);
}

const struct qemu_method qemu_external = {
    .method = XLSNAP_METHOD_EXTERNAL,
    .takes = chain_external_takes,
    .check = chain_check,
    .prepare = chain_prepare,
    .begin = external_begin,
    .action = chain_action,
    .settle = external_settle,
    .rescue = external_rescue,
    .remove_live = chain_remove_live,
    .remove_offline = external_remove_offline,
    .sync = chain_sync,
    .prove = chain_prove,
    .revert = chain_revert,
};

const struct qemu_method qemu_overlay = {
    .method = XLSNAP_METHOD_OVERLAY,
    .takes = chain_overlay_takes,
    .check = chain_check,
    .prepare = chain_prepare,
    .action = chain_action,
    .settle = overlay_settle,
    .rescue = overlay_rescue,
    .remove_live = chain_remove_live,
    .remove_offline = overlay_remove_offline,
    .sync = chain_sync,
    .prove = chain_prove,
    .revert = chain_revert,
};
