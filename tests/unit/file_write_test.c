/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * file.c: writes that are cut short go on; files are written, renamed and
 * removed durably: the old or the new one is there, whatever fails.
 */
#include "file_testing.h"

static size_t write_most;  /* 0: no limit to one write */
static int write_failures; /* so many calls fail ... */
static int write_errno;    /* ... with this; 0: they write nothing */

/* 0: go on with *len bytes. */
static int disturb_write(size_t *len)
{
    if (write_failures) {
        write_failures--;
        errno = write_errno;
        return write_errno ? -1 : 1;
    }
    if (write_most && *len > write_most)
        *len = write_most;
    return 0;
}

ssize_t write(int fd, const void *data, size_t len)
{
    int r = disturb_write(&len);

    return r ? (r < 0 ? -1 : 0) : syscall(SYS_write, fd, data, len);
}

ssize_t pwrite(int fd, const void *data, size_t len, off_t at)
{
    int r = disturb_write(&len);

    return r ? (r < 0 ? -1 : 0) : syscall(SYS_pwrite64, fd, data, len, at);
}

static int setup_write(void **state)
{
    write_most = write_failures = write_errno = 0;
    return setup(state);
}

/* ---- write ---- */

static void short_and_interrupted_writes_go_on(void **state)
{
    int fd = open("a", O_RDWR | O_CREAT, 0600);

    write_most = 2;
    write_failures = 3;
    write_errno = EINTR;
    assert_int_equal(file_write_all(fd, "12345", 5), 0);
    write_failures = 3;
    assert_int_equal(file_pwrite_all(fd, "abc", 3, 1), 0);
    close(fd);
    assert_content("a", "1abc5");
}

static void a_write_error_is_given(void **state)
{
    int fd = open("a", O_RDWR | O_CREAT, 0600);

    write_failures = 1;
    write_errno = ENOSPC;
    assert_int_equal(file_write_all(fd, "1", 1), -1);
    assert_int_equal(errno, ENOSPC);
    write_failures = 1;
    assert_int_equal(file_pwrite_all(fd, "1", 1, 0), -1);
    assert_int_equal(errno, ENOSPC);
    close(fd);
}

static void a_write_that_writes_nothing_ends(void **state)
{
    int fd = open("a", O_RDWR | O_CREAT, 0600);

    write_failures = 1;
    write_errno = 0;
    assert_int_equal(file_write_all(fd, "1", 1), -1);
    assert_int_equal(errno, EIO);
    close(fd);
}

/* ---- whole files ---- */

static void a_new_file_is_synced_renamed_synced(void **state)
{
    struct xlsnap_error err = { 0 };

    assert_int_equal(file_write_durable("a", "new", 3, false, &err), 0);
    assert_string_equal(trace, " sync-file rename-new sync-dir");
    assert_content("a", "new");
    assert_int_equal(count_entries("."), 1);
}

static void a_replaced_file_is_synced_renamed_synced(void **state)
{
    struct xlsnap_error err = { 0 };

    put("a", "the old text");
    assert_int_equal(file_write_durable("a", "new", 3, true, &err), 0);
    assert_string_equal(trace, " sync-file rename sync-dir");
    assert_content("a", "new");
    assert_int_equal(count_entries("."), 1);
}

static void the_mode_is_0600_under_any_umask(void **state)
{
    const mode_t masks[] = { 0, 022, 0777 };
    struct xlsnap_error err = { 0 };
    struct stat st;
    size_t i;

    for (i = 0; i < ARRAY_SIZE(masks); i++) {
        umask(masks[i]);
        assert_int_equal(file_write_durable("a", "", 0, true, &err), 0);
        assert_int_equal(fstatat(AT_FDCWD, "a", &st, 0), 0);
        assert_int_equal(st.st_mode, S_IFREG | 0600);
    }
}

static void an_existing_file_is_not_replaced_unasked(void **state)
{
    struct xlsnap_error err = { 0 };

    put("a", "old");
    assert_int_equal(file_write_durable("a", "new", 3, false, &err),
                     -XLSNAP_FAILED);
    assert_error(&err, EEXIST, "cannot write 'a': File exists");
    assert_content("a", "old");
    assert_int_equal(count_entries("."), 1);
}

static void a_full_disk_leaves_the_old_file(void **state)
{
    struct xlsnap_error err = { 0 };

    put("a", "old");
    write_failures = 1;
    write_errno = ENOSPC;
    assert_int_equal(file_write_durable("a", "new", 3, true, &err),
                     -XLSNAP_FAILED);
    assert_error(&err, ENOSPC, "cannot write 'a': No space left on device");
    assert_content("a", "old");
    assert_int_equal(count_entries("."), 1);
}

static void a_failing_fsync_leaves_the_old_file(void **state)
{
    struct xlsnap_error err = { 0 };

    put("a", "old");
    fsyncs_until_eio = 1;
    assert_int_equal(file_write_durable("a", "new", 3, true, &err),
                     -XLSNAP_FAILED);
    assert_error(&err, EIO, "cannot write 'a': Input/output error");
    assert_content("a", "old");
    assert_int_equal(count_entries("."), 1);
}

