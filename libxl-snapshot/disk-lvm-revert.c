/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Going back to LVM snapshots: finds the volumes, for disk-lvm-thick.c and
 * disk-lvm-thin.c.  The snapshot itself is only read: it survives any number of
 * reverts, and any crash in one.
 */
#include "disk-lvm.h"

#include "dm.h"
#include "steps.h"
#include "util.h"

static void back_clear(struct lvm_back *b)
{
    lvm_vg_clear(&b->vg);
    free(b->target_name);
    free(b->live_name);
    free(b->target_arg);
    free(b->live_arg);
}

/* ---- finding ---- */

/* Which volume is the guest's?  By its number; one that is gone by its name. */
static int back_find_live(struct lvm_back *b, struct xlsnap_error *err)
{
    const struct disk *disk = b->disk;

    if (disk->id.ino)
        b->live = lvm_find_dev(&b->vg, disk->id.ino);
    if (disk->id.ino && !b->live)
        return xlsnap_fail(err, XLSNAP_REFUSED,
                           "'%s' is no logical volume of volume group '%s', "
                           "which the snapshot is in",
                           disk->source, b->vg.name);
    b->live_name = b->live ? xstrdup(b->live->name)
                           : lvm_name_of_path(disk->source, b->vg.name);
    if (!b->live_name)
        return xlsnap_fail(err, XLSNAP_REFUSED, "'%s' does not exist",
                           disk->source);
    if (!b->live)
        b->live = lvm_find(&b->vg, b->live_name);
    b->live_arg = xasprintf("%s/%s", b->vg.name, b->live_name);
    return 0;
}

/* In recovery: what the killed tool has started may still be at work. */
static void back_wait(const struct lvm_back *b, const char *vg)
{
    cleanup_free char *tag = NULL, *live = NULL, *kept = NULL;

    if (!b->op->pending.file)
        return;
    tag = lvm_tag(b->op);
    lvm_wait_commands(NULL, tag, LVM_REMOVE_TIMEOUT_MS, true);
    live = lvm_name_of_path(b->disk->source, vg);
    if (!b->op->pending.keep || !live)
        return;
    kept = xasprintf("%s-%s", live, b->op->pending.discarded);
    lvm_wait_commands(NULL, kept, LVM_REMOVE_TIMEOUT_MS, true);
}

static int back_find(struct op *op, struct disk *disk, struct lvm_back *b,
                     struct xlsnap_error *err)
{
    cleanup_free char *vg = NULL;
    int rc;

    *b = (struct lvm_back){ .op = op, .disk = disk };
    if (!disk->target || !lvm_split_path(disk->target, &vg, &b->target_name))
        return xlsnap_fail(err, XLSNAP_REFUSED,
                           "its target '%s' is no /dev/VG/LV",
                           disk->target ? disk->target : "");
    b->target_arg = xasprintf("%s/%s", vg, b->target_name);
    back_wait(b, vg);
    rc = lvm_look(vg, &b->vg, err);
    if (rc)
        return rc;
    b->target = lvm_find(&b->vg, b->target_name);
    if (!b->target)
        return xlsnap_fail(err, XLSNAP_REFUSED,
                           "the snapshot '%s' is not there", disk->target);
    rc = back_find_live(b, err);
    return rc ? rc : lvm_check_vg(&b->vg, err);
}

/* What cannot be frozen any more: somebody may be writing to it. */
static int back_check_frozen(const struct lvm_back *b, struct xlsnap_error *err)
{
    struct xlsnap_error ignored = { 0 };
    struct dm_info info;

    if (b->target->writable && b->target->dev &&
        !dm_look(b->target->dev, &info, &ignored) && info.open)
        return xlsnap_fail(err, XLSNAP_REFUSED,
                           "the snapshot '%s' is in use, and can be written "
                           "to (lvchange -pr makes it read-only)",
                           b->target_arg);
    return 0;
}

char *lvm_keep_name(const struct lvm_back *b)
{
    return xasprintf("%s-%s", b->live_name, b->op->pending.discarded);
}

