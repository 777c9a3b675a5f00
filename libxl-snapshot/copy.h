/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One image file made equal to another: by sharing its blocks (reflink: XFS,
 * btrfs and others), or by copying what is in it, with its holes kept.
 * Names, and which file is which, are the caller's business.
 */
#ifndef XLSNAP_COPY_H
#define XLSNAP_COPY_H

#include "error.h"

struct copy {
    int from, to; /* open; `to` for writing, regular and empty */
    const char *from_name, *to_name; /* for messages */
    /*
     * Called again and again while data is copied, with the bytes done and
     * those that there are; false: stop.  May be NULL.
     */
    bool (*go_on)(void *user, uint64_t done, uint64_t total);
    void *user;
};

/*
 * Could a new file in the directory `dir` share the blocks of this open file?
 * Tried out, on a file without a name: what a file system can depends on its
 * version, how it was made, and on the file.  0, or the errno.
 */
int copy_try_reflink(int from, const char *dir);
/* What the errno of a failed reflink means. */
const char *copy_reflink_reason(int errnum);

/* Both leave `to` in the page cache, not durable.  -XLSNAP_FAILED. */
int copy_reflink(const struct copy *c, struct xlsnap_error *err);
/* errnum EINTR if ->go_on said stop. */
int copy_data(const struct copy *c, struct xlsnap_error *err);
/* The bytes that copy_data would write.  -1 with errno. */
int64_t copy_data_bytes(int from);

/*
 * What kind of VHD the open file is, by its footer (the last 512 bytes) and
 * the copy of it at the beginning: "Virtual Hard Disk Image Format
 * Specification", Microsoft 2006.
 */
enum vhd_kind {
    VHD_NONE = 0, /* neither is whole: no VHD, or a damaged one */
    VHD_FIXED = 2,
    VHD_DYNAMIC = 3,
    VHD_DIFFERENCING = 4, /* one of them says so; needs a parent */
};
enum vhd_kind copy_vhd_kind(int fd);

#endif
