/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* xl snapshot-revert */
#include "cli.h"
#include "output.h"
#include "request.h"
#include "util.h"

int cmd_revert(struct cli *cli, struct xlsnap_error *err)
{
    cleanup_free char *file = NULL;
    struct xlsnap_revert_options options = {
        .dryrun = cli->dryrun,
        .paused = cli->paused,
        .no_monitor = cli->no_monitor,
        .keep = cli->keep,
        .force = cli->force,
    };
    struct xlsnap_report report = { 0 };
    struct xlsnap_snapshot snap;
    struct xlsnap *xs = NULL;
    int rc;

    xlsnap_snapshot_init(&snap);
    rc = request_snapshot(cli, &snap, &file, err);
    options.config_path = file;
    if (!rc)
        rc = xlsnap_open(cli->settings, &xs, err);
    if (!rc)
        rc = xlsnap_revert(xs, &snap, &options, &report, err);
    if (!rc && cli->dryrun)
        output_plan(cli, &report);
    else if (!rc)
        output_revert(cli, &report);
    xlsnap_report_clear(&report);
    xlsnap_snapshot_clear(&snap);
    xlsnap_close(xs);
    return rc;
}
