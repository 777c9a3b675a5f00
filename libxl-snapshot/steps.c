/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Runs a list of steps and undoes it: see steps.h.
 *
 * In test builds (XLSNAP_FAULTS) the environment variable XLSNAP_FAULT names a
 * fault point: STEP:before, STEP:after (the step fails there) or
 * STEP:kill-before, STEP:kill-after (the process kills itself with SIGKILL),
 * STEP:killall-before, STEP:killall-after (its guard first), STEP:stop-before,
 * STEP:stop-after (the process stops itself, with SIGSTOP, for a test to change the
 * world meanwhile), STEP:cut-before, STEP:cut-after (the machine ends; only in the
 * lab).  Steps of disks come once for each group: STEP@VDEV:after... is that of the
 * group whose first disk is VDEV.  Within them STEP/VDEV:after... is when the driver's
 * loop is done with that disk; QEMU's transaction, which is of all disks, is not in a
 * loop.
 * Production builds have no such code.
 */
#include "steps.h"

#include <fcntl.h>
#include <signal.h>

#include "pulse.h"
#include "util.h"

struct step *steps_add(struct steps *steps, const char *name, disk_fn *run,
                       disk_fn *undo, const char *detail, ...)
{
    struct step *step;
    va_list ap;

    if (steps->n == STEPS_MAX)
        abort();
    step = &steps->step[steps->n++];
    memset(step, 0, sizeof(*step));
    step->name = name;
    step->run = run;
    step->undo = undo;
    va_start(ap, detail);
    step->detail = xvasprintf(detail, ap);
    va_end(ap);
    return step;
}

void steps_add_groups(struct steps *steps, struct op *op, const char *name,
                      disk_fn *(*run)(const struct disk_driver *),
                      disk_fn *undo, const char *detail)
{
    for (size_t i = 0; i < op->n_groups; i++) {
        struct disk_group *group = &op->groups[i];
        cleanup_free char *names = disk_group_names(group);
        disk_fn *fn = run(group->driver);

        if (fn)
            steps_add(steps, name, fn, undo, "%s (%s): %s", names,
                      group->driver->what, detail)
                ->group = group;
    }
}

#ifdef XLSNAP_FAULTS
/* A machine of the lab that has isa-debug-exit there ends at once, like a host that
 * loses its power. */
static void fault_cut(void)
{
    cleanup_close int port = open("/dev/port", O_WRONLY | O_CLOEXEC);

    if (port < 0 || pwrite(port, "", 1, 0xf4) != 1)
        perror("/dev/port");
    abort(); /* it is another machine */
}

static int fault_point(struct op *op, const char *name, const char *when,
                       struct xlsnap_error *err)
{
    const char *fault = getenv("XLSNAP_FAULT");
    const char *colon = fault ? strrchr(fault, ':') : NULL;
    size_t len = strlen(name);

    if (!colon || (size_t)(colon - fault) != len || strncmp(fault, name, len))
        return 0;
    if (!strcmp(colon + 1, when))
        return xlsnap_fail(err, XLSNAP_FAILED, "fault %s step '%s'", when,
                           name);
    if (!strncmp(colon + 1, "killall-", 8) && !strcmp(colon + 9, when)) {
        guard_kill(op->guard);
        kill(getpid(), SIGKILL);
    }
    if (!strncmp(colon + 1, "stop-", 5) && !strcmp(colon + 6, when))
        raise(SIGSTOP);
    if (!strncmp(colon + 1, "cut-", 4) && !strcmp(colon + 5, when))
        fault_cut();
    if (!strncmp(colon + 1, "kill-", 5) && !strcmp(colon + 6, when))
        kill(getpid(), SIGKILL);
    return 0;
}

static int step_fault(struct op *op, const struct step *step, const char *when,
                      struct xlsnap_error *err)
{
    cleanup_free char *of_group = xasprintf(
        "%s@%s", step->name, step->group ? step->group->disks[0]->vdev : "");
    int rc = fault_point(op, step->name, when, err);

    return rc ? rc : fault_point(op, of_group, when, err);
}

int steps_disk_done(struct op *op, const char *step, const struct disk *disk,
                    struct xlsnap_error *err)
{
    cleanup_free char *name = xasprintf("%s/%s", step, disk->vdev);

