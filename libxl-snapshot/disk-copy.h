/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the parts of the copy driver share: disk-copy.c (create),
 * disk-copy-revert.c, and for both disk-copy-plan.c, which finds out how a file
 * can be copied, and whether there is room.
 */
#ifndef XLSNAP_DISK_COPY_H
#define XLSNAP_DISK_COPY_H

#include "copy.h"
#include "op.h"

/* How one disk is to be copied: by create's check or revert's proof. */
struct copy_plan {
    char *loop;     /* create: /dev/loopN that serves it; NULL: QEMU does */
    char *dir;      /* where the copy goes */
    int no_reflink; /* errno: why it must be a full copy; 0: it need not */
    uint64_t bytes; /* that a full copy writes */
    dev_t dev;      /* of the file system that it writes to */
};

/* One for each disk of the group, as its ->state. */
struct copy_plan *copy_plans(struct disk_group *group);
void copy_release(struct disk_group *group);
/* Fills in the plan for a copy of the open file (at `path`) into plan->dir;
 * refuses a directory that cannot be written to. */
int copy_plan_fill(struct copy_plan *plan, const char *path, int from,
                   struct xlsnap_error *err);
/*
 * Do the full copies fit?  Asked of disk i: with all others of the group that
 * go to the same file system, and `besides` bytes.
 */
int copy_check_space(const struct disk_group *group, size_t i, uint64_t besides,
                     struct xlsnap_error *err);
uint64_t copy_free_in(const char *dir);      /* bytes */
unsigned long long copy_mib(uint64_t bytes); /* rounded up, for messages */

/* For struct copy: ->go_on, with a struct copy_progress as its ->user. */
struct copy_progress {
    struct op *op;
    const struct disk *disk;
    bool cancellable;
    unsigned told; /* percent */
};
bool copy_go_on(void *user, uint64_t done, uint64_t total);

disk_fn copy_prove;
disk_fn copy_revert;

#endif
