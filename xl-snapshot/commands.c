/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The one table of commands and their options. */
#include "cli.h"

#include <string.h>

#include "options.h"
#include "util.h"

static const struct cli_option *const create_options[] = {
    &opt_domain, &opt_live,    &opt_internal,    &opt_external,
    &opt_path,   &opt_name,    &opt_description, &opt_compress,
    &opt_paused, &opt_dryrun,  &opt_json,        &opt_force,
    &opt_quiet,  &opt_verbose, &opt_cr,          &opt_help,
    NULL,
};

static const struct cli_option *const revert_options[] = {
    &opt_domain, &opt_paused_restore, &opt_no_monitor,
    &opt_keep,   &opt_dryrun,         &opt_json,
    &opt_force,  &opt_quiet,          &opt_verbose,
    &opt_cr,     &opt_help,           NULL,
};

static const struct cli_option *const recover_options[] = {
    &opt_domain,  &opt_abandon, &opt_json, &opt_quiet,
    &opt_verbose, &opt_help,    NULL,
};

const struct command commands[] = {
    {
        .name = "create",
        .usage = "[OPTIONS] CONFIG|DOMAIN [KEY=VALUE...]",
        .summary = "Take a snapshot of a running domain: memory and disks",
        .options = create_options,
        .run = cmd_create,
    },
    {
        .name = "revert",
        .usage = "[OPTIONS] CONFIG [KEY=VALUE...]",
        .summary = "Take a domain back to a snapshot",
        .options = revert_options,
        .run = cmd_revert,
    },
    {
        .name = "recover",
        .usage = "[OPTIONS] [DOMAIN|CONFIG]",
        .summary = "Finish or undo what a killed run or a crash has left",
        .options = recover_options,
        .run = cmd_recover,
    },
};

const size_t n_commands = ARRAY_SIZE(commands);

const struct command *command_find(const char *name)
{
    if (!strncmp(name, "snapshot-", 9))
        name += 9;
    for (size_t i = 0; i < n_commands; i++)
        if (!strcmp(commands[i].name, name))
            return &commands[i];
    return NULL;
}