static int back_prove_keep_name(const struct lvm_back *b,
                                struct xlsnap_error *err)
{
    cleanup_free char *name = NULL;
    const char *why;

    if (!b->op->pending.keep || !b->op->pending.discarded)
        return 0;
    name = lvm_keep_name(b);
    why = lvm_name_problem(b->vg.name, name);
    /* In a recovery it is what an earlier try has kept. */
    if (!why && !b->op->pending.file && lvm_find(&b->vg, name))
        why = "it exists already";
    return why ? xlsnap_fail(err, XLSNAP_REFUSED,
                             "what is given up cannot be kept as '%s': %s",
                             name, why)
               : 0;
}

int lvm_back_remove(const struct lvm_back *b, const char *name,
                    struct xlsnap_error *err)
{
    cleanup_free char *arg = xasprintf("%s/%s", b->vg.name, name);
    const char *argv[] = { "lvremove", "-y", "-f", arg, NULL };

    return lvm_run(argv, "", LVM_REMOVE_TIMEOUT_MS, err);
}

/* ---- all disks ---- */

/* What the disks before this one need in its VG. */
static uint64_t lvm_keep_before(const struct disk_group *group, size_t i,
                                const uint64_t *keep, const char *vg)
{
    uint64_t sum = 0;

    for (size_t j = 0; j < i; j++) {
        cleanup_free char *other = NULL, *name = NULL;

        if (lvm_split_path(group->disks[j]->target, &other, &name) &&
            !strcmp(other, vg))
            sum += keep[j];
    }
    return sum;
}

static int lvm_each(struct op *op, struct disk_group *group, lvm_back_fn *fn,
                    struct xlsnap_error *err)
{
    uint64_t *keep = xcalloc(group->n, sizeof(*keep));
    int rc = 0;

    for (size_t i = 0; i < group->n && !rc; i++) {
        struct lvm_back b;

        rc = back_find(op, group->disks[i], &b, err);
        b.keep = &keep[i];
        if (!rc) {
            b.keep_before = lvm_keep_before(group, i, keep, b.vg.name);
            rc = fn(&b, err);
        }
        back_clear(&b);
        if (rc)
            rc = xlsnap_prefix(err, "disk '%s'", group->disks[i]->vdev);
    }
    free(keep);
    return rc;
}

static int prove_one(const struct lvm_back *b, struct xlsnap_error *err)
{
    int rc = back_check_frozen(b, err);

    if (!rc)
        rc = back_prove_keep_name(b, err);
    if (!rc)
        rc = lvm_is_thin(b->target) ? lvm_thin_prove(b, err)
                                    : lvm_thick_prove(b, err);
    return rc;
}

static int revert_one(const struct lvm_back *b, struct xlsnap_error *err)
{
    int rc = lvm_is_thin(b->target) ? lvm_thin_revert(b, err)
                                    : lvm_thick_revert(b, err);

    return rc ? rc : steps_disk_done(b->op, "disk-revert", b->disk, err);
}

int lvm_prove(struct op *op, struct disk_group *group, struct xlsnap_error *err)
{
    int rc = lvm_each(op, group, prove_one, err);

    if (rc)
        err->code = XLSNAP_REFUSED;
    return rc ? -err->code : 0;
}

static int prove_last_one(const struct lvm_back *b, struct xlsnap_error *err)
{
    return lvm_is_thin(b->target) ? 0 : lvm_thick_prove_last(b, err);
}

int lvm_prove_last(struct op *op, struct disk_group *group,
                   struct xlsnap_error *err)
{
    int rc = lvm_each(op, group, prove_last_one, err);

    if (rc)
        err->code = XLSNAP_REFUSED;
    return rc ? -err->code : 0;
}

int lvm_revert(struct op *op, struct disk_group *group,
               struct xlsnap_error *err)
{
    int before = lvm_set_patience(LVM_LOCK_PATIENT_MS);
    int rc = lvm_each(op, group, revert_one, err);

    lvm_set_patience(before);
    if (rc)
        err->code = XLSNAP_FAILED;
    return rc ? -err->code : 0;
}
