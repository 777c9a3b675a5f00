/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Every option there is; the table of commands says who takes which. */
#ifndef XL_SNAPSHOT_OPTIONS_H
#define XL_SNAPSHOT_OPTIONS_H

#include "cli.h"

extern const struct cli_option opt_domain, opt_live, opt_internal, opt_external,
    opt_path, opt_name, opt_description, opt_compress, opt_paused,
    opt_paused_restore, opt_no_monitor, opt_keep, opt_abandon, opt_dryrun,
    opt_json, opt_force, opt_quiet, opt_verbose, opt_cr, opt_help;

#endif
