/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Revert: back to a snapshot.
 *
 * While the domain still runs, every input is proved: the memory image whole
 * and of the recorded digest, its configuration readable and naming the same
 * disks, every disk's snapshot there, nobody else using a disk, memory enough.
 * A failure until then changes nothing.  Then the record is marked: from
 * there on the operation goes only forward, and recover can go on with it as
 * often as needed, because each step can be repeated.
 */
#include "revert.h"

#include <sys/stat.h>

#include "cfg.h"
#include "monitor.h"
#include "paths.h"
#include "util.h"

#define RESTART_MS 15000 /* a monitor waits 2 s between destroy and create */

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
    if (!d->script && !d->backend_domname && !d->backend_domid &&
        stat(d->pdev_path, &st))
        return xlsnap_fail_errno(err, XLSNAP_REFUSED, errno, "disk '%s': '%s'",
                                 d->vdev, d->pdev_path);
    return 0;
}

static int revert_check_config(struct op *op, libxl_domain_config *config,
                               struct xlsnap_error *err)
{
    char uuid[DOMAIN_UUID_LEN + 1];

    if (libxl_domain_config_from_json(op->xs->ctx, config,
                                      op->image.config_json))
        return xlsnap_fail(err, XLSNAP_REFUSED,
                           "memory image '%s' is damaged: libxl cannot read "
                           "the domain's configuration in it",
                           op->snap.memory);
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

static int revert_prove_memory(struct op *op, struct xlsnap_error *err)
{
    libxl_domain_config config;
    int rc = memory_image_open(op->snap.memory, &op->image, err);

    if (!rc)
        rc = memory_image_check_digest(
            &op->image, op->snap.memory,
            op->force ? NULL : op->snap.memory_digest, err);
    if (rc)
        return rc;
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

int revert_check_memory(struct op *op, struct xlsnap_error *err)
{
    libxl_domain_config config;
    uint64_t need_kb = 0, free_kb = 0;
    int rc;

    libxl_domain_config_init(&config);
    rc = libxl_domain_config_from_json(op->xs->ctx, &config,
                                       op->image.config_json) ||
         libxl_domain_need_memory(op->xs->ctx, &config, 0, &need_kb) ||
         libxl_get_free_memory(op->xs->ctx, &free_kb);
    /* The running domain gives back the same overhead, and its memory. */
    if (op->dom.domid != DOMAIN_NONE) {
        need_kb = config.b_info.target_memkb;
        free_kb += op->dom.info.current_memkb;
    }
    libxl_domain_config_dispose(&config);
    if (rc)
        return xlsnap_fail(err, XLSNAP_FAILED,
                           "cannot find out how much memory is free");
    if (need_kb <= free_kb)
        return 0;
    return xlsnap_fail(err, XLSNAP_REFUSED,
                       "the domain needs %" PRIu64 " MiB of memory, but only "
                       "%" PRIu64 " MiB are free",
                       need_kb >> 10, free_kb >> 10);
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
    int64_t deadline = now_ms() + RESTART_MS;
    pid_t monitor;

    /*
     * No domain but a monitor: the guest is rebooting, and the images are
     * about to be opened; or it was destroyed, and the monitor about to end.
     */
    do {
        if (domain_find_uuid(op->xs, s->uuid, &op->dom))
            return 0;
        if (domain_find_name(op->xs, s->domain, &op->dom))
            return revert_check_namesake(op, err);
        monitor = monitor_find_name(s->domain);
        if (monitor)
            usleep(100000);
    } while (monitor && now_ms() < deadline);
    op->dom.domid = DOMAIN_NONE;
    if (monitor)
        return xlsnap_fail(err, XLSNAP_REFUSED,
                           "domain '%s' does not run, but its monitor (pid "
                           "%d) does, and may be about to start it",
                           s->domain, (int)monitor);
    return 0;
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
        return 0;
    rc = domain_check_destroy(op->xs, &op->dom, err);
    if (!rc && !op->dom.have_config)
        rc = domain_load_config(op->xs, &op->dom, err);
    if (!rc && !op->force)
        rc = revert_check_same_vdevs(op, err);
    return rc;
}

static int revert_check_name_free(struct op *op, struct xlsnap_error *err)
{
    struct domain other;
    int rc = 0;

    domain_init(&other);
    if (domain_find_name(op->xs, op->snap.domain, &other) &&
        other.domid != op->dom.domid)
        rc = xlsnap_fail(err, XLSNAP_REFUSED,
                         "the name '%s' is taken by another domain (domid "
                         "%" PRIu32 ")",
                         op->snap.domain, other.domid);
    domain_clear(&other);
    return rc;
}

static int revert_lock(struct op *op, struct xlsnap_error *err)
{
    cleanup_free char *uuid = xasprintf("uuid-%s", op->dom.uuid);
    const char *keys[] = { uuid };
    int rc = op_lock_domain(op, op->snap.domain, op->snap.uuid, err);

    if (!rc && op->dom.domid != DOMAIN_NONE)
        rc = lock_add(op->locks, keys, 1, op->dom.name, err);
    if (!rc && op->dom.domid != DOMAIN_NONE &&
        domain_refresh(op->xs, &op->dom) != DOMAIN_THERE)
        rc = xlsnap_fail(err, XLSNAP_REFUSED, "domain '%s' has just ended",
                         op->dom.name);
    return rc;
}

/* What recovery would read must be what we go by. */
static int revert_check_recorded(struct op *op, struct xlsnap_error *err)
{
    struct xlsnap_snapshot s;
    int rc;

    xlsnap_snapshot_init(&s);
    rc = cfg_read(op->config_path, &s, NULL, err);
    if (!rc && (!s.uuid || strcasecmp(s.uuid, op->snap.uuid) || !s.name ||
                strcmp(s.name, op->snap.name) || !s.memory_digest ||
                strcmp(s.memory_digest, op->snap.memory_digest)))
        rc = xlsnap_fail(err, XLSNAP_INVALID, "'%s' describes another snapshot",
                         op->config_path);
    xlsnap_snapshot_clear(&s);
    return rc;
}

static int revert_check(struct op *op, struct xlsnap_error *err)
{
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
    return rc ? rc : revert_check_memory(op, err);
}

/* ---- steps ---- */

static int revert_mark(struct op *op, struct disk_group *group,
                       struct xlsnap_error *err)
{
    op->pending.no_return = true;
    return pending_write(op->xs, &op->pending, err);
}

static int revert_unmark(struct op *op, struct disk_group *group,
                         struct xlsnap_error *err)
{
    op->pending.no_return = false;
    return pending_write(op->xs, &op->pending, err);
}

/* Until the destroy: before anything else, which may fail, is undone. */
static int revert_wake(struct op *op, struct xlsnap_error *err)
{
    if (!op->pending.looking ||
        domain_refresh(op->xs, &op->dom) != DOMAIN_THERE ||
        !op->dom.info.paused)
        return 0;
    return domain_unpause(op->xs, op->dom.domid, err);
}

/* The guest sends no more requests; the few under way may still come. */
static int revert_last_look(struct op *op, struct disk_group *group,
                            struct xlsnap_error *err)
{
    int rc = 0;

    op->on_failure = revert_wake;
    if (op->pending.looking)
        rc = domain_pause(op->xs, op->dom.domid, err);
    for (size_t i = 0; i < op->n_groups && !rc; i++)
        if (op->groups[i].driver->prove_last)
            rc = op->groups[i].driver->prove_last(op, &op->groups[i], err);
    return rc;
}

static int revert_destroy(struct op *op, struct disk_group *group,
                          struct xlsnap_error *err)
{
    int rc = 0;

    op->on_failure = NULL;
    if (op->dom.domid != DOMAIN_NONE)
        rc = domain_destroy(op->xs, &op->dom, err);
    op->dom.domid = DOMAIN_NONE;
    if (!rc)
        rc = disks_wait_unused(op, NULL, err);
    if (rc)
        err->code = XLSNAP_FAILED;
    return rc ? -err->code : 0;
}

static int revert_restore(struct op *op, struct disk_group *group,
                          struct xlsnap_error *err)
{
    uint32_t domid;
    int rc;

    if (lseek(op->image.fd, op->image.stream, SEEK_SET) < 0)
        return xlsnap_fail_errno(err, XLSNAP_FAILED, errno,
                                 "cannot read memory image '%s'",
                                 op->snap.memory);
    rc = domain_restore(op->xs, op->image.config_json, op->image.fd, &domid,
                        err);
    if (rc)
        return rc;
    if (!domain_find_uuid(op->xs, op->snap.uuid, &op->dom) ||
        op->dom.domid != domid)
        return xlsnap_fail(err, XLSNAP_FAILED,
                           "the restored domain has vanished");
    op->pending.restored = domid;
    op->pending.released = op->pending.paused; /* by whom it is unpaused */
    return pending_write(op->xs, &op->pending, err);
}

int revert_release(struct op *op, struct xlsnap_error *err)
{
    int rc;

    op->pending.released = true;
    rc = pending_write(op->xs, &op->pending, err);
    return rc ? rc : domain_unpause(op->xs, op->dom.domid, err);
}

static int revert_unpause(struct op *op, struct disk_group *group,
                          struct xlsnap_error *err)
{
    return revert_release(op, err);
}

static int revert_monitor(struct op *op, struct disk_group *group,
                          struct xlsnap_error *err)
{
    return monitor_start(op->xs, &op->dom, err);
}

static disk_fn *driver_revert(const struct disk_driver *driver)
{
    return driver->revert;
}

void revert_plan_forward(struct op *op, struct steps *steps)
{
    steps_add(steps, "domain-destroy", revert_destroy, NULL, "%s",
              op->dom.domid != DOMAIN_NONE
                  ? "destroy the running domain and wait for its disks"
                  : "no domain runs; wait until no one has the disks open")
        ->no_return = true;
    steps_add_groups(steps, op, "disk-revert", driver_revert, NULL,
                     op->snap.name);
    steps_add(steps, "domain-restore", revert_restore, NULL, "%s from %s",
              op->snap.domain, op->snap.memory);
    if (!op->pending.paused)
        steps_add(steps, "domain-unpause", revert_unpause, NULL,
                  "the guest goes on");
    if (op->pending.monitor)
        steps_add(steps, "monitor", revert_monitor, NULL, "start one");
    steps_add(steps, "record-drop", op_record_drop, NULL, "remove the note");
}

/* Is there a disk that the guest can spoil, as long as it writes? */
static bool revert_must_look(const struct op *op)
{
    for (size_t i = 0; i < op->n_groups; i++)
        if (op->groups[i].driver->prove_last)
            return op->dom.domid != DOMAIN_NONE;
    return false;
}

static void revert_plan(struct op *op, struct steps *steps)
{
    steps_add(steps, "record", op_record, op_record_drop,
              "note the operation in %s/pending/%s.json", op->xs->state_dir,
              op->snap.uuid);
    if (revert_must_look(op))
        steps_add(steps, "last-look", revert_last_look, NULL,
                  "pause the guest, and see that the snapshots of its volumes "
                  "are still whole");
    steps_add(steps, "no-return", revert_mark, revert_unmark,
              "note that from here on it goes only forward");
    revert_plan_forward(op, steps);
}

/* Before the checks: the drivers prove that there is room for it. */
static void revert_name_discarded(struct op *op, bool keep)
{
    struct pending *p = &op->pending;
    char time_text[32];
    time_t now = time(NULL);
    struct tm tm;

    gmtime_r(&now, &tm);
    strftime(time_text, sizeof(time_text), "%Y%m%dT%H%M%SZ", &tm);
    p->token = paths_token();
    p->keep = keep;
    p->discarded = xasprintf("discarded-%s", time_text);
}

static void revert_fill_record(struct op *op)
{
    struct pending *p = &op->pending;

    p->operation = xstrdup("revert");
    p->domain = xstrdup(op->snap.domain);
    p->uuid = xstrdup(op->snap.uuid);
    p->domid = op->dom.domid;
    p->restored = DOMAIN_NONE;
    p->name = xstrdup(op->snap.name);
    p->config_path = xstrdup(op->config_path);
    p->memory = xstrdup(op->snap.memory);
    p->monitor = !op->no_monitor;
    p->paused = op->paused;
    p->force = op->force;
    /* An admin's own pause stays. */
    p->looking = revert_must_look(op) && !op->dom.info.paused;
    pending_set_disks(p, op);
}

static void revert_report(struct op *op, int64_t started,
                          struct xlsnap_report *report)
{
    xlsnap_snapshot_copy(&report->snapshot, &op->snap);
    report->config_path = xstrdup(op->config_path);
    report->memory_bytes = op->image.bytes;
    report->memory_disk_bytes = op->image.disk_bytes;
    report->domid = op->dom.domid;
    report->discarded =
        op->pending.keep ? xstrdup(op->pending.discarded) : NULL;
    report->paused = op->paused;
    report->total_ms = now_ms() - started;
}

int xlsnap_revert(struct xlsnap *xs, const struct xlsnap_snapshot *snap,
                  const struct xlsnap_revert_options *options,
                  struct xlsnap_report *report, struct xlsnap_error *err)
{
    int64_t started = now_ms();
    struct steps steps = { .n = 0 };
    struct op op;
    int rc;

    op_init(&op, xs);
    op.force = options->force;
    op.paused = options->paused;
    op.no_monitor = options->no_monitor;
    xlsnap_snapshot_copy(&op.snap, snap);
    op.config_path = options->config_path ? file_absolute(options->config_path)
                     : snap->path         ? paths_config(snap)
                                          : NULL;
    revert_name_discarded(&op, options->keep);
    rc = revert_check(&op, err);
    if (!rc) {
        revert_fill_record(&op);
        revert_plan(&op, &steps);
        steps_describe(&steps, &report->steps, &report->n_steps);
        if (!options->dryrun)
            rc = steps_run(&op, &steps, err);
    }
    if (!rc)
        revert_report(&op, started, report);
    else if (rc == -XLSNAP_FAILED || rc == -XLSNAP_UNFINISHED)
        xlsnap_prefix(err, "cannot revert domain '%s' to snapshot '%s'",
                      op.snap.domain, op.snap.name);
    steps_clear(&steps);
    op_clear(&op);
    return rc;
}
