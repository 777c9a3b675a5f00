/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a revert proves before it changes anything: the memory image whole and of
 * the recorded digest, its configuration readable and naming the same disks,
 * every disk's snapshot there, nobody else using a disk, memory enough.
 */
#include "revert.h"

#include <sys/stat.h>

#include "cfg.h"
#include "monitor.h"
#include "paths.h"
#include "util.h"

/* ---- proof ---- */

static int revert_check_complete(const struct xlsnap_snapshot *s,
                                 struct xlsnap_error *err)
{
    if (!s->domain || !s->name || !s->uuid || !s->path || !s->memory ||
        !s->memory_digest)
        return xlsnap_fail(err, XLSNAP_INVALID,
                           "the description of the snapshot is not complete "
                           "(is it the " SNAPSHOT_CFG
                           " that snapshot-create wrote?)");
    for (size_t i = 0; i < s->n_disks; i++)
        if (!s->disks[i].source || !s->disks[i].format)
            return xlsnap_fail(err, XLSNAP_INVALID,
                               "disk '%s' lacks its source or format",
                               s->disks[i].vdev);
        else if (s->disks[i].method == XLSNAP_METHOD_OVERLAY &&
                 !s->disks[i].target)
            return xlsnap_fail(err, XLSNAP_INVALID,
                               "disk '%s' lacks its target", s->disks[i].vdev);
    return xlsnap_name_check(s->name, err);
}

/* The path that the domain's configuration has after the snapshot. */
static const char *snap_disk_active(const struct xlsnap_disk *disk)
{
    return disk->method == XLSNAP_METHOD_OVERLAY ? disk->target : disk->source;
}

static const libxl_device_disk *config_find_disk(const libxl_domain_config *c,
                                                 const char *vdev)
{
    for (int i = 0; i < c->num_disks; i++)
        if (c->disks[i].vdev && !strcmp(c->disks[i].vdev, vdev))
            return &c->disks[i];
    return NULL;
}

/* Every disk of the snapshot is one of the configuration's, by its path. */
static int revert_check_disks(const struct xlsnap_snapshot *snap,
                              const libxl_domain_config *c,
                              struct xlsnap_error *err)
{
    for (size_t i = 0; i < snap->n_disks; i++) {
        const struct xlsnap_disk *disk = &snap->disks[i];
        const libxl_device_disk *d = config_find_disk(c, disk->vdev);

        if (!d || !d->pdev_path || strcmp(d->pdev_path, snap_disk_active(disk)))
            return xlsnap_fail(err, XLSNAP_REFUSED,
                               "disk '%s': snapshot.cfg says '%s', but the "
                               "memory image '%s'",
                               disk->vdev, snap_disk_active(disk),
                               d && d->pdev_path ? d->pdev_path : "nothing");
    }
    return 0;
}

/*
 * The domain comes back with the disks of its saved configuration.  Each that
 * it can write must be one that is taken back (or was left out on purpose);
 * the others, CD-ROMs say, must exist, or the restore fails after the destroy:
 * libxl looks at them in initiate_domain_create.
 */
static int revert_check_config_disk(const struct xlsnap_snapshot *snap,
                                    const libxl_device_disk *d,
                                    struct xlsnap_error *err)
{
    const struct xlsnap_disk *snap_disk;
    struct stat st;

    if (!d->vdev)
        return xlsnap_fail(err, XLSNAP_REFUSED,
                           "the memory image's configuration has a disk "
                           "without a name");
    /* The drivers prove those that are taken back. */
    snap_disk = xlsnap_snapshot_find_disk(snap, d->vdev);
    if (!d->pdev_path || !*d->pdev_path ||
        (snap_disk && snap_disk->method != XLSNAP_METHOD_NO))
        return 0;
    if (d->readwrite && !d->is_cdrom && !snap_disk)
        return xlsnap_fail(err, XLSNAP_REFUSED,
                           "disk '%s' ('%s') is in the memory image's "
                           "configuration, but not in snapshot.cfg",
                           d->vdev, d->pdev_path);
    /* What QEMU opens may be no file (nbd:...). */
    if (!d->script && !d->backend_domname && !d->backend_domid &&
        (d->backend != LIBXL_DISK_BACKEND_QDISK || *d->pdev_path == '/') &&
        stat(d->pdev_path, &st))
        return xlsnap_fail_errno(err, XLSNAP_REFUSED, errno, "disk '%s': '%s'",
                                 d->vdev, d->pdev_path);
    return 0;
}

