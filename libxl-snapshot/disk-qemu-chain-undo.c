/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * External snapshots and overlays undone: what a tool that died in the pause
 * has left is put right at once (rescue), and what was made is removed.  Once
 * QEMU has switched that is a merge of the overlay into its base
 * (disk-qemu-commit.c); nothing that a guest wrote is dropped.
 */
#include "disk-qemu-chain.h"

#include <sys/stat.h>
#include <time.h>

#include "util.h"

/* ---- rescue ---- */

static int external_rescue_names(struct op *op, struct disk *disk,
                                 struct xlsnap_error *err)
{
    cleanup_free char *tmp = chain_temporary(op, disk);

    if (!chain_switched(op, disk)) {
        if (chain_name_exists(disk->path) ||
            !chain_name_is(disk->target, &disk->id) ||
            !link(disk->target, disk->path))
            return 0;
        return xlsnap_fail_errno(err, XLSNAP_FAILED, errno,
                                 "cannot link '%s' to '%s'", disk->target,
                                 disk->path);
    }
    if (chain_name_is(disk->path, &disk->made) ||
        !chain_name_is(tmp, &disk->made))
        return 0;
    if (chain_name_exists(disk->path) && !chain_name_is(disk->path, &disk->id))
        return xlsnap_fail(err, XLSNAP_FAILED,
                           "'%s' is neither of the files it should be; the "
                           "guest writes to '%s'",
                           disk->path, tmp);
    if (rename(tmp, disk->path))
        return xlsnap_fail_errno(err, XLSNAP_FAILED, errno,
                                 "cannot rename '%s' to '%s'", tmp, disk->path);
    return 0;
}

/* The name goes to whichever file QEMU writes to; durably, also if that was
 * done already by somebody who could not finish. */
int chain_external_rescue(struct op *op, struct disk *disk,
                          struct xlsnap_error *err)
{
    int rc = op->transacted ? chain_commit_end(op, disk, err) : 0;

    if (external_rescue_names(op, disk, err) ||
        file_fsync_dir_of(disk->path, err))
        return -err->code;
    return rc;
}

int chain_overlay_rescue(struct op *op, struct disk *disk,
                         struct xlsnap_error *err)
{
    int rc = op->transacted ? chain_commit_end(op, disk, err) : 0;
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

static int chain_write(struct op *op, struct xlsnap_error *err)
{
    pending_update_disks(&op->pending, op);
    return op->pending.file ? pending_write(op->xs, &op->pending, err) : 0;
}

int chain_note_merged(struct op *op, struct disk *disk, bool merged,
                      struct xlsnap_error *err)
{
    bool before = disk->merged;
    struct xlsnap_error ignored = { 0 };

    disk->merged = merged;
    if (before == merged || !chain_write(op, err))
        return 0;
    /* What is not on disk is not so; nor must half of it be. */
    disk->merged = before;
    chain_write(op, &ignored);
    return -err->code;
}

/* Before each merge, also a repeated one: in this boot of the host, and what
 * an earlier one has noted holds no more. */
static int chain_begin_merge(struct op *op, struct disk *disk,
                             struct xlsnap_error *err)
{
    disk->merging = true;
    disk->merged = false;
    return chain_write(op, err);
}

/*
 * Is all that is in what was made also in what the guest has?  An external
 * snapshot's base gets the disk's name only when it is so, and whoever has the
 * base open otherwise has never left it.  An overlay's base has its name all
 * the time, and somebody may have started the guest on it in the middle of a
 * merge.
 */
static bool chain_is_merged(const struct op *op, const struct disk *disk)
{
    if (!chain_is_external(disk))
        return disk->merged;
    return disk->merging || (op_is_same_domain(op) && op->dom.qemu_pid > 0 &&
                             file_is_open_in(&disk->id, op->dom.qemu_pid) &&
                             !file_is_open_in(&disk->made, op->dom.qemu_pid));
}

/* What a guest wrote after the switch is dropped by no undo. */
static int chain_check_empty(const struct op *op, const struct disk *disk,
                             const char *overlay, struct xlsnap_error *err)
{
    cleanup_free char *abandon = pending_cure(op->pending.domain, true);
    bool empty = true;
    int rc;

    if (chain_is_merged(op, disk) || !chain_name_is(overlay, &disk->made))
        return 0;
    rc = qemu_img_is_empty(overlay, &empty, err);
    if (rc || empty)
        return rc;
    return xlsnap_fail(err, XLSNAP_REFUSED,
                       "disk '%s': the guest has written to '%s', but runs, or "
                       "ran later, on '%s' without it; choose one, and drop "
                       "the record with '%s'",
                       disk->vdev, overlay, disk->source, abandon);
}

/* Is the file written to later than the other? */
static bool is_newer(const char *path, const char *than)
{
    struct stat a, b;

    if (stat(path, &a) || stat(than, &b))
        return false;
    return a.st_mtim.tv_sec > b.st_mtim.tv_sec ||
           (a.st_mtim.tv_sec == b.st_mtim.tv_sec &&
            a.st_mtim.tv_nsec > b.st_mtim.tv_nsec);
}

/* Has anybody written to it since this boot of the host? */
static bool is_written_since_boot(const char *path)
{
    struct timespec now, up;
    struct stat st;

    clock_gettime(CLOCK_REALTIME, &now);
    clock_gettime(CLOCK_BOOTTIME, &up);
    return !stat(path, &st) && st.st_mtim.tv_sec > now.tv_sec - up.tv_sec;
}

/*
 * The base must not be newer: somebody has started the domain on it since.  A
 * merge that was cut off has written to it, too; but not yet in this boot.
 */
static int overlay_check_newer(const struct op *op, const struct disk *disk,
                               struct xlsnap_error *err)
{
    bool newer = !disk->merging ? is_newer(disk->path, disk->target)
                                : !pending_same_boot(&op->pending) &&
                                      is_written_since_boot(disk->path);

