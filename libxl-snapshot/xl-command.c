/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xl-command.h"

#include <sys/stat.h>

#include "file.h"
#include "process.h"
#include "util.h"
#include "xlu.h"

#define CONFIG_MAX (1 << 20)

/* The argument after this one; NULL: it was the last. */
static const char *argument_next(const struct xl_command *command,
                                 const char *arg)
{
    return process_argument_next(command->text, command->len, arg);
}

bool xl_command_makes_domain(const char *pid, struct xl_command *command)
{
    static const char *const commands[] = { "create", "restore",
                                            "migrate-receive" };
    const char *arg;

    command->text = process_arguments(pid, &command->len);
    arg = argument_next(command, command->text);
    while (arg && *arg == '-') /* of xl itself; none has a value */
        arg = argument_next(command, arg);
    command->name = arg;
    for (size_t i = 0; i < ARRAY_SIZE(commands) && arg; i++)
        if (*arg && !strncmp(arg, commands[i], strlen(arg)))
            return true;
    return false;
}

/* -f FILE, -Ff FILE, -fFILE, --defconfig FILE, --defconfig=FILE: *arg_r moves on to
 * FILE, if that is an argument of its own. */
static const char *option_file(const struct xl_command *command,
                               const char **arg_r)
{
    static const char word[] = "--defconfig";
    const char *arg = *arg_r, *value;

    if (!strncmp(arg, "--", 2)) {
        if (strncmp(arg, word, strlen(word)))
            return NULL;
        value = arg + strlen(word);
        if (*value == '=')
            return value + 1;
    } else {
        value = strchr(arg, 'f');
        if (!value)
            return NULL;
        if (*++value)
            return value;
    }
    value = argument_next(command, arg);
    if (value)
        *arg_r = value;
    return value;
}

/*
 * The text that xl makes of its arguments (tools/xl/xl_vmcontrol.c, main_create): the
 * file, then what has an '='.  NULL: not to be had.
 */
static char *create_text(const char *pid, const struct xl_command *command,
                         time_t started)
{
    cleanup_free char *more = xstrdup(""), *data = NULL, *path = NULL;
    struct xlsnap_error ignored = { 0 };
    const char *file = NULL, *arg = command->name;
    struct stat st;

    while ((arg = argument_next(command, arg))) {
        if (*arg == '-') {
            const char *named = option_file(command, &arg);

            file = named ? named : file;
        } else if (strchr(arg, '=')) {
            char *longer = xasprintf("%s\n%s", more, arg);

            free(more);
            more = longer;
        } else if (!file) {
            file = arg;
        }
    }
    if (!file)
        return NULL;
    path =
        *file == '/' ? xstrdup(file) : xasprintf("/proc/%s/cwd/%s", pid, file);
    if (strcmp(file, "/dev/null") &&
        (stat(path, &st) || st.st_mtime > started ||
         file_read(path, CONFIG_MAX, &data, NULL, &ignored)))
        return NULL;
    return xasprintf("%s\n%s\n", data ? data : "", more);
}

char *xl_command_creates(const char *pid, const struct xl_command *command,
                         time_t started)
{
    struct cfg_place at = { .file = "xl.cfg" };
    cleanup_free char *text = NULL;
    struct xlsnap_error ignored = { 0 };
    struct xlu xlu = { 0 };
    const char *name;
    char *copy = NULL;

    if (strncmp(command->name, "create", strlen(command->name)))
        return NULL;
    text = create_text(pid, command, started);
    if (text && !xlu_parse(&at, text, strlen(text), &xlu, &ignored) &&
        !xlu_cfg_get_string(xlu.config, "name", &name, 1))
        copy = xstrdup(name);
    xlu_clear(&xlu);
    return copy;
}

void xl_command_clear(struct xl_command *command)
{
    free(command->text);
    memset(command, 0, sizeof(*command));
}
