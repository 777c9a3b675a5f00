/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the tests of file.c share: a directory of its own for each.  The system
 * calls that matter for durability are replaced here: they record their order
 * and fail on request.  So this is for one file of a test only.
 */
#ifndef FILE_TESTING_H
#define FILE_TESTING_H

#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <cmocka.h>

#include "file.h"
#include "util.h"

static char dir[] = "/tmp/file_test.XXXXXX";
static char trace[256];      /* what was done, in order */
static int fsyncs_until_eio; /* 0: none fails, 1: the next */
static bool no_renameat2;

int fsync(int fd)
{
    struct stat st;

    if (fsyncs_until_eio && --fsyncs_until_eio == 0) {
        errno = EIO;
        return -1;
    }
    fstat(fd, &st);
    strcat(trace, S_ISDIR(st.st_mode) ? " sync-dir" : " sync-file");
    return syscall(SYS_fsync, fd);
}

int renameat2(int from_fd, const char *from, int to_fd, const char *to,
              unsigned flags)
{
    if (no_renameat2) {
        errno = EINVAL;
        return -1;
    }
    strcat(trace, " rename-new");
    return syscall(SYS_renameat2, from_fd, from, to_fd, to, flags);
}

int rename(const char *from, const char *to)
{
    strcat(trace, " rename");
    return syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0);
}

static inline int remove_one(const char *path, const struct stat *st, int type,
                             struct FTW *ftw)
{
    return remove(path);
}

static inline int setup(void **state)
{
    strcpy(dir + strlen(dir) - 6, "XXXXXX");
    trace[0] = '\0';
    fsyncs_until_eio = 0;
    no_renameat2 = false;
    return mkdtemp(dir) && !chdir(dir) ? 0 : -1;
}

static inline int teardown(void **state)
{
    umask(022);
    return chdir("/") || nftw(dir, remove_one, 9, FTW_DEPTH | FTW_PHYS);
}

/* Not by write, which a test may replace. */
static inline void put(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    assert_true(fd >= 0);
    assert_int_equal(syscall(SYS_write, fd, text, strlen(text)), strlen(text));
    close(fd);
}

static inline void assert_content(const char *path, const char *expected)
{
    struct xlsnap_error err = { 0 };
    char *data;

    if (file_read(path, 1000, &data, NULL, &err))
        fail_msg("%s", err.msg);
    assert_string_equal(data, expected);
    free(data);
}

static inline int count_entries(const char *path)
{
    DIR *d = opendir(path);
    int n = -2; /* . and .. */

    assert_non_null(d);
    while (readdir(d))
        n++;
    closedir(d);
    return n;
}

static inline void assert_error(const struct xlsnap_error *err, int errnum,
                                const char *message)
{
    assert_string_equal(err->msg, message);
    assert_int_equal(err->errnum, errnum);
}

#endif
