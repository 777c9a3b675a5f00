/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The steps of a revert, which recover runs again from the point of no
 * return. */
#ifndef XLSNAP_REVERT_H
#define XLSNAP_REVERT_H

#include "steps.h"

/*
 * Finds and locks the domain of op->snap and its disks, and proves all that a
 * revert needs; refuses whatever can be known to fail.  Changes nothing.
 */
int revert_check(struct op *op, struct xlsnap_error *err);
/*
 * Proves the inputs of op->snap (a complete snapshot.cfg): the memory image
 * and its digest, that its configuration fits, every disk's snapshot.  Opens
 * op->image, fills op->disks.  Changes nothing.
 */
int revert_prove(struct op *op, struct xlsnap_error *err);
/* As file_check_trusted; once there is no return that is told only: nobody but root
 * can have changed it since. */
int revert_check_trusted(struct op *op, const char *path,
                         struct xlsnap_error *err);
/*
 * Has the host what libxl needs for a domain of that configuration: scripts, a
 * bridge, a CPU pool, QEMU's files?  Without them the restore fails, and most of them
 * libxl misses only when all of the memory is there.  `qemu`: it has one though it is
 * no HVM guest.
 */
int revert_check_host(struct xlsnap *xs, const libxl_domain_config *config,
                      bool qemu, struct xlsnap_error *err);
/* The same of op->image and op->dom. */
int revert_check_hosting(struct op *op, struct xlsnap_error *err);
/* The running domain is the one that was found, and may be destroyed; its state
 * is read again. */
int revert_check_still(struct op *op, struct xlsnap_error *err);
/* How much memory must be free: with what op->dom will give back, it is enough. */
int revert_need_memory(struct op *op, uint64_t *need_kb,
                       struct xlsnap_error *err);
/* So much is free, or domain 0 can give it; fills op->start. */
int revert_check_memory(struct op *op, struct xlsnap_error *err);
/* Notes that nothing has begun, if the record says that it has; before the guest
 * goes on. */
void revert_unbegin(struct op *op);
/* The restored domain goes on, and the record knows that it does. */
int revert_release(struct op *op, struct xlsnap_error *err);
/* Appends the steps from the destroy on. */
void revert_plan_forward(struct op *op, struct steps *steps);

#endif
