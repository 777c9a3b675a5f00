/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * oracle [--OPTION=N]... DISK...: options, threads, exit status: 0 when no
 * corruption was found, 1 when one was, 2 when it could not run.
 */
#include "oracle.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/reboot.h>
#include <unistd.h>

struct options opt = {
    .interval = 100,
    .slots = 512,
    .sample = 2,
    .scan_every = 1000,
    .flush = 1,
    .tick = 5,
    .gap = 50,
    .dirty_set = 16,
};
atomic_bool stopping, scan_wanted;
atomic_uint leave_cmd;
atomic_ullong last, corrupt, dirtied;

static const struct {
    const char *name;
    unsigned *value;
} table[] = {
    { "interval", &opt.interval },
    { "slots", &opt.slots },
    { "sample", &opt.sample },
    { "scan-every", &opt.scan_every },
    { "flush", &opt.flush },
    { "tick", &opt.tick },
    { "gap", &opt.gap },
    { "dirty-mb-s", &opt.dirty_mb_s },
    { "dirty-set", &opt.dirty_set },
    { "dirty-random", &opt.dirty_random },
    { "rounds", &opt.rounds },
};

static void set_option(const char *arg)
{
    size_t len = strcspn(arg, "=");
    char *end;

    for (size_t i = 0; i < sizeof(table) / sizeof(*table); i++) {
        if (strlen(table[i].name) != len || strncmp(arg, table[i].name, len))
            continue;
        errno = 0;
        if (arg[len])
            *table[i].value = strtoul(arg + len + 1, &end, 10);
        if (!arg[len] || !arg[len + 1] || *end || errno)
            fatal("--%s: a number is needed", arg);
        return;
    }
    fatal("--%s: no such option", arg);
}

static void on_term(int sig)
{
    (void)sig;
    atomic_store(&stopping, true);
}

static void start_thread(void *(*run)(void *))
{
    pthread_t thread;
    int r = pthread_create(&thread, NULL, run, NULL);

    if (r)
        fatal("cannot start a thread: %s", strerror(r));
}

int main(int argc, char **argv)
{
    int i;

    for (i = 1; i < argc && !strncmp(argv[i], "--", 2); i++)
        set_option(argv[i] + 2);
    if (i == argc || argc - i > MAX_DISKS || opt.slots < 2)
        fatal("usage: oracle [--OPTION=N]... DISK...");
    signal(SIGTERM, on_term);
    signal(SIGPIPE, SIG_IGN);
    ring_open(argv + i, argc - i);
    ring_start();
    start_thread(status_thread);
    start_thread(clock_thread);
    start_thread(command_thread);
    if (opt.dirty_mb_s && opt.dirty_set)
        start_thread(memory_thread);
    ring_run();
    report("ORACLE STOP n=%llu corrupt=%llu", atomic_load(&last),
           atomic_load(&corrupt));
    report_drain();
    if (atomic_load(&leave_cmd)) {
        sync();
        reboot(atomic_load(&leave_cmd));
    }
    return atomic_load(&corrupt) ? 1 : 0;
}
