/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * file.c: directories that are made with their parents, those that are not
 * taken as they are not ours alone, and removing what was made.
 */
#include "file_testing.h"

static void a_directory_is_made_with_its_parents(void **state)
{
    struct xlsnap_error err = { 0 };
    struct stat st;
    char *made;

    umask(0);
    assert_int_equal(file_make_dir("a/b//c/", &made, &err), 0);
    assert_int_equal(fstatat(AT_FDCWD, "a", &st, 0), 0);
    assert_int_equal(st.st_mode, S_IFDIR | 0700);
    assert_int_equal(fstatat(AT_FDCWD, "a/b/c", &st, 0), 0);
    assert_int_equal(st.st_mode, S_IFDIR | 0700);
    assert_string_equal(trace, " sync-dir sync-dir sync-dir");
    assert_int_equal(strncmp(made, dir, strlen(dir)), 0);
    assert_string_equal(made + strlen(dir), "/a");
    free(made);
}

static void an_existing_directory_is_taken(void **state)
{
    struct xlsnap_error err = { 0 };
    char *made = dir;

    assert_int_equal(mkdir("a", 0755), 0);
    assert_int_equal(file_make_dir("a", &made, &err), 0);
    assert_null(made);
    assert_int_equal(file_make_dir("a", NULL, &err), 0);
    assert_string_equal(trace, "");
}

static void assert_dir_refused(const char *path, const char *format, ...)
{
    struct xlsnap_error err = { 0 };
    char *message, *made = dir;
    va_list ap;

    va_start(ap, format);
    message = xvasprintf(format, ap);
    va_end(ap);
    assert_int_equal(file_make_dir(path, &made, &err), -XLSNAP_REFUSED);
    assert_string_equal(err.msg, message);
    assert_null(made);
    free(message);
}

static void a_symbolic_link_is_no_directory(void **state)
{
    assert_int_equal(mkdir("a", 0700), 0);
    assert_int_equal(symlink("a", "link"), 0);
    assert_dir_refused("link/", "'%s/link' is a symbolic link, not a directory",
                       dir);
}

static void a_file_is_no_directory(void **state)
{
    put("a", "");
    assert_dir_refused("a", "'%s/a' is not a directory", dir);
}

static void a_directory_for_others_to_write_is_refused(void **state)
{
    assert_int_equal(mkdir("a", 0700), 0);
    assert_int_equal(chmod("a", 01757), 0);
    assert_dir_refused(
        "a", "directory '%s/a' is writable by others (mode 1757)", dir);
    assert_int_equal(chmod("a", 0770), 0);
    assert_dir_refused(
        "a", "directory '%s/a' is writable by others (mode 0770)", dir);
}

static void a_directory_of_another_user_is_refused(void **state)
{
    if (geteuid() == 0) {
        assert_int_equal(mkdir("a", 0700), 0);
        assert_int_equal(chown("a", 4711, 0), 0);
        assert_dir_refused(
            "a", "directory '%s/a' belongs to user 4711 instead of 0", dir);
    } else {
        assert_dir_refused("/", "directory '/' belongs to user 0 instead of %u",
                           geteuid());
    }
}

static void a_failure_leaves_no_directory(void **state)
{
    struct xlsnap_error err = { 0 };
    char *made = dir;

    fsyncs_until_eio = 3;
    assert_int_equal(file_make_dir("a/b/c", &made, &err), -XLSNAP_FAILED);
    assert_int_equal(err.errnum, EIO);
    assert_null(made);
    assert_int_equal(count_entries("."), 0);
}

static void a_file_in_the_way_is_told(void **state)
{
    struct xlsnap_error err = { 0 };
    char *message =
        xasprintf("cannot make directory '%s/a/b': Not a directory", dir);

    put("a", "");
    assert_int_equal(file_make_dir("a/b/c", NULL, &err), -XLSNAP_FAILED);
    assert_error(&err, ENOTDIR, message);
    assert_content("a", "");
    free(message);
}

static void what_was_made_is_removed(void **state)
{
    struct xlsnap_error err = { 0 };
    char *made;

    assert_int_equal(mkdir("old", 0700), 0);
    assert_int_equal(file_make_dir("old/a/b", &made, &err), 0);
    assert_int_equal(rmdir("old/a/b"), 0); /* half done before */
    file_remove_dirs("old/a/b", made);
    assert_int_equal(count_entries("old"), 0);
    free(made);
}

static void what_was_not_made_stays(void **state)
{
    struct xlsnap_error err = { 0 };
    char *made;

    assert_int_equal(file_make_dir("a/b", &made, &err), 0);
    put("a/file", "");
    assert_int_equal(mkdir("a/bc", 0700), 0);
    file_remove_dirs("a/b", NULL);
    assert_int_equal(access("a/b", F_OK), 0);
    file_remove_dirs("a/b", "elsewhere");
    file_remove_dirs("a/b", "a/b/c"); /* below, not above */
    file_remove_dirs("a/bc", "a/b");  /* beside */
    assert_int_equal(access("a/b", F_OK), 0);
    assert_int_equal(access("a/bc", F_OK), 0);
    file_remove_dirs("a/b", made);
    assert_int_equal(access("a/b", F_OK), -1);
    assert_int_equal(access("a/file", F_OK), 0);
    free(made);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_directory_is_made_with_its_parents),
        TEST(an_existing_directory_is_taken),
        TEST(a_symbolic_link_is_no_directory),
        TEST(a_file_is_no_directory),
        TEST(a_directory_for_others_to_write_is_refused),
        TEST(a_directory_of_another_user_is_refused),
        TEST(a_failure_leaves_no_directory),
        TEST(a_file_in_the_way_is_told),
        TEST(what_was_made_is_removed),
        TEST(what_was_not_made_stays),
    };

    return cmocka_run_group_tests_name("file_dirs", tests, NULL, NULL);
}
