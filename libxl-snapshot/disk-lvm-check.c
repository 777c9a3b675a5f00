/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What can be said against a snapshot by LVM before anything is changed: the
 * kind of volume, the target's name, space for thick ones, the pool of thin
 * ones.  Last, LVM itself is asked, with --test.
 */
#include "disk-lvm.h"

#include <sys/sysmacros.h>

#include "cow.h"
#include "qemu.h"
#include "util.h"

/* The default size of a store: this much of the origin, but no less than the
 * minimum if the VG has it, and never more than can be of use. */
#define COW_PERCENT 20
#define COW_MIN (64 << 20)
#define POOL_DATA_NOTICE 8000 /* 1/100 % */

char *lvm_tag(const struct op *op)
{
    return xasprintf(LVM_TAG_PREFIX "%s", op->pending.token);
}

bool lvm_is_thin(const struct lvm_lv *lv)
{
    return lvm_has_word(lv->layout, "thin") &&
           !lvm_has_word(lv->layout, "pool");
}

char *lvm_mib(uint64_t bytes)
{
    return xasprintf("%" PRIu64 " MiB", (bytes + (1 << 20) - 1) >> 20);
}

uint64_t lvm_cow_full(uint64_t origin)
{
    return cow_size((origin + LVM_CHUNK - 1) / LVM_CHUNK, LVM_CHUNK);
}

int lvm_check_vg(const struct lvm_vg *vg, struct xlsnap_error *err)
{
    const char *why = vg->shared     ? "shared with other hosts"
                      : vg->exported ? "exported"
                      : vg->partial  ? "incomplete: a physical volume is "
                                       "missing"
                      : vg->writable ? NULL
                                     : "read-only";

    return why ? xlsnap_fail(err, XLSNAP_REFUSED, "volume group '%s' is %s",
                             vg->name, why)
               : 0;
}

/* LVM snapshots more than this, but not well, or not tried here. */
static int lvm_check_type(const struct lvm_lv *lv, struct xlsnap_error *err)
{
    static const char *const good[] = { "linear", "striped", "raid", "thin" };
    const char *why = NULL;
    bool known = false;

    for (size_t i = 0; i < ARRAY_SIZE(good); i++)
        known |= lvm_has_word(lv->layout, good[i]);
    if (lvm_has_word(lv->role, "private") || lvm_has_word(lv->layout, "pool"))
        why = "it is a part of another volume, or a pool";
    else if (lvm_has_word(lv->role, "thicksnapshot"))
        why = "it is a snapshot, and LVM makes none of those";
    else if (lv->merging)
        why = "a snapshot is being merged into it";
    else if (!known)
        why = "this version does not know how to snapshot that type";
    return why ? xlsnap_fail(err, XLSNAP_REFUSED,
                             "logical volume '%s' (%s): %s", lv->name,
                             lv->layout, why)
               : 0;
}

/* Is it what blkback has?  A name may lead elsewhere by now. */
static bool lvm_in_blkback(const struct op *op, const struct disk *disk)
{
    cleanup_free char *device = domain_disk_backend_read(
        op->xs, op->dom.domid, disk->vdev, "physical-device");
    unsigned int maj, min;

    return device && sscanf(device, "%x:%x", &maj, &min) == 2 &&
           makedev(maj, min) == disk->id.ino;
}

static int lvm_check_served(struct op *op, const struct disk *disk,
                            struct lvm_disk *d, struct xlsnap_error *err)
{
    bool qdisk = disk->backend == LIBXL_DISK_BACKEND_QDISK;
    struct json *reply = NULL;
    const struct json *entry;
    int rc;

    if (!qdisk && disk->backend != LIBXL_DISK_BACKEND_PHY)
        return xlsnap_fail(err, XLSNAP_REFUSED,
                           "it is served by backend %s, which this version "
                           "does not know how to bring to rest",
                           libxl_disk_backend_to_string(disk->backend));
    d->in_qemu =
        op->dom.qemu_pid > 0 && file_is_open_in(&disk->id, op->dom.qemu_pid);
    if (qdisk && !d->in_qemu)
        return xlsnap_fail(err, XLSNAP_REFUSED,
                           "'%s' is not what QEMU (pid %d) has open; was it "
                           "replaced?",
                           disk->source, (int)op->dom.qemu_pid);
    if (!qdisk && !lvm_in_blkback(op, disk))
        return xlsnap_fail(err, XLSNAP_REFUSED,
                           "'%s' is not the volume to which the guest writes; "
                           "was it replaced?",
                           disk->source);
    if (!qdisk || disk->format == LIBXL_DISK_FORMAT_RAW)
        return 0;
    rc = qemu_query_block(op, &reply, err);
    entry = rc ? NULL : qemu_find_node(op, qmp_result(reply), disk, err);
    if (entry)
        d->node = xstrdup(json_get_string(entry, "node-name"));
    json_free(reply);
    qemu_session_end(op);
    return entry ? 0 : -err->code;
}

/* What was asked for, or the default, as a name in the disk's own VG. */
static int lvm_choose_target(const struct op *op, const struct disk *disk,
                             struct lvm_disk *d, struct xlsnap_error *err)
{
    cleanup_free char *vg = NULL;

