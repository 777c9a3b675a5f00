/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Revert: back to a snapshot.
 *
 * While the domain still runs, every input is proved (revert-check.c).  A failure
 * until then changes nothing.  Then the record is marked: from there on the
 * operation goes only forward, and recover can go on with it as often as needed,
 * because each step can be repeated.
 */
#include "revert.h"

#include "cgroup.h"
#include "guard.h"
#include "monitor.h"
#include "paths.h"
#include "util.h"

#define MEMORY_WAIT_S 5

static int revert_mark(struct op *op, struct disk_group *group,
                       struct xlsnap_error *err)
{
    op->pending.no_return = true;
    return pending_write(op->xs, &op->pending, err);
}

/* If it cannot be written, the record will go as a whole, or recover will see
 * the guest run. */
void revert_unbegin(struct op *op)
{
    struct xlsnap_error err = { 0 };

    if (!op->pending.no_return)
        return;
    op->pending.no_return = false;
    if (pending_write(op->xs, &op->pending, &err))
        handle_log(op->xs, XTL_WARN, "%s", err.msg);
}

static int revert_unmark(struct op *op, struct disk_group *group,
                         struct xlsnap_error *err)
{
    revert_unbegin(op);
    return 0;
}

/* Before anything else, which may fail, is undone; and first of all what would
 * have recover give up what the guest does from then on. */
static int revert_failed(struct op *op, struct xlsnap_error *err)
{
    int rc = 0;

    revert_unbegin(op);
    if (op->paused_now)
        rc = domain_wake(op->xs, &op->dom, err);
    if (!rc)
        guard_disarm(op->guard);
    return rc;
}

static int revert_pause(struct op *op, struct xlsnap_error *err)
{
    int rc;

    free(op->dom.home);
    op->dom.home = monitor_home(&op->dom);
    rc = guard_start(op->xs, &op->dom, NULL, op->locks, &op->guard, err);
    if (!rc)
        rc = guard_looking(op->guard, err);
    if (rc)
        return rc;
    op->paused_now = true;
    return domain_pause(op->xs, op->dom.domid, err);
}

/* It neither runs nor is about to. */
static int revert_check_stands(struct op *op, struct xlsnap_error *err)
{
    int rc = revert_check_still(op, err);

    if (rc || op->dom.info.paused || op->dom.info.shutdown)
        return rc;
    return xlsnap_fail(err, XLSNAP_REFUSED,
                       "domain '%s' stood still, but has just been let go on",
                       op->dom.name);
}

/* As xl does before it makes a domain, while the guest still runs. */
static int revert_memory(struct op *op, struct disk_group *group,
                         struct xlsnap_error *err)
{
    uint64_t need_kb;
    int rc = revert_need_memory(op, &need_kb, err);

    if (rc || start_has_memory(op->xs, need_kb))
        return rc;
    rc = start_lock(op->xs, &op->start, true, err);
    if (!rc)
        rc = start_find_memory(op->xs, &op->start, need_kb, err);
    /* Taking the disks back may take long; other domains start meanwhile. */
    start_unlock(&op->start);
    return rc;
}

static int revert_return_memory(struct op *op, struct disk_group *group,
                                struct xlsnap_error *err)
{
    start_return_memory(op->xs, &op->start);
    return 0;
}

/* It sends no more requests; the few under way may still come. */
static int revert_last_look(struct op *op, struct disk_group *group,
                            struct xlsnap_error *err)
{
    struct xlsnap_error pause = { 0 };
    int rc;

    op->on_failure = revert_failed;
    if (op->pending.looking)
        revert_pause(op, &pause);
    /* That it has ended explains whatever has failed. */
    rc = revert_check_still(op, err);
    if (!rc && pause.code)
        rc = xlsnap_fail(err, pause.code, "%s", pause.msg);
    for (size_t i = 0; i < op->n_groups && !rc; i++)
        if (op->groups[i].driver->prove_last)
            rc = op->groups[i].driver->prove_last(op, &op->groups[i], err);
    /* A watchdog of Xen's ends a paused domain, too. */
    return rc ? rc : revert_check_stands(op, err);
}

/* Without space for it nothing must wait. */
static void revert_note(struct op *op)
{
    struct xlsnap_error note = { 0 };

    if (pending_write(op->xs, &op->pending, &note))
        handle_log(op->xs, XTL_WARN, "%s", note.msg);
}

/* What the restore starts goes where the domain's QEMU and monitor are; as long
 * as they are there. */
static void revert_go_home(struct op *op)
{
    cleanup_free char *home = monitor_home(&op->dom);

    if (home && cgroup_enter(home))
        handle_log(op->xs, XTL_WARN,
                   "cannot enter the control group '%s' of domain '%s': %s",
                   home, op->dom.name, strerror(errno));
}

static int revert_destroy(struct op *op, struct disk_group *group,
                          struct xlsnap_error *err)
{
    int rc = 0;

    op->on_failure = NULL;
    guard_disarm(op->guard);
    guard_stop(op->guard);
    op->guard = NULL;
    if (op->dom.domid != DOMAIN_NONE) {
        revert_go_home(op);
        rc = domain_destroy(op->xs, &op->dom, err);
    }
    op->dom.domid = DOMAIN_NONE;
    if (!rc)
        rc = disks_wait_unused(op, NULL, err);
    if (rc)
        err->code = XLSNAP_FAILED;
    if (rc)
        return -err->code;
    disks_note_left(op, NULL);
    revert_note(op);
    return 0;
}

