/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Recover: finishes or undoes what a killed run or a crash of the host left.
 *
 * The pending record says what was to be made; how far things came is looked
 * up in the system.  A create without its snapshot.cfg is undone, one with it
 * is complete.  A revert: recover-revert.c.
 *
 * Runs under the locks of the operation it recovers and may be killed and
 * repeated like it.
 */
#include <dirent.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "cfg.h"
#include "monitor.h"
#include "paths.h"
#include "process.h"
#include "qemu.h"
#include "recover.h"
#include "steps.h"
#include "util.h"

#define LIST_TRIES 10
#define ORPHAN_MS 5000        /* for a process that was killed */
#define HEADERS_MAX (1 << 20) /* bytes of an image before the first memory */

/* ---- finding the record ---- */

struct search {
    const char *which; /* NULL: any */
    const char *uuid;  /* of the domain that `which` means, or NULL */
    const char *name;  /* its name: it may have a new uuid since, or NULL */
    struct pending found;
    size_t n;
};

static bool search_match(const struct pending *p, void *user)
{
    struct search *s = user;

    if (s->which && strcmp(p->domain, s->which) &&
        strcasecmp(p->uuid, s->which) && strcmp(p->config_path, s->which) &&
        (!s->uuid || strcasecmp(p->uuid, s->uuid)) &&
        (!s->name || strcmp(p->domain, s->name)))
        return true;
    if (!s->n++)
        pending_copy(&s->found, p);
    return true;
}

/* Numbers of another boot must not be written into a record of this one. */
static void recover_take(struct op *op, const struct pending *p)
{
    op->pending = *p;
    if (op->pending.file && !pending_same_boot(&op->pending))
        op->pending.domid = op->pending.restored = DOMAIN_NONE;
}

/* `which`: as the user has it. */
static int recover_search(struct op *op, const char *which,
                          struct xlsnap_error *err)
{
    struct search s = { .which = which };
    struct xlsnap_error look = { 0 };
    struct domain dom;
    int rc;

    domain_init(&dom);
    if (which && !domain_find(op->xs, which, &dom, &look))
        s.uuid = dom.uuid, s.name = dom.name;
    rc = pending_each(op->xs, search_match, &s, err);
    domain_clear(&dom);
    /* It may be one that has a record under another name. */
    if (!rc && !s.n && look.code == XLSNAP_FAILED)
        rc = xlsnap_fail(err, look.code, "%s", look.msg);
    if (!rc && s.n > 1)
        rc = xlsnap_fail(err, XLSNAP_INVALID,
                         "%zu operations are pending; name the domain "
                         "(%s/pending lists them)",
                         s.n, op->xs->state_dir);
    if (rc)
        pending_clear(&s.found);
    else
        recover_take(op, &s.found);
    return rc;
}

int recover_find(struct op *op, const char *uuid, struct xlsnap_error *err)
{
    struct pending p;
    int rc = pending_find(op->xs, uuid, &p, err);

    if (rc)
        pending_clear(&p);
    else if (p.file)
        recover_take(op, &p);
    else /* that of a revert has the snapshot's, and the domain a new one */
        rc = recover_search(op, uuid, err);
    return rc;
}

/*
 * Takes the locks, and reads the record again under them: until then a run may
 * have gone on, and its record with it.
 */
static int recover_lock(struct op *op, struct xlsnap_error *err)
{
    cleanup_free char *uuid = xstrdup(op->pending.uuid);
    int rc = op_lock_domain(op, op->pending.domain, uuid, err);

    if (rc)
        return rc;
    pending_clear(&op->pending);
    return recover_find(op, uuid, err);
}

/*
 * Is the snapshot's description there?  Only a plain "no such file" in a
 * directory that is there means no; whatever else hides it (a file system that
 * is not mounted, an I/O error) must not cost a complete snapshot.
 */
static int recover_is_published(const struct pending *p, bool *published_r,
                                struct xlsnap_error *err)
{
    struct xlsnap_snapshot snap;
    cleanup_free char *dir =
        file_dir_of(p->made_dir ? p->made_dir : p->config_path);
    struct stat st;
    int rc = 0;