    if (!disk->target) {
        d->target = xasprintf("%s-%s", d->lv, op->snap.name);
        return 0;
    }
    if (!strchr(disk->target, '/')) {
        d->target = xstrdup(disk->target);
        return 0;
    }
    if (!lvm_split_path(disk->target, &vg, &d->target))
        return xlsnap_fail(err, XLSNAP_REFUSED,
                           "target '%s' is neither the name of a logical "
                           "volume nor /dev/VG/NAME",
                           disk->target);
    if (strcmp(vg, d->vg))
        return xlsnap_fail(err, XLSNAP_REFUSED,
                           "target '%s' is in another volume group than the "
                           "disk, which is in '%s'",
                           disk->target, d->vg);
    return 0;
}

static int lvm_check_target(const struct op *op, struct disk *disk,
                            struct lvm_disk *d, const struct lvm_vg *vg,
                            struct xlsnap_error *err)
{
    int rc = lvm_choose_target(op, disk, d, err);
    const char *why = rc ? NULL : lvm_name_problem(d->vg, d->target);

    if (rc)
        return rc;
    if (why)
        return xlsnap_fail(err, XLSNAP_REFUSED,
                           "target '%s' cannot be the name of a logical "
                           "volume: %s",
                           d->target, why);
    if (lvm_find(vg, d->target))
        return xlsnap_fail(err, XLSNAP_REFUSED,
                           "logical volume '%s/%s' exists already, and nothing "
                           "is ever overwritten",
                           d->vg, d->target);
    free(disk->target);
    disk->target = xasprintf("/dev/%s/%s", d->vg, d->target);
    d->target_arg = xasprintf("%s/%s", d->vg, d->target);
    return 0;
}

static uint64_t round_up(uint64_t n, uint64_t to)
{
    return (n + to - 1) / to * to;
}

/* What earlier disks of the group will take of the same VG. */
static uint64_t lvm_planned(const struct lvm_disk *all,
                            const struct lvm_disk *d)
{
    uint64_t sum = 0;

    for (; all < d; all++)
        if (!strcmp(all->vg, d->vg))
            sum += all->cow;
    return sum;
}

/* In whole extents. */
static uint64_t lvm_cow_wanted(const struct disk *disk, uint64_t origin,
                               uint64_t have, const struct lvm_vg *vg)
{
    uint64_t percent = disk->size_percent ? disk->size_percent : COW_PERCENT;
    uint64_t full = lvm_cow_full(origin);
    /* 100% of the origin has no room for the table; who says that wants all. */
    uint64_t size = percent >= 100 ? full : origin / 100 * percent;

    if (disk->size)
        size = disk->size;
    else if (!disk->size_percent && size < COW_MIN && COW_MIN <= have)
        size = COW_MIN;
    return round_up(size < full ? size : full, vg->extent_size);
}

static int lvm_check_space(struct op *op, struct disk *disk,
                           const struct lvm_disk *all, struct lvm_disk *d,
                           const struct lvm_vg *vg, uint64_t origin,
                           struct xlsnap_error *err)
{
    uint64_t planned = lvm_planned(all, d);
    uint64_t have = vg->extent_size * vg->extents_free;
    cleanup_free char *want_text = NULL, *have_text = NULL;

    have = have > planned ? have - planned : 0;
    d->cow = lvm_cow_wanted(disk, origin, have, vg);
    want_text = lvm_mib(d->cow);
    have_text = lvm_mib(have / (1 << 20) * (1 << 20));
    if (d->cow > have)
        return xlsnap_fail(err, XLSNAP_REFUSED,
                           "the snapshot needs %s for what the guest changes, "
                           "but volume group '%s' has only %s free (size= "
                           "asks for less)",
                           want_text, vg->name, have_text);
    disk->size = d->cow;
    disk->size_percent = 0;
    if (d->cow < lvm_cow_full(origin))
        handle_log(op->xs, XTL_NOTICE,
                   "disk '%s': snapshot '%s' has room for %s of changes; when "
                   "that is used up the snapshot is lost, and the guest goes "
                   "on (watch it with lvs, extend it with lvextend)",
                   disk->vdev, d->target_arg, want_text);
    return 0;
}

int lvm_check_pool(const struct lvm_vg *vg, const char *name,
                   struct xlsnap_error *err)
{
    const struct lvm_lv *pool = lvm_find(vg, name);

    if (!pool)
        return xlsnap_fail(err, XLSNAP_REFUSED,
                           "thin pool '%s/%s' is not there", vg->name, name);
    if (*pool->health || pool->needs_check)
        return xlsnap_fail(err, XLSNAP_REFUSED, "thin pool '%s/%s' %s%s",
                           vg->name, name, *pool->health ? "is " : "",
                           *pool->health ? pool->health
                                         : "needs a check (lvconvert "
                                           "--repair)");
    if (pool->data < 0 || pool->metadata < 0)
        return xlsnap_fail(err, XLSNAP_REFUSED,
                           "thin pool '%s/%s' is not active", vg->name, name);
    if (pool->data < LVM_POOL_DATA_MAX &&
        pool->metadata < LVM_POOL_METADATA_MAX)
        return 0;
    return xlsnap_fail(err, XLSNAP_REFUSED,
                       "thin pool '%s/%s' is too full (data %d.%02d %%, "
                       "metadata %d.%02d %%): the guest would soon have no "
                       "room to write",
                       vg->name, name, pool->data / 100, pool->data % 100,
                       pool->metadata / 100, pool->metadata % 100);
}