/* A disk that is being taken back is written to by us. */
static int revert_group(struct op *op, struct disk_group *group,
                        struct xlsnap_error *err)
{
    int rc;

    disks_forget_left(op, group);
    revert_note(op);
    rc = group->driver->revert(op, group, err);
    disks_note_left(op, group);
    revert_note(op);
    return rc;
}

/* The disks of which it cannot be seen whether they are written to once they have
 * been opened: `note` is disks_forget_left or disks_note_left. */
static bool revert_note_opened(struct op *op,
                               void (*note)(struct op *op,
                                            const struct disk_group *group))
{
    bool any = false;

    for (size_t i = 0; i < op->n_groups; i++)
        if (op->groups[i].driver->opening_writes) {
            note(op, &op->groups[i]);
            any = true;
        }
    if (any)
        revert_note(op);
    return any;
}

/*
 * What it had may take a moment to be free, and others may have taken of it.
 * Whether it is enough libxl must say: only the restore can bring the domain back.
 */
static void revert_await_memory(struct op *op)
{
    struct xlsnap_error err = { 0 };
    uint64_t need_kb;

    if (revert_need_memory(op, &need_kb, &err))
        handle_log(op->xs, XTL_WARN, "%s", err.msg);
    /* What was its own is nothing that another xl has counted on. */
    if (err.code || !libxl_wait_for_free_memory(op->xs->ctx, DOMAIN_NONE,
                                                need_kb, MEMORY_WAIT_S))
        return;
    if (start_lock(op->xs, &op->start, false, &err))
        handle_log(op->xs, XTL_WARN, "%s", err.msg);
    memset(&err, 0, sizeof(err));
    if (start_find_memory(op->xs, &op->start, need_kb, &err))
        handle_log(op->xs, XTL_WARN, "%s", err.msg);
}

static int revert_restore(struct op *op, struct disk_group *group,
                          struct xlsnap_error *err)
{
    struct xlsnap_error ignored = { 0 };
    uint32_t domid;
    bool opened;
    int rc;

    if (lseek(op->image.fd, op->image.stream, SEEK_SET) < 0)
        return xlsnap_fail_errno(err, XLSNAP_FAILED, errno,
                                 "cannot read memory image '%s'",
                                 op->snap.memory);
    revert_await_memory(op);
    opened = revert_note_opened(op, disks_forget_left);
    rc = domain_restore(op->xs, op->image.config_json, op->image.fd,
                        start_domid(&op->start), &domid, err);
    start_unlock(&op->start);
    if (rc) {
        start_return_memory(op->xs, &op->start);
        /* When what libxl had begun has let go of them. */
        if (opened && !disks_wait_unused(op, NULL, &ignored))
            revert_note_opened(op, disks_note_left);
        return rc;
    }
    if (domain_find_uuid_or_name(op->xs, op->snap.uuid, op->snap.domain,
                                 &op->dom, err))
        return -err->code;
    if (op->dom.domid != domid)
        return xlsnap_fail(err, XLSNAP_FAILED,
                           "the restored domain has vanished");
    op->pending.restored = domid;
    op->pending.released = op->pending.paused; /* by whom it is unpaused */
    /* Without that note recover finds a domain that has never run, and restores
     * it once more. */
    revert_note(op);
    return 0;
}

/* Without space for the note there is no record afterwards, either: the guest
 * must not wait for it, and nothing may do the revert a second time. */
int revert_release(struct op *op, struct xlsnap_error *err)
{
    struct xlsnap_error note = { 0 };
    int rc;

    op->pending.released = true;
    pending_write(op->xs, &op->pending, &note);
    rc = domain_unpause(op->xs, op->dom.domid, err);
    if (rc || !note.code)
        return rc;
    handle_log(op->xs, XTL_WARN, "%s; the record goes, for the guest runs",
               note.msg);
    pending_drop(&op->pending, &note); /* or at the end */
    return 0;
}

static int revert_unpause(struct op *op, struct disk_group *group,
                          struct xlsnap_error *err)
{
    return revert_release(op, err);
}

static int revert_monitor(struct op *op, struct disk_group *group,
                          struct xlsnap_error *err)
{
    int rc = monitor_start(op->xs, &op->dom, err);

    if (!rc || op->pending.file)
        return rc;
    /* Without a record recover cannot start it, either. */
    handle_log(op->xs, XTL_ERROR,
               "%s; so nobody will carry out on_reboot and the like of domain "
               "'%s' until it is started again",
               err->msg, op->dom.name);
    memset(err, 0, sizeof(*err));
    return 0;
}

static disk_fn *driver_revert(const struct disk_driver *driver)
{
    return revert_group;
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

static void revert_plan(struct op *op, struct steps *steps)
{
    steps_add(steps, "record", op_record, op_record_drop,
              "note the operation in %s/pending/%s.json", op->xs->state_dir,
              op->snap.uuid);
    if (op->start.autoballoon)
        steps_add(steps, "memory", revert_memory, revert_return_memory,
                  "as xl: lock, and shrink domain 0 if too little is free");
    if (op->dom.domid != DOMAIN_NONE)
        steps_add(steps, "last-look", revert_last_look, NULL,
                  "pause the guest, and see whether it can still go back");
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
    p->monitor = op->no_monitor ? NULL : xstrdup(MONITOR_KNOWN);
    p->paused = op->paused;
    p->force = op->force;
    /* An admin's own pause stays; what has shut down does not run, and its QEMU
     * may not let it be unpaused. */
    p->looking = op->dom.domid != DOMAIN_NONE && !op->dom.info.paused &&
                 !op->dom.info.shutdown;
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
