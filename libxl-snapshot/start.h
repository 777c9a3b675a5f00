/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What xl does about the start of a domain, beyond libxl, as xl.conf(5) tells it
 * to (xl 4.17, tools/xl/xl_vmcontrol.c: create_domain, freemem): with autoballoon
 * it takes a lock that all xl share, and shrinks domain 0 until there is enough
 * free memory; both until the domain is made.
 */
#ifndef XLSNAP_START_H
#define XLSNAP_START_H

#include "handle.h"
#include "xl-conf.h"

#define START_LOCK_MS 60000

struct start {
    struct xl_conf conf;
    bool autoballoon;
    int lock;          /* descriptor of xl's lock file; -1: not held */
    uint64_t taken_kb; /* from domain 0 */
};

void start_init(struct start *start);
/* Reads xl.conf.  What is wrong with it is logged, and the default counts, as in
 * xl: nothing that is down must stay down for it. */
void start_read(struct xlsnap *xs, struct start *start);
/* Is so much free? */
bool start_has_memory(struct xlsnap *xs, uint64_t need_kb);
/*
 * Can so much memory be free?  -XLSNAP_REFUSED says how much is, and whether
 * domain 0 may not give any or cannot spare it.  Changes nothing.
 */
int start_check_memory(struct xlsnap *xs, const struct start *start,
                       uint64_t need_kb, struct xlsnap_error *err);
/*
 * With autoballoon: waits for xl's lock, START_LOCK_MS at most, then
 * -XLSNAP_BUSY (it names the holder); if `cancels`, the caller's wish to stop ends
 * the wait, too.
 */
int start_lock(struct xlsnap *xs, struct start *start, bool cancels,
               struct xlsnap_error *err);
/*
 * With autoballoon: shrinks domain 0 until so much memory is free.  What was taken
 * stays taken on failure: start_return_memory.
 */
int start_find_memory(struct xlsnap *xs, struct start *start, uint64_t need_kb,
                      struct xlsnap_error *err);
/* It is not needed after all: domain 0 gets back what was taken. */
void start_return_memory(struct xlsnap *xs, struct start *start);
void start_unlock(struct start *start); /* also if it is not held */
void start_clear(struct start *start);

/* For libxl_domain_create_info.domid. */
uint32_t start_domid(const struct start *start);

#endif
