/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the command's files share: the options of a command line, and the
 * table of commands, from which parsing and help are both made.
 */
#ifndef XL_SNAPSHOT_CLI_H
#define XL_SNAPSHOT_CLI_H

#include "libxl-snapshot.h"

struct cli {
    const struct command *command;
    /* Options; strings point into argv. */
    const char *domain, *path, *name, *description, *compress;
    bool internal, external, live;
    bool paused, no_monitor, keep, abandon;
    bool dryrun, force, json, quiet;
    int verbose;
    bool progress_cr; /* -t */
    bool timestamps;  /* -T */
    /* What is left of the command line. */
    int argc;
    char **argv;
    /* Set up by main for the commands. */
    struct xlsnap_settings *settings;
    bool running; /* the command line made sense, the command was begun */
};

struct cli_option {
    int key;          /* the letter, or above 255: long only */
    const char *name; /* long name or NULL */
    const char *arg;  /* name of its argument or NULL */
    const char *help;
};

struct command {
    const char *name;  /* "create"; also reached as "snapshot-create" */
    const char *usage; /* what follows the name */
    const char *summary;
    const struct cli_option *const *options; /* NULL-terminated */
    int (*run)(struct cli *cli, struct xlsnap_error *err);
};

/* commands.c */
extern const struct command commands[];
extern const size_t n_commands;
const struct command *command_find(const char *name);

/*
 * options.c: fills *cli from the arguments after the command's name.
 * 0; 1 when help was asked for; or -XLSNAP_INVALID.
 */
int cli_parse(struct cli *cli, int argc, char **argv, struct xlsnap_error *err);
/* Options before the command's name, as xl has them: -v -f -t -T -N.
 * Returns the index of the command's name (argc: there is none), or
 * -XLSNAP_INVALID. */
int cli_parse_global(struct cli *cli, int argc, char **argv,
                     struct xlsnap_error *err);
void cli_help_command(const struct command *command);
void cli_help(void);

/* The commands; each prints its result on stdout, only on success. */
int cmd_create(struct cli *cli, struct xlsnap_error *err);
int cmd_revert(struct cli *cli, struct xlsnap_error *err);
int cmd_recover(struct cli *cli, struct xlsnap_error *err);

#endif
