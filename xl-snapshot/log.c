/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Messages and progress: the caller's side of xentoollog (xentoollog.h).
 * Both libxl and our library speak through it.
 */
#include "log.h"

#include <poll.h>

#include "text.h"
#include "util.h"

struct log {
    xentoollog_logger vtable; /* first: callbacks get its address */
    const struct cli *cli; /* its options may still be read: look each time */
    int width;             /* of the progress line that stands there; 0: none */
};

static xentoollog_level log_level(const struct cli *cli)
{
    if (cli->quiet)
        return XTL_ERROR;
    if (cli->verbose > 1)
        return XTL_DEBUG;
    return cli->verbose ? XTL_VERBOSE : XTL_NOTICE;
}

/* Progress that comes as a message is a line now and then, of what may take
 * minutes while the guest waits. */
static bool log_shows(const struct cli *cli, xentoollog_level level)
{
    return level == XTL_PROGRESS ? !cli->quiet : level >= log_level(cli);
}

static bool log_wants_progress(const struct cli *cli)
{
    return !cli->quiet && (cli->progress_cr || isatty(2));
}

/*
 * A guest may stand still while we speak: a terminal stopped by Ctrl-S, or a
 * pipe nobody reads, must not stop us.
 */
static bool log_ready(int timeout_ms)
{
    struct pollfd pfd = { .fd = 2, .events = POLLOUT };

    return poll(&pfd, 1, timeout_ms) > 0;
}

static void log_clear_line(struct log *log)
{
    if (log->width)
        fprintf(stderr, "\r%*s\r", log->width, "");
    log->width = 0;
}

static void log_time(const struct log *log)
{
    char text[32];
    time_t now = time(NULL);
    struct tm tm;

    if (!log->cli->timestamps)
        return;
    localtime_r(&now, &tm);
    strftime(text, sizeof(text), "%Y-%m-%d %H:%M:%S %z", &tm);
    fprintf(stderr, "%s ", text);
}

static void log_vmessage(struct xentoollog_logger *logger,
                         xentoollog_level level, int errnoval,
                         const char *context, const char *format, va_list al)
{
    struct log *log = (struct log *)logger;
    cleanup_free char *text = NULL;

    if (!log_shows(log->cli, level) || !log_ready(100))
        return;
    /* It may be what QEMU or a script has said. */
    text = xvasprintf(format, al);
    text_make_printable(text);
    log_clear_line(log);
    log_time(log);
    if (context)
        fprintf(stderr, "%s: ", context);
    fprintf(stderr, "%s: ", xtl_level_to_string(level));
    fputs(text, stderr);
    if (errnoval >= 0)
        fprintf(stderr, ": %s", strerror(errnoval));
    fputc('\n', stderr);
}

static void log_progress(struct xentoollog_logger *logger, const char *context,
                         const char *doing_what, int percent,
                         unsigned long done, unsigned long total)
{
    struct log *log = (struct log *)logger;
    int width;

    if (!log_wants_progress(log->cli) || !total || !log_ready(0))
        return;
    width = fprintf(stderr, "\rmemory: %s %lu of %lu pages, %d%%", doing_what,
                    done, total, percent) -
            1;
    if (width < log->width)
        fprintf(stderr, "%*s", log->width - width, "");
    log->width = width > log->width ? width : log->width;
    fflush(stderr);
}

static void log_destroy(struct xentoollog_logger *logger)
{
    log_clear_line((struct log *)logger);
    free(logger);
}

xentoollog_logger *log_new(const struct cli *cli)
{
    struct log *log = xcalloc(1, sizeof(*log));

    log->vtable.vmessage = log_vmessage;
    log->vtable.progress = log_progress;
    log->vtable.destroy = log_destroy;
    log->cli = cli;
    return &log->vtable;
}

void log_flush(xentoollog_logger *logger)
{
    log_clear_line((struct log *)logger);
}
