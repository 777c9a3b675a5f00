/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Where a snapshot's files are: the defaults of xl-snapshot.cfg(5). */
#ifndef XLSNAP_PATHS_H
#define XLSNAP_PATHS_H

#include "handle.h"

#define SNAPSHOT_CFG "snapshot.cfg"

/*
 * Fills in ->path (SNAPSHOT_DIR/DOMAIN/NAME) and ->memory (PATH/memory.save)
 * where they are not given.  ->domain must be the domain's name, ->name be
 * given.  -XLSNAP_INVALID if the domain's name is none for a directory.
 */
int paths_fill(struct xlsnap *xs, struct xlsnap_snapshot *snap,
               struct xlsnap_error *err);
/* PATH/snapshot.cfg, to be freed. */
char *paths_config(const struct xlsnap_snapshot *snap);
/* The nearest existing directory at or above `path`, to be freed. */
char *paths_existing(const char *path);
/* The topmost directory that making `path` would make; NULL: path exists. */
char *paths_topmost_missing(const char *path);
/* 16 random hex digits, for names that nobody has used before; to be freed. */
char *paths_token(void);

#endif
