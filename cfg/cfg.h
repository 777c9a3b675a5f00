/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The config file: xl.cfg's grammar, parsed by libxlutil, in and out of
 * struct xlsnap_snapshot.  The only user of libxlutil's parser.  The syntax is
 * documented in xl-snapshot.cfg(5).
 *
 * Strict: unknown keys, a key given twice, a value of the wrong type or out of
 * range, an unsound name, path or DISKSPEC are errors (-XLSNAP_INVALID) that
 * name file, line, value and what would be right:
 *     web1.cfg:3: unknown key 'nmae' (did you mean 'name'?)
 *     web1.cfg:4: disks[1]: 'snapshot=intern': must be internal, external,
 *     overlay or no
 * (disks counted from 0; the line is that of the element).
 * Files that are no config at all (missing, a directory or device, larger than
 * CFG_SIZE_MAX, with NUL bytes, not UTF-8 text) give one clear line, too.
 */
#ifndef XLSNAP_CFG_H
#define XLSNAP_CFG_H

#include "libxl-snapshot.h"

#define CFG_SIZE_MAX (1 << 20)

/*
 * Where each key was given, for later messages; line 0: on the command line;
 * -1: not given.  Indexes: cfg_key().  cfg_read initialises it itself; who
 * has no file but overrides calls cfg_origin_init.
 */
struct cfg_origin {
    char *file; /* NULL: no file */
    int line[32];
};

void cfg_origin_init(struct cfg_origin *origin);
/* Frees what it owns and leaves it as _init does. */
void cfg_origin_clear(struct cfg_origin *origin);

/* Index of a key in cfg_origin.line; -1 if there is no such key. */
int cfg_key(const char *name);

/*
 * Reads file `path` into *snap (initialised; the caller clears it also after
 * a failure).  `origin` may be NULL.  Relative paths in the file (path,
 * memory, TARGETs) are relative to the current directory, as in xl.cfg, and
 * are made absolute.  A TARGET without '/' stays as it is: only the disk's
 * driver knows whether that is an LV or a file.  source= is never changed.
 * Keys of snapshot.cfg (uuid, memory_digest, creation_time, source=, source_format=) are
 * accepted and fill the fields of their name; snapshot_format, which only
 * tells the version, fills none.
 */
int cfg_read(const char *path, struct xlsnap_snapshot *snap,
             struct cfg_origin *origin, struct xlsnap_error *err);

/* The same for a text; `name` stands for the file's in messages. */
int cfg_read_text(const char *name, const char *text, size_t len,
                  struct xlsnap_snapshot *snap, struct cfg_origin *origin,
                  struct xlsnap_error *err);

/*
 * One KEY=VALUE of the command line: replaces the key's value as if it stood
 * in the file (disks: the whole list).  A VALUE that begins with a quote or
 * '[' is written as in a file; any other is taken as it is, to the letter.
 * The same key twice on the command line is an error: `origin` remembers it
 * (line 0) and is required.  Messages begin with "KEY=VALUE 'nmae=x': ".
 */
int cfg_override(const char *assignment, struct xlsnap_snapshot *snap,
                 struct cfg_origin *origin, struct xlsnap_error *err);

/*
 * Text of a snapshot.cfg, to be freed; cfg_read of it gives *snap again, for
 * any *snap whose fields are such as cfg_read makes them.  Strings from
 * elsewhere (a disk's path in the domain's config, a libvirt XML) may have
 * what no config can hold: bytes that are not UTF-8, control characters.  They
 * are written as they are and cfg_read then refuses the file; so who has such
 * strings proves the text with cfg_read_text before the guest is touched.
 * `comment` (may be NULL, may have several lines) becomes # lines on top.
 */
char *cfg_write(const struct xlsnap_snapshot *snap, const char *comment);

#endif
