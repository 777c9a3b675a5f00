/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Memory that is dirtied at a given rate. Every page carries how often it
 * was written, and a pattern; before it is written again it must be what
 * it was, to the byte. The counts are kept apart from the pages.
 */
#include "oracle.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>

#define PAGE 4096
#define WORDS (PAGE / sizeof(uint64_t))
#define SLICE_MS 10

static uint64_t *pages;
static uint64_t *count;
static size_t npages;

static void page_write(size_t i)
{
    uint64_t *word = pages + i * WORDS;
    uint64_t x = mix64(i << 32 ^ ++count[i]);

    word[0] = count[i];
    for (size_t w = 1; w < WORDS; w++)
        word[w] = x + w;
}

static void page_check(size_t i)
{
    const uint64_t *word = pages + i * WORDS;
    uint64_t x = mix64(i << 32 ^ count[i]);
    uint64_t bad = word[0] ^ count[i];
    char slot[24];

    if (count[i])
        for (size_t w = 1; w < WORDS; w++)
            bad |= word[w] ^ (x + w);
    if (!bad)
        return;
    snprintf(slot, sizeof(slot), "%zu", i);
    report_corrupt("-", slot, count[i], word[0], "memory");
}

static void dirty(size_t n)
{
    static size_t next;
    static uint64_t seed = 1;

    while (n--) {
        size_t i = opt.dirty_random ? mix64(seed++) % npages : next++ % npages;

        page_check(i);
        page_write(i);
        atomic_fetch_add(&dirtied, 1);
    }
}

/* Behind its rate for more than a second (suspended, no CPU) it lets the
 * rest go instead of catching up. */
void *memory_thread(void *arg)
{
    const struct timespec pause = { 0, SLICE_MS * 1000000L };
    const uint64_t rate = opt.dirty_mb_s * 256ULL;
    uint64_t then = now_ns(CLOCK_MONOTONIC), owed = 0;

    npages = opt.dirty_set * 256UL;
    count = calloc(npages, sizeof(*count));
    pages = mmap(NULL, npages * PAGE, PROT_READ | PROT_WRITE,
                 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (!count || pages == MAP_FAILED)
        fatal("no memory for --dirty-set=%u", opt.dirty_set);
    for (;;) {
        uint64_t now = now_ns(CLOCK_MONOTONIC);

        owed += (now - then) * rate / 1000;
        then = now;
        if (owed > rate * 1000000)
            owed = rate * 1000000;
        dirty(owed / 1000000);
        owed %= 1000000;
        nanosleep(&pause, NULL);
    }
    return arg;
}
