/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Other processes, as /proc tells of them (proc(5)).  A pid is text here, the name of
 * its directory. */
#ifndef XLSNAP_PROCESS_H
#define XLSNAP_PROCESS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>
#include <time.h>

/* The first process that `is`, in no order; 0: none is.  Only of those of our own user,
 * root: anybody can give a process of his any arguments. */
pid_t process_find(bool (*is)(const char *pid, void *arg), void *arg);

/*
 * Its arguments (/proc/PID/cmdline), a NUL after each; *len_r is 0 if it has none,
 * has ended or is a kernel thread.  To be freed.
 */
char *process_arguments(const char *pid, size_t *len_r);
/* The one after `arg` among them; NULL: that was the last. */
const char *process_argument_next(const char *arguments, size_t len,
                                  const char *arg);

struct process {
    int parent;
    unsigned long long start; /* in clock ticks since the boot */
};

/* False: it has ended, be it as a zombie. */
bool process_read(const char *pid, struct process *process);
/* With the pid it names a process for good; 0: it has ended. */
unsigned long long process_start(const char *pid);
time_t process_started(const char *pid); /* the second of the wall clock */
/*
 * For a child that needs nothing but the descriptors it has: it becomes a user that no
 * process but it has, without groups or capabilities, leaves no core, and no program
 * that it ran would have more.  The signal it gets when its parent ends is forgotten
 * (prctl(2), PR_SET_PDEATHSIG).  -1: errno.  Who is not root stays who it is.
 */
int process_drop_privileges(void);
/* SIGKILL is on its way, but the kernel does not let go of it. */
bool process_is_killed(const char *pid);

#endif
