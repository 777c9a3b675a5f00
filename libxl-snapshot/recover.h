/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Recovery: what the guard needs of it, and its parts of each other. */
#ifndef XLSNAP_RECOVER_H
#define XLSNAP_RECOVER_H

#include "op.h"

/*
 * A create of the domain of that uuid was cut off: calls the drivers' rescue
 * (disk.h), by its record.  Failures are logged: the guest is to be woken
 * whatever they are.
 */
void recover_rescue_domain(struct xlsnap *xs, const char *uuid);
/* The guard's work is done: notes that the guest of that create goes on for good.
 * Failures are logged. */
void recover_note_settled(struct xlsnap *xs, const char *uuid);
/*
 * A revert of that domain was cut off before the destroy, and its guest is about
 * to go on, or (awake) does so: notes that it has not begun, for what the guest
 * does from then on must not be given up.  Failures are logged.
 */
void recover_unbegin_revert(struct xlsnap *xs, const char *uuid, bool awake);

/*
 * For the guard: `act` on the record of that domain, if there is one and it is of
 * `operation`.  Nobody waits for an answer: failures are logged.
 */
void recover_for_guard(struct xlsnap *xs, const char *uuid,
                       const char *operation,
                       int (*act)(struct op *op, struct xlsnap_error *err));
/*
 * The record of that domain, in op->pending; none: no ->file.  The one of its uuid,
 * whatever others there are; else one that has its name, for a revert's has the
 * snapshot's uuid.
 */
int recover_find(struct op *op, const char *uuid, struct xlsnap_error *err);
/*
 * The domain that has the disks now: the one of the record, or a namesake that
 * was started since; op->dom.domid is DOMAIN_NONE if there is none.  As
 * domain_find_uuid_or_name.
 */
int recover_find_domain(struct op *op, struct xlsnap_error *err);
/* recover-revert.c: --abandon, before the record is dropped: a guest of ours that
 * stands still goes on. */
int recover_revert_let_go(struct op *op, struct xlsnap_error *err);
/* The revert is finished, or had not begun; the record is dropped. */
int recover_revert(struct op *op, char **outcome_r, struct xlsnap_error *err);

#endif
