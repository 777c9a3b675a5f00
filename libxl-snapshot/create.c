/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Create: one instant of a running domain.
 *
 * First everything that can be found out without changing anything
 * (create-check.c), then the list of steps.  The guest stands still from its
 * suspend within memory-save to domain-resume; between lie the steps of the disks
 * that must be then, and nothing else.  The commit point is snapshot.cfg:
 * with it the snapshot is there, without it all that was made is removed.
 */
#include "create.h"

#include <sys/stat.h>

#include "cfg.h"
#include "flusher.h"
#include "monitor.h"
#include "paths.h"
#include "qemu.h"
#include "steps.h"
#include "util.h"

/* ---- steps ---- */

static int create_directory(struct op *op, struct disk_group *group,
                            struct xlsnap_error *err)
{
    int rc = file_make_dir(op->snap.path, NULL, err);

    /* Part of it may not have been there when it was looked at. */
    return rc ? rc : file_check_trusted(op->snap.path, err);
}

static int create_remove_directory(struct op *op, struct disk_group *group,
                                   struct xlsnap_error *err)
{
    if (op->pending.made_dir)
        file_remove_dirs(op->snap.path, op->pending.made_dir);
    return 0;
}

static int create_guard(struct op *op, struct disk_group *group,
                        struct xlsnap_error *err)
{
    return guard_start(op->xs, &op->dom, op->pending.monitor, op->locks,
                       &op->guard, err);
}

static int create_release_guard(struct op *op, struct disk_group *group,
                                struct xlsnap_error *err)
{
    guard_stop(op->guard);
    op->guard = NULL;
    return 0;
}

/*
 * The guest first: also called by the runner when any step fails.  Once it is
 * known to run, nothing more is asked of it.
 */
static int create_wake(struct op *op, struct xlsnap_error *err)
{
    int rc = 0;

    if (op->asked)
        rc = domain_settle(op->xs, &op->dom, op->requested,
                           op->late ? 0 : DOMAIN_SETTLE_MS, err);
    if (!rc && op->paused_now)
        rc = domain_wake(op->xs, &op->dom, err);
    if (!rc) {
        op->requested = false;
        op->paused_now = false;
        guard_disarm(op->guard);
    }
    return rc;
}

/* The domain's monitor may have seen it suspend, and gone (monitor.h). */
static int create_monitor(struct op *op, struct disk_group *group,
                          struct xlsnap_error *err)
{
    int rc = 0;

    /* What ends while it does not suspend is no monitor of it. */
    if (op->asked && (op->monitor || op->suspended_ms) &&
        domain_refresh(op->xs, &op->dom) != DOMAIN_GONE)
        rc = monitor_keep(op->xs, &op->dom, op->monitor, op->pending.monitor,
                          err);
    /* It ended meanwhile, or was restarted, and needs none, or has one. */
    if (rc && domain_refresh(op->xs, &op->dom) == DOMAIN_GONE) {
        memset(err, 0, sizeof(*err));
        rc = 0;
    }
    if (!rc)
        op->asked = false; /* once is enough */
    return rc;
}

/* For recover, which need not wait for the guest then.  Not worth a failure. */
static void create_note_settled(struct op *op)
{
    struct xlsnap_error note = { 0 };

    op->pending.settled = true;
    if (op->pending.file && pending_write(op->xs, &op->pending, &note))
        handle_log(op->xs, XTL_WARN, "%s", note.msg);
}

/* The guest is woken even when its disks' names could not be put right: it
 * runs on the right files, and recover tries again. */
static int create_failed(struct op *op, struct xlsnap_error *err)
{
    struct xlsnap_error rescue = { 0 };
    int rc;

    if (disks_rescue(op, &rescue))
        handle_log(op->xs, XTL_ERROR, "%s", rescue.msg);
    rc = create_wake(op, err);
    if (!rc && op->pending.memory_id.ino)
        create_note_settled(op);
    if (rc && op->late && err->errnum == ETIMEDOUT && guard_late(op->guard)) {
        handle_log(op->xs, XTL_WARN,
                   "%s; for %d s a guard waits for that, to resume it (status "
                   "3 until then)",
                   err->msg, DOMAIN_GUARD_MS / 1000);
        memset(err, 0, sizeof(*err));
        rc = 0;
    }
    if (!rc)
        rc = create_monitor(op, NULL, err);
    if (!rc && rescue.code) {
        *err = rescue;
        rc = -err->code;
    }
    return rc;
}

