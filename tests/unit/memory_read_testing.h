/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * For the tests of memory-read.c: what is read is counted, as holes and pages
 * are to be skipped, and fails on request.  For one file of a test only: pread
 * is replaced here.
 */
#ifndef MEMORY_READ_TESTING_H
#define MEMORY_READ_TESTING_H

#include <sys/syscall.h>

#include "memory_testing.h"

static uint64_t bytes_read;   /* by pread */
static int preads_to_failure; /* 0: none fails, 1: the next */
static int pread_errno;       /* 0: it finds the end of the file */

ssize_t pread(int fd, void *buf, size_t len, off_t at)
{
    ssize_t n;

    if (preads_to_failure && --preads_to_failure == 0) {
        errno = pread_errno;
        return pread_errno ? -1 : 0;
    }
    n = syscall(SYS_pread64, fd, buf, len, at);
    bytes_read += n > 0 ? n : 0;
    return n;
}

static inline int setup_read(void **state)
{
    preads_to_failure = 0;
    return setup(state);
}

static inline void open_image(struct memory_image *image)
{
    struct xlsnap_error err = { 0 };

    bytes_read = 0;
    if (memory_image_open("image", image, &err))
        fail_msg("%s", err.msg);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup_read, teardown)

#endif
