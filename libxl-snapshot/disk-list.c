/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Which disks an operation has: from the domain, from a snapshot.cfg, or from
 * the record of an earlier operation.
 *
 * The domain's facts come from two places (libxl's disk list has no format and
 * cuts paths at a colon): content from the domain's configuration, the backend
 * that serves it from libxl_device_disk_list.
 */
#include "disk.h"
#include "op.h"
#include "paths.h"
#include "tapdisk.h"
#include "util.h"

#define TAPDISK_SCRIPT "block-tap"

/* The file or device that the configuration's text names. */
static const char *disk_file(const char *source)
{
    const char *file = tapdisk_file(source);

    return file ? file : source;
}

/* ---- create: the domain's disks ---- */

static int disk_identify(struct disk *disk, struct xlsnap_error *err)
{
    const char *file = disk_file(disk->source);
    int rc = file_id(file, &disk->id, err);

    if (!rc) {
        disk->path = realpath(file, NULL);
        if (!disk->path)
            rc = xlsnap_fail_errno(err, XLSNAP_REFUSED, errno,
                                   "cannot resolve '%s'", file);
    }
    if (rc) {
        err->code = XLSNAP_REFUSED;
        return xlsnap_prefix(err, "disk '%s'", disk->vdev);
    }
    return 0;
}

static libxl_disk_backend disk_running_backend(const libxl_device_disk *list,
                                               int n, const char *vdev)
{
    for (int i = 0; i < n; i++)
        if (!strcmp(list[i].vdev, vdev))
            return list[i].backend;
    return LIBXL_DISK_BACKEND_UNKNOWN;
}

static bool disk_has_script(const libxl_device_disk *d, const char *name)
{
    const char *slash = d->script ? strrchr(d->script, '/') : NULL;

    return d->script && !strcmp(slash ? slash + 1 : d->script, name);
}

/* A VHD image that tapdisk serves; libxl calls it a raw "phy" disk. */
static bool disk_is_tapdisk(const libxl_device_disk *d)
{
    return disk_has_script(d, TAPDISK_SCRIPT) && tapdisk_file(d->pdev_path);
}

static libxl_disk_format disk_format(const libxl_device_disk *d)
{
    return disk_is_tapdisk(d) ? LIBXL_DISK_FORMAT_VHD : d->format;
}

static int disk_refuse_script(const libxl_device_disk *d,
                              struct xlsnap_error *err)
{
    if (!d->script || disk_is_tapdisk(d))
        return 0;
    if (disk_has_script(d, TAPDISK_SCRIPT))
        return xlsnap_fail(err, XLSNAP_REFUSED,
                           "disk '%s': of what script '%s' attaches, only VHD "
                           "images ('vhd:/path') can be snapshotted, not '%s'",
                           d->vdev, d->script, d->pdev_path);
    return xlsnap_fail(err, XLSNAP_REFUSED,
                       "disk '%s' is attached by script '%s', which this "
                       "version does not know",
                       d->vdev, d->script);
}

/*
 * From Xen 4.19 on tapdisk can be a backend of its own (tapback), with no
 * "vhd:" in the path to know the disk by later, and it was never tried here.
 */
static int disk_refuse_elsewhere(const libxl_device_disk *d,
                                 libxl_disk_backend backend,
                                 struct xlsnap_error *err)
{
    int rc;

    if (d->backend_domid || d->backend_domname)
        return xlsnap_fail(err, XLSNAP_REFUSED,
                           "disk '%s' is served by a driver domain, out of "
                           "reach from here",
                           d->vdev);
    if (backend == LIBXL_DISK_BACKEND_TAP)
        return xlsnap_fail(err, XLSNAP_REFUSED,
                           "disk '%s' is served by tapback (backendtype=tap), "
                           "which this version does not know; with "
                           "script=block-tap,target=vhd:%s it would be",
                           d->vdev, d->pdev_path);
    rc = disk_refuse_script(d, err);
    if (rc)
        return rc;
    if (d->pdev_path[0] != '/' && !disk_is_tapdisk(d))
        return xlsnap_fail(err, XLSNAP_REFUSED,
                           "disk '%s': '%s' is no file or device of this host; "
                           "what is behind the network (NBD, RBD, iSCSI...) "
                           "only its server can snapshot",
                           d->vdev, d->pdev_path);
    return 0;
}

