/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What an xl process was told to do. */
#ifndef XLSNAP_XL_COMMAND_H
#define XLSNAP_XL_COMMAND_H

#include <stdbool.h>
#include <stddef.h>
#include <time.h>

/* All zeroes before, to be cleared also after a failure. */
struct xl_command {
    char *text; /* all its arguments (process_arguments) */
    size_t len;
    const char *name; /* "create", as it was given; the others follow */
};

/*
 * Has the process, an xl, a command that makes a domain, and may stay as its
 * monitor: create, restore or migrate-receive?  xl takes what is short for one, too
 * (tools/xl/xl_cmdtable.c, cmdtable_lookup).
 */
bool xl_command_makes_domain(const char *pid, struct xl_command *command);
/*
 * The name of the domain that its "xl create" is to make, to be freed; NULL: it has
 * another command, or what it has read is not to be had, or was written after
 * `started` (the end of that second), when it was read.
 */
char *xl_command_creates(const char *pid, const struct xl_command *command,
                         time_t started);
void xl_command_clear(struct xl_command *command);

#endif