/* Initialised; the caller disposes of it also after a failure. */
static int revert_read_config(struct op *op, libxl_domain_config *config,
                              struct xlsnap_error *err)
{
    return libxl_domain_config_from_json(op->xs->ctx, config,
                                         op->image.config_json)
               ? xlsnap_fail(err, XLSNAP_REFUSED,
                             "memory image '%s' is damaged: libxl cannot read "
                             "the domain's configuration in it",
                             op->snap.memory)
               : 0;
}

static int revert_check_config(struct op *op, libxl_domain_config *config,
                               struct xlsnap_error *err)
{
    char uuid[DOMAIN_UUID_LEN + 1];

    if (revert_read_config(op, config, err))
        return -err->code;
    snprintf(uuid, sizeof(uuid), LIBXL_UUID_FMT,
             LIBXL_UUID_BYTES(config->c_info.uuid));
    if (strcasecmp(uuid, op->snap.uuid) || !config->c_info.name ||
        strcmp(config->c_info.name, op->snap.domain))
        return xlsnap_fail(err, XLSNAP_REFUSED,
                           "memory image '%s' is of domain '%s' (%s), not of "
                           "'%s' (%s)",
                           op->snap.memory,
                           config->c_info.name ? config->c_info.name : "?",
                           uuid, op->snap.domain, op->snap.uuid);
    for (int i = 0; i < config->num_disks; i++)
        if (revert_check_config_disk(&op->snap, &config->disks[i], err))
            return -err->code;
    return revert_check_disks(&op->snap, config, err);
}

/* Xen makes no promise for images of another version; it mostly works. */
static void revert_tell_version(struct op *op)
{
    int now = handle_xen_version(op->xs);
    unsigned major = op->image.xen_major, minor = op->image.xen_minor;

    if (now != (int)(major * 100 + minor))
        handle_log(op->xs, XTL_WARN,
                   "memory image '%s' was saved by Xen %u.%u, this is Xen "
                   "%d.%d",
                   op->snap.memory, major, minor, now / 100, now % 100);
}

int revert_check_trusted(struct op *op, const char *path,
                         struct xlsnap_error *err)
{
    struct xlsnap_error who = { 0 };

    if (!file_check_trusted(path, &who))
        return 0;
    if (!op->pending.no_return)
        return xlsnap_fail(err, who.code, "%s", who.msg);
    handle_log(op->xs, XTL_WARN, "%s", who.msg);
    return 0;
}

static int revert_prove_memory(struct op *op, struct xlsnap_error *err)
{
    libxl_domain_config config;
    /* Its digest proves nothing against who can write to both. */
    int rc = revert_check_trusted(op, op->snap.memory, err);

    if (!rc)
        rc = memory_image_open(op->snap.memory, &op->image, err);
    if (!rc)
        rc = memory_image_check_digest(
            &op->image, op->snap.memory,
            op->force ? NULL : op->snap.memory_digest, err);
    if (rc)
        return rc;
    if (strcmp(op->image.digest, op->snap.memory_digest))
        handle_log(op->xs, XTL_WARN,
                   "memory image '%s' has the digest %s, but snapshot.cfg says "
                   "%s; it is used all the same (--force)",
                   op->snap.memory, op->image.digest, op->snap.memory_digest);
    revert_tell_version(op);
    libxl_domain_config_init(&config);
    rc = revert_check_config(op, &config, err);
    libxl_domain_config_dispose(&config);
    return rc;
}

int revert_prove(struct op *op, struct xlsnap_error *err)
{
    int rc = revert_check_complete(&op->snap, err);

    if (!rc)
        rc = revert_prove_memory(op, err);
    if (!rc)
        rc = disks_from_snapshot(op, err);
    return rc ? rc : disks_prove(op, err);
}

