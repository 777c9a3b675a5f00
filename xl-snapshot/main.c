/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * xl-snapshot: the command.  Finds the command in the table, sets up what
 * the library needs from its caller (logger, cancellation by signals, the path
 * of this binary for the guard and the monitor), runs it, and prints the error,
 * once.  The exit status is the error's code.
 */
#include <ctype.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <string.h>

#include "cli.h"
#include "error.h"
#include "log.h"
#include "output.h"
#include "util.h"
#include "worker.h"

/* 0, 1 and 2 must be something, or our files would get their numbers. */
static void setup_stdio(void)
{
    int fd;

    do
        fd = open("/dev/null", O_RDWR);
    while (fd >= 0 && fd < 3);
    if (fd >= 0)
        close(fd);
}

static const char *own_path(void)
{
    static char path[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", path, sizeof(path) - 1);

    if (n <= 0)
        return SBINDIR "/xl-snapshot";
    path[n] = 0;
    return path;
}

static bool parse_domid(const char *text, uint32_t *domid)
{
    char *end;
    unsigned long n = strtoul(text, &end, 10);

    *domid = n;
    return *text && !*end && n && n < 0x7ff0;
}

static bool is_monitor(const char *text)
{
    return !strcmp(text, "yes") || !strcmp(text, "none") ||
           isdigit((unsigned char)*text); /* PID:START,... */
}

/* `guard NAME DOMID UUID MONITOR FD`, `monitor NAME DOMID`: started by the library,
 * never by people. */
static int run_process(const struct xlsnap_settings *settings, int argc,
                       char **argv, struct xlsnap_error *err)
{
    bool guard = !strcmp(argv[1], "guard");
    struct xlsnap *xs;
    uint32_t domid;
    int rc;

    if (argc != (guard ? 7 : 4) || !parse_domid(argv[3], &domid) ||
        (guard && (!is_monitor(argv[5]) || !isdigit((unsigned char)*argv[6]))))
        return xlsnap_fail(err, XLSNAP_INVALID,
                           "'%s' is for xl-snapshot's own use", argv[1]);
    rc = xlsnap_open(settings, &xs, err);
    if (rc)
        return rc;
    rc = guard
             ? -xlsnap_guard_process(xs, domid, argv[4], argv[5], atoi(argv[6]))
             : -xlsnap_monitor_process(xs, domid);
    xlsnap_close(xs);
    return rc;
}

static int find_command(const char *name, const struct command **command_r,
                        struct xlsnap_error *err)
{
    *command_r = command_find(name);
    if (*command_r)
        return 0;
    return xlsnap_fail(err, XLSNAP_INVALID,
                       "unknown command '%s' (see 'xl-snapshot help')", name);
}

static int help(int argc, char **argv, struct xlsnap_error *err)
{
    const struct command *command;

    if (argc < 2)
        cli_help();
    else if (find_command(argv[1], &command, err))
        return -err->code;
    else
        cli_help_command(command);
    return 0;
}

static int run_command(struct cli *cli, int argc, char **argv,
                       struct xlsnap_error *err)
{
    int rc;

    if (!argc)
        return xlsnap_fail(err, XLSNAP_INVALID,
                           "no command (see 'xl-snapshot help')");
    if (!strcmp(argv[0], "help") || !strcmp(argv[0], "--help") ||
        !strcmp(argv[0], "-h"))
        return help(argc, argv, err);
    if (!strcmp(argv[0], "version") || !strcmp(argv[0], "--version")) {
        printf("xl-snapshot %s, for Xen %s\n", XLSNAP_VERSION,
               XEN_BUILD_VERSION);
        return 0;
    }
    if (find_command(argv[0], &cli->command, err))
        return -err->code;
    rc = cli_parse(cli, argc, argv, err);
    if (rc == 1) {
        cli_help_command(cli->command);
        return 0;
    }
    if (rc)
        return rc;
    cli->running = true;
    rc = worker_start(&cli->settings->cancel_fd, err);
    return rc ? rc : cli->command->run(cli, err);
}

/* Who asked for JSON gets it also for a command line that makes no sense. */
static bool wants_json(char **argv)
{
    for (; *argv && strcmp(*argv, "--"); argv++)
        if (!strcmp(*argv, "--json"))
            return true;
    return false;
}

/*
 * Output that got lost is a failure if it was all that was asked for.  A
 * snapshot that was taken is not undone by it: its status stays.  A reader who
 * went away (`| head`) does not want to hear of it.
 */
static int close_stdout(const struct cli *cli, int rc)
{
    bool lost = ferror(stdout);

    errno = 0;
    if (!fclose(stdout) && !lost)
        return rc;
    if (errno != EPIPE)
        fprintf(stderr, "xl-snapshot: cannot write to stdout%s%s\n",
                errno ? ": " : "", errno ? strerror(errno) : "");
    return rc || (cli->running && !cli->dryrun) ? rc : -XLSNAP_FAILED;
}

int main(int argc, char **argv)
{
    struct xlsnap_error err = { 0 };
    struct xlsnap_settings settings = { .cancel_fd = -1 };
    struct cli cli = { .settings = &settings };
    int rc, first = 1;

    setup_stdio();
    signal(SIGPIPE, SIG_IGN);
    settings.helper = own_path();
    if (argc > 1 &&
        (!strcmp(argv[1], "guard") || !strcmp(argv[1], "monitor"))) {
        settings.logger = log_new(&cli);
        rc = run_process(&settings, argc, argv, &err);
    } else {
        /* A script's lock on descriptor 9 must not live on in the QEMU and the
         * monitor of a domain that is restored. */
        closefrom(3);
        cli.json = wants_json(argv);
        first = cli_parse_global(&cli, argc, argv, &err);
        rc = first < 0 ? first : 0;
        settings.logger = log_new(&cli);
        if (!rc)
            rc = run_command(&cli, argc - first, argv + first, &err);
    }
    log_flush(settings.logger);
    if (rc && err.code) {
        fprintf(stderr, "xl-snapshot: %s\n", err.msg);
        output_error(&cli, &err);
    }
    xtl_logger_destroy(settings.logger);
    return -close_stdout(&cli, rc);
}
