/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Every change to the system is a step, and nothing else changes the system.
 * An operation is a list of them, built after all checks and then run: that
 * gives dry runs, undo, and the sweep of faults over every step.
 *
 * A step that fails is undone too, then those before it, newest first.  An
 * undo must cope with nothing, half or all of its step done; it decides by
 * looking at the system.  After a step with no_return has begun nothing is
 * undone any more: the operation goes on only forward, by recover.
 */
#ifndef XLSNAP_STEPS_H
#define XLSNAP_STEPS_H

#include "op.h"

#define STEPS_MAX 64

struct step {
    const char *name; /* "disk-create", for logs and fault points */
    char *detail;     /* one line for people */
    disk_fn *run;
    disk_fn *undo;            /* NULL: nothing to undo */
    struct disk_group *group; /* of disk steps; else NULL */
    bool no_return;
    bool alone; /* the disks are undone though its own undo failed */
};

struct steps {
    struct step step[STEPS_MAX];
    size_t n;
};

/* Returns the new step, for ->group and ->no_return to be set. */
struct step *steps_add(struct steps *steps, const char *name, disk_fn *run,
                       disk_fn *undo, const char *detail, ...)
    __attribute__((format(printf, 5, 6)));
/* One step per group of disks, ->group set. */
void steps_add_groups(struct steps *steps, struct op *op, const char *name,
                      disk_fn *(*run)(const struct disk_driver *),
                      disk_fn *undo, const char *detail);

/*
 * Runs them.  0; or the failing step's code, everything undone; or
 * -XLSNAP_UNFINISHED, the message ending with the command that continues:
 * when op->on_failure failed (then nothing is undone), when an undo failed,
 * or when a step failed after the point of no return.
 */
int steps_run(struct op *op, struct steps *steps, struct xlsnap_error *err);
/* Makes the error one of an unfinished operation, its message end with the
 * command that continues. */
int steps_unfinished(struct op *op, struct xlsnap_error *err);
/*
 * A fault point of test builds, STEP/VDEV (steps.c): a driver calls it in its loop
 * over the disks, when it is done with one; or in the middle of one, with a name
 * that is no step's.
 */
#ifdef XLSNAP_FAULTS
int steps_disk_done(struct op *op, const char *step, const struct disk *disk,
                    struct xlsnap_error *err);
#else
#define steps_disk_done(op, step, disk, err) 0
#endif
/* Their names and details, for struct xlsnap_report. */
void steps_describe(const struct steps *steps, char ***lines_r, size_t *n_r);
void steps_clear(struct steps *steps);

#endif
