/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* xl snapshot-recover */
#include "cli.h"
#include "output.h"
#include "request.h"
#include "util.h"

int cmd_recover(struct cli *cli, struct xlsnap_error *err)
{
    const struct xlsnap_recover_options options = {
        .abandon = cli->abandon,
    };
    cleanup_free char *domain = NULL;
    cleanup_free char *outcome = NULL;
    struct xlsnap *xs = NULL;
    int rc = request_domain(cli, &domain, err);

    if (!rc)
        rc = xlsnap_open(cli->settings, &xs, err);
    if (!rc)
        rc = xlsnap_recover(xs, domain, &options, &outcome, err);
    if (!rc)
        output_recover(cli, outcome);
    xlsnap_close(xs);
    return rc;
}
