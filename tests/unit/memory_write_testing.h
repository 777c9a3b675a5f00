/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the tests of memory-write.c share.  fork and fsync are replaced here, to know
 * the writer's pid and to fail: so this is for one file of a test only.
 */
#ifndef MEMORY_WRITE_TESTING_H
#define MEMORY_WRITE_TESTING_H

#include <signal.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "memory_testing.h"

static pid_t forked; /* the last child */
static bool fsync_fails;

pid_t fork(void)
{
    forked = _Fork();
    return forked;
}

int fsync(int fd)
{
    if (fsync_fails) {
        errno = EIO;
        return -1;
    }
    return syscall(SYS_fsync, fd);
}

static inline int setup_writer(void **state)
{
    signal(SIGPIPE, SIG_IGN); /* as the command does */
    fsync_fails = false;
    return setup(state);
}

static inline struct memory_writer *start(const char *config)
{
    struct xlsnap_error err = { 0 };
    struct memory_writer *w;

    if (memory_writer_start("image", config, &w, &err))
        fail_msg("%s", err.msg);
    return w;
}

/* Like libxl's helper: blocking, until an error. */
static inline int feed(struct memory_writer *w, const void *data, size_t len)
{
    const char *p = data;

    for (ssize_t n; len; p += n, len -= n) {
        n = write(memory_writer_fd(w), p, len);
        if (n < 0)
            return errno;
    }
    return 0;
}

static inline void finish(struct memory_writer *w,
                          struct memory_written *written)
{
    struct xlsnap_error err = { 0 };

    if (memory_writer_finish(w, written, &err))
        fail_msg("%s", err.msg);
    memory_writer_free(w);
}

/* What the file must be: the header for CONFIG, and the stream. */
static inline void expect(struct image *im, const void *stream, size_t len)
{
    memset(im, 0, sizeof(*im));
    image_xl(im, CONFIG, sizeof(CONFIG));
    image_put(im, stream, len);
}

static inline void assert_not_started(const char *message)
{
    struct xlsnap_error err = { 0 };
    struct memory_writer *w;

    assert_int_equal(memory_writer_start("image", CONFIG, &w, &err),
                     -XLSNAP_FAILED);
    assert_int_equal(err.code, XLSNAP_FAILED);
    assert_string_equal(err.msg, message);
    memory_writer_free(w);
}

static inline int teardown_writer(void **state)
{
    umount2("small", MNT_DETACH); /* of a test that failed */
    return teardown(state);
}

#define TEST(f) \
    cmocka_unit_test_setup_teardown(f, setup_writer, teardown_writer)

#endif
