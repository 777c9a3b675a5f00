/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* xl snapshot-create */
#include "cli.h"
#include "output.h"
#include "request.h"

int cmd_create(struct cli *cli, struct xlsnap_error *err)
{
    const struct xlsnap_create_options options = {
        .dryrun = cli->dryrun,
        .paused = cli->paused,
        .force = cli->force,
    };
    struct xlsnap_report report = { 0 };
    struct xlsnap_snapshot request;
    struct xlsnap *xs = NULL;
    int rc;

    xlsnap_snapshot_init(&request);
    rc = request_create(cli, &request, err);
    if (!rc)
        rc = xlsnap_open(cli->settings, &xs, err);
    if (!rc)
        rc = xlsnap_create(xs, &request, &options, &report, err);
    if (!rc && cli->dryrun)
        output_plan(cli, &report);
    else if (!rc)
        output_create(cli, &report);
    xlsnap_report_clear(&report);
    xlsnap_snapshot_clear(&request);
    xlsnap_close(xs);
    return rc;
}