int revert_check_hosting(struct op *op, struct xlsnap_error *err)
{
    libxl_domain_config config;
    int rc;

    libxl_domain_config_init(&config);
    rc = revert_read_config(op, &config, err);
    if (!rc)
        rc = revert_check_host(op->xs, &config, op->dom.qemu_pid > 0, err);
    libxl_domain_config_dispose(&config);
    return rc;
}

/*
 * What libxl wants free for a domain that starts, and how much of that is the pool
 * for its shadow or nested page tables: a PV domain gets none (libxl_x86.c,
 * libxl__arch_domain_create), though it is counted there.
 */
static int revert_start_memory(struct xlsnap *xs,
                               const libxl_domain_config *from,
                               uint64_t *need_kb, uint64_t *pool_kb,
                               struct xlsnap_error *err)
{
    libxl_domain_config config; /* defaults are filled in */
    int rc;

    libxl_domain_config_init(&config);
    libxl_domain_config_copy(xs->ctx, &config, from);
    rc = libxl_domain_need_memory(xs->ctx, &config, 0, need_kb);
    *pool_kb = config.b_info.shadow_memkb + config.b_info.iommu_memkb;
    if (!rc && config.c_info.type == LIBXL_DOMAIN_TYPE_PV) {
        *need_kb -= *pool_kb;
        *pool_kb = 0;
    }
    libxl_domain_config_dispose(&config);
    return rc ? xlsnap_fail(err, XLSNAP_FAILED,
                            "cannot find out how much memory is needed")
              : 0;
}

int revert_need_memory(struct op *op, uint64_t *need_kb,
                       struct xlsnap_error *err)
{
    libxl_domain_config config;
    uint64_t has_kb = 0, pool_kb, running_kb;
    int rc;

    libxl_domain_config_init(&config);
    rc = revert_read_config(op, &config, err);
    if (!rc)
        rc = revert_start_memory(op->xs, &config, need_kb, &pool_kb, err);
    libxl_domain_config_dispose(&config);
    /* The rest of its overhead a restored domain needs again, and while it comes to
     * be more. */
    if (!rc && op->dom.domid != DOMAIN_NONE) {
        has_kb = op->dom.info.current_memkb;
        if (op->dom.have_config)
            rc = revert_start_memory(op->xs, &op->dom.config, &running_kb,
                                     &pool_kb, err);
        if (!rc && op->dom.have_config)
            has_kb += pool_kb;
    }
    if (!rc)
        *need_kb = *need_kb > has_kb ? *need_kb - has_kb : 0;
    return rc;
}

int revert_check_memory(struct op *op, struct xlsnap_error *err)
{
    uint64_t need_kb;
    int rc = revert_need_memory(op, &need_kb, err);

    start_read(op->xs, &op->start);
    return rc ? rc : start_check_memory(op->xs, &op->start, need_kb, err);
}

/* ---- the running domain ---- */

/* All of the snapshot's disks, under the same paths? */
static bool revert_same_disks(struct xlsnap *xs,
                              const struct xlsnap_snapshot *snap,
                              struct domain *dom)
{
    struct xlsnap_error ignored = { 0 };

    return !domain_load_config(xs, dom, &ignored) &&
           !revert_check_disks(snap, &dom->config, &ignored);
}

/* The running domain of that name: the same with a new uuid? */
static int revert_check_namesake(struct op *op, struct xlsnap_error *err)
{
    const struct xlsnap_snapshot *s = &op->snap;

    if (revert_same_disks(op->xs, s, &op->dom)) {
        handle_log(op->xs, XTL_NOTICE,
                   "domain '%s' has a new uuid since the snapshot, but the "
                   "same disks",
                   s->domain);
        return 0;
    }
    return xlsnap_fail(err, XLSNAP_REFUSED,
                       "the running domain '%s' is another one than the "
                       "snapshot's: it has another uuid and other disks",
                       s->domain);
}

/*
 * The domain with the snapshot's uuid; else the one of its name, if its disks
 * are the same (xl gives a new uuid at each create).
 */
