/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Recover: finishes or undoes what a killed run or a crash of the host left.
 *
 * The pending record says what was to be made; how far things came is looked
 * up in the system.  A create without its snapshot.cfg is undone, one with it
 * is complete.  A revert that was not marked has changed nothing; one that was
 * is done again from the destroy on, unless somebody has meanwhile started the
 * guest: then nothing is touched, and only --abandon drops the record.
 *
 * Runs under the locks of the operation it recovers and may be killed and
 * repeated like it.
 */
#include <sys/stat.h>

#include "cfg.h"
#include "monitor.h"
#include "paths.h"
#include "revert.h"
#include "util.h"

/* ---- finding the record ---- */

struct search {
    const char *which; /* NULL: any */
    const char *uuid;  /* of the domain that `which` means, or NULL */
    struct pending found;
    size_t n;
};

static bool search_match(const struct pending *p, void *user)
{
    struct search *s = user;

    if (s->which && strcmp(p->domain, s->which) &&
        strcasecmp(p->uuid, s->which) && strcmp(p->config_path, s->which) &&
        (!s->uuid || strcasecmp(p->uuid, s->uuid)))
        return true;
    if (!s->n++)
        pending_copy(&s->found, p);
    return true;
}

static int recover_find(struct op *op, const char *which,
                        struct xlsnap_error *err)
{
    struct search s = { .which = which };
    struct xlsnap_error ignored = { 0 };
    struct domain dom;
    int rc;

    domain_init(&dom);
    if (which && !domain_find(op->xs, which, &dom, &ignored))
        s.uuid = dom.uuid;
    rc = pending_each(op->xs, search_match, &s, err);
    domain_clear(&dom);
    if (!rc && s.n > 1)
        rc = xlsnap_fail(err, XLSNAP_INVALID,
                         "%zu operations are pending; name the domain "
                         "(%s/pending lists them)",
                         s.n, op->xs->state_dir);
    if (rc) {
        pending_clear(&s.found);
        return rc;
    }
    op->pending = s.found;
    /* Numbers of another boot must not be written into a record of this one. */
    if (op->pending.file && !pending_same_boot(&op->pending))
        op->pending.domid = op->pending.restored = DOMAIN_NONE;
    return 0;
}

/* Takes the locks and makes sure the record is still there under them. */
static int recover_lock(struct op *op, struct xlsnap_error *err)
{
    struct stat st;
    int rc = op_lock_domain(op, op->pending.domain, op->pending.uuid, err);

    if (rc)
        return rc;
    if (stat(op->pending.file, &st))
        return xlsnap_fail(err, XLSNAP_BUSY,
                           "another run has just finished this recovery");
    return 0;
}

/* op->snap from the record, enough for the drivers to look. */
static void recover_fill_snapshot(struct op *op)
{
    const struct pending *p = &op->pending;
    struct xlsnap_snapshot *s = &op->snap;

    s->domain = xstrdup(p->domain);
    s->uuid = xstrdup(p->uuid);
    s->name = xstrdup(p->name);
    s->memory = xstrdup(p->memory);
    for (size_t i = 0; i < p->n_disks; i++) {
        struct xlsnap_disk *disk = xlsnap_snapshot_add_disk(s);

        disk->vdev = xstrdup(p->disks[i].vdev);
        disk->method = p->disks[i].method;
        disk->format = xstrdup(p->disks[i].format);
        disk->source = xstrdup(p->disks[i].source);
        disk->target = xstrdup(p->disks[i].target);
    }
}

/* The disks by path must still be the files of the record. */
static int recover_disks(struct op *op, struct xlsnap_error *err)
{
    int rc = disks_from_snapshot(op, err);

    for (size_t i = 0; i < op->n_disks && !rc; i++)
        if (!file_id_equal(&op->disks[i].id, &op->pending.ids[i]))
            rc = xlsnap_fail(err, XLSNAP_REFUSED,
                             "disk '%s': '%s' is no longer the file it was; "
                             "put it back, or drop the record with "
                             "--abandon",
                             op->disks[i].vdev, op->disks[i].source);
    return rc ? rc : op_lock_disks(op, err);
}

