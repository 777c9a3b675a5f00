/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* For the tests of undos: what they do to the files, and what is then there. */
#ifndef CHAIN_UNDO_TESTING_H
#define CHAIN_UNDO_TESTING_H

#include "chain_testing.h"

static inline void rename_one(const char *from, const char *to)
{
    if (rename(from, to))
        fail_msg("'%s' to '%s': %s", from, to, strerror(errno));
}

/* A commit cannot even begin. */
static inline void spoil(const char *file)
{
    int fd = open(file, O_WRONLY | O_CLOEXEC);

    assert_int_equal(pwrite(fd, "X", 1, 0), 1);
    close(fd);
}

static inline void remove_all(void)
{
    struct xlsnap_error err = { 0 };

    if (disk_qemu.remove(&op, &group, &err))
        fail_msg("%s", err.msg);
    assert_int_equal(err.code, 0);
}

static inline void assert_refused_to_remove(const char *message)
{
    struct xlsnap_error err = { 0 };

    assert_int_equal(disk_qemu.remove(&op, &group, &err), -XLSNAP_REFUSED);
    if (!strstr(err.msg, message))
        assert_string_equal(err.msg, message);
}

static inline void assert_not_removed(const char *message)
{
    struct xlsnap_error err = { 0 };

    assert_int_equal(disk_qemu.remove(&op, &group, &err), -XLSNAP_FAILED);
    if (!strstr(err.msg, message))
        assert_string_equal(err.msg, message);
}

/* The disk is the file it was, whole, with that at its beginning. */
static inline void assert_undone(const struct disk *disk, const char *format,
                                 const char *first)
{
    struct stat st;

    assert_is(disk->source, &disk->id);
    assert_int_equal(stat(disk->source, &st), 0);
    assert_int_equal(st.st_nlink, 1);
    assert_data(disk->source, format, first);
    if (!strcmp(format, "qcow2"))
        RUN("qemu-img", "check", "-q", "-f", format, disk->source);
}

static inline struct disk *use_external(void)
{
    make_full_image("a.qcow2");
    return use_for(XLSNAP_METHOD_EXTERNAL, "a.qcow2", "a-s1.qcow2");
}

#endif
