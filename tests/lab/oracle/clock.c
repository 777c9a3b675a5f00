/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Gaps in the oracle's time. CLOCK_BOOTTIME goes on while the domain is
 * suspended and CLOCK_MONOTONIC does not: the difference tells a suspended
 * domain (susp=) from one whose vCPU merely did not get to run.
 */
#include "oracle.h"

#include <stdlib.h>
#include <time.h>

uint64_t now_ns(int clock)
{
    struct timespec ts;

    clock_gettime(clock, &ts);
    return ts.tv_sec * 1000000000ULL + ts.tv_nsec;
}

struct clocks {
    int64_t boot, mono, real;
};

static struct clocks clocks_read(void)
{
    return (struct clocks){
        .boot = now_ns(CLOCK_BOOTTIME),
        .mono = now_ns(CLOCK_MONOTONIC),
        .real = now_ns(CLOCK_REALTIME),
    };
}

static void compare(const struct clocks *a, const struct clocks *b)
{
    const int64_t ms = 1000000;
    int64_t gap = (b->boot - a->boot) / ms;
    int64_t susp = gap - (b->mono - a->mono) / ms;
    int64_t jump = (b->real - a->real) / ms - gap;

    if (gap >= opt.gap || gap < 0)
        report("ORACLE GAP ms=%lld susp=%lld n=%llu", (long long)gap,
               (long long)susp, atomic_load(&last));
    if (llabs(jump) >= opt.gap)
        report("ORACLE CLOCK jump_ms=%lld n=%llu", (long long)jump,
               atomic_load(&last));
    /* The domain was suspended, perhaps long ago and elsewhere: now is the
     * time to look at everything. */
    if (susp >= opt.gap)
        atomic_store(&scan_wanted, true);
}

void *clock_thread(void *arg)
{
    struct timespec pause = { opt.tick / 1000, opt.tick % 1000 * 1000000L };
    struct clocks then = clocks_read(), now;

    for (;;) {
        nanosleep(&pause, NULL);
        now = clocks_read();
        compare(&then, &now);
        then = now;
    }
    return arg;
}
