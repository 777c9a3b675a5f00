/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Results on stdout, as text or as one JSON object. */
#ifndef XL_SNAPSHOT_OUTPUT_H
#define XL_SNAPSHOT_OUTPUT_H

#include "cli.h"

/* The plan, a line each (--dryrun). */
void output_plan(const struct cli *cli, const struct xlsnap_report *report);
void output_create(const struct cli *cli, const struct xlsnap_report *report);
void output_revert(const struct cli *cli, const struct xlsnap_report *report);
void output_recover(const struct cli *cli, const char *outcome);
/* With --json the error goes to stdout, too, as an object. */
void output_error(const struct cli *cli, const struct xlsnap_error *err);

#endif
