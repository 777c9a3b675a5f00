/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The disks of an operation: which take part, by which method, served by which
 * driver.  Knows no backend itself; the table of drivers is at the end.
 *
 * The facts come from two places (libxl's disk list has no format and cuts
 * paths at a colon): content from the domain's configuration, the backend that
 * serves it from libxl_device_disk_list.
 */
#include "disk.h"

#include "op.h"
#include "util.h"

#define UNUSED_TIMEOUT_MS 60000

static const struct disk_driver *const drivers[] = {
    &disk_qcow2_internal,
};

/* ---- choosing ---- */

static const struct disk_driver *disk_driver_for(const struct disk *disk,
                                                 enum xlsnap_method method)
{
    for (size_t i = 0; i < ARRAY_SIZE(drivers); i++)
        if (drivers[i]->method == method && drivers[i]->takes(disk))
            return drivers[i];
    return NULL;
}

static int disk_refuse(const struct disk *disk, enum xlsnap_method method,
                       struct xlsnap_error *err)
{
    const char *backend = libxl_disk_backend_to_string(disk->backend);
    const char *format = libxl_disk_format_to_string(disk->format);

    if (method == XLSNAP_METHOD_DEFAULT)
        return xlsnap_fail(err, XLSNAP_REFUSED,
                           "disk '%s' ('%s', format %s, backend %s) cannot be "
                           "snapshotted: this version knows qcow2 images that "
                           "QEMU serves",
                           disk->vdev, disk->source, format, backend);
    if (method == XLSNAP_METHOD_INTERNAL)
        return xlsnap_fail(err, XLSNAP_REFUSED,
                           "disk '%s' ('%s', format %s, backend %s) cannot "
                           "hold an internal snapshot: only qcow2 images that "
                           "QEMU serves can",
                           disk->vdev, disk->source, format, backend);
    return xlsnap_fail(err, XLSNAP_REFUSED,
                       "disk '%s': %s snapshots are not supported by this "
                       "version; use snapshot=internal on a qcow2 image",
                       disk->vdev, xlsnap_method_name(method));
}

/* What was asked for, else internal where it can be, else external. */
static const struct disk_driver *disk_choose(struct disk *disk,
                                             enum xlsnap_method type,
                                             struct xlsnap_error *err)
{
    const enum xlsnap_method order[] = { XLSNAP_METHOD_INTERNAL,
                                         XLSNAP_METHOD_EXTERNAL };
    const struct disk_driver *driver = NULL;
    enum xlsnap_method asked = disk->method ? disk->method : type;

