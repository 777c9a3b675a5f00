/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Running external programs: argv, never a shell.
 *
 * Every child gets: stdin from /dev/null, LC_ALL=C, default signal
 * dispositions and an empty signal mask, its own process group, no inherited
 * descriptor above 2 (O_CLOEXEC everywhere plus close_range).  argv[0] without
 * a '/' is looked up on PATH, then in the usual directories of root's PATH.
 * That the program could not be executed at all is told apart (through a
 * CLOEXEC pipe) from any exit status.  stdout and stderr are drained together.
 * run_* wait for the child itself and not for end of file: a daemon it leaves
 * behind may hold the pipes.  After timeout_ms the whole process group is
 * killed.  The child is reaped before return, but for one that the kernel does
 * not let go of for 10 s.
 *
 * Failures are -XLSNAP_FAILED with a message such as
 * 'lvcreate' exited with status 5: Volume group "vg0" not found
 * (the last non-empty line of its stderr), 'qemu-img' was killed by signal 9,
 * 'qemu-img' did not finish within 30 s, cannot run 'qemu-img': No such file
 * or directory.
 */
#ifndef XLSNAP_RUN_H
#define XLSNAP_RUN_H

#include <sys/types.h>

#include "error.h"

#define RUN_TIMEOUT_MS 60000
#define RUN_OUTPUT_MAX (16 << 20) /* bytes of stdout kept; more is an error */

/* Exit status 0 wanted; stdout is thrown away. */
int run_ok(const char *const argv[], int timeout_ms, struct xlsnap_error *err);
/* As run_ok; *out_r (to be freed) is stdout, NUL-terminated. */
int run_output(const char *const argv[], int timeout_ms, char **out_r,
               struct xlsnap_error *err);
/* Any exit status is fine and goes to *status_r; a signal is not. */
int run_status(const char *const argv[], int timeout_ms, int *status_r,
               char **out_r /* may be NULL */, struct xlsnap_error *err);

#endif
