/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * That this process, and those it forks, go on: a number that changes with each thing
 * that was done, in memory shared with whoever watches (guard.c). One who waits in the
 * kernel, for storage that does not answer, cannot say so himself.
 */
#ifndef XLSNAP_PULSE_H
#define XLSNAP_PULSE_H

/* The descriptor of that memory, close-on-exec, ours; made by the first call, after
 * which pulse() counts. -1: errno. */
int pulse_share(void);
/* Something was done. Also in a forked process, and in a signal handler. */
void pulse(void);
/* The number behind another process's descriptor, until we end; NULL: errno. */
const unsigned *pulse_watch(int fd);
unsigned pulse_count(const unsigned *watched);

#endif
