/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The keys of a config: their names, and how the value of each is checked and
 * put into a struct xlsnap_snapshot.  Internal to cfg/.
 */
#ifndef XLSNAP_CFG_KEYS_H
#define XLSNAP_CFG_KEYS_H

#include "scan.h"

/* What cfg_write writes and the highest that is understood. */
#define CFG_FORMAT 1

/* Like cfg_key, for a name that is not NUL-terminated. */
int cfg_key_n(const char *name, size_t len);

const char *cfg_key_name(int key);

/* -XLSNAP_INVALID: "unknown key ...", with what is known or meant. */
int cfg_unknown_key(const struct cfg_place *at, const char *name, size_t len,
                    struct xlsnap_error *err);

/*
 * Checks the value of key number `key` (cfg_key) and replaces the field that
 * it is for.  `at` names the source; the line is that of the statement.
 */
int cfg_set(int key, const struct cfg_place *at, const struct cfg_stmt *stmt,
            struct xlsnap_snapshot *snap, struct xlsnap_error *err);

/* NULL, or why this can be no path: "must not be empty"... */
const char *cfg_path_fault(const char *text);
/*
 * *path_r: absolute form of a path from a config, to be freed; with `bare`
 * a word without '/' stays as it is.  NULL, or why it is no path.
 */
const char *cfg_path(const char *text, bool bare, char **path_r);

#endif