static void a_failing_fsync_of_the_directory_is_told(void **state)
{
    struct xlsnap_error err = { 0 };

    fsyncs_until_eio = 2;
    assert_int_equal(file_write_durable("a", "new", 3, true, &err),
                     -XLSNAP_FAILED);
    assert_error(&err, EIO, "cannot sync directory '.': Input/output error");
    assert_int_equal(count_entries("."), 1);
}

static void a_missing_directory_is_told(void **state)
{
    struct xlsnap_error err = { 0 };

    assert_int_equal(file_write_durable("none/a", "new", 3, true, &err),
                     -XLSNAP_FAILED);
    assert_error(&err, ENOENT,
                 "cannot write 'none/a': No such file or directory");
}

static void the_longest_name_is_written(void **state)
{
    struct xlsnap_error err = { 0 };
    char name[256] = "";

    memset(name, 'n', 255);
    assert_int_equal(file_write_durable(name, "x", 1, false, &err), 0);
    assert_content(name, "x");
}

static void without_renameat2_a_new_file_is_made(void **state)
{
    struct xlsnap_error err = { 0 };

    no_renameat2 = true;
    assert_int_equal(file_write_durable("a", "new", 3, false, &err), 0);
    assert_content("a", "new");
    assert_int_equal(count_entries("."), 1);
}

static void without_renameat2_an_existing_file_stays(void **state)
{
    struct xlsnap_error err = { 0 };

    no_renameat2 = true;
    put("a", "old");
    assert_int_equal(file_write_durable("a", "new", 3, false, &err),
                     -XLSNAP_FAILED);
    assert_error(&err, EEXIST, "cannot write 'a': File exists");
    assert_content("a", "old");
    assert_int_equal(count_entries("."), 1);
}

/* ---- names ---- */

static void a_rename_is_synced_in_both_directories(void **state)
{
    struct xlsnap_error err = { 0 };

    put("a", "text");
    assert_int_equal(mkdir("sub", 0700), 0);
    assert_int_equal(file_rename_new("a", "sub/b", &err), 0);
    assert_string_equal(trace, " rename-new sync-dir sync-dir");
    assert_content("sub/b", "text");
    assert_int_equal(access("a", F_OK), -1);
}

static void a_rename_replaces_nothing(void **state)
{
    struct xlsnap_error err = { 0 };

    put("a", "from");
    put("b", "to");
    assert_int_equal(file_rename_new("a", "b", &err), -XLSNAP_FAILED);
    assert_error(&err, EEXIST, "cannot rename 'a' to 'b': File exists");
    assert_content("a", "from");
    assert_content("b", "to");
}

static void an_unlink_is_synced(void **state)
{
    struct xlsnap_error err = { 0 };

    put("a", "");
    assert_int_equal(file_unlink("a", &err), 0);
    assert_int_equal(count_entries("."), 0);
    assert_string_equal(trace, " sync-dir");
}

static void absence_is_as_good_as_unlinked(void **state)
{
    struct xlsnap_error err = { 0 };

    assert_int_equal(file_unlink("none", &err), 0);
    assert_string_equal(trace, " sync-dir"); /* the one who removed it died */
    assert_int_equal(file_unlink("no-dir/none", &err), 0);
    assert_int_equal(err.code, 0);
}

static void a_directory_is_not_unlinked(void **state)
{
    struct xlsnap_error err = { 0 };

    assert_int_equal(mkdir("d", 0700), 0);
    assert_int_equal(file_unlink("d", &err), -XLSNAP_FAILED);
    assert_error(&err, EISDIR, "cannot remove 'd': Is a directory");
    assert_int_equal(count_entries("."), 1);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup_write, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(short_and_interrupted_writes_go_on),
        TEST(a_write_error_is_given),
        TEST(a_write_that_writes_nothing_ends),
        TEST(a_new_file_is_synced_renamed_synced),
        TEST(a_replaced_file_is_synced_renamed_synced),
        TEST(the_mode_is_0600_under_any_umask),
        TEST(an_existing_file_is_not_replaced_unasked),
        TEST(a_full_disk_leaves_the_old_file),
        TEST(a_failing_fsync_leaves_the_old_file),
        TEST(a_failing_fsync_of_the_directory_is_told),
        TEST(a_missing_directory_is_told),
        TEST(the_longest_name_is_written),
        TEST(without_renameat2_a_new_file_is_made),
        TEST(without_renameat2_an_existing_file_stays),
        TEST(a_rename_is_synced_in_both_directories),
        TEST(a_rename_replaces_nothing),
        TEST(an_unlink_is_synced),
        TEST(absence_is_as_good_as_unlinked),
        TEST(a_directory_is_not_unlinked),
    };

    return cmocka_run_group_tests_name("file_write", tests, NULL, NULL);
}
