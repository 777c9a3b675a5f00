/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Keeps the pause of a live snapshot short.  While memory is pre-copied, for
 * minutes with a big guest, the guest goes on writing to its disks, and what
 * the host has cached of that would be written by the transaction, with the
 * guest standing still (1 GiB: half a second).  So a process of ours writes
 * it back all the while.
 */
#ifndef XLSNAP_FLUSHER_H
#define XLSNAP_FLUSHER_H

#include "disk.h"

/* Its pid; 0 if there is nothing to do or it cannot be started: it only makes
 * things faster. */
pid_t flusher_start(const struct op *op);
/* Ends it, without waiting: it may be in the middle of a write. */
void flusher_stop(pid_t pid);
/* Waits for its end, once there is time. */
void flusher_reap(pid_t pid);

#endif
