/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * For recovery: the disks as the record has them, and whether they still are what
 * they were.
 */
#include <libgen.h>

#include "disk.h"
#include "op.h"
#include "util.h"

/*
 * The identity of the record, of a file beside `path`; a reboot of the host
 * renumbers devices.
 */
static void disk_recall(const struct op *op, const struct disk *disk,
                        const char *path, const struct file_id *recorded,
                        struct file_id *id_r)
{
    cleanup_free char *copy = xstrdup(path);
    struct file_id dir;
    struct xlsnap_error ignored = { 0 };

    *id_r = *recorded;
    if (pending_same_boot(&op->pending) || !recorded->ino)
        return;
    /* Without its name nobody knows which device it is now. */
    if (recorded->block && file_id(path, id_r, &ignored))
        *id_r = (struct file_id){ .block = true };
    else if (!recorded->block && !file_id(dirname(copy), &dir, &ignored))
        id_r->dev = dir.dev;
}

int disks_check_record(struct op *op, struct xlsnap_error *err)
{
    const struct pending *p = &op->pending;
    cleanup_free char *abandon = pending_cure(p->domain, true);

    if (op->n_disks != p->n_disks)
        return xlsnap_fail(err, XLSNAP_REFUSED,
                           "'%s' has other disks than when the %s began",
                           p->config_path, p->operation);
    for (size_t g = 0; g < op->n_groups; g++)
        for (size_t j = 0; j < op->groups[g].n; j++) {
            const struct disk *disk = op->groups[g].disks[j];
            size_t i = disk - op->disks;

            if (!op->groups[g].driver->moves(disk) &&
                !pending_is_file(p, disk->source, &p->disks[i].id))
                return xlsnap_fail(err, XLSNAP_REFUSED,
                                   "disk '%s': '%s' is no longer the file it "
                                   "was; put it back, or drop the record with "
                                   "'%s'",
                                   disk->vdev, disk->source, abandon);
        }
    return 0;
}

/* An overlay's frozen file is what the disk was. */
static void disk_was(struct disk *disk, struct xlsnap_error *err)
{
    char *path = realpath(disk->source, NULL);
    struct xlsnap_error one = { 0 };

    if (!path) {
        xlsnap_fail_errno(&one, XLSNAP_REFUSED, errno, "disk '%s': '%s'",
                          disk->vdev, disk->source);
        xlsnap_keep_first(err, &one);
        disk->unknown = true;
        path = xstrdup(disk->source);
    }
    free(disk->path);
    disk->path = path;
}

/* Whenever the record is written from now on, it is of this boot of the host,
 * and so must its device numbers be. */
static void record_renew(struct op *op)
{
    struct pending *p = &op->pending;
    struct xlsnap_error ignored = { 0 };
    struct file_id id;

    if (pending_same_boot(p))
        return;
    for (size_t i = 0; i < op->n_disks; i++)
        p->disks[i].id = op->disks[i].id;
    pending_update_disks(p, op);
    if (!file_id(p->memory, &id, &ignored) && id.ino == p->memory_id.ino)
        p->memory_id = id;
}

/* "Not there" would be taken for "removed already". */
static void disk_out_of_sight(const struct op *op, const struct disk *disk,
                              struct xlsnap_error *err)
{
    cleanup_free char *abandon = pending_cure(op->pending.domain, true);

    memset(err, 0, sizeof(*err));
    xlsnap_fail(err, XLSNAP_REFUSED,
                "disk '%s': the directory that '%s' was in is not there (is "
                "its file system mounted?); put it back, or drop the record "
                "with '%s'",
                disk->vdev, disk->target, abandon);
}

/* What was made for it is in the directory of... */
static const char *made_beside(const struct op *op, const struct disk *disk)
{
    if (disk->method == XLSNAP_METHOD_OVERLAY)
        return disk->target;
    for (size_t g = 0; g < op->n_groups; g++)
        for (size_t j = 0; j < op->groups[g].n; j++)
            if (op->groups[g].disks[j] == disk &&
                op->groups[g].driver == &disk_copy)
                return disk->target;
    return disk->path;
}

