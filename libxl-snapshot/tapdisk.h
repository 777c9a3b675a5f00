/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * VHD images and the tapdisks that serve them: the programs vhd-util and
 * tap-ctl of blktap, run and understood.
 *
 * Their exit statuses are errno values, and what they have to say is mostly on
 * stdout; failures here say both.  What they print is not trusted: whatever is
 * not exactly as expected is an error.
 *
 * A disk that tapdisk serves is called "vhd:/path" here, as in the domain's
 * configuration and in xenstore.  tapdisk must go on being told this very
 * text: Xen's block-tap script finds it by that when the disk is detached.
 */
#ifndef XLSNAP_TAPDISK_H
#define XLSNAP_TAPDISK_H

#include <sys/types.h>

#include "error.h"

struct tapdisk {
    pid_t pid; /* 0: none serves the disk */
    int minor;
    unsigned state; /* of blktap's drivers/tapdisk-vbd.h; 0: it works */
};

/* "/path" of "vhd:/path"; NULL: that is something else. */
const char *tapdisk_file(const char *source);

/* Are the programs there, and do they know what is asked of them below? */
int tapdisk_check_tools(struct xlsnap_error *err);

/*
 * The tapdisk that serves this disk, known by the text or by what the name
 * leads to; two of them are an error, as is an answer not understood.
 */
int tapdisk_find(const char *source, struct tapdisk *tapdisk_r,
                 struct xlsnap_error *err);
/* Its process, 0 if there is none or it cannot be found. */
pid_t tapdisk_pid(const char *source);
/* Is it paused, or on its way there? */
bool tapdisk_is_held(const struct tapdisk *tapdisk);
/*
 * Lets it finish what it has begun and close the image.  Of a paused one: no
 * change.  Cut off by a time-out, it holds the requests that come: pausing
 * again completes that.
 */
int tapdisk_pause(const struct tapdisk *tapdisk, struct xlsnap_error *err);
/* Opens what the name leads to now, strictly, and goes on. */
int tapdisk_unpause(const struct tapdisk *tapdisk, const char *source,
                    struct xlsnap_error *err);
/*
 * A program that a killed run has left behind may be about to pause a tapdisk
 * or to write an image: waits until none is there that has one of these,
 * a NULL-terminated list, as an argument; bounded.
 */
int tapdisk_wait_tools(const char *const arguments[], int timeout_ms,
                       struct xlsnap_error *err);

/*
 * Is the image sound?  An image in use has no footer at its end: tapdisk
 * takes it away when it opens the image and puts it there when it closes it
 * (vhd_kill_footer in blktap's block-vhd.c); then the copy at the beginning
 * counts.  `parents`: the whole chain, none in use for writing.
 */
int vhd_check(const char *path, bool in_use, bool parents,
              struct xlsnap_error *err);
/* How many images are in its chain, itself included. */
int vhd_depth(const char *path, int *depth_r, struct xlsnap_error *err);
/* MiB that the guest sees. */
int vhd_size(const char *path, uint64_t *mib_r, struct xlsnap_error *err);
/* Refuses one that its toolstack has marked as hidden: no disk of a guest. */
int vhd_check_visible(const char *path, struct xlsnap_error *err);
/* Fails unless the image's parent has this name (in whatever notation). */
int vhd_check_parent(const char *path, const char *parent,
                     struct xlsnap_error *err);
/*
 * An empty child at `child`, which nothing may be called: vhd-util would
 * overwrite it.  Its parent is `parent` itself, be it empty or not.
 */
int vhd_snapshot(const char *child, const char *parent,
                 struct xlsnap_error *err);
/* Writes all that the child has into its parent; may be repeated. */
int vhd_coalesce(const char *child, int timeout_ms, struct xlsnap_error *err);
/* fsync */
int vhd_sync(const char *path, struct xlsnap_error *err);

#endif
