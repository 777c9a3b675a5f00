/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * VHD images of tapdisk: after a failure or a death.  What is there is looked
 * at: which file has which name, and the state that tapdisk says it is in.
 *
 * A child's blocks count before its parent's, so the child stays right while it
 * is being coalesced, and when that is cut off: whatever happens before the
 * rename, P is whole, and after it, too.
 */
#include "disk-vhd.h"

#include "op.h"
#include "util.h"

#define COALESCE_LIVE_MS 600000 /* the guest's requests wait meanwhile */
#define COALESCE_MS 21600000
#define LEFT_BEHIND_LIVE_MS 60000 /* the guest may stand still meanwhile */

static bool is_switched(const struct disk *disk)
{
    return vhd_name_is(disk->path, &disk->made);
}

/* ---- folding the child back ---- */

/* P, the child, goes into TARGET, which gets the name P.  Nobody has it open. */
static int fold(struct op *op, struct disk *disk, int timeout_ms,
                struct xlsnap_error *err)
{
    int rc = 0;

    if (!vhd_name_is(disk->target, &disk->id))
        return xlsnap_fail(err, XLSNAP_FAILED,
                           "neither '%s' nor '%s' is the file that the disk "
                           "was",
                           disk->path, disk->target);
    rc = vhd_check_parent(disk->path, disk->target, err);
    if (!rc)
        rc = vhd_coalesce(disk->path, timeout_ms, err);
    if (!rc)
        rc = vhd_sync(disk->target, err);
    /* Whoever has started the domain meanwhile writes to the child. */
    if (!rc && op->dom.domid == DOMAIN_NONE)
        rc = disks_check_closed(op, err);
    return rc ? rc : vhd_rename(disk->target, disk->path, err);
}

/* ---- rescue ---- */

/* Waits for what a killed run has started: it may be about to do something. */
static int wait_left_behind(struct op *op, const struct disk *disk, pid_t pid,
                            int timeout_ms, struct xlsnap_error *err)
{
    cleanup_free char *tmp = disk_temporary(op, disk);
    cleanup_free char *tapdisk = xasprintf("%d", (int)pid);
    const char *arguments[] = { disk->path, tmp, pid ? tapdisk : NULL, NULL };

    return tapdisk_wait_tools(arguments, timeout_ms, err);
}

/* The snapshot counts once its description is there. */
static bool is_published(const struct op *op)
{
    return vhd_name_exists(op->pending.config_path);
}

/*
 * A child that tapdisk cannot open would leave the guest waiting for ever.
 * It is folded back, with all that is in it, while the snapshot does not count
 * yet.
 */
static int go_on_without_child(struct op *op, struct disk *disk,
                               const struct tapdisk *t,
                               struct xlsnap_error *err)
{
    struct xlsnap_error first = *err;

    if (!is_switched(disk) || is_published(op))
        return -err->code;
    memset(err, 0, sizeof(*err));
    if (!fold(op, disk, COALESCE_LIVE_MS, err) &&
        !tapdisk_unpause(t, disk->source, err))
        return 0;
    handle_log(op->xs, XTL_ERROR, "disk '%s': %s", disk->vdev, err->msg);
    *err = first;
    return -err->code;
}

static int rescue_disk(struct op *op, struct disk *disk, int timeout_ms,
                       struct xlsnap_error *err)
{
    struct tapdisk t;
    int rc = tapdisk_find(disk->source, &t, err);

    if (!rc)
        rc = wait_left_behind(op, disk, t.pid, timeout_ms, err);
    if (!rc && t.pid)
        rc = tapdisk_find(disk->source, &t, err);
    if (rc || !t.pid)
        return rc;
    if (!vhd_name_exists(disk->path) && vhd_name_is(disk->target, &disk->id))
        rc = vhd_link(disk->target, disk->path, err);
    if (rc || !tapdisk_is_held(&t))
        return rc;
    /* Also a pause that was cut off must come to its end first. */
    rc = tapdisk_pause(&t, err);
    if (!rc)
        rc = tapdisk_unpause(&t, disk->source, err);
    return rc ? go_on_without_child(op, disk, &t, err) : 0;
}