static int revert_find(struct op *op, struct xlsnap_error *err)
{
    const struct xlsnap_snapshot *s = &op->snap;
    int rc = monitor_await_domain(op->xs, s->uuid, s->domain, op->force,
                                  &op->dom, err);

    if (rc || op->dom.domid == DOMAIN_NONE ||
        !strcasecmp(op->dom.uuid, s->uuid))
        return rc;
    return revert_check_namesake(op, err);
}

/* A disk attached since would be lost, one detached would come back. */
static int revert_check_same_vdevs(struct op *op, struct xlsnap_error *err)
{
    const libxl_domain_config *c = &op->dom.config;

    for (int i = 0; i < c->num_disks; i++)
        if (c->disks[i].readwrite && !c->disks[i].is_cdrom &&
            !xlsnap_snapshot_find_disk(&op->snap, c->disks[i].vdev))
            return xlsnap_fail(err, XLSNAP_REFUSED,
                               "disk '%s' was attached after the snapshot and "
                               "would be gone (--force permits it)",
                               c->disks[i].vdev);
    for (size_t i = 0; i < op->snap.n_disks; i++) {
        const struct xlsnap_disk *disk = &op->snap.disks[i];
        const libxl_device_disk *d = config_find_disk(c, disk->vdev);

        if (!d)
            return xlsnap_fail(err, XLSNAP_REFUSED,
                               "disk '%s' was detached after the snapshot and "
                               "would be back (--force permits it)",
                               disk->vdev);
        if (disk->method != XLSNAP_METHOD_NO && d->pdev_path &&
            strcmp(d->pdev_path, snap_disk_active(disk)))
            return xlsnap_fail(err, XLSNAP_REFUSED,
                               "disk '%s' has become '%s' since; going back "
                               "rewrites '%s', which a later snapshot may have "
                               "frozen and would lose (--force permits it)",
                               disk->vdev, d->pdev_path,
                               snap_disk_active(disk));
    }
    return 0;
}

static int revert_check_running(struct op *op, struct xlsnap_error *err)
{
    int rc;

    if (op->dom.domid == DOMAIN_NONE)
        return op->force ? 0 : disks_check_no_base(op, err);
    rc = domain_check_destroy(op->xs, &op->dom, err);
    /* Somebody wants to look at it: rename-restart. */
    if (!rc && op->dom.info.shutdown && strcmp(op->dom.name, op->snap.domain))
        rc = xlsnap_fail(err, XLSNAP_REFUSED,
                         "domain '%s', which has the snapshot's uuid, has "
                         "ended and was kept under that name; destroy it "
                         "first ('xl destroy')",
                         op->dom.name);
    if (!rc && !op->dom.have_config)
        rc = domain_load_config(op->xs, &op->dom, err);
    if (!rc && !op->force)
        rc = revert_check_same_vdevs(op, err);
    return rc ? rc : monitor_check_unit(op->xs, &op->dom, false, err);
}

static int revert_check_name_free(struct op *op, struct xlsnap_error *err)
{
    struct domain other;
    int rc;

    domain_init(&other);
    rc = domain_find_uuid_or_name(op->xs, NULL, op->snap.domain, &other, err);
    if (!rc && other.domid != DOMAIN_NONE && other.domid != op->dom.domid)
        rc = xlsnap_fail(err, XLSNAP_REFUSED,
                         "the name '%s' is taken by another domain (domid "
                         "%" PRIu32 ")",
                         op->snap.domain, other.domid);
    domain_clear(&other);
    return rc;
}

/*
 * A monitor may be about to start it again, or to dump its memory first: on_crash
 * and the like are for every end (tools/xl/xl_vmcontrol.c, handle_domain_death).
 * After "preserve" there is none.
 */