static int lvm_check_thin(struct op *op, const struct disk *disk,
                          const struct lvm_vg *vg, const struct lvm_lv *lv,
                          struct xlsnap_error *err)
{
    const struct lvm_lv *pool = lvm_find(vg, lv->pool);
    cleanup_free char *by_name = lvm_name_of_path(disk->source, vg->name);

    if (disk->size || disk->size_percent)
        return xlsnap_fail(err, XLSNAP_REFUSED,
                           "size= is for volumes that are not thin: a thin "
                           "snapshot takes its space from the pool");
    /* A revert puts another LV, with another device number, under the name. */
    if (!by_name || strcmp(by_name, lv->name))
        return xlsnap_fail(err, XLSNAP_REFUSED,
                           "the domain has its thin volume as '%s', which does "
                           "not follow the name '%s/%s': after a revert it "
                           "would lead elsewhere (use /dev/%s/%s)",
                           disk->source, vg->name, lv->name, vg->name,
                           lv->name);
    if (lvm_thin_check_names(vg->name, disk, err) ||
        lvm_check_pool(vg, lv->pool, err))
        return -err->code;
    if (pool->data >= POOL_DATA_NOTICE)
        handle_log(op->xs, XTL_NOTICE,
                   "disk '%s': thin pool '%s/%s' is %d %% full; a snapshot "
                   "keeps what the guest changes",
                   disk->vdev, vg->name, pool->name, pool->data / 100);
    return 0;
}

/* The same command as an admin's, only told not to do it. */
static int lvm_rehearse(const struct lvm_disk *d, struct xlsnap_error *err)
{
    cleanup_free char *size = xasprintf("%" PRIu64 "b", d->cow);
    const char *thick[] = { "lvcreate", "--test",       "-y", "-s", "-pr",
                            "-c",       LVM_CHUNK_TEXT, "-L", size, "-n",
                            d->target,  d->origin_arg,  NULL };
    const char *thin[] = { "lvcreate",    "--test", "-y", "-s",
                           "-pr",         "-ky",    "-n", d->target,
                           d->origin_arg, NULL };

    return lvm_run(d->thin ? thin : thick, "", LVM_TIMEOUT_MS, err);
}

static int lvm_check_volume(struct op *op, struct disk *disk,
                            const struct lvm_disk *all, struct lvm_disk *d,
                            const struct lvm_vg *vg, struct xlsnap_error *err)
{
    const struct lvm_lv *lv = lvm_find_dev(vg, disk->id.ino);
    int rc;

    if (!lv)
        return xlsnap_fail(err, XLSNAP_REFUSED,
                           "'%s' is no logical volume of volume group '%s'",
                           disk->source, vg->name);
    d->lv = xstrdup(lv->name);
    d->origin_arg = xasprintf("%s/%s", d->vg, d->lv);
    d->thin = lvm_is_thin(lv);
    rc = lvm_check_vg(vg, err);
    if (!rc)
        rc = lvm_check_type(lv, err);
    if (!rc)
        rc = lvm_check_target(op, disk, d, vg, err);
    if (!rc)
        rc = d->thin ? lvm_check_thin(op, disk, vg, lv, err)
                     : lvm_check_space(op, disk, all, d, vg, lv->size, err);
    return rc;
}

static int lvm_check_disk(struct op *op, struct disk *disk,
                          const struct lvm_disk *all, struct lvm_disk *d,
                          struct xlsnap_error *err)
{
    struct lvm_vg vg = { 0 };
    int rc = lvm_vg_of_device(disk->id.ino, &d->vg, err);

    if (!rc)
        rc = lvm_check_served(op, disk, d, err);
    if (!rc)
        rc = lvm_look(d->vg, &vg, err);
    if (!rc)
        rc = lvm_check_volume(op, disk, all, d, &vg, err);
    lvm_vg_clear(&vg);
    return rc ? rc : lvm_rehearse(d, err);
}

int lvm_check(struct op *op, struct disk_group *group, struct xlsnap_error *err)
{
    struct lvm_disk *all = xcalloc(group->n, sizeof(*all));
    int rc = 0;

    group->state = all;
    for (size_t i = 0; i < group->n && !rc; i++) {
        struct disk *disk = group->disks[i];

        rc = lvm_check_disk(op, disk, all, &all[i], err);
        if (rc) {
            err->code = XLSNAP_REFUSED;
            return xlsnap_prefix(err, "disk '%s'", disk->vdev);
        }
    }
    for (size_t i = 0; i < group->n && !rc; i++)
        rc = disk_check_target(op, group->disks[i], err);
    return rc;
}
