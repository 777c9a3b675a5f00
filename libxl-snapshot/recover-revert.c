/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Recovery of a revert.  One that has not destroyed its domain has changed nothing;
 * one that has is done again from there, unless somebody has meanwhile started the
 * guest: then nothing is touched, and only --abandon drops the record.  Once it
 * has let the restored guest go it is done, whatever became of that since.
 */
#include "cfg.h"
#include "monitor.h"
#include "recover.h"
#include "revert.h"
#include "util.h"

/*
 * What runs now: the domain that was to be destroyed, or the one restored but
 * not yet let go, both ours to destroy; or one that somebody has started.
 */
static int recover_revert_find(struct op *op, bool *done_r,
                               struct xlsnap_error *err)
{
    const struct pending *p = &op->pending;
    bool same_boot = pending_same_boot(p);
    cleanup_free char *abandon = NULL;

    *done_r = false;
    if (op->dom.domid == DOMAIN_NONE)
        return 0;
    *done_r = op->dom.domid == p->restored;
    if (*done_r || op_is_same_domain(op) ||
        (same_boot && op->dom.info.paused && !op->dom.info.cpu_time))
        return 0;
    abandon = pending_cure(p->domain, true);
    return xlsnap_fail(err, XLSNAP_REFUSED,
                       "domain '%s' has been started meanwhile (domid %" PRIu32
                       "), so the revert to '%s' cannot go on; nothing was "
                       "touched ('%s' drops the record and leaves all as it "
                       "is; or destroy the domain and run recover again)",
                       p->domain, op->dom.domid, p->name, abandon);
}

static int recover_revert_finish(struct op *op, struct xlsnap_error *err)
{
    const struct pending *p = &op->pending;
    int rc = 0;

    if (!p->paused && op->dom.info.paused && !op->dom.info.cpu_time)
        rc = revert_release(op, err);
    if (!rc)
        rc = monitor_keep(op->xs, &op->dom, 0, p->monitor, err);
    return rc ? rc : pending_drop(&op->pending, err);
}

/* The description must still be the one that was proved before the destroy. */
static int recover_read_config(struct op *op, struct xlsnap_error *err)
{
    const struct pending *p = &op->pending;
    int rc = revert_check_trusted(op, p->config_path, err);

    xlsnap_snapshot_clear(&op->snap);
    if (!rc)
        rc = cfg_read(p->config_path, &op->snap, NULL, err);
    if (!rc && (!op->snap.uuid || strcasecmp(op->snap.uuid, p->uuid) ||
                !op->snap.name || strcmp(op->snap.name, p->name)))
        rc = xlsnap_fail(err, XLSNAP_REFUSED,
                         "'%s' now describes another snapshot than '%s' of "
                         "domain '%s'",
                         p->config_path, p->name, p->domain);
    return rc;
}

/* For this boot of the host: what it says is compared again if we are killed,
 * too. */
static int recover_renew_record(struct op *op, struct xlsnap_error *err)
{
    struct pending *p = &op->pending;
    bool same_boot = pending_same_boot(p);
    struct xlsnap_error note = { 0 };

    /* As many as op has (disks_check_record), and in its order: both are those
     * of snapshot.cfg that take part. */
    for (size_t i = 0; i < p->n_disks; i++)
        if (op->disks[i].id.ino)
            p->disks[i].id = op->disks[i].id;
    if (op->dom.domid == DOMAIN_NONE)
        disks_note_left(op, NULL);
    if (!pending_write(op->xs, p, &note))
        return 0;
    if (!same_boot)
        return xlsnap_fail(err, note.code, "%s", note.msg);
    /* The old one is as good: no guest need wait for space. */
    handle_log(op->xs, XTL_WARN, "%s", note.msg);
    return 0;
}

static int recover_revert_again(struct op *op, struct xlsnap_error *err)
{
    struct steps steps = { .n = 0 };
    struct xlsnap_error memory = { 0 }, host = { 0 };
    bool running = op->dom.domid != DOMAIN_NONE;
    int rc = recover_read_config(op, err);

    op->force = op->pending.force;
    if (!rc)
        rc = revert_prove(op, err);
    if (!rc)
        rc = disks_check_record(op, err);
    if (!rc)
        rc = op_lock_disks(op, err);
    /* One that has never run yet may be ours, or be starting once more. */
    if (!rc)
        rc = disks_check_left(op, err);
    if (!rc)
        rc = disks_check_unused(op, running ? op->dom.qemu_pid : 0,
                                running ? &op->dom.domid : NULL, err);
    /* Once it is gone the restore may as well be tried. */
    if (!rc && revert_check_hosting(op, &host)) {
        if (running && !op->force)
            return xlsnap_fail(err, host.code,
                               "%s; mend that, or destroy the domain first "
                               "(then its restore is tried)",
                               host.msg);
        handle_log(op->xs, XTL_WARN, "%s", host.msg);
    }
    /* Whether it is enough the restore will tell. */
    if (!rc && revert_check_memory(op, &memory))
        handle_log(op->xs, XTL_WARN, "%s", memory.msg);
    if (!rc)
        rc = recover_renew_record(op, err);
    if (!rc) {
        revert_plan_forward(op, &steps);
        rc = steps_run(op, &steps, err);
    }
    steps_clear(&steps);
    return rc;
}

