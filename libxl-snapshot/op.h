/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One operation under way: what its steps share.  Made by create.c, revert.c
 * or recover.c, on their stack, and cleared by them.
 */
#ifndef XLSNAP_OP_H
#define XLSNAP_OP_H

#include "disk.h"
#include "domain.h"
#include "guard.h"
#include "lock.h"
#include "memory.h"
#include "pending.h"
#include "start.h"

struct op {
    struct xlsnap *xs;
    struct domain dom; /* the running domain; domid DOMAIN_NONE: none */
    struct xlsnap_snapshot snap;
    struct disk *disks;
    size_t n_disks;
    struct disk_group *groups;
    size_t n_groups;
    struct lock_set *locks;
    struct pending pending;
    char *config_path; /* PATH/snapshot.cfg */
    struct qmp *qmp;   /* session with the domain's QEMU: qemu_session() */
    bool force, paused, no_monitor;
    struct guard *guard; /* while the guest stands still for us */

    /* create */
    bool live;
    char *outline; /* domain_outline() before its configuration was read */
    struct memory_writer *writer;
    struct memory_written written;
    pid_t flusher;   /* of a live save; 0: none */
    pid_t monitor;   /* the domain's before the operation; 0: none known */
    bool requested;  /* the guest was asked to suspend and may not run yet */
    bool late;       /* it runs, but may suspend yet: nobody waits any longer */
    bool asked;      /* the save began; its monitor is still to be seen to */
    bool paused_now; /* we have paused it: a create as asked by ->paused */
    bool published;  /* snapshot.cfg is there, and ours */
    bool transacted; /* QEMU's transaction may have been carried out */
    int64_t suspended_ms; /* moment of now_ms; 0: the guest stands not still */
    int64_t saved_ms;     /* when memory was saved, and the disks began */
    int64_t pause_ms, disks_pause_ms;

    /* revert */
    struct memory_image image;
    struct start start;

    /*
     * Called once when a step fails, before anything is undone: whatever
     * happens, the guest must run first.  NULL: nothing to do.
     */
    int (*on_failure)(struct op *op, struct xlsnap_error *err);
};

void op_init(struct op *op, struct xlsnap *xs);
void op_clear(struct op *op);

/*
 * Locks for this operation: the domain by uuid and by name, then the disks.
 * -XLSNAP_BUSY if another run has one of them.
 */
int op_lock_domain(struct op *op, const char *name, const char *uuid,
                   struct xlsnap_error *err);
int op_lock_disks(struct op *op, struct xlsnap_error *err);
/* The files that a create makes, by path: two may want the same. */
int op_lock_files(struct op *op, struct xlsnap_error *err);

/* Does the very domain run of which the record was written, not restarted? */
bool op_is_same_domain(const struct op *op);

/*
 * Fills op->snap from op->pending, as far as drivers need it to look what is
 * there: for recover and the guard.
 */
void op_fill_snapshot(struct op *op);

/* Steps that every operation has: its record, written and dropped. */
disk_fn op_record;
disk_fn op_record_drop;

#endif