    xlsnap_snapshot_init(&snap);
    if (!lstat(p->config_path, &st))
        rc = cfg_read(p->config_path, &snap, NULL, err);
    else if (errno != ENOENT || stat(dir, &st) || st.st_ino != p->dir_ino)
        rc = xlsnap_fail_errno(err, XLSNAP_REFUSED, errno,
                               "cannot look at '%s' (is its file system "
                               "mounted?)",
                               p->config_path);
    *published_r = !rc && snap.uuid && !strcasecmp(snap.uuid, p->uuid) &&
                   snap.name && !strcmp(snap.name, p->name);
    xlsnap_snapshot_clear(&snap);
    if (rc)
        err->code = XLSNAP_REFUSED;
    return rc ? -err->code : 0;
}

int recover_find_domain(struct op *op, struct xlsnap_error *err)
{
    return domain_find_uuid_or_name(op->xs, op->pending.uuid,
                                    op->pending.domain, &op->dom, err);
}

/* ---- create ---- */

/* Of a tool that was killed: it waits for a writer that does not read. */
static bool recover_end_orphan(pid_t helper)
{
    cleanup_free char *pid = xasprintf("%d", (int)helper);
    cleanup_close int fd = syscall(SYS_pidfd_open, helper, 0);
    struct process p;

    return fd >= 0 && process_read(pid, &p) && p.parent == 1 &&
           !syscall(SYS_pidfd_send_signal, fd, SIGKILL, NULL, 0) &&
           file_wait_readable(fd, ORPHAN_MS);
}

static int recover_wait_helper(struct op *op, struct xlsnap_error *err)
{
    pid_t helper = domain_wait_helper(op->dom.domid);

    if (!helper || recover_end_orphan(helper))
        return 0;
    return xlsnap_fail(err, XLSNAP_REFUSED,
                       "domain '%s' is being saved by somebody (process %d)",
                       op->dom.name, (int)helper);
}

/*
 * For how long, in ms, the guest may suspend yet: a tool and its guard that died
 * while it froze its processes have left that to nobody.  Once there is memory in
 * the image it has suspended, and that it stands still is seen; but a live save
 * writes memory before that, too.  The image goes after the guest went on.
 */
static int recover_late_ms(const struct pending *p)
{
    struct stat image;
    int64_t age;

    if (!p->memory_id.ino || p->settled || !pending_same_boot(p) ||
        stat(p->memory_tmp, &image) ||
        (!p->live && image.st_size >= HEADERS_MAX))
        return 0;
    age = (int64_t)time(NULL) - image.st_mtime;
    if (age < 0)
        age = 0; /* the clock was set back: nobody knows */
    return age >= DOMAIN_GUARD_MS / 1000 ? 0
                                         : DOMAIN_GUARD_MS - (int)age * 1000;
}

/* Somebody else may save it meanwhile: its helper comes before its request. */
static int recover_wait_late(struct op *op, int timeout_ms,
                             struct xlsnap_error *err)
{
    int64_t deadline = now_ms() + timeout_ms;
    int rc;

    do {
        memset(err, 0, sizeof(*err));
        if (domain_save_helper(op->dom.domid))
            return recover_wait_helper(op, err);
        rc = domain_settle(op->xs, &op->dom, true, 0, err);
        if (rc && err->errnum == ETIMEDOUT)
            usleep(100000);
    } while (rc && err->errnum == ETIMEDOUT && now_ms() < deadline);
    if (!rc || err->errnum != ETIMEDOUT)
        return rc;
    memset(err, 0, sizeof(*err)); /* it had not been asked, or runs again */
    return 0;
}

/* The guest runs, or goes on, and does not stand still afterwards. */
static int recover_settle(struct op *op, bool published,
                          struct xlsnap_error *err)
{
    int late;