/*
 * The destroy is the first change.  While the domain of the record still runs,
 * unpaused and with its QEMU, that has not begun: all is as before.
 */
static bool recover_revert_untouched(const struct op *op)
{
    const struct pending *p = &op->pending;

    if (!p->no_return)
        return true;
    if (!op_is_same_domain(op) || op->dom.info.paused || op->dom.info.shutdown)
        return false;
    for (size_t i = 0; i < p->n_disks; i++)
        if (strcmp(p->disks[i].spec.format, "raw") && /* QEMU's */
            p->disks[i].spec.source[0] == '/' &&      /* not tapdisk's */
            (op->dom.qemu_pid <= 0 ||
             !file_is_open_in(&p->disks[i].id, op->dom.qemu_pid)))
            return false;
    return true;
}

/* It was cut off in its last look: the guest stands still for nothing. */
static int recover_revert_wake(struct op *op, struct xlsnap_error *err)
{
    return op->pending.looking && op_is_same_domain(op)
               ? domain_wake(op->xs, &op->dom, err)
               : 0;
}

/* Before the record is dropped, as of a create (recover_let_go). */
int recover_revert_let_go(struct op *op, struct xlsnap_error *err)
{
    const struct pending *p = &op->pending;
    int rc = recover_find_domain(op, err);

    if (rc)
        return rc;
    if (op->pending.looking && op_is_same_domain(op))
        revert_unbegin(op);
    rc = recover_revert_wake(op, err);
    if (!rc && op->dom.domid != DOMAIN_NONE && op->dom.domid == p->restored &&
        !p->paused && op->dom.info.paused && !op->dom.info.cpu_time)
        rc = domain_unpause(op->xs, op->dom.domid, err);
    return rc;
}

int recover_revert(struct op *op, char **outcome_r, struct xlsnap_error *err)
{
    const struct pending *p = &op->pending;
    bool done = false;
    int rc = recover_find_domain(op, err);

    if (!rc && op->dom.domid == DOMAIN_NONE) /* or it is just rebooting */
        rc = monitor_await_domain(op->xs, p->uuid, p->domain, false, &op->dom,
                                  err);
    if (rc)
        return rc;
    if (recover_revert_untouched(op)) {
        rc = recover_revert_wake(op, err);
        if (rc)
            return rc;
        *outcome_r = xasprintf("the revert of domain '%s' to '%s' had not "
                               "begun; nothing was changed",
                               p->domain, p->name);
        return pending_drop(&op->pending, err);
    }
    /* What has become of it since must not be given up for a second time. */
    if (p->released &&
        (op->dom.domid == DOMAIN_NONE || op->dom.domid != p->restored)) {
        *outcome_r = xasprintf("domain '%s' was let go at snapshot '%s'; what "
                               "has become of it since is left as it is",
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

static int unbegin(struct op *op, bool awake, struct xlsnap_error *err)
{
    struct xlsnap_error drop = { 0 };
    int rc;

    if (!op->pending.looking)
        return 0;
    op->pending.no_return = false;
    op->pending.looking = !awake;
    rc = pending_write(op->xs, &op->pending, err);
    /* Better none than one that says that it has begun. */
    if (rc && awake && pending_drop(&op->pending, &drop))
        handle_log(op->xs, XTL_ERROR, "%s", drop.msg);
    return rc;
}

static int unbegin_asleep(struct op *op, struct xlsnap_error *err)
{
    return unbegin(op, false, err);
}

static int unbegin_awake(struct op *op, struct xlsnap_error *err)
{
    return unbegin(op, true, err);
}

void recover_unbegin_revert(struct xlsnap *xs, const char *uuid, bool awake)
{
    recover_for_guard(xs, uuid, "revert",
                      awake ? unbegin_awake : unbegin_asleep);
}
