/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Options: what each means, parsing them (getopt_long) and printing help, all
 * from the same rows.
 */
#include "options.h"

#include <getopt.h>
#include <string.h>

#include "error.h"
#include "util.h"

enum {
    OPT_LIVE = 256,
    OPT_INTERNAL,
    OPT_EXTERNAL,
    OPT_PATH,
    OPT_NAME,
    OPT_DESCRIPTION,
    OPT_COMPRESS,
    OPT_KEEP,
    OPT_ABANDON,
    OPT_JSON,
};

/* clang-format off */
const struct cli_option opt_domain = {
    'd', "domain", "DOMAIN", "the domain, by name or id (overrides the config)"
};
const struct cli_option opt_live = {
    OPT_LIVE, "live", NULL, "save memory while the guest runs: a short pause"
};
const struct cli_option opt_internal = {
    OPT_INTERNAL, "internal", NULL, "internal snapshots of disks by default"
};
const struct cli_option opt_external = {
    OPT_EXTERNAL, "external", NULL, "external snapshots of disks by default"
};
const struct cli_option opt_path = {
    OPT_PATH, "path", "DIR", "directory of the snapshot's files"
};
const struct cli_option opt_name = {
    OPT_NAME, "name", "NAME", "name of the snapshot (default: the time, UTC)"
};
const struct cli_option opt_description = {
    OPT_DESCRIPTION, "description", "TEXT", "free text to be kept with it"
};
const struct cli_option opt_compress = {
    OPT_COMPRESS, "compress", "none|zstd", "compression of the memory image"
};
const struct cli_option opt_paused = {
    'p', "paused", NULL, "leave the domain paused afterwards"
};
const struct cli_option opt_paused_restore = {
    'p', "paused", NULL, "leave the domain paused after the restore"
};
const struct cli_option opt_no_monitor = {
    'e', NULL, NULL, "start no monitor process for the domain"
};
const struct cli_option opt_keep = {
    OPT_KEEP, "keep", NULL, "keep the discarded state of the disks"
};
const struct cli_option opt_abandon = {
    OPT_ABANDON, "abandon", NULL, "drop the record, leave all as it is"
};
const struct cli_option opt_dryrun = {
    'n', "dryrun", NULL, "check everything, print the steps, change nothing"
};
const struct cli_option opt_json = {
    OPT_JSON, "json", NULL, "print the result as one JSON object"
};
const struct cli_option opt_force = {
    'f', "force", NULL, "permit what the manual lists for this command"
};
const struct cli_option opt_quiet = {
    'q', "quiet", NULL, "no progress, no notes: only errors and the result"
};
const struct cli_option opt_verbose = {
    'v', "verbose", NULL, "say more; twice: even more"
};
const struct cli_option opt_cr = {
    't', NULL, NULL, "show progress also when stderr is no terminal"
};
const struct cli_option opt_help = {
    'h', "help", NULL, "show this help"
};
/* clang-format on */

static void cli_set(struct cli *cli, int key, const char *arg)
{
    /* clang-format off */
    switch (key) {
    case 'd': cli->domain = arg; break;
    case 'p': cli->paused = true; break;
    case 'e': cli->no_monitor = true; break;
    case 'n': cli->dryrun = true; break;
    case 'f': cli->force = true; break;
    case 'q': cli->quiet = true; break;
    case 'v': cli->verbose++; break;
    case 't': cli->progress_cr = true; break;
    case OPT_LIVE: cli->live = true; break;
    case OPT_INTERNAL: cli->internal = true; break;
    case OPT_EXTERNAL: cli->external = true; break;
    case OPT_PATH: cli->path = arg; break;
    case OPT_NAME: cli->name = arg; break;
    case OPT_DESCRIPTION: cli->description = arg; break;
    case OPT_COMPRESS: cli->compress = arg; break;
    case OPT_KEEP: cli->keep = true; break;
    case OPT_ABANDON: cli->abandon = true; break;
    case OPT_JSON: cli->json = true; break;
    }
    /* clang-format on */
}

#define OPTIONS_MAX 32

/* getopt_long's two tables from ours. */
static void getopt_tables(const struct command *command, char *shorts,
                          struct option *longs)
{
    *shorts++ = ':'; /* tell a missing value from an unknown option */
    for (size_t i = 0; command->options[i]; i++) {
        const struct cli_option *o = command->options[i];

        if (o->key < 256) {
            *shorts++ = o->key;
            if (o->arg)
                *shorts++ = ':';
        }
        if (o->name)
            *longs++ = (struct option){ o->name, o->arg != NULL, NULL, o->key };
    }
    *shorts = 0;
    memset(longs, 0, sizeof(*longs));
}

