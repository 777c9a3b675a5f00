/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The config file: xl.cfg's grammar, parsed by libxlutil, in and out of
 * struct xlsnap_snapshot.  The only user of libxlutil's parser.  The syntax is
 * documented in xl-snapshot.cfg(5).
 *
 * Strict: unknown keys, a key given twice, a value of the wrong type or out of
 * range, an unsound name, path or DISKSPEC are errors (-XLSNAP_INVALID) that
 * name file, line, value and what would be right:
 *     web1.cfg:3: unknown key 'nmae' (known: compress, description, ...)
 *     web1.cfg:4: disks[1]: 'snapshot=intern': must be internal, external,
 *     overlay or no
 * Files that are no config at all (missing, a directory or device, larger than
 * CFG_SIZE_MAX, with NUL bytes, not UTF-8 text) give one clear line, too.
 */
#ifndef XLSNAP_CFG_H
#define XLSNAP_CFG_H

#include "libxl-snapshot.h"

#define CFG_SIZE_MAX (1 << 20)

/*
 * Where each key was given, for later messages; source is a file name or
 * "command line", line 0 there; key not given: line -1.  Indexes: cfg_key().
 */
struct cfg_origin {
    char *file;
    int line[32];
};

/* Index of a key in cfg_origin.line; -1 if there is no such key. */
int cfg_key(const char *name);

/*
 * Reads file `path` into *snap (initialised; the caller clears it also after
 * a failure).  `origin` may be NULL.  Relative paths in the file (path,
 * memory, TARGETs) are relative to the current directory, as in xl.cfg, and
 * are made absolute; LVM TARGETs that are a bare name stay as they are.
 * Keys of snapshot.cfg (uuid, memory_digest, creation_time, source=) are
 * accepted and fill the fields of their name.
 */
int cfg_read(const char *path, struct xlsnap_snapshot *snap,
             struct cfg_origin *origin, struct xlsnap_error *err);

/*
 * One KEY=VALUE of the command line: replaces the key's value as if it stood
 * in the file.  The value may be written as in the file (quoted, a [list], a
 * number); a bare word is taken as a string.  The same key twice on the
 * command line is an error: `origin` remembers it (line 0) and is required.
 */
int cfg_override(const char *assignment, struct xlsnap_snapshot *snap,
                 struct cfg_origin *origin, struct xlsnap_error *err);

/* Text of a snapshot.cfg, to be freed; cfg_read of it gives *snap again.
 * `comment` (may be NULL, may have several lines) becomes # lines on top. */
char *cfg_write(const struct xlsnap_snapshot *snap, const char *comment);

void cfg_origin_clear(struct cfg_origin *origin);

#endif
