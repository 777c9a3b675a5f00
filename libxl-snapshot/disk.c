/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The disks of an operation: by which method each is snapshotted, by which
 * driver, in which groups.  Knows no backend itself; the table of drivers is
 * here.  Where the list of disks comes from is disk-list.c, who uses them
 * disk-users.c.
 */
#include "disk.h"

#include <libgen.h>
#include <sys/stat.h>

#include "copy.h"
#include "file.h"
#include "op.h"
#include "util.h"

/*
 * In the order in which they are called in the pause: QEMU's transaction comes
 * last, because undoing it is the most work.
 */
static const struct disk_driver *const drivers[] = {
    &disk_lvm,
    &disk_vhd, /* before disk_copy, which takes any VHD */
    &disk_copy,
    &disk_qemu,
};

/* ---- choosing ---- */

static const struct disk_driver *disk_driver_for(const struct disk *disk,
                                                 enum xlsnap_method method)
{
    for (size_t i = 0; i < ARRAY_SIZE(drivers); i++)
        if (drivers[i]->takes(disk, method))
            return drivers[i];
    return NULL;
}

static int disk_refuse(const struct disk *disk, enum xlsnap_method method,
                       struct xlsnap_error *err)
{
    static const char *const why[] = {
        [XLSNAP_METHOD_DEFAULT] =
            "snapshots are made of logical volumes, and of qcow2, raw and VHD "
            "images ('qemu-img convert' makes one of another)",
        [XLSNAP_METHOD_INTERNAL] = "only qcow2 images that QEMU serves can "
                                   "hold an internal snapshot",
        [XLSNAP_METHOD_EXTERNAL] =
            "an external snapshot can be made of qcow2 images that QEMU "
            "serves, of LVM volumes, of VHD images that tapdisk serves, "
            "and of raw files and VHD images by copying",
        [XLSNAP_METHOD_OVERLAY] = "only raw, VHD and qcow2 files that QEMU "
                                  "serves can get an overlay",
    };

    return xlsnap_fail(
        err, XLSNAP_REFUSED, "disk '%s' ('%s', format %s, backend %s): %s",
        disk->vdev, disk->source, libxl_disk_format_to_string(disk->format),
        libxl_disk_backend_to_string(disk->backend), why[method]);
}

/* What was asked for, else internal where it can be, else external. */
static const struct disk_driver *disk_choose(struct disk *disk,
                                             enum xlsnap_method type,
                                             struct xlsnap_error *err)
{
    const enum xlsnap_method order[] = { XLSNAP_METHOD_INTERNAL,
                                         XLSNAP_METHOD_EXTERNAL };
    const struct disk_driver *driver = NULL;
    enum xlsnap_method asked = disk->method;

    /* A target is only of use to an external snapshot. */
    if (!asked && disk->target)
        asked = XLSNAP_METHOD_EXTERNAL;
    if (!asked)
        asked = type;
    if (asked)
        driver = disk_driver_for(disk, asked);
    disk->method = asked;
    for (size_t i = 0; i < ARRAY_SIZE(order) && !asked && !driver; i++) {
        driver = disk_driver_for(disk, order[i]);
        disk->method = order[i];
    }
    if (!driver)
        disk_refuse(disk, asked, err);
    return driver;
}

static void disks_group_add(struct op *op, const struct disk_driver *driver,
                            struct disk *disk)
{
    struct disk_group *group = NULL;

    for (size_t i = 0; i < op->n_groups; i++)
        if (op->groups[i].driver == driver)
            group = &op->groups[i];
    if (!group) {
        op->groups = xrealloc(op->groups, op->n_groups + 1, sizeof(*group));
        group = &op->groups[op->n_groups++];
        memset(group, 0, sizeof(*group));
        group->driver = driver;
    }
    group->disks = xrealloc(group->disks, group->n + 1, sizeof(*group->disks));
    group->disks[group->n++] = disk;
}

