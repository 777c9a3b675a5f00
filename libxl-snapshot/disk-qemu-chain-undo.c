/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * External snapshots and overlays undone: what a tool that died in the pause
 * has left is put right at once (rescue), and what was made is removed.  Once
 * QEMU has switched that is a merge of the overlay into its base
 * (disk-qemu-commit.c); nothing that a guest wrote is dropped.
 */
#include "disk-qemu-chain.h"

#include <sys/stat.h>

#include "util.h"

/* ---- rescue ---- */

/* The name goes to whichever file QEMU writes to. */
int chain_external_rescue(struct op *op, struct disk *disk,
                          struct xlsnap_error *err)
{
    cleanup_free char *tmp = chain_temporary(op, disk);
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

int chain_overlay_rescue(struct op *op, struct disk *disk,
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
    cleanup_free char *tmp = chain_temporary(op, disk);
    bool external = chain_is_external(disk);
    int rc;

    if (external && !chain_name_is(disk->path, &disk->id))
        return xlsnap_fail(err, XLSNAP_FAILED,
                           "disk '%s': '%s' is no longer the file it was",
                           disk->vdev, disk->path);
    rc = chain_check_empty(op, disk, external ? tmp : disk->target, err);
    if (!rc)
        rc = unlink_ours(disk->target, external ? &disk->id : &disk->made, err);
    return rc ? rc : file_unlink(tmp, err);
}

int chain_remove_live(struct op *op, struct disk *disk,
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

int chain_external_remove_offline(struct op *op, struct disk *disk,
                                  struct xlsnap_error *err)
{
    cleanup_free char *tmp = chain_temporary(op, disk);
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
int chain_overlay_remove_offline(struct op *op, struct disk *disk,
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