    /* The image may be where nobody answers: it is looked at only then. */
    if (domain_refresh(op->xs, &op->dom) != DOMAIN_THERE ||
        domain_is_suspended(&op->dom) || published ||
        !(late = recover_late_ms(&op->pending)))
        return domain_settle(op->xs, &op->dom, false, 0, err);
    handle_log(op->xs, XTL_NOTICE,
               "domain '%s' may have been asked to suspend just before the "
               "create was cut off; that is waited for, for %d s at most",
               op->dom.name, late / 1000);
    return recover_wait_late(op, late, err);
}

static int recover_create_wake(struct op *op, bool published,
                               struct xlsnap_error *err)
{
    const struct pending *p = &op->pending;
    int rc;

    if (!op_is_same_domain(op))
        return 0;
    rc = recover_wait_helper(op, err);
    if (!rc)
        rc = recover_settle(op, published, err);
    if (!rc && p->paused && !published &&
        domain_refresh(op->xs, &op->dom) == DOMAIN_THERE && op->dom.info.paused)
        rc = domain_unpause(op->xs, op->dom.domid, err);
    if (!rc)
        rc = monitor_keep(op->xs, &op->dom, 0, p->monitor, err);
    return rc;
}

/* The memory image, under either name, only if it is the one we made. */
static int recover_unlink_memory(const struct pending *p,
                                 struct xlsnap_error *err)
{
    int rc;

    if (p->memory_place && pending_place(p->memory) != p->memory_place)
        return xlsnap_fail(err, XLSNAP_REFUSED,
                           "the directory that '%s' was in is not there (is "
                           "its file system mounted?)",
                           p->memory);
    rc = file_unlink(p->memory_tmp, err);
    if (!rc && p->memory_id.ino && pending_is_file(p, p->memory, &p->memory_id))
        rc = file_unlink(p->memory, err);
    return rc;
}

/* Of file_write_durable; an operation's own have its token there, and may be a
 * guest's disk. */
static bool is_temporary(const char *name)
{
    static const char form[] = ".xl-snapshot.XXXXXX";

    return strlen(name) == strlen(form) &&
           !strncmp(name, form, strcspn(form, "X"));
}

/* The directories we made, with what a killed write may have left there. */
static void recover_remove_directory(const struct pending *p)
{
    cleanup_free char *dir = file_dir_of(p->config_path);
    struct dirent *e;
    DIR *stream;

    if (!p->made_dir)
        return;
    stream = opendir(dir);
    while (stream && (e = readdir(stream)))
        if (is_temporary(e->d_name))
            unlinkat(dirfd(stream), e->d_name, 0);
    if (stream)
        closedir(stream);
    file_remove_dirs(dir, p->made_dir);
}

/* An undo that is cut off must not leave the guest waiting, either. */
static int recover_guard(struct op *op, struct xlsnap_error *err)
{
    return op->dom.domid == DOMAIN_NONE
               ? 0
               : guard_start(op->xs, &op->dom, op->pending.monitor, op->locks,
                             &op->guard, err);
}

static bool recover_sees_it_stand(struct op *op)
{
    return op_is_same_domain(op) &&
           domain_refresh(op->xs, &op->dom) == DOMAIN_THERE &&
           domain_is_suspended(&op->dom);
}

/* The next one is to have all locks. */
static void recover_end_guard(struct op *op)
{
    guard_disarm(op->guard);
    guard_stop(op->guard);
    op->guard = NULL;
}

/* A guest that stands still, and not for somebody else's save, does not wait for
 * storage that we would wait for. */
static int recover_guard_suspended(struct op *op, struct xlsnap_error *err)
{
    struct xlsnap_error guard = { 0 };
    int rc = 0;

    if (!recover_sees_it_stand(op))
        return 0;
    rc = recover_wait_helper(op, err);
    if (!rc && (recover_guard(op, &guard) || guard_arm(op->guard, &guard))) {
        handle_log(op->xs, XTL_WARN, "%s", guard.msg);
        recover_end_guard(op);
    }
    return rc;
}