/* A copy for snapshot.cfg: the file's format and source, the request's rest. */
static void snap_disk_fill(struct xlsnap_snapshot *full,
                           const struct xlsnap_disk *asked,
                           const libxl_device_disk *d)
{
    struct xlsnap_disk *disk = xlsnap_snapshot_add_disk(full);

    disk->vdev = xstrdup(d->vdev);
    disk->format = xstrdup(libxl_disk_format_to_string(disk_format(d)));
    disk->source = xstrdup(d->pdev_path);
    disk->method = asked ? asked->method : XLSNAP_METHOD_DEFAULT;
    disk->target = asked ? xstrdup(asked->target) : NULL;
    disk->size = asked ? asked->size : 0;
    disk->size_percent = asked ? asked->size_percent : 0;
}

static struct disk *disk_new(struct op *op, const struct xlsnap_disk *s)
{
    struct disk *disk;

    op->disks = xrealloc(op->disks, op->n_disks + 1, sizeof(*op->disks));
    disk = &op->disks[op->n_disks++];
    memset(disk, 0, sizeof(*disk));
    disk->vdev = xstrdup(s->vdev);
    disk->source = xstrdup(s->source);
    disk->target = xstrdup(s->target);
    disk->method = s->method;
    disk->size = s->size;
    disk->size_percent = s->size_percent;
    return disk;
}

static int disk_add(struct op *op, const struct xlsnap_disk *snap_disk,
                    const libxl_device_disk *d, libxl_disk_backend backend,
                    struct xlsnap_error *err)
{
    struct disk *disk;
    int rc = disk_refuse_elsewhere(d, backend, err);

    if (rc)
        return rc;
    disk = disk_new(op, snap_disk);
    disk->format = disk_format(d);
    disk->backend = disk_is_tapdisk(d) ? LIBXL_DISK_BACKEND_TAP : backend;
    disk->direct_io_safe = d->direct_io_safe;
    /* By default a writable one has it: libxl__device_disk_setdefault. */
    disk->discard = libxl_defbool_is_default(d->discard_enable) ||
                    libxl_defbool_val(d->discard_enable);
    disk->trusted =
        libxl_defbool_is_default(d->trusted) || libxl_defbool_val(d->trusted);
    return disk_identify(disk, err);
}

static bool disk_takes_part(const libxl_device_disk *d)
{
    return d->readwrite && !d->is_cdrom && d->pdev_path && *d->pdev_path;
}

static int disk_check_asked(const struct xlsnap_disk *asked,
                            const libxl_device_disk *d, bool force,
                            struct xlsnap_error *err)
{
    const char *format = libxl_disk_format_to_string(disk_format(d));

    if (asked->method == XLSNAP_METHOD_NO && !force)
        return xlsnap_fail(err, XLSNAP_REFUSED,
                           "disk '%s' is writable, so leaving it out would "
                           "make memory and disk disagree after a revert "
                           "(--force permits it)",
                           d->vdev);
    if (asked->format && asked->method == XLSNAP_METHOD_OVERLAY) {
        if (strcmp(asked->format, "qcow2"))
            return xlsnap_fail(err, XLSNAP_REFUSED,
                               "disk '%s': an overlay is of format qcow2, not "
                               "%s",
                               d->vdev, asked->format);
    } else if (asked->format && strcmp(asked->format, format)) {
        return xlsnap_fail(err, XLSNAP_REFUSED,
                           "disk '%s' is of format %s, not %s", d->vdev, format,
                           asked->format);
    }
    return 0;
}

static int disks_take(struct op *op, struct xlsnap_snapshot *full,
                      const libxl_device_disk *list, int n,
                      struct xlsnap_error *err)
{
    const libxl_domain_config *c = &op->dom.config;
    int rc = 0;

    for (int i = 0; i < c->num_disks && !rc; i++) {
        const libxl_device_disk *d = &c->disks[i];
        const struct xlsnap_disk *asked =
            xlsnap_snapshot_find_disk(&op->snap, d->vdev);

        if (!disk_takes_part(d))
            continue;
        if (asked)
            rc = disk_check_asked(asked, d, op->force, err);
        if (!rc)
            snap_disk_fill(full, asked, d);
        if (!rc && !(asked && asked->method == XLSNAP_METHOD_NO))
            rc = disk_add(op, &full->disks[full->n_disks - 1], d,
                          disk_running_backend(list, n, d->vdev), err);
    }
    return rc;
}