static bool recover_is_published(const struct op *op)
{
    struct stat st;

    return !lstat(op->pending.config_path, &st);
}

/* ---- create ---- */

/*
 * The domain that has the disks now: the one of the record, or a namesake that
 * was started since; op->dom.domid is DOMAIN_NONE if there is none.
 */
static void recover_find_domain(struct op *op)
{
    const struct pending *p = &op->pending;

    if (!domain_find_uuid(op->xs, p->uuid, &op->dom) &&
        !domain_find_name(op->xs, p->domain, &op->dom))
        op->dom.domid = DOMAIN_NONE;
}

/* Is it the very domain that ran when the record was written? */
static bool recover_is_same(const struct op *op)
{
    return op->dom.domid != DOMAIN_NONE &&
           op->dom.domid == op->pending.domid;
}

static int recover_create_wake(struct op *op, struct xlsnap_error *err)
{
    const struct pending *p = &op->pending;
    int rc;

    if (!recover_is_same(op))
        return 0;
    rc = domain_settle(op->xs, &op->dom, true, 0, err);
    if (!rc && p->paused && !recover_is_published(op) &&
        domain_refresh(op->xs, &op->dom) && op->dom.info.paused)
        rc = domain_unpause(op->xs, op->dom.domid, err);
    if (!rc && p->monitor && !monitor_find(op->dom.domid))
        rc = monitor_start(op->xs, &op->dom, err);
    return rc;
}

static int recover_create_undo(struct op *op, struct xlsnap_error *err)
{
    const struct pending *p = &op->pending;
    bool running = op->dom.domid != DOMAIN_NONE;
    int rc = recover_disks(op, err);

    if (!rc)
        rc = disks_check_unused(op, running ? op->dom.qemu_pid : 0,
                                running ? &op->dom.domid : NULL, err);
    for (size_t i = 0; i < op->n_groups && !rc; i++)
        rc = op->groups[i].driver->remove(op, &op->groups[i], err);
    if (!rc)
        rc = file_unlink(p->memory_tmp, err);
    if (!rc)
        rc = file_unlink(p->memory, err);
    if (!rc && p->made_dir) {
        cleanup_free char *dir = xstrdup(p->config_path);

        *strrchr(dir, '/') = 0;
        file_remove_dirs(dir, p->made_dir);
    }
    return rc;
}

static int recover_create(struct op *op, char **outcome_r,
                          struct xlsnap_error *err)
{
    const struct pending *p = &op->pending;
    bool published = recover_is_published(op);
    int rc;

    recover_find_domain(op);
    rc = recover_create_wake(op, err);
    if (!rc && !published)
        rc = recover_create_undo(op, err);
    if (rc)
        return rc;
    *outcome_r = xasprintf(
        published ? "snapshot '%s' of domain '%s' is complete"
                  : "the unfinished snapshot '%s' of domain '%s' was removed",
        p->name, p->domain);
    return pending_drop(&op->pending, err);
}

/* ---- revert ---- */

/*
 * What runs now: the domain that was to be destroyed, or the one restored but
 * not yet let go, both ours to destroy; or one that somebody has started.
 */
static int recover_revert_find(struct op *op, bool *done_r,
                               struct xlsnap_error *err)
{
    const struct pending *p = &op->pending;
    bool same_boot = pending_same_boot(p);

    *done_r = false;
    recover_find_domain(op);
    if (op->dom.domid == DOMAIN_NONE)
        return 0;
    *done_r = op->dom.domid == p->restored;
    if (*done_r || recover_is_same(op) ||
        (same_boot && op->dom.info.paused && !op->dom.info.cpu_time))
        return 0;
    return xlsnap_fail(err, XLSNAP_REFUSED,
                       "domain '%s' has been started meanwhile (domid %" PRIu32
                       "), so the revert to '%s' cannot go on; nothing was "
                       "touched ('xl snapshot-recover --abandon %s' drops the "
                       "record and leaves all as it is; or destroy the domain "
                       "and run recover again)",
                       p->domain, op->dom.domid, p->name, p->domain);
}

