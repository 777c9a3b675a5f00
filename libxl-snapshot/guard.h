/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The guard: a small process that lets the guest go on if we die between suspend
 * and resume, or while a revert looks at its disks for the last time, however we
 * die.
 *
 * It is the helper binary (`xl-snapshot guard DOMAIN` in ps) in a session of
 * its own, deaf to the terminal's signals, connected to us by a socket: when
 * that closes without our farewell it acts.  It inherits our locks, so no
 * other run can begin before it has finished.
 */
#ifndef XLSNAP_GUARD_H
#define XLSNAP_GUARD_H

#include "domain.h"
#include "lock.h"

struct guard;

/* The descriptor on which the helper finds its socket. */
#define GUARD_FD 3

/*
 * Starts it and waits until it is ready.  `monitor`: as for
 * monitor_keep (monitor.h), which it is to do in the end.
 */
int guard_start(struct xlsnap *xs, const struct domain *dom,
                const char *monitor, struct lock_set *locks,
                struct guard **guard_r, struct xlsnap_error *err);
/* From here on the guest may be asked to suspend at any moment. */
int guard_arm(struct guard *guard, struct xlsnap_error *err);
/* Instead: it is about to be paused, for a look before a revert; undo that. */
int guard_looking(struct guard *guard, struct xlsnap_error *err);
/* It is about to be paused as well, as was asked: undo that, too. */
void guard_pausing(struct guard *guard);
/* The guest runs again; only the monitor is still to be seen to. */
void guard_disarm(struct guard *guard);
/*
 * It runs on unchanged disks, and all is about to be undone; but it may suspend
 * yet.  False: there is no guard any more to wait for that.
 */
bool guard_late(struct guard *guard);
/*
 * Says farewell and reaps it; an armed one, whose guest is not known to run,
 * is left to do its work.  NULL is fine.
 */
void guard_stop(struct guard *guard);
/*
 * A rescue or an undo has failed: the guard shall look after the guest and its
 * disks when it is stopped, as if we had died.  NULL is fine.
 */
void guard_forsake(struct guard *guard);
#ifdef XLSNAP_FAULTS
/* SIGKILL, for tests; NULL is fine. */
void guard_kill(struct guard *guard);
#endif

#endif