    return fault_point(op, name, "after", err);
}
#else
#define step_fault(op, step, when, err) 0
#endif

static int step_run(struct op *op, struct step *step, struct xlsnap_error *err)
{
    int rc = step_fault(op, step, "before", err);

    handle_log(op->xs, XTL_VERBOSE, "%s: %s", step->name, step->detail);
    if (!rc)
        rc = step->run(op, step->group, err);
    pulse();
    return rc ? rc : step_fault(op, step, "after", err);
}

/* An overlay that is being merged into what the domain's own config has. */
static bool steps_half_merged(const struct op *op)
{
    for (size_t i = 0; i < op->n_disks; i++)
        if (op->disks[i].merging && !op->disks[i].merged &&
            op->disks[i].method == XLSNAP_METHOD_OVERLAY)
            return true;
    return false;
}

/* The cure must be read, whatever of a long message is lost for it. */
int steps_unfinished(struct op *op, struct xlsnap_error *err)
{
    cleanup_free char *command = pending_cure(op->pending.domain, false);
    cleanup_free char *cure = xasprintf(
        "; run '%s'%s", command,
        steps_half_merged(op) ? ", and start the domain no sooner" : "");
    size_t len = strlen(err->msg), cure_len = strlen(cure);

    err->code = XLSNAP_UNFINISHED;
    if (!op->pending.file)
        return -XLSNAP_UNFINISHED; /* recover would find nothing */
    if (cure_len < sizeof(err->msg) && len >= sizeof(err->msg) - cure_len)
        len = sizeof(err->msg) - cure_len - 1;
    snprintf(err->msg + len, sizeof(err->msg) - len, "%s", cure);
    return -XLSNAP_UNFINISHED;
}

/*
 * Undoes steps [0, n); the failures of it are logged, not returned.  Then the record
 * stays for recover; only what was done to the disks is still undone if the one that
 * failed stands alone.  Else the guard sees at once to what the guest needs.
 */
static bool steps_undo(struct op *op, struct steps *steps, size_t n)
{
    bool good = true, on = true;

    while (n-- && on) {
        struct step *step = &steps->step[n];
        struct xlsnap_error err = { 0 };

        if (!step->undo || (!good && !step->group))
            continue;
        handle_log(op->xs, XTL_VERBOSE, "undo %s", step->name);
        if (step->undo(op, step->group, &err)) {
            handle_log(op->xs, XTL_ERROR, "cannot undo %s: %s", step->name,
                       err.msg);
            good = false;
            on = step->alone;
        }
    }
    if (!good)
        guard_forsake(op->guard);
    return good;
}

/* The guest first, then the steps [0, n); false: not all could be undone. */
static bool steps_fail(struct op *op, struct steps *steps, size_t n,
                       bool no_return)
{
    struct xlsnap_error err = { 0 };

    /* Recover needs the record: undo nothing when the guest does not run. */
    if (op->on_failure && op->on_failure(op, &err)) {
        handle_log(op->xs, XTL_ERROR, "%s", err.msg);
        guard_forsake(op->guard);
        return false;
    }
    return !no_return && steps_undo(op, steps, n);
}

int steps_run(struct op *op, struct steps *steps, struct xlsnap_error *err)
{
    bool no_return = false;
    size_t i;
    int rc = 0;

    for (i = 0; i < steps->n && !rc; i++) {
        if (!no_return && handle_cancelled(op->xs)) {
            rc = xlsnap_fail(err, XLSNAP_FAILED, "cancelled");
            err->errnum = EINTR;
            break; /* this one has not begun */
        }
        no_return |= steps->step[i].no_return;
        rc = step_run(op, &steps->step[i], err);
    }
    if (!rc || steps_fail(op, steps, i, no_return))
        return rc;
    return steps_unfinished(op, err);
}

void steps_describe(const struct steps *steps, char ***lines_r, size_t *n_r)
{
    *n_r = steps->n;
    *lines_r = xcalloc(steps->n, sizeof(**lines_r));
    for (size_t i = 0; i < steps->n; i++)
        (*lines_r)[i] =
            xasprintf("%s: %s", steps->step[i].name, steps->step[i].detail);
}

void steps_clear(struct steps *steps)
{
    for (size_t i = 0; i < steps->n; i++)
        free(steps->step[i].detail);
    steps->n = 0;
}
