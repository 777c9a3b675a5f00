/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The few helpers that every file uses.  Cleanup attributes release memory
 * and descriptors only; they keep errno and never touch the system.
 * Allocation failure aborts, as in libxl.
 */
#ifndef XLSNAP_UTIL_H
#define XLSNAP_UTIL_H

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

static inline void cleanup_freep(void *p)
{
    int saved = errno;

    free(*(void **)p);
    errno = saved;
}

static inline void cleanup_closep(int *fd)
{
    int saved = errno;

    if (*fd >= 0)
        close(*fd);
    errno = saved;
}

#define cleanup_free __attribute__((cleanup(cleanup_freep)))
/* The variable must be initialised, -1 for "none". */
#define cleanup_close __attribute__((cleanup(cleanup_closep)))

static inline void *xcalloc(size_t n, size_t size)
{
    void *p = calloc(n ? n : 1, size ? size : 1);

    if (!p)
        abort();
    return p;
}

static inline bool text_ends(const char *text, const char *end)
{
    size_t n = strlen(text), m = strlen(end);

    return n >= m && !strcmp(text + n - m, end);
}

static inline void *xrealloc(void *old, size_t n, size_t size)
{
    void *p = reallocarray(old, n ? n : 1, size ? size : 1);

    if (!p)
        abort();
    return p;
}

/* xstrdup(NULL) is NULL. */
static inline char *xstrdup(const char *s)
{
    char *p = s ? strdup(s) : NULL;

    if (s && !p)
        abort();
    return p;
}

static inline char *xvasprintf(const char *fmt, va_list ap)
{
    char *p;

    if (vasprintf(&p, fmt, ap) < 0)
        abort();
    return p;
}

__attribute__((format(printf, 1, 2))) static inline char *xasprintf(
    const char *fmt, ...)
{
    va_list ap;
    char *p;

    va_start(ap, fmt);
    p = xvasprintf(fmt, ap);
    va_end(ap);
    return p;
}

/*
 * Milliseconds of CLOCK_BOOTTIME: for durations and deadlines, unmoved by
 * steps of the wall clock.
 */
static inline int64_t now_ms(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_BOOTTIME, &ts);
    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

#endif