/* Every disk that was asked for must have been taken. */
static int disks_check_request(const struct op *op,
                               const struct xlsnap_snapshot *full,
                               struct xlsnap_error *err)
{
    for (size_t i = 0; i < op->snap.n_disks; i++) {
        const char *vdev = op->snap.disks[i].vdev;

        if (!xlsnap_snapshot_find_disk(full, vdev))
            return xlsnap_fail(err, XLSNAP_REFUSED,
                               "domain '%s' has no writable disk '%s'",
                               op->dom.name, vdev);
    }
    return 0;
}

/*
 * Two snapshots of one file, one after the other, would be neither's; a disk
 * that takes no part would go on with what is frozen.
 */
static int disks_check_distinct(const struct op *op, struct xlsnap_error *err)
{
    const libxl_domain_config *c = &op->dom.config;

    for (int i = 0; i < c->num_disks; i++) {
        const char *path = c->disks[i].pdev_path;
        struct xlsnap_error ignored = { 0 };
        const struct disk *first;
        struct file_id id;

        if (!path || file_id(disk_file(path), &id, &ignored))
            continue;
        first = disks_find_id(op, &id);
        if (first && strcmp(first->vdev, c->disks[i].vdev))
            return xlsnap_fail(err, XLSNAP_REFUSED,
                               "disks '%s' and '%s' are the same file, '%s'",
                               first->vdev, c->disks[i].vdev, first->path);
    }
    return 0;
}

static int disks_check_sizes(const struct op *op, struct xlsnap_error *err)
{
    for (size_t i = 0; i < op->n_groups; i++) {
        const struct disk_group *group = &op->groups[i];

        for (size_t j = 0; !group->driver->sized && j < group->n; j++)
            if (group->disks[j]->size || group->disks[j]->size_percent)
                return xlsnap_fail(err, XLSNAP_REFUSED,
                                   "disk '%s' ('%s') is no LVM volume: size= "
                                   "is the space of a volume's snapshot",
                                   group->disks[j]->vdev,
                                   group->disks[j]->source);
    }
    return 0;
}

/* Moves the full list into op->snap. */
static void disks_replace(struct op *op, struct xlsnap_snapshot *full)
{
    struct xlsnap_disk *disks = op->snap.disks;
    size_t n = op->snap.n_disks;

    op->snap.disks = full->disks;
    op->snap.n_disks = full->n_disks;
    full->disks = disks;
    full->n_disks = n;
}

int disks_from_domain(struct op *op, struct xlsnap_error *err)
{
    struct xlsnap_snapshot full;
    int n = 0, rc;
    libxl_device_disk *list =
        libxl_device_disk_list(op->xs->ctx, op->dom.domid, &n);

    xlsnap_snapshot_init(&full);
    rc = disks_take(op, &full, list, list ? n : 0, err);
    if (list)
        libxl_device_disk_list_free(list, n);
    if (!rc)
        rc = disks_check_request(op, &full, err);
    if (!rc)
        rc = disks_check_distinct(op, err);
    if (!rc)
        rc = disks_group(op, err);
    if (!rc)
        rc = disks_check_sizes(op, err);
    if (!rc)
        disks_replace(op, &full);
    xlsnap_snapshot_clear(&full);
    return rc;
}

void disks_publish(struct op *op)
{
    for (size_t i = 0; i < op->n_disks; i++) {
        const struct disk *disk = &op->disks[i];
        struct xlsnap_disk *s =
            xlsnap_snapshot_find_disk(&op->snap, disk->vdev);

        s->method = disk->method;
        s->size = disk->size;
        s->size_percent = disk->size_percent;
        free(s->target);
        s->target = xstrdup(disk->target);
        if (disk->method != XLSNAP_METHOD_OVERLAY)
            continue;
        free(s->source_format);
        s->source_format = s->format;
        s->format = xstrdup("qcow2");
        free(s->options);
        s->options =
            xasprintf("%s%s%s", disk->direct_io_safe ? ", direct-io-safe" : "",
                      disk->discard ? "" : ", no-discard",
                      disk->trusted ? "" : ", untrusted");
    }
}

/* ---- revert: the snapshot's disks ---- */

