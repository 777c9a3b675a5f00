/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Two processes out of one.  The first stays what the shell started: it gets
 * the terminal's signals, may be stopped by Ctrl-Z, and dies with its session.
 * The second, the worker, in a session of its own, does all the work: no key
 * and no hang-up can stop it, or libxl's helpers with it, while a guest stands
 * still or a domain is being restored.  It is told to cancel by the first
 * one's word, or by its end.
 */
#ifndef XL_SNAPSHOT_WORKER_H
#define XL_SNAPSHOT_WORKER_H

#include "error.h"

/*
 * Returns in the worker, with a descriptor that becomes readable when it shall
 * cancel (also by a signal to the worker itself).  The first process waits in
 * here and exits with the worker's status; with XLSNAP_UNFINISHED if that was
 * killed.
 */
int worker_start(int *cancel_fd_r, struct xlsnap_error *err);

#endif