/* The writer knows better than libxl why a save failed (no space, say). */
static int create_save_failed(struct op *op, struct xlsnap_error *err)
{
    struct xlsnap_error wake = { 0 }, writer = { 0 };

    if (create_wake(op, &wake))
        op->late = wake.errnum == ETIMEDOUT;
    if (wake.code && !op->late) /* create_failed tells that */
        handle_log(op->xs, XTL_ERROR, "%s", wake.msg);
    /* It may hang, and the guard would wait for us. */
    if (wake.code && !op->late)
        return -err->code;
    if (memory_writer_finish(op->writer, &op->written, &writer) &&
        writer.errnum && err->errnum != EINTR)
        *err = writer;
    return -err->code;
}

/* The checks may have taken a while: it may have been paused, or asked to shut
 * down, or somebody else is saving it. */
static int create_check_still(struct op *op, struct xlsnap_error *err)
{
    int rc;

    if (domain_refresh(op->xs, &op->dom) != DOMAIN_THERE)
        return xlsnap_fail(err, XLSNAP_FAILED, "domain '%s' has just ended",
                           op->dom.name);
    rc = domain_check_create(op->xs, &op->dom, op->force, err);
    if (rc)
        err->code = XLSNAP_FAILED; /* no longer untouched */
    return rc ? -err->code : 0;
}

/* The first line that only the one has, without its end, to be freed; or NULL. */
static char *outline_only(const char *one, const char *other)
{
    for (size_t len; *one; one += len) {
        const char *p = other;

        len = strcspn(one, "\n") + 1;
        while (*p && strncmp(p, one, len))
            p += strcspn(p, "\n") + 1;
        if (!*p)
            return xasprintf("%.*s", (int)len - 1, one);
    }
    return NULL;
}

/*
 * The guest stands still.  What it has by now is in its memory; but the configuration
 * that goes with that, and the disks of the snapshot, are of the time before.
 */
static int create_check_outline(struct op *op, struct xlsnap_error *err)
{
    cleanup_free char *now = domain_outline(op->dom.domid);
    cleanup_free char *had = NULL, *has = NULL;

    if (!op->outline || !now)
        return xlsnap_fail(err, XLSNAP_FAILED,
                           "xenstore does not tell what domain '%s' has",
                           op->dom.name);
    had = outline_only(op->outline, now);
    has = outline_only(now, op->outline);
    if (had || has)
        return xlsnap_fail(err, XLSNAP_FAILED,
                           "memory, vCPUs or devices of domain '%s' were "
                           "changed meanwhile (from %s to %s)",
                           op->dom.name, had ?: "nothing", has ?: "nothing");
    if (domain_refresh(op->xs, &op->dom) != DOMAIN_THERE ||
        !domain_fits_target(&op->dom))
        return xlsnap_fail(err, XLSNAP_FAILED,
                           "domain '%s' has more memory than it may have, and "
                           "could not be restored",
                           op->dom.name);
    return 0;
}

static int create_memory_save(struct op *op, struct disk_group *group,
                              struct xlsnap_error *err)
{
    int rc = create_check_still(op, err);

    if (!rc)
        rc = memory_writer_start(op->pending.memory_tmp, op->dom.config_json,
                                 &op->writer, err);

    /* The record learns which file is ours before anything depends on it. */
    if (!rc) {
        memory_writer_id(op->writer, &op->pending.memory_id);
        pending_update_disks(&op->pending, op);
        rc = pending_write(op->xs, &op->pending, err);
    }
    if (!rc)
        rc = guard_arm(op->guard, err);
    if (rc)
        return rc;
    op->asked = true;
    op->xs->rounds = 0;
    if (op->live)
        op->flusher = flusher_start(op);
    rc = domain_save(op->xs, &op->dom, memory_writer_fd(op->writer), op->live,
                     &op->suspended_ms, &op->requested, err);
    flusher_stop(op->flusher);
    op->saved_ms = now_ms();
    op->snap.creation_time = time(NULL); /* the instant, not the request */
    /* The rest of the pipe is written while the guest goes on. */
    memory_writer_eof(op->writer);
    if (!rc)
        rc = create_check_outline(op, err);
    return rc ? create_save_failed(op, err) : 0;
}

static int create_activate(struct op *op, struct disk_group *group,
                           struct xlsnap_error *err)
{
    return qemu_activate(op, err);
}

static int create_remove_memory(struct op *op, struct disk_group *group,
                                struct xlsnap_error *err)
{
    memory_writer_free(op->writer);
    op->writer = NULL;
    return file_unlink(op->pending.memory_tmp, err);
}