/* It has been seen to; if it stands still all the same, the guard goes on with it. */
static void recover_guard_done(struct op *op)
{
    if (op->guard && !recover_sees_it_stand(op))
        recover_end_guard(op);
}

/* All of them: one that is out of reach must not cost the others. */
static int recover_remove_disks(struct op *op, struct xlsnap_error *err)
{
    int rc = 0;

    for (size_t i = op->n_groups; i--;) {
        struct xlsnap_error another = { 0 };

        if (!op->groups[i].driver->remove(op, &op->groups[i], &another))
            continue;
        if (rc)
            handle_log(op->xs, XTL_ERROR, "%s", another.msg);
        else
            *err = another;
        rc = -1;
    }
    /* Of the others something may have been removed. */
    if (rc && op->n_groups > 1)
        err->code = XLSNAP_FAILED;
    return rc ? -err->code : 0;
}

static int recover_create_undo(struct op *op, struct xlsnap_error *err)
{
    const struct pending *p = &op->pending;
    int rc = op_lock_disks(op, err);

    if (!rc &&
        (op->dom.domid == DOMAIN_NONE || domain_has_ended(op->xs, &op->dom)))
        rc = monitor_await_domain(op->xs, p->uuid, p->domain, false, &op->dom,
                                  err);
    if (!rc)
        rc = disks_before_remove(op, err);
    if (!rc)
        rc = recover_guard(op, err);
    if (!rc)
        rc = recover_remove_disks(op, err);
    if (rc) {
        guard_forsake(op->guard);
        return -err->code;
    }
    rc = recover_unlink_memory(&op->pending, err);
    if (!rc)
        recover_remove_directory(&op->pending);
    return rc;
}

/* The disks of the record, and what the guest needs of them when it goes on. */
static int recover_rescue(struct op *op, struct xlsnap_error *err)
{
    struct xlsnap_error rescue = { 0 };
    int rc = disks_from_record(op, err);

    /* One that is out of reach must not cost the others. */
    if (op->dom.domid == DOMAIN_NONE || !disks_rescue(op, &rescue))
        return rc;
    if (rc)
        handle_log(op->xs, XTL_ERROR, "%s", err->msg);
    *err = rescue;
    return -err->code;
}

void recover_for_guard(struct xlsnap *xs, const char *uuid,
                       const char *operation,
                       int (*act)(struct op *op, struct xlsnap_error *err))
{
    struct xlsnap_error err = { 0 };
    struct op op;
    int rc;

    op_init(&op, xs);
    rc = recover_find(&op, uuid, &err);
    if (!rc && op.pending.file && !strcmp(op.pending.operation, operation))
        rc = act(&op, &err);
    if (rc)
        handle_log(xs, XTL_ERROR, "%s", err.msg);
    op_clear(&op);
}

static int rescue_domain(struct op *op, struct xlsnap_error *err)
{
    int rc, tries = LIST_TRIES;

    op_fill_snapshot(op);
    /* The guest waits for that, and must not go on without it for a trifle. */
    while ((rc = recover_find_domain(op, err)) && --tries) {
        memset(err, 0, sizeof(*err));
        usleep(200000);
    }
    return rc ? rc : recover_rescue(op, err);
}

void recover_rescue_domain(struct xlsnap *xs, const char *uuid)
{
    recover_for_guard(xs, uuid, "create", rescue_domain);
}

static int note_settled(struct op *op, struct xlsnap_error *err)
{
    op->pending.settled = true;
    return pending_write(op->xs, &op->pending, err);
}

void recover_note_settled(struct xlsnap *xs, const char *uuid)
{
    recover_for_guard(xs, uuid, "create", note_settled);
}

/* Before the record is dropped: files may be left as they are, a guest that
 * stands still may not. */