static int revert_check_ended(struct op *op, struct xlsnap_error *err)
{
    pid_t monitor = 0;

    if (op->dom.info.shutdown && !domain_is_suspended(&op->dom))
        monitor = monitor_find(op->dom.domid);
    if (monitor)
        return xlsnap_fail(err, XLSNAP_REFUSED,
                           "domain '%s' has just ended, and its monitor (pid "
                           "%d) is about to deal with it",
                           op->dom.name, (int)monitor);
    if (op->dom.info.shutdown && !domain_is_suspended(&op->dom) && !op->force) {
        cleanup_free char *maybe = monitor_find_maybe(&op->dom);

        if (maybe)
            return xlsnap_fail(err, XLSNAP_REFUSED,
                               "domain '%s' has ended, and process %d, an xl "
                               "that has no log, may be its monitor, and about "
                               "to deal with it; destroy it first, or -f",
                               op->dom.name, atoi(maybe));
    }
    return domain_check_destroy(op->xs, &op->dom, err);
}

int revert_check_still(struct op *op, struct xlsnap_error *err)
{
    switch (domain_refresh(op->xs, &op->dom)) {
    case DOMAIN_THERE:
        return revert_check_ended(op, err);
    case DOMAIN_GONE:
        return xlsnap_fail(err, XLSNAP_REFUSED, "domain '%s' has just ended",
                           op->dom.name);
    case DOMAIN_UNKNOWN:
        break;
    }
    return xlsnap_fail(err, XLSNAP_FAILED,
                       "libxl cannot tell the state of domain '%s'",
                       op->dom.name);
}

static int revert_lock(struct op *op, struct xlsnap_error *err)
{
    cleanup_free char *uuid = xasprintf("uuid-%s", op->dom.uuid);
    const char *keys[] = { uuid };
    int rc = op_lock_domain(op, op->snap.domain, op->snap.uuid, err);

    if (!rc && op->dom.domid != DOMAIN_NONE)
        rc = lock_add(op->locks, keys, 1, op->dom.name, err);
    if (!rc && op->dom.domid != DOMAIN_NONE)
        rc = revert_check_still(op, err);
    return rc;
}

/* What recovery would read must be what we go by. */
static int revert_check_recorded(struct op *op, struct xlsnap_error *err)
{
    struct xlsnap_snapshot s;
    int rc;

    xlsnap_snapshot_init(&s);
    rc = file_check_trusted(op->config_path, err);
    if (!rc)
        rc = cfg_read(op->config_path, &s, NULL, err);
    if (!rc && (!s.uuid || strcasecmp(s.uuid, op->snap.uuid) || !s.name ||
                strcmp(s.name, op->snap.name) || !s.memory_digest ||
                strcmp(s.memory_digest, op->snap.memory_digest)))
        rc = xlsnap_fail(err, XLSNAP_INVALID, "'%s' describes another snapshot",
                         op->config_path);
    xlsnap_snapshot_clear(&s);
    return rc;
}

int revert_check(struct op *op, struct xlsnap_error *err)
{
    struct xlsnap_error host = { 0 };
    int rc = revert_check_complete(&op->snap, err);

    if (!rc)
        rc = revert_check_recorded(op, err);
    if (!rc)
        rc = revert_find(op, err);
    if (!rc)
        rc = revert_lock(op, err);
    if (!rc)
        rc = pending_refuse(op, op->snap.domain, op->snap.uuid, err);
    if (!rc)
        rc = revert_prove(op, err);
    if (!rc && revert_check_hosting(op, &host)) {
        if (!op->force)
            return xlsnap_fail(err, host.code, "%s (--force tries it)",
                               host.msg);
        handle_log(op->xs, XTL_WARN, "%s", host.msg);
    }
    if (!rc)
        rc = op_lock_disks(op, err);
    if (!rc)
        rc = pending_refuse(op, NULL, NULL, err);
    if (!rc)
        rc = revert_check_running(op, err);
    if (!rc)
        rc = revert_check_name_free(op, err);
    if (!rc)
        rc = disks_check_unused(
            op, op->dom.qemu_pid,
            op->dom.domid == DOMAIN_NONE ? NULL : &op->dom.domid, err);
    if (!rc)
        rc = revert_check_memory(op, err);
    /* The proofs may have taken minutes. */
    if (!rc && op->dom.domid != DOMAIN_NONE)
        rc = revert_check_still(op, err);
    return rc;
}
