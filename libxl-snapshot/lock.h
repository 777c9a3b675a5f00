/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Locks against a second run: flock on files in run_dir, so they die with
 * their holder.  A held lock's descriptors may be inherited by a child (the
 * guard): the lock then lasts until the last of them closes it.
 */
#ifndef XLSNAP_LOCK_H
#define XLSNAP_LOCK_H

#include "error.h"

struct lock_set;

/*
 * Takes an exclusive lock on every key, in sorted order, without waiting; all
 * or none.  A key is a word for a file name ("domain-UUID", "disk-DEV-INO");
 * duplicates are fine.  `dir` is made (0700) if absent.  A lock file holds the
 * holder's pid as text.  -XLSNAP_BUSY: "another run (pid 123) holds WHAT",
 * `what` being the caller's words for the whole ("domain 'web1' or one of its
 * disks").
 */
int lock_take(const char *dir, const char *const keys[], size_t n_keys,
              const char *what, struct lock_set **set_r,
              struct xlsnap_error *err);
/* Adds more keys to a held set; on failure the set is as before. */
int lock_add(struct lock_set *set, const char *const keys[], size_t n_keys,
             const char *what, struct xlsnap_error *err);
/* Clears (or sets) FD_CLOEXEC on all of them. */
void lock_set_inherit(struct lock_set *set, bool inherit);
void lock_release(struct lock_set *set); /* NULL is fine */

#endif