    return newer ? chain_check_empty(op, disk, disk->target, err) : 0;
}

/* Not, or no longer, switched: what was made goes, the disk stays. */
static int chain_unmake(struct op *op, struct disk *disk,
                        struct xlsnap_error *err)
{
    cleanup_free char *abandon = pending_cure(op->pending.domain, true);
    cleanup_free char *tmp = chain_temporary(op, disk);
    int rc = 0;

    if (chain_is_external(disk) && !chain_name_is(disk->path, &disk->id))
        return xlsnap_fail(err, XLSNAP_FAILED,
                           "disk '%s': '%s' is no longer the file it was "
                           "('%s' drops the record, and leaves all as it is)",
                           disk->vdev, disk->path, abandon);
    /* An external one is under TARGET's name once it was merged. */
    rc = chain_check_empty(op, disk, tmp, err);
    if (!rc)
        rc = chain_check_empty(op, disk, disk->target, err);
    if (!rc && chain_is_external(disk))
        rc = unlink_ours(disk->target, &disk->id, err);
    if (!rc)
        rc = unlink_ours(disk->target, &disk->made, err);
    return rc ? rc : file_unlink(tmp, err);
}

int chain_remove_live(struct op *op, struct disk *disk,
                      struct xlsnap_error *err)
{
    int rc = 0;

    if (chain_switched(op, disk)) {
        rc = chain_begin_merge(op, disk, err);
        if (!rc)
            rc = chain_commit_live(op, disk, err);
    }
    return rc ? rc : chain_unmake(op, disk, err);
}

int chain_external_remove_offline(struct op *op, struct disk *disk,
                                  struct xlsnap_error *err)
{
    cleanup_free char *abandon = pending_cure(op->pending.domain, true);
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
                           "wrote to; put it back, or drop the record with "
                           "'%s'",
                           disk->vdev, disk->path, abandon);
    if (!chain_name_is(disk->target, &disk->id))
        return xlsnap_fail(err, XLSNAP_FAILED,
                           "disk '%s': neither '%s' nor '%s' is the file that "
                           "the disk was",
                           disk->vdev, disk->path, disk->target);
    rc = chain_begin_merge(op, disk, err);
    if (!rc)
        rc = chain_commit_offline(disk, overlay, err);
    if (!rc)
        rc = qemu_img_sync(disk->target, err);
    /* Whoever has started the domain meanwhile writes to the overlay. */
    if (!rc)
        rc = disks_check_closed(op, err);
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

    /* Merged, but written to since: it was started on it once more. */
    if (chain_name_is(disk->target, &disk->made) &&
        (!disk->merged || is_newer(disk->target, disk->path))) {
        rc = overlay_check_newer(op, disk, err);
        if (!rc)
            rc = chain_begin_merge(op, disk, err);
        if (!rc)
            rc = chain_commit_offline(disk, disk->target, err);
        if (!rc)
            rc = qemu_img_sync(disk->path, err);
        /* As above; and the name of the overlay goes when this is noted. */
        if (!rc)
            rc = disks_check_closed(op, err);
        if (!rc)
            rc = chain_note_merged(op, disk, true, err);
    }
    return rc ? rc : chain_unmake(op, disk, err);
}
