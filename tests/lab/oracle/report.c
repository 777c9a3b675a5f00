/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The oracle's console. Lines are queued, and one thread writes them and the
 * status lines, so that a console nobody reads stops that thread only and
 * never the one that writes records. Commands come in as lines on stdin.
 */
#include "oracle.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/reboot.h>
#include <time.h>
#include <unistd.h>

#define QUEUE 512
#define LINE 160
#define STATUS_MS 250
#define CORRUPT_LINES 64 /* more are counted, not printed */

static char queue[QUEUE][LINE];
static unsigned head, tail; /* tail - head lines wait */
static unsigned dropped;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_mutex_t output = PTHREAD_MUTEX_INITIALIZER;

static void put(const char *line, size_t len)
{
    while (len) {
        ssize_t n = write(STDOUT_FILENO, line, len);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return;
        line += n;
        len -= n;
    }
}

void report(const char *fmt, ...)
{
    va_list ap;

    pthread_mutex_lock(&mutex);
    if (tail - head == QUEUE) {
        dropped++;
    } else {
        char *line = queue[tail++ % QUEUE];

        va_start(ap, fmt);
        vsnprintf(line, LINE - 1, fmt, ap);
        va_end(ap);
        strcat(line, "\n");
    }
    pthread_mutex_unlock(&mutex);
}

void report_corrupt(const char *where, const char *slot, uint64_t expected,
                    uint64_t found, const char *kind)
{
    if (atomic_fetch_add(&corrupt, 1) >= CORRUPT_LINES)
        return;
    report("ORACLE CORRUPT disk=%s slot=%s expected=%llu found=%llu kind=%s",
           where, slot, (unsigned long long)expected, (unsigned long long)found,
           kind);
}

void report_drain(void)
{
    char line[LINE];
    unsigned lost;
    bool more;

    pthread_mutex_lock(&output);
    do {
        pthread_mutex_lock(&mutex);
        more = head != tail;
        if (more)
            strcpy(line, queue[head++ % QUEUE]);
        lost = dropped;
        dropped = 0;
        pthread_mutex_unlock(&mutex);
        if (more)
            put(line, strlen(line));
        if (lost)
            put(line, snprintf(line, LINE, "ORACLE DROPPED lines=%u\n", lost));
    } while (more);
    pthread_mutex_unlock(&output);
}

void fatal(const char *fmt, ...)
{
    va_list ap;

    report_drain();
    fputs("ORACLE FATAL ", stdout);
    va_start(ap, fmt);
    vprintf(fmt, ap);
    va_end(ap);
    putchar('\n');
    fflush(stdout);
    _exit(2);
}

static void status(void)
{
    double up = now_ns(CLOCK_BOOTTIME) / 1e9;
    double mb = atomic_load(&dirtied) / 256.0;

    report("ORACLE n=%llu corrupt=%llu up=%.1f dirty=%.0f", atomic_load(&last),
           atomic_load(&corrupt), up, mb);
}

void *status_thread(void *arg)
{
    const struct timespec pause = { 0, 25 * 1000000 };
    uint64_t next = 0;

    for (;;) {
        uint64_t now = now_ns(CLOCK_MONOTONIC);

        if (now >= next) {
            status();
            next = now + STATUS_MS * 1000000ULL;
        }
        report_drain();
        nanosleep(&pause, NULL);
    }
    return arg;
}

/* main() finishes the round that runs, and calls reboot(cmd). */
static void leave(const char *how, unsigned cmd)
{
    report("ORACLE LEAVE how=%s n=%llu", how, atomic_load(&last));
    atomic_store(&leave_cmd, cmd);
    atomic_store(&stopping, true);
}

static void crash(void)
{
    int fd = open("/proc/sysrq-trigger", O_WRONLY | O_CLOEXEC);

    if (fd < 0 || write(fd, "c", 1) != 1)
        report("ORACLE NOTE cannot crash");
}

static void command(const char *line)
{
    if (!strcmp(line, "reboot"))
        leave(line, RB_AUTOBOOT);
    else if (!strcmp(line, "poweroff"))
        leave(line, RB_POWER_OFF);
    else if (!strcmp(line, "crash"))
        crash();
    else if (!strcmp(line, "scan"))
        atomic_store(&scan_wanted, true);
    else if (!strncmp(line, "mark", 4))
        report("ORACLE MARK%s n=%llu wall=%.1f", line + 4, atomic_load(&last),
               now_ns(CLOCK_REALTIME) / 1e9);
    else if (*line)
        report("ORACLE NOTE unknown command");
}

void *command_thread(void *arg)
{
    char line[LINE];

    while (fgets(line, sizeof(line), stdin)) {
        line[strcspn(line, "\r\n")] = 0;
        command(line);
    }
    return arg;
}
