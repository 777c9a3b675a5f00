/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * gettimeofday() for libxl, in the place of libc's: the wall clock as it was at the
 * first call, and steady from then on.  libxl reckons its time-outs by it, and
 * does some of its waiting by them (tools/libs/light/libxl_event.c, time_rel_to_abs;
 * 4.17): of a clock that is set back by hours, in the middle of libxl_domain_destroy,
 * say, it would wait for hours.  What else it asks for it is the start time of a
 * domain (`xl uptime`), which so lacks the steps of the clock since a monitor began.
 */
#include <stdbool.h>
#include <sys/time.h>
#include <time.h>

__attribute__((visibility("default"))) int gettimeofday(
    struct timeval *restrict tv, void *restrict tz)
{
    static struct timespec offset; /* of the wall clock to the other */
    static bool known;
    struct timespec wall, up;

    clock_gettime(CLOCK_BOOTTIME, &up);
    if (!known) {
        clock_gettime(CLOCK_REALTIME, &wall);
        offset.tv_sec = wall.tv_sec - up.tv_sec;
        offset.tv_nsec = wall.tv_nsec - up.tv_nsec;
        known = true;
    }
    tv->tv_sec = up.tv_sec + offset.tv_sec;
    tv->tv_usec = (up.tv_nsec + offset.tv_nsec) / 1000;
    if (tv->tv_usec < 0) {
        tv->tv_usec += 1000000;
        tv->tv_sec--;
    } else if (tv->tv_usec >= 1000000) {
        tv->tv_usec -= 1000000;
        tv->tv_sec++;
    }
    return 0;
}