int vhd_rescue(struct op *op, struct disk_group *group,
               struct xlsnap_error *err)
{
    struct xlsnap_error one = { 0 };
    int rc = 0;

    if (!group->touched)
        return 0;
    for (size_t i = 0; i < group->n; i++) {
        memset(&one, 0, sizeof(one));
        if (group->disks[i]->unknown ||
            !rescue_disk(op, group->disks[i], LEFT_BEHIND_LIVE_MS, &one))
            continue;
        xlsnap_prefix(&one, "disk '%s'", group->disks[i]->vdev);
        if (!rc)
            *err = one;
        rc = -err->code;
    }
    return rc;
}

/* ---- remove ---- */

/* Not, or no longer, switched: what was made goes, the disk stays. */
static int unmake(struct op *op, struct disk *disk, struct xlsnap_error *err)
{
    cleanup_free char *tmp = disk_temporary(op, disk);
    int rc = 0;

    if (!vhd_name_is(disk->path, &disk->id))
        return xlsnap_fail(err, XLSNAP_FAILED,
                           "'%s' is no longer the file it was", disk->path);
    if (vhd_name_is(disk->target, &disk->id))
        rc = file_unlink(disk->target, err);
    return rc ? rc : file_unlink(tmp, err);
}

/* Whatever becomes of it, tapdisk goes on with the file that P is then. */
static int fold_live(struct op *op, struct disk *disk, const struct tapdisk *t,
                     struct xlsnap_error *err)
{
    struct xlsnap_error after = { 0 };
    int rc = tapdisk_pause(t, err);

    if (!rc && (file_is_open_in(&disk->made, t->pid) ||
                file_is_open_in(&disk->id, t->pid)))
        rc = xlsnap_fail(err, XLSNAP_FAILED,
                         "tapdisk (pid %d) has '%s' open still, though it "
                         "says that it is paused",
                         (int)t->pid, disk->path);
    if (!rc)
        rc = fold(op, disk, COALESCE_LIVE_MS, err);
    if (rc) {
        if (rescue_disk(op, disk, LEFT_BEHIND_LIVE_MS, &after))
            handle_log(op->xs, XTL_ERROR, "disk '%s': %s", disk->vdev,
                       after.msg);
        return rc;
    }
    rc = tapdisk_unpause(t, disk->source, err);
    if (!rc && !file_is_open_in(&disk->id, t->pid))
        rc = xlsnap_fail(err, XLSNAP_FAILED,
                         "tapdisk (pid %d) does not have '%s' open after the "
                         "switch back",
                         (int)t->pid, disk->path);
    return rc;
}

static int remove_disk(struct op *op, struct disk *disk,
                       struct xlsnap_error *err)
{
    struct tapdisk t = { 0 };
    int rc = 0;

    if (op->dom.domid != DOMAIN_NONE)
        rc = rescue_disk(op, disk, LEFT_BEHIND_MS, err);
    else
        rc = wait_left_behind(op, disk, 0, LEFT_BEHIND_MS, err);
    if (!rc && is_switched(disk)) {
        rc = tapdisk_find(disk->source, &t, err);
        if (!rc)
            rc = t.pid ? fold_live(op, disk, &t, err)
                       : fold(op, disk, COALESCE_MS, err);
    }
    return rc ? rc : unmake(op, disk, err);
}

int vhd_remove(struct op *op, struct disk_group *group,
               struct xlsnap_error *err)
{
    for (size_t i = 0; i < group->n; i++)
        if (remove_disk(op, group->disks[i], err))
            return xlsnap_prefix(err, "disk '%s'", group->disks[i]->vdev);
    return 0;
}