static int create_resume(struct op *op, struct disk_group *group,
                         struct xlsnap_error *err)
{
    int rc = 0;

    if (op->paused) {
        guard_pausing(op->guard);
        rc = domain_pause(op->xs, op->dom.domid, err);
        op->paused_now = !rc;
    }
    if (!rc)
        rc = domain_resume(op->xs, op->dom.domid, err);
    if (rc)
        return rc;
    op->pause_ms = now_ms() - op->suspended_ms;
    op->disks_pause_ms = now_ms() - op->saved_ms;
    op->requested = false;
    guard_disarm(op->guard);
    return 0;
}

static int create_durable(struct op *op, struct disk_group *group,
                          struct xlsnap_error *err)
{
    int rc;

    create_note_settled(op);
    rc = memory_writer_finish(op->writer, &op->written, err);

    if (!rc)
        rc = memory_writer_sync(op->writer, err);
    if (!rc)
        op->snap.memory_digest = xstrdup(op->written.digest);
    for (size_t i = 0; i < op->n_groups && !rc; i++)
        if (op->groups[i].driver->sync)
            rc = op->groups[i].driver->sync(op, &op->groups[i], err);
    return rc;
}

/* Which files of a disk need which, for who wants to delete some; a line. */
static void create_comment_needs(const struct disk_group *group,
                                 const struct disk *disk, FILE *f)
{
    const char *needy, *needed = NULL;

    if (group->driver->needs)
        needed = group->driver->needs(group, disk, &needy);
    if (needed)
        fprintf(f, "\nDisk '%s': '%s' depends on '%s'.", disk->vdev, needy,
                needed);
}

/* What to say at the head of snapshot.cfg. */
static char *create_comment(const struct op *op)
{
    char *text = NULL;
    size_t len;
    FILE *f = open_memstream(&text, &len);

    if (!f)
        abort();
    fprintf(f,
            "Written by xl snapshot-create; 'xl snapshot-revert' with this "
            "file goes back.\nThe guest stood still for %lld ms.",
            (long long)op->pause_ms);
    for (size_t i = 0; i < op->n_groups; i++)
        for (size_t j = 0; j < op->groups[i].n; j++)
            create_comment_needs(&op->groups[i], op->groups[i].disks[j], f);
    for (size_t i = 0; i < op->snap.n_disks; i++) {
        cleanup_free char *disk = xlsnap_disk_config(&op->snap.disks[i]);

        if (disk)
            fprintf(f,
                    "\nDisk '%s' of the domain's own config must from now on "
                    "be: '%s'",
                    op->snap.disks[i].vdev, disk);
    }
    if (fclose(f))
        abort();
    return text;
}

static int create_publish(struct op *op, struct disk_group *group,
                          struct xlsnap_error *err)
{
    cleanup_free char *comment = create_comment(op);
    cleanup_free char *text = cfg_write(&op->snap, comment);
    int rc = file_rename_new(op->pending.memory_tmp, op->snap.memory, err);

    if (rc)
        return rc;
    rc = file_write_durable(op->config_path, text, strlen(text), false, err);
    /* Of a failure only "there is one already" says that it is not ours. */
    op->published = !rc || err->errnum != EEXIST;
    return rc;
}

static int create_unpublish(struct op *op, struct disk_group *group,
                            struct xlsnap_error *err)
{
    const struct pending *p = &op->pending;
    int rc = 0;

    /* Only what is ours: somebody else's may have been there first. */
    if (op->published)
        rc = file_unlink(op->config_path, err);
    if (!rc && pending_is_file(p, p->memory, &p->memory_id))
        rc = file_unlink(p->memory, err);
    return rc;
}

static disk_fn *driver_prepare(const struct disk_driver *driver)
{
    return driver->prepare;
}

static disk_fn *driver_settle(const struct disk_driver *driver)
{
    return driver->settle;
}

static disk_fn *driver_create(const struct disk_driver *driver)
{
    return driver->create;
}

static int create_disk_remove(struct op *op, struct disk_group *group,
                              struct xlsnap_error *err)
{
    const struct pending *p = &op->pending;
    int rc = 0;

    if (!group->touched)
        return 0;
    flusher_reap(op->flusher);
    op->flusher = 0;
    /* It may have rebooted, or be gone, since it was found. */
    if (domain_has_ended(op->xs, &op->dom))
        rc = monitor_await_domain(op->xs, p->uuid, p->domain, false, &op->dom,
                                  err);
    if (!rc)
        rc = disks_before_remove(op, err);
    return rc ? rc : group->driver->remove(op, group, err);
}