/*
 * The file the guest writes to.  It may be missing: a revert that was cut off
 * in the middle may have left it so, and the driver knows what to do.
 */
static int disk_find_active(struct disk *disk, struct xlsnap_error *err)
{
    const char *active = disk->method == XLSNAP_METHOD_OVERLAY && disk->target
                             ? disk->target
                             : disk_file(disk->source);
    struct xlsnap_error missing = { 0 };

    disk->path = file_resolve(active);
    if (!disk->path)
        return xlsnap_fail_errno(err, XLSNAP_REFUSED, errno,
                                 "disk '%s': cannot look at '%s'", disk->vdev,
                                 active);
    if (!file_id(disk->path, &disk->id, &missing))
        return 0;
    memset(&disk->id, 0, sizeof(disk->id));
    if (missing.errnum == ENOENT)
        return 0;
    *err = missing;
    return xlsnap_prefix(err, "disk '%s'", disk->vdev);
}

static int disk_from_snapshot(struct op *op, const struct xlsnap_disk *s,
                              struct xlsnap_error *err)
{
    struct disk *disk = disk_new(op, s);
    int rc;

    /* At a revert nobody serves it; by format it was QEMU or blkback, or
     * tapdisk by its name. */
    if (libxl_disk_format_from_string(
            s->source_format ? s->source_format : s->format, &disk->format))
        return xlsnap_fail(err, XLSNAP_INVALID,
                           "disk '%s': unknown format '%s'", s->vdev,
                           s->source_format ? s->source_format : s->format);
    disk->backend = disk->format == LIBXL_DISK_FORMAT_RAW &&
                            disk->method != XLSNAP_METHOD_OVERLAY
                        ? LIBXL_DISK_BACKEND_PHY
                        : LIBXL_DISK_BACKEND_QDISK;
    if (tapdisk_file(disk->source))
        disk->backend = LIBXL_DISK_BACKEND_TAP;
    if (disk->target && disk->target[0] != '/')
        return xlsnap_fail(err, XLSNAP_INVALID,
                           "disk '%s': target '%s' is not absolute, as it is "
                           "in a " SNAPSHOT_CFG,
                           disk->vdev, disk->target);
    rc = disk_find_active(disk, err);
    if (rc)
        err->code = XLSNAP_REFUSED;
    return rc ? -err->code : 0;
}

/* A missing one was a block device if its name says so. */
static void disk_guess_missing(struct disk *disk)
{
    if (!disk->id.ino)
        disk->id.block = !strncmp(disk->path, "/dev/", 5) &&
                         strncmp(disk->path, "/dev/shm/", 9);
}

static void disks_check_exist(const struct op *op, struct xlsnap_error *err)
{
    struct xlsnap_error one = { 0 };

    for (size_t i = 0; i < op->n_groups; i++)
        for (size_t j = 0; j < op->groups[i].n; j++) {
            const struct disk *disk = op->groups[i].disks[j];

            if (disk->id.ino || op->groups[i].driver->moves(disk))
                continue;
            xlsnap_fail(&one, XLSNAP_REFUSED, "disk '%s': '%s' does not exist",
                        disk->vdev, disk->source);
            xlsnap_keep_first(err, &one);
        }
}

int disks_from_snapshot(struct op *op, struct xlsnap_error *err)
{
    for (size_t i = 0; i < op->snap.n_disks; i++) {
        struct xlsnap_error one = { 0 };

        if (op->snap.disks[i].method == XLSNAP_METHOD_NO ||
            !disk_from_snapshot(op, &op->snap.disks[i], &one))
            continue;
        xlsnap_keep_first(err, &one);
        op->disks[op->n_disks - 1].unknown = true;
    }
    for (size_t i = 0; i < op->n_disks; i++) {
        struct disk *disk = &op->disks[i];

        if (!disk->path)
            disk->path = xstrdup(disk_file(disk->source));
        disk_guess_missing(disk);
        if (!disk->id.ino && i < op->pending.n_disks &&
            op->pending.disks[i].id.ino)
            disk->id.block = op->pending.disks[i].id.block;
    }
    if (!err->code || err->code == XLSNAP_REFUSED) {
        struct xlsnap_error one = { 0 };

        if (disks_group(op, &one))
            xlsnap_keep_first(err, &one);
        disks_check_exist(op, err);
    }
    return err->code ? -err->code : 0;
}
