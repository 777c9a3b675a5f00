/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The oracle: a program that knows what its disks and its memory must hold,
 * and says so on the console the moment they don't.
 *
 * record.c   what one record looks like, and what is wrong with another
 * ring.c     the rings of records on the disks: start, rounds, scans
 * memory.c   pages that are dirtied at a given rate and checked
 * clock.c    gaps in time
 * report.c   the console: lines out, commands in
 * main.c     options and threads
 */
#ifndef ORACLE_H
#define ORACLE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RECORD_SIZE 4096
#define MAX_DISKS 26
#define SUPER UINT32_MAX /* the slot number of a disk's first record */

struct options {
    unsigned interval;     /* ms from one round to the next */
    unsigned slots;        /* records in the ring of each disk */
    unsigned sample;       /* older slots read back in each round */
    unsigned scan_every;   /* rounds between full scans, 0: never */
    unsigned flush;        /* fdatasync every so many rounds, 0: never */
    unsigned tick;         /* ms between two looks at the clock */
    unsigned gap;          /* ms over which a gap is reported */
    unsigned dirty_mb_s;   /* memory dirtied, MB per second, 0: none */
    unsigned dirty_set;    /* over so many MB */
    unsigned dirty_random; /* 1: pages at random, 0: in order */
    unsigned rounds;       /* end after so many, 0: never */
};

extern struct options opt;
extern atomic_bool stopping;  /* finish the round that runs, then end */
extern atomic_uint leave_cmd; /* for reboot(2), once stopped; 0: exit */
extern atomic_bool scan_wanted;
extern atomic_ullong last;    /* newest record complete on all disks */
extern atomic_ullong corrupt; /* corruptions found in this life */
extern atomic_ullong dirtied; /* pages */

/* What identifies a record; everything else in it follows from these. */
struct ident {
    uint64_t run;    /* of the set of disks: random, made once */
    uint64_t number; /* 0 in a first record, and in an empty slot */
    uint64_t stamp;  /* ns: tells two writings of a number apart */
    uint32_t disk;
    uint32_t slot;
    uint32_t disks;
    uint32_t slots;
};

/* record.c */
void record_fill(void *buf, const struct ident *id);
bool record_read(const void *buf, struct ident *id_r); /* whole and sound */
bool record_is_zero(const void *buf);
uint64_t record_number(const void *buf); /* as claimed: it may be torn */
/* NULL when buf holds exactly id (zeros if id->number is 0 and the slot is
 * not SUPER), else the kind of corruption. */
const char *record_check(const void *buf, const struct ident *id);
uint64_t mix64(uint64_t x);

/* ring.c */
void ring_open(char **paths, unsigned n);
void ring_start(void);
void ring_run(void); /* until stopping, or opt.rounds */

/* threads */
void *memory_thread(void *arg);
void *clock_thread(void *arg);
void *command_thread(void *arg);
void *status_thread(void *arg);
uint64_t now_ns(int clock);

/* report.c: queues a line; never waits for the console */
void report(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void report_corrupt(const char *where, const char *slot, uint64_t expected,
                    uint64_t found, const char *kind);
void report_drain(void); /* writes out all that is queued */
_Noreturn void fatal(const char *fmt, ...)
    __attribute__((format(printf, 1, 2)));

#endif