    if (asked)
        driver = disk_driver_for(disk, asked);
    for (size_t i = 0; !asked && !driver && i < ARRAY_SIZE(order); i++)
        driver = disk_driver_for(disk, order[i]);
    if (!driver)
        disk_refuse(disk, asked, err);
    else
        disk->method = driver->method;
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

static int disks_group(struct op *op, struct xlsnap_error *err)
{
    for (size_t i = 0; i < op->n_disks; i++) {
        struct disk *disk = &op->disks[i];
        const struct disk_driver *driver =
            disk_choose(disk, op->snap.type, err);

        if (!driver)
            return -err->code;
        disks_group_add(op, driver, disk);
    }
    return 0;
}

/* ---- create: the domain's disks ---- */

static int disk_identify(struct disk *disk, struct xlsnap_error *err)
{
    int rc = file_id(disk->source, &disk->id, err);

    if (!rc) {
        disk->path = realpath(disk->source, NULL);
        if (!disk->path)
            rc = xlsnap_fail_errno(err, XLSNAP_REFUSED, errno,
                                   "cannot resolve '%s'", disk->source);
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

static int disk_refuse_elsewhere(const libxl_device_disk *d,
                                 struct xlsnap_error *err)
{
    if (d->backend_domid || d->backend_domname)
        return xlsnap_fail(err, XLSNAP_REFUSED,
                           "disk '%s' is served by a driver domain, out of "
                           "reach from here",
                           d->vdev);
    if (d->script)
        return xlsnap_fail(err, XLSNAP_REFUSED,
                           "disk '%s' is attached by script '%s', which this "
                           "version does not know",
                           d->vdev, d->script);
    if (d->pdev_path[0] != '/')
        return xlsnap_fail(err, XLSNAP_REFUSED,
                           "disk '%s': its path '%s' is not absolute", d->vdev,
                           d->pdev_path);
    return 0;
}

/* A copy for snapshot.cfg: the file's format and source, the request's rest. */
static void snap_disk_fill(struct xlsnap_snapshot *full,
                           const struct xlsnap_disk *asked,
                           const libxl_device_disk *d)
{
    struct xlsnap_disk *disk = xlsnap_snapshot_add_disk(full);

    disk->vdev = xstrdup(d->vdev);
    disk->format = xstrdup(libxl_disk_format_to_string(d->format));
    disk->source = xstrdup(d->pdev_path);
    disk->method = asked ? asked->method : XLSNAP_METHOD_DEFAULT;
    disk->target = asked ? xstrdup(asked->target) : NULL;
    disk->size = asked ? asked->size : 0;
    disk->size_percent = asked ? asked->size_percent : 0;
}

static int disk_add(struct op *op, const struct xlsnap_disk *snap_disk,
                    const libxl_device_disk *d, libxl_disk_backend backend,
                    struct xlsnap_error *err)
{
    struct disk *disk;
    int rc = disk_refuse_elsewhere(d, err);

    if (rc)
        return rc;
    op->disks = xrealloc(op->disks, op->n_disks + 1, sizeof(*op->disks));
    disk = &op->disks[op->n_disks++];
    memset(disk, 0, sizeof(*disk));
    disk->vdev = xstrdup(d->vdev);
    disk->source = xstrdup(d->pdev_path);
    disk->format = d->format;
    disk->backend = backend;
    disk->method = snap_disk->method;
    disk->target = xstrdup(snap_disk->target);
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
    const char *format = libxl_disk_format_to_string(d->format);

    if (asked->method == XLSNAP_METHOD_NO && !force)
        return xlsnap_fail(err, XLSNAP_REFUSED,
                           "disk '%s' is writable, so leaving it out would "
                           "make memory and disk disagree after a revert "
                           "(--force permits it)",
                           d->vdev);
    if (asked->format && asked->method != XLSNAP_METHOD_OVERLAY &&
        strcmp(asked->format, format))
        return xlsnap_fail(err, XLSNAP_REFUSED,
                           "disk '%s' is of format %s, not %s", d->vdev, format,
                           asked->format);
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

/* Moves the full list into op->snap and copies back what was chosen. */
static void disks_publish(struct op *op, struct xlsnap_snapshot *full)
{
    struct xlsnap_disk *disks = op->snap.disks;
    size_t n = op->snap.n_disks;

    op->snap.disks = full->disks;
    op->snap.n_disks = full->n_disks;
    full->disks = disks;
    full->n_disks = n;
    for (size_t i = 0; i < op->n_disks; i++) {
        struct xlsnap_disk *disk =
            xlsnap_snapshot_find_disk(&op->snap, op->disks[i].vdev);

        disk->method = op->disks[i].method;
    }
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
        rc = disks_group(op, err);
    if (!rc)
        disks_publish(op, &full);
    xlsnap_snapshot_clear(&full);
    return rc;
}

/* ---- revert: the snapshot's disks ---- */

static int disk_from_snapshot(struct op *op, const struct xlsnap_disk *s,
                              struct xlsnap_error *err)
{
    struct disk *disk;

    op->disks = xrealloc(op->disks, op->n_disks + 1, sizeof(*op->disks));
    disk = &op->disks[op->n_disks++];
    memset(disk, 0, sizeof(*disk));
    disk->vdev = xstrdup(s->vdev);
    disk->source = xstrdup(s->source);
    disk->target = xstrdup(s->target);
    disk->method = s->method;
    /* At a revert nobody serves it; by format it was QEMU or blkback. */
    if (libxl_disk_format_from_string(s->format, &disk->format))
        return xlsnap_fail(err, XLSNAP_INVALID,
                           "disk '%s': unknown format '%s'", s->vdev,
                           s->format);
    disk->backend = disk->format == LIBXL_DISK_FORMAT_RAW
                        ? LIBXL_DISK_BACKEND_PHY
                        : LIBXL_DISK_BACKEND_QDISK;
    return disk_identify(disk, err);
}

int disks_from_snapshot(struct op *op, struct xlsnap_error *err)
{
    int rc = 0;

    for (size_t i = 0; i < op->snap.n_disks && !rc; i++)
        if (op->snap.disks[i].method != XLSNAP_METHOD_NO)
            rc = disk_from_snapshot(op, &op->snap.disks[i], err);
    return rc ? rc : disks_group(op, err);
}

/* ---- all ---- */

int disks_check(struct op *op, struct xlsnap_error *err)
{
    int rc = 0;

    for (size_t i = 0; i < op->n_groups && !rc; i++)
        rc = op->groups[i].driver->check(op, &op->groups[i], err);
    return rc;
}

int disks_prove(struct op *op, struct xlsnap_error *err)
{
    int rc = 0;

    for (size_t i = 0; i < op->n_groups && !rc; i++)
        rc = op->groups[i].driver->prove(op, &op->groups[i], err);
    return rc;
}

struct disk *disks_find_id(const struct op *op, const struct file_id *id)
{
    for (size_t i = 0; i < op->n_disks; i++)
        if (file_id_equal(&op->disks[i].id, id))
            return &op->disks[i];
    return NULL;
}

/* Does this domain have one of our disks?  Its vdev there, or NULL. */
static const struct disk *disks_used_by(struct op *op, uint32_t domid)
{
    const struct disk *used = NULL;
    int n = 0;
    libxl_device_disk *list = libxl_device_disk_list(op->xs->ctx, domid, &n);

    for (int i = 0; list && i < n && !used; i++) {
        struct xlsnap_error ignored = { 0 };
        struct file_id id;

        if (list[i].pdev_path && *list[i].pdev_path &&
            !file_id(list[i].pdev_path, &id, &ignored))
            used = disks_find_id(op, &id);
    }
    if (list)
        libxl_device_disk_list_free(list, n);
    return used;
}

static int disks_check_domains(struct op *op, const uint32_t *own,
                               struct xlsnap_error *err)
{
    int n = 0, rc = 0;
    libxl_dominfo *list = libxl_list_domain(op->xs->ctx, &n);

    for (int i = 0; list && i < n && !rc; i++) {
        const struct disk *used;
        cleanup_free char *name = NULL;

        if (!list[i].domid || (own && list[i].domid == *own))
            continue;
        used = disks_used_by(op, list[i].domid);
        if (!used)
            continue;
        name = libxl_domid_to_name(op->xs->ctx, list[i].domid);
        rc = xlsnap_fail(err, XLSNAP_REFUSED,
                         "disk '%s' ('%s') is in use by domain '%s'",
                         used->vdev, used->source, name ? name : "?");
    }
    if (list)
        libxl_dominfo_list_free(list, n);
    return rc;
}

static int disks_check_processes(struct op *op, pid_t except,
                                 struct xlsnap_error *err)
{
    for (size_t i = 0; i < op->n_disks; i++) {
        const struct disk *disk = &op->disks[i];
        pid_t pid = 0;

        if (file_users(&disk->id, except, &pid))
            return xlsnap_fail(err, XLSNAP_REFUSED,
                               "disk '%s' ('%s') is open in process %d",
                               disk->vdev, disk->source, (int)pid);
    }
    return 0;
}

int disks_check_unused(struct op *op, pid_t except, const uint32_t *own,
                       struct xlsnap_error *err)
{
    int rc = disks_check_domains(op, own, err);

    return rc ? rc : disks_check_processes(op, except, err);
}

int disks_wait_unused(struct op *op, struct xlsnap_error *err)
{
    int64_t deadline = now_ms() + UNUSED_TIMEOUT_MS;
    int rc;

    do {
        struct xlsnap_error current = { 0 };

        rc = disks_check_processes(op, 0, &current);
        if (rc && now_ms() >= deadline)
            return xlsnap_fail(err, XLSNAP_FAILED, "%s", current.msg);
        if (rc)
            usleep(50000);
    } while (rc);
    return 0;
}

static bool disks_served(const struct op *op)
{
    for (size_t i = 0; i < op->n_disks; i++)
        if (op->dom.qemu_pid <= 0 ||
            !file_is_open_in(&op->disks[i].id, op->dom.qemu_pid))
            return false;
    return true;
}

int disks_before_remove(struct op *op, struct xlsnap_error *err)
{
    uint32_t domid = op->dom.domid;
    const uint32_t *own = domid == DOMAIN_NONE ? NULL : &domid;
    int rc;

    if (own && disks_served(op))
        return disks_check_unused(op, op->dom.qemu_pid, own, err);
    op->dom.domid = DOMAIN_NONE;
    rc = disks_wait_unused(op, err);
    return rc ? rc : disks_check_domains(op, own, err);
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