static int recover_revert_finish(struct op *op, struct xlsnap_error *err)
{
    const struct pending *p = &op->pending;
    int rc = 0;

    if (!p->paused && op->dom.info.paused && !op->dom.info.cpu_time)
        rc = domain_unpause(op->xs, op->dom.domid, err);
    if (!rc && p->monitor && !monitor_find(op->dom.domid))
        rc = monitor_start(op->xs, &op->dom, err);
    return rc ? rc : pending_drop(&op->pending, err);
}

static int recover_revert_again(struct op *op, struct xlsnap_error *err)
{
    struct steps steps = { .n = 0 };
    bool running = op->dom.domid != DOMAIN_NONE;
    int rc;

    op->force = op->pending.force;
    xlsnap_snapshot_clear(&op->snap);
    rc = cfg_read(op->pending.config_path, &op->snap, NULL, err);
    if (!rc)
        rc = revert_prove(op, err);
    if (!rc)
        rc = op_lock_disks(op, err);
    if (!rc)
        rc = disks_check_unused(op, running ? op->dom.qemu_pid : 0,
                                running ? &op->dom.domid : NULL, err);
    if (!rc)
        rc = revert_check_memory(op, err);
    if (!rc) {
        revert_plan_forward(op, &steps);
        rc = steps_run(op, &steps, err);
    }
    steps_clear(&steps);
    return rc;
}

static int recover_revert(struct op *op, char **outcome_r,
                          struct xlsnap_error *err)
{
    const struct pending *p = &op->pending;
    bool done;
    int rc;

    if (!p->no_return) {
        *outcome_r = xasprintf("the revert of domain '%s' to '%s' had not "
                               "begun; nothing was changed",
                               p->domain, p->name);
        return pending_drop(&op->pending, err);
    }
    rc = recover_revert_find(op, &done, err);
    if (rc)
        return rc;
    rc = done ? recover_revert_finish(op, err) : recover_revert_again(op, err);
    if (!rc)
        *outcome_r = xasprintf("domain '%s' is back at snapshot '%s'",
                               p->domain, p->name);
    return rc;
}

/* ---- entry ---- */

static int recover_run(struct op *op,
                       const struct xlsnap_recover_options *options,
                       char **outcome_r, struct xlsnap_error *err)
{
    int rc = recover_lock(op, err);

    if (rc)
        return rc;
    if (options->abandon) {
        *outcome_r = xasprintf("the record of the unfinished %s of domain "
                               "'%s' was dropped; nothing else was changed",
                               op->pending.operation, op->pending.domain);
        return pending_drop(&op->pending, err);
    }
    recover_fill_snapshot(op);
    if (!strcmp(op->pending.operation, "create"))
        return recover_create(op, outcome_r, err);
    if (!strcmp(op->pending.operation, "revert"))
        return recover_revert(op, outcome_r, err);
    return xlsnap_fail(err, XLSNAP_FAILED,
                       "'%s' is of an unknown operation '%s'",
                       op->pending.file, op->pending.operation);
}

int xlsnap_recover(struct xlsnap *xs, const char *domain,
                   const struct xlsnap_recover_options *options,
                   char **outcome_r, struct xlsnap_error *err)
{
    struct op op;
    int rc;

    *outcome_r = NULL;
    op_init(&op, xs);
    rc = recover_find(&op, domain, err);
    if (!rc && !op.pending.file)
        *outcome_r = xstrdup("nothing pending");
    else if (!rc)
        rc = recover_run(&op, options, outcome_r, err);
    if (rc) {
        free(*outcome_r);
        *outcome_r = NULL;
    }
    op_clear(&op);
    return rc;
}