int disks_from_record(struct op *op, struct xlsnap_error *err)
{
    const struct pending *p = &op->pending;
    struct xlsnap_error one = { 0 };

    disks_clear(op); /* what an earlier call has made */
    if (disks_from_snapshot(op, err) && !op->n_groups)
        return -err->code;
    if (op->n_disks != p->n_disks) {
        for (size_t i = 0; i < op->n_disks; i++)
            op->disks[i].unknown = true;
        return xlsnap_fail(err, XLSNAP_FAILED,
                           "'%s' has disks without a method", p->file);
    }
    if (disks_check_record(op, &one))
        xlsnap_keep_first(err, &one);
    for (size_t i = 0; i < op->n_disks; i++) {
        struct disk *disk = &op->disks[i];
        struct file_id id;

        if (disk->method == XLSNAP_METHOD_OVERLAY)
            disk_was(disk, err);
        disk_recall(op, disk, disk->path, &p->disks[i].id, &id);
        disk->id = id;
        disk_recall(op, disk, made_beside(op, disk), &p->disks[i].made,
                    &disk->made);
        disk->node = xstrdup(p->disks[i].node);
        disk->merging = p->disks[i].merging;
        disk->merged = p->disks[i].merged;
        if (p->disks[i].place &&
            pending_place(p->disks[i].spec.target) != p->disks[i].place) {
            disk_out_of_sight(op, disk, &one);
            xlsnap_keep_first(err, &one);
        }
    }
    for (size_t g = 0; g < op->n_groups; g++)
        op->groups[g].touched = true;
    op->transacted = true;
    if (!err->code)
        record_renew(op);
    return err->code ? -err->code : 0;
}

/* ---- what a revert has left ---- */

/* A revert gives a volume's name another device. */
static const char *left_path(const struct disk *disk)
{
    return disk->id.block ? disk->source : disk->path;
}

/* A volume that is not active counts from when it is there again. */
static struct file_stamp left_now(const struct disk *disk)
{
    struct file_stamp stamp = file_stamp(left_path(disk));

    if (!stamp.ino && disk->id.block)
        stamp.ino = ~(ino_t)0 >> 1;
    return stamp;
}

/* The record has its disks in the order of op's (disks_check_record). */
static void left_set(struct op *op, const struct disk_group *group, bool known)
{
    struct pending *p = &op->pending;

    for (size_t g = 0; g < op->n_groups; g++)
        for (size_t j = 0; j < op->groups[g].n; j++) {
            const struct disk *disk = op->groups[g].disks[j];
            size_t i = disk - op->disks;

            if (i < p->n_disks && (!group || group == &op->groups[g]))
                p->disks[i].left =
                    known ? left_now(disk) : (struct file_stamp){ 0 };
        }
}

void disks_note_left(struct op *op, const struct disk_group *group)
{
    left_set(op, group, true);
}

void disks_forget_left(struct op *op, const struct disk_group *group)
{
    left_set(op, group, false);
}

int disks_check_left(const struct op *op, struct xlsnap_error *err)
{
    const struct pending *p = &op->pending;
    bool same_boot = pending_same_boot(p);
    cleanup_free char *abandon = pending_cure(p->domain, true);

    for (size_t i = 0; i < op->n_disks && i < p->n_disks; i++)
        if (file_was_written(left_path(&op->disks[i]), &p->disks[i].left,
                             same_boot))
            return xlsnap_fail(
                err, XLSNAP_REFUSED,
                "disk '%s': '%s' was written to since the revert to '%s' was "
                "cut off (was the domain started meanwhile?), and that would "
                "be lost; nothing was touched ('%s' drops the record and leaves "
                "all as it is; snapshot-revert can go back then)",
                op->disks[i].vdev, left_path(&op->disks[i]), p->name, abandon);
    return 0;
}