int disks_group(struct op *op, struct xlsnap_error *err)
{
    const struct disk_driver **chosen = xcalloc(op->n_disks, sizeof(*chosen));
    int rc = 0;

    for (size_t i = 0; i < op->n_disks && !rc; i++) {
        chosen[i] = disk_choose(&op->disks[i], op->snap.type, err);
        rc = chosen[i] ? 0 : -err->code;
    }
    for (size_t d = 0; d < ARRAY_SIZE(drivers) && !rc; d++)
        for (size_t i = 0; i < op->n_disks; i++)
            if (chosen[i] == drivers[d])
                disks_group_add(op, drivers[d], &op->disks[i]);
    free(chosen);
    return rc;
}

/* ---- all groups ---- */

/* False: that was told. */
static bool disk_place_is_good(struct op *op, const struct disk *disk,
                               const char *path)
{
    cleanup_free char *dir = path && *path == '/' ? file_dir_of(path) : NULL;
    struct xlsnap_error who = { 0 };

    if (!dir || !file_check_trusted(dir, &who))
        return true;
    handle_log(op->xs, XTL_WARN, "disk '%s': %s", disk->vdev, who.msg);
    return false;
}

/* QEMU and the tools open files by their names; whose guest it is may be trusted. */
static void disks_tell_places(struct op *op)
{
    for (size_t i = 0; i < op->n_disks; i++) {
        const struct disk *disk = &op->disks[i];

        if (disk_place_is_good(op, disk, disk->source) &&
            disk_place_is_good(op, disk, disk->path))
            disk_place_is_good(op, disk, disk->target);
    }
}

int disks_check(struct op *op, struct xlsnap_error *err)
{
    int rc = 0;

    for (size_t i = 0; i < op->n_groups && !rc; i++)
        rc = op->groups[i].driver->check(op, &op->groups[i], err);
    if (!rc)
        disks_tell_places(op);
    return rc;
}

int disks_prove(struct op *op, struct xlsnap_error *err)
{
    int rc = 0;

    disks_tell_places(op);
    for (size_t i = 0; i < op->n_groups && !rc; i++)
        rc = op->groups[i].driver->prove(op, &op->groups[i], err);
    return rc;
}

int disks_rescue(struct op *op, struct xlsnap_error *err)
{
    int rc = 0;

    for (size_t i = 0; i < op->n_groups; i++) {
        struct xlsnap_error one = { 0 };
        disk_fn *rescue = op->groups[i].driver->rescue;

        if (!rescue || !rescue(op, &op->groups[i], &one))
            continue;
        if (!rc) {
            *err = one;
            rc = -one.code;
        }
    }
    return rc;
}

struct disk *disks_find_id(const struct op *op, const struct file_id *id)
{
    for (size_t i = 0; i < op->n_disks; i++)
        if (op->disks[i].id.ino && file_id_equal(&op->disks[i].id, id))
            return &op->disks[i];
    return NULL;
}

/* ---- names ---- */

int disk_check_target(const struct op *op, const struct disk *disk,
                      struct xlsnap_error *err)
{
    for (size_t i = 0; i < op->n_disks; i++) {
        const struct disk *other = &op->disks[i];

        if (!strcmp(disk->target, other->path) ||
            !strcmp(disk->target, other->source) ||
            (other != disk && other->target &&
             !strcmp(disk->target, other->target)))
            return xlsnap_fail(err, XLSNAP_REFUSED,
                               "disk '%s': target '%s' is disk '%s' or its "
                               "target, too",
                               disk->vdev, disk->target, other->vdev);
    }
    if (!strcmp(disk->target, op->snap.memory) ||
        !strcmp(disk->target, op->config_path))
        return xlsnap_fail(err, XLSNAP_REFUSED,
                           "disk '%s': target '%s' is where another file of "
                           "the snapshot goes",
                           disk->vdev, disk->target);
    return 0;
}