static int recover_let_go(struct op *op, struct xlsnap_error *err)
{
    struct xlsnap_error rescue = { 0 }, later = { 0 };
    int rc;

    op_fill_snapshot(op);
    rc = recover_find_domain(op, err);
    if (rc || op->dom.domid == DOMAIN_NONE)
        return rc;
    rc = recover_guard_suspended(op, err);
    if (!rc)
        rc = recover_wait_helper(op, err);
    if (rc)
        return rc;
    if (recover_rescue(op, &rescue)) {
        handle_log(op->xs, XTL_ERROR, "%s", rescue.msg);
        if (qemu_has_our_jobs(op)) {
            recover_end_guard(op);
            return xlsnap_fail(err, XLSNAP_REFUSED,
                               "QEMU is merging a disk of domain '%s', and the "
                               "guest may wait for the end of it: the record "
                               "stays ('xl destroy' ends both)",
                               op->dom.name);
        }
    }
    rc = op_is_same_domain(op) ? recover_settle(op, false, err) : 0;
    recover_guard_done(op);
    /* What there was no time for while the guest stood still (disk.h). */
    if (!rc && recover_rescue(op, &later))
        handle_log(op->xs, XTL_ERROR, "%s", later.msg);
    return rc;
}

static int recover_create(struct op *op, char **outcome_r,
                          struct xlsnap_error *err)
{
    const struct pending *p = &op->pending;
    struct xlsnap_error look = { 0 }, wake = { 0 };
    bool published = true;
    int rc;

    rc = recover_find_domain(op, err);
    if (rc)
        return rc;
    rc = recover_guard_suspended(op, err);
    if (rc)
        return rc;
    /* First what the guest needs, though nothing else may be in sight. */
    rc = recover_rescue(op, err);
    if (recover_is_published(p, &published, &look)) {
        handle_log(op->xs, XTL_ERROR, "%s", look.msg);
        if (!rc)
            *err = look;
        rc = -err->code;
        published = true; /* nothing is taken back that may have been asked */
    }
    /* The guest goes on, whatever became of the files. */
    if (recover_create_wake(op, published, &wake)) {
        handle_log(op->xs, XTL_ERROR, "%s", wake.msg);
        if (!rc)
            *err = wake;
        rc = -err->code;
    }
    recover_guard_done(op);
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

/* ---- entry ---- */

static int recover_run(struct op *op,
                       const struct xlsnap_recover_options *options,
                       char **outcome_r, struct xlsnap_error *err)
{
    bool create;
    int rc = recover_lock(op, err);

    if (rc)
        return rc;
    if (!op->pending.file) {
        *outcome_r = xstrdup("nothing pending");
        return 0;
    }
    create = !strcmp(op->pending.operation, "create");
    if (options->abandon) {
        rc = create ? recover_let_go(op, err) : recover_revert_let_go(op, err);
        if (rc)
            return rc;
        *outcome_r = xasprintf("the record of the unfinished %s of domain "
                               "'%s' was dropped; nothing else was changed",
                               op->pending.operation, op->pending.domain);
        return pending_drop(&op->pending, err);
    }
    op_fill_snapshot(op);
    if (create)
        return recover_create(op, outcome_r, err);
    if (!strcmp(op->pending.operation, "revert"))
        return recover_revert(op, outcome_r, err);
    return xlsnap_fail(err, XLSNAP_FAILED,
                       "'%s' is of an unknown operation '%s'", op->pending.file,
                       op->pending.operation);
}

int xlsnap_recover(struct xlsnap *xs, const char *domain,
                   const struct xlsnap_recover_options *options,
                   char **outcome_r, struct xlsnap_error *err)
{
    struct op op;
    int rc;

    *outcome_r = NULL;
    op_init(&op, xs);
    rc = recover_search(&op, domain, err);
    if (!rc && !op.pending.file)
        *outcome_r = xstrdup("nothing pending");
    else if (!rc)
        rc = recover_run(&op, options, outcome_r, err);
    if (rc) {
        free(*outcome_r);
        *outcome_r = NULL;
    }
    /* The record is still there: whatever was done, it must be done again. */
    if (rc == -XLSNAP_FAILED && op.pending.file)
        rc = steps_unfinished(&op, err);
    op_clear(&op);
    return rc;
}