/* What getopt_long did not like in argv[optind - 1]. */
static int cli_bad_option(const struct cli *cli, int c, char **argv,
                          struct xlsnap_error *err)
{
    const char *word = argv[optind - 1];
    char letter[] = { '-', optopt, 0 };
    const char *before = "unknown or ambiguous option", *behind = "";

    if (c == ':') {
        before = "option";
        behind = " needs a value";
    } else if (strncmp(word, "--", 2)) {
        before = "unknown option";
        word = letter;
    } else if (optopt) { /* it is known, so it is the value */
        before = "option";
        behind = " takes no value";
    }
    return xlsnap_fail(err, XLSNAP_INVALID,
                       "%s '%s'%s (see 'xl snapshot-%s --help')", before, word,
                       behind, cli->command->name);
}

static bool command_takes(const struct command *command, int key)
{
    for (size_t i = 0; command->options[i]; i++)
        if (command->options[i]->key == key)
            return true;
    return false;
}

static int cli_check(const struct cli *cli, struct xlsnap_error *err)
{
    if (cli->internal && cli->external)
        return xlsnap_fail(err, XLSNAP_INVALID,
                           "--internal and --external exclude each other");
    /* xl -N snapshot-recover would not be dry */
    if (cli->dryrun && !command_takes(cli->command, 'n'))
        return xlsnap_fail(err, XLSNAP_INVALID, "snapshot-%s has no dry run",
                           cli->command->name);
    return 0;
}

int cli_parse(struct cli *cli, int argc, char **argv, struct xlsnap_error *err)
{
    char shorts[2 * OPTIONS_MAX + 2];
    struct option longs[OPTIONS_MAX + 1];
    int c;

    getopt_tables(cli->command, shorts, longs);
    optind = 1;
    opterr = 0;
    while ((c = getopt_long(argc, argv, shorts, longs, NULL)) != -1) {
        if (c == 'h')
            return 1;
        if (c == '?' || c == ':')
            return cli_bad_option(cli, c, argv, err);
        cli_set(cli, c, optarg);
    }
    cli->argc = argc - optind;
    cli->argv = argv + optind;
    return cli_check(cli, err);
}

static int cli_set_global(struct cli *cli, char letter)
{
    if (letter == 'T')
        cli->timestamps = true;
    else if (letter && strchr("vft", letter))
        cli_set(cli, letter, NULL);
    else if (letter == 'N')
        cli_set(cli, 'n', NULL);
    else
        return -1;
    return 0;
}

/* --help and its like are commands. */
static bool is_global_option(const char *word)
{
    return word[0] == '-' && strcmp(word, "-h") && strcmp(word, "--help") &&
           strcmp(word, "--version");
}

int cli_parse_global(struct cli *cli, int argc, char **argv,
                     struct xlsnap_error *err)
{
    int i;

    for (i = 1; i < argc && is_global_option(argv[i]); i++) {
        const char *letter = argv[i] + 1;

        if (!strcmp(argv[i], "--"))
            return i + 1;
        while (*letter && !cli_set_global(cli, *letter))
            letter++;
        if (*letter || !argv[i][1])
            return xlsnap_fail(err, XLSNAP_INVALID,
                               "unknown option '%s' before the command (see "
                               "'xl-snapshot help')",
                               argv[i]);
    }
    return i;
}

static void help_option(const struct cli_option *o)
{
    const char *behind = o->name ? ", " : (o->arg ? " " : "");
    char left[64] = "", letter[8] = "";

    if (o->key < 256)
        snprintf(letter, sizeof(letter), "-%c%s", o->key, behind);
    snprintf(left, sizeof(left), "%s%s%s%s%s", letter, o->name ? "--" : "",
             o->name ? o->name : "", o->name && o->arg ? "=" : "",
             o->arg ? o->arg : "");
    printf("  %-22s  %s\n", left, o->help);
}

void cli_help_command(const struct command *command)
{
    printf("Usage: xl [-vftTN] snapshot-%s %s\n\n%s.\n\nOptions:\n\n",
           command->name, command->usage, command->summary);
    for (size_t i = 0; command->options[i]; i++)
        help_option(command->options[i]);
}

void cli_help(void)
{
    printf("Usage: xl-snapshot [-vftTN] COMMAND [OPTIONS] ARGUMENTS\n"
           "       xl [-vftTN] snapshot-COMMAND [OPTIONS] ARGUMENTS\n\n"
           "xl-snapshot commands:\n\n");
    for (size_t i = 0; i < n_commands; i++)
        printf(" snapshot-%-10s %s\n", commands[i].name, commands[i].summary);
    printf("\n'xl-snapshot help COMMAND' or 'xl snapshot-COMMAND --help' "
           "says more.\n");
}
