/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* From arguments to struct xlsnap_snapshot. */
#ifndef XL_SNAPSHOT_REQUEST_H
#define XL_SNAPSHOT_REQUEST_H

#include "cli.h"

/*
 * Is the word a config file (has a '/', ends in .cfg or .xml, or names a
 * regular file), or a domain?
 */
bool request_is_config(const char *word);
/* Is it KEY=VALUE? */
bool request_is_override(const char *word);

/* create: CONFIG|DOMAIN [KEY=VALUE...] and the options. */
int request_create(const struct cli *cli, struct xlsnap_snapshot *snap,
                   struct xlsnap_error *err);
/*
 * revert: the snapshot.cfg that CONFIG [KEY=VALUE...] means: CONFIG itself if
 * it is one, else PATH/snapshot.cfg with PATH worked out as create does.  What
 * the request says and that file contradicts is an error.
 * *file_r, to be freed, is then the file that was read.
 */
int request_snapshot(const struct cli *cli, struct xlsnap_snapshot *snap,
                     char **file_r, struct xlsnap_error *err);
/* recover: the domain that [DOMAIN|CONFIG] means, to be freed; or NULL. */
int request_domain(const struct cli *cli, char **domain_r,
                   struct xlsnap_error *err);

#endif