char *disk_file_target(const struct op *op, const struct disk *disk)
{
    cleanup_free char *dir_copy = xstrdup(disk->path);
    const char *dir = dirname(dir_copy), *base = strrchr(disk->path, '/') + 1;
    const char *dot = strrchr(base, '.');
    cleanup_free char *joined = NULL;

    if (disk->target && disk->target[0] == '/')
        return file_absolute(disk->target);
    if (disk->target) {
        joined = xasprintf("%s/%s", dir, disk->target);
        return file_absolute(joined);
    }
    if (!dot || dot == base)
        dot = base + strlen(base);
    joined = xasprintf("%s/%.*s-%s%s", dir, (int)(dot - base), base,
                       op->snap.name, dot);
    return file_absolute(joined);
}

int disk_check_vhd(const struct disk *disk, const char *path, int fd,
                   struct xlsnap_error *err)
{
    enum vhd_kind kind;

    if (disk->format != LIBXL_DISK_FORMAT_VHD)
        return 0;
    kind = copy_vhd_kind(fd);
    if (kind == VHD_FIXED || kind == VHD_DYNAMIC)
        return 0;
    return xlsnap_fail(err, XLSNAP_REFUSED,
                       kind == VHD_DIFFERENCING
                           ? "'%s' is a differencing VHD, of which QEMU does "
                             "not read what is in the parent"
                           : "'%s' is no VHD, or a damaged one",
                       path);
}

char *disk_temporary_beside(const struct op *op, const struct disk *disk,
                            const char *beside)
{
    cleanup_free char *dir = file_dir_of(beside);

    return xasprintf("%s/.xl-snapshot.%s.%s", dir, op->pending.token,
                     disk->vdev);
}

char *disk_temporary(const struct op *op, const struct disk *disk)
{
    return disk_temporary_beside(op, disk, disk->path);
}

char *disk_group_names(const struct disk_group *group)
{
    char *names = xstrdup("");

    for (size_t i = 0; i < group->n; i++) {
        char *longer =
            xasprintf("%s%s%s", names, i ? ", " : "", group->disks[i]->vdev);

        free(names);
        names = longer;
    }
    return names;
}

void disks_clear(struct op *op)
{
    for (size_t i = 0; i < op->n_groups; i++) {
        if (op->groups[i].driver->release)
            op->groups[i].driver->release(&op->groups[i]);
        free(op->groups[i].disks);
    }
    for (size_t i = 0; i < op->n_disks; i++) {
        struct disk *disk = &op->disks[i];

        free(disk->vdev);
        free(disk->source);
        free(disk->path);
        free(disk->target);
        free(disk->node);
        free(disk->tag);
    }
    free(op->groups);
    free(op->disks);
    op->groups = NULL;
    op->disks = NULL;
    op->n_groups = op->n_disks = 0;
}

char *disk_kept_name(const struct op *op, const struct disk *disk)
{
    return xasprintf("%s-%s", disk->path, op->pending.discarded);
}

int disk_prove_keep(const struct op *op, const struct disk *disk,
                    struct xlsnap_error *err)
{
    cleanup_free char *name = disk_kept_name(op, disk);
    struct stat st;

    if (!op->pending.keep || op->pending.file || lstat(name, &st))
        return 0;
    return xlsnap_fail(err, XLSNAP_REFUSED,
                       "'%s' exists already, and nothing is ever overwritten",
                       name);
}

int disk_keep(struct op *op, const struct disk *disk, struct xlsnap_error *err)
{
    cleanup_free char *name = disk_kept_name(op, disk);
    int rc = 0;

    if (!link(disk->path, name))
        rc = file_fsync_dir_of(name, err);
    else if (errno == EEXIST) /* this is done again after a crash */
        return 0;
    else if (errno == EPERM || errno == EOPNOTSUPP || errno == EMLINK ||
             errno == ENOSYS) /* no hard links there */
        rc = file_rename_new(disk->path, name, err);
    else
        return xlsnap_fail_errno(err, XLSNAP_FAILED, errno,
                                 "cannot link '%s' to '%s'", disk->path, name);
    if (!rc)
        handle_log(op->xs, XTL_NOTICE, "disk '%s': what it was is kept as '%s'",
                   disk->vdev, name);
    return rc;
}