static void create_fill_record(struct op *op)
{
    struct pending *p = &op->pending;
    cleanup_free char *dir = paths_existing(op->snap.path);
    struct stat st;

    p->operation = xstrdup("create");
    p->domain = xstrdup(op->dom.name);
    p->uuid = xstrdup(op->dom.uuid);
    p->domid = op->dom.domid;
    p->restored = DOMAIN_NONE;
    p->name = xstrdup(op->snap.name);
    p->config_path = xstrdup(op->config_path);
    p->memory = xstrdup(op->snap.memory);
    p->memory_tmp = xasprintf("%s.new-%s", op->snap.memory, p->token);
    p->made_dir = paths_topmost_missing(op->snap.path);
    if (!stat(dir, &st))
        p->dir_ino = st.st_ino;
    p->memory_place = pending_place(op->snap.memory);
    p->live = op->live;
    p->paused = op->paused;
    pending_set_disks(p, op);
}

static void create_plan(struct op *op, struct steps *steps)
{
    steps_add(steps, "record", op_record, op_record_drop,
              "note the operation in %s/pending/%s.json", op->xs->state_dir,
              op->dom.uuid);
    steps_add(steps, "directory", create_directory, create_remove_directory,
              "%s", op->snap.path);
    /* Before the disks: it also watches over their undo. */
    steps_add(steps, "guard", create_guard, create_release_guard,
              "a process that resumes the guest if this one dies");
    steps_add_groups(steps, op, "disk-prepare", driver_prepare,
                     create_disk_remove, "what can be done before the pause");
    steps_add(steps, "memory-save", create_memory_save, create_remove_memory,
              "%s of domain '%s' into %s",
              op->live ? "pre-copy, then suspend and save" : "suspend and save",
              op->dom.name, op->snap.memory)
        ->alone = true;
    if (op->live && create_is_hvm(op))
        steps_add(steps, "qemu-activate", create_activate, NULL,
                  "QEMU takes its images back");
    steps_add_groups(steps, op, "disk-create", driver_create, NULL,
                     op->snap.name);
    steps_add_groups(steps, op, "disk-settle", driver_settle, NULL,
                     "what the guest depends on from now on");
    steps_add(steps, "domain-resume", create_resume, NULL, "%s",
              op->paused ? "resume, but leave paused" : "the guest goes on");
    if (op->pending.monitor)
        steps_add(steps, "monitor", create_monitor, NULL,
                  "see that the domain keeps one");
    steps_add(steps, "durable", create_durable, NULL,
              "wait until everything is on disk");
    steps_add(steps, "publish", create_publish, create_unpublish, "%s and %s",
              op->snap.memory, op->config_path);
    steps_add(steps, "record-drop", op_record_drop, NULL, "remove the note");
}

static void create_report(struct op *op, int64_t started,
                          struct xlsnap_report *report)
{
    xlsnap_snapshot_copy(&report->snapshot, &op->snap);
    report->config_path = xstrdup(op->config_path);
    report->memory_bytes = op->written.bytes;
    report->memory_disk_bytes = op->written.disk_bytes;
    report->domid = op->dom.domid;
    report->paused = op->paused;
    report->rounds = op->xs->rounds;
    report->pause_ms = op->pause_ms;
    report->disks_pause_ms = op->disks_pause_ms;
    report->total_ms = now_ms() - started;
}

int xlsnap_create(struct xlsnap *xs, const struct xlsnap_snapshot *request,
                  const struct xlsnap_create_options *options,
                  struct xlsnap_report *report, struct xlsnap_error *err)
{
    int64_t started = now_ms();
    struct steps steps = { .n = 0 };
    struct op op;
    int rc;

    op_init(&op, xs);
    op.force = options->force;
    op.paused = options->paused;
    op.on_failure = create_failed;
    op.pending.token = paths_token();
    xlsnap_snapshot_copy(&op.snap, request);
    rc = create_check(&op, request->domain, err);
    if (!rc) {
        create_fill_record(&op);
        create_plan(&op, &steps);
        steps_describe(&steps, &report->steps, &report->n_steps);
        if (!options->dryrun)
            rc = steps_run(&op, &steps, err);
    }
    if (!rc)
        create_report(&op, started, report);
    else if (rc == -XLSNAP_FAILED || rc == -XLSNAP_UNFINISHED)
        xlsnap_prefix(err, "cannot create snapshot '%s' of domain '%s'",
                      op.snap.name, op.snap.domain);
    steps_clear(&steps);
    op_clear(&op);
    return rc;
}
