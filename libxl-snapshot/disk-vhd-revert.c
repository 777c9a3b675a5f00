/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * VHD images of tapdisk: going back.  A fresh child of the frozen image takes
 * the disk's name; the frozen image is never written.
 */
#include "disk-vhd.h"

#include "op.h"
#include "steps.h"
#include "util.h"

/* A tapdisk on the frozen image itself would write to it. */
static int prove_not_served(const struct disk *disk, struct xlsnap_error *err)
{
    cleanup_free char *source = xasprintf("vhd:%s", disk->target);
    struct tapdisk t;
    int rc = tapdisk_find(source, &t, err);

    if (!rc && t.pid)
        rc = xlsnap_fail(err, XLSNAP_REFUSED,
                         "'%s', the frozen image, is served by tapdisk (pid "
                         "%d) as a disk",
                         disk->target, (int)t.pid);
    return rc;
}

static int prove_disk(const struct op *op, const struct disk *disk,
                      struct xlsnap_error *err)
{
    struct file_id id;
    int rc;

    if (!disk->target)
        return xlsnap_fail(err, XLSNAP_INVALID, "it has no target");
    rc = file_id(disk->target, &id, err);
    if (!rc && (id.block || file_id_equal(&id, &disk->id)))
        rc = xlsnap_fail(err, XLSNAP_REFUSED,
                         "'%s' and '%s' are the same file: the frozen one is "
                         "in use as the disk",
                         disk->path, disk->target);
    if (!rc)
        rc = vhd_check_place(disk, err);
    if (!rc)
        rc = prove_not_served(disk, err);
    if (!rc)
        rc = disk_check_frozen(disk->target, 0, err);
    if (!rc)
        rc = disk_prove_keep(op, disk, err);
    if (!rc)
        rc = vhd_check(disk->target, false, true, err);
    return rc ? rc : vhd_check_space(disk, disk->target, err);
}

int vhd_prove(struct op *op, struct disk_group *group, struct xlsnap_error *err)
{
    int rc = tapdisk_check_tools(err);

    for (size_t i = 0; i < group->n && !rc; i++)
        if (prove_disk(op, group->disks[i], err))
            rc = xlsnap_prefix(err, "disk '%s'", group->disks[i]->vdev);
    if (rc)
        err->code = XLSNAP_REFUSED;
    return rc ? -err->code : 0;
}

/* A paused tapdisk has no file open, and yet the disk is its. */
int vhd_unused(struct op *op, struct disk_group *group,
               struct xlsnap_error *err)
{
    for (size_t i = 0; i < group->n; i++) {
        const struct disk *disk = group->disks[i];
        struct tapdisk t;

        if (tapdisk_find(disk->source, &t, err))
            return xlsnap_prefix(err, "disk '%s'", disk->vdev);
        if (t.pid)
            return xlsnap_fail(err, XLSNAP_REFUSED,
                               "disk '%s' ('%s') is served by tapdisk (pid "
                               "%d)",
                               disk->vdev, disk->source, (int)t.pid);
    }
    return 0;
}

static int revert_disk(struct op *op, struct disk *disk,
                       struct xlsnap_error *err)
{
    cleanup_free char *tmp = disk_temporary(op, disk);
    const char *like = disk->target;
    const char *arguments[] = { tmp, NULL };
    int rc = tapdisk_wait_tools(arguments, LEFT_BEHIND_MS, err);

    if (!rc)
        rc = file_unlink(tmp, err); /* of a run that was cut off */
    if (!rc)
        rc = prove_disk(op, disk, err);
    if (!rc && op->pending.keep && vhd_name_exists(disk->path))
        rc = disk_keep(op, disk, err);
    if (vhd_name_exists(disk->path))
        like = disk->path;
    if (!rc)
        rc = vhd_snapshot(tmp, disk->target, err);
    if (!rc)
        rc = vhd_settle_child(tmp, like, err);
    return rc ? rc : vhd_rename(tmp, disk->path, err);
}

int vhd_revert(struct op *op, struct disk_group *group,
               struct xlsnap_error *err)
{
    for (size_t i = 0; i < group->n; i++)
        if (revert_disk(op, group->disks[i], err) ||
            steps_disk_done(op, "disk-revert", group->disks[i], err))
            return xlsnap_prefix(err, "disk '%s'", group->disks[i]->vdev);
    return 0;
}
