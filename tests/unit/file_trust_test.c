/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* file-trust.c: names that only root can make lead somewhere else. */
#include "file_testing.h"

#define UID 4711

static int setup_way(void **state)
{
    int fd;

    if (setup(state) || mkdir("way", 0755) || mkdir("way/on", 0700))
        return -1;
    fd = open("way/on/file", O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    return fd < 0 || close(fd);
}

static void assert_trusted(const char *path)
{
    struct xlsnap_error err = { 0 };

    if (file_check_trusted(path, &err))
        fail_msg("%s", err.msg);
}

/* The message names what is wrong, absolute. */
static void assert_not_trusted(const char *path, const char *name,
                               const char *message)
{
    struct xlsnap_error err = { 0 };
    cleanup_free char *expected = xasprintf("'%s/%s' %s", dir, name, message);

    assert_int_equal(file_check_trusted(path, &err), -XLSNAP_REFUSED);
    assert_string_equal(err.msg, expected);
}

#define BELONGS \
    "belongs to user 4711, who could put something else in its place"

static void what_is_roots_alone_is_trusted(void **state)
{
    assert_trusted("way/on/file");
    assert_trusted("way/on/");
    assert_trusted("way/./on/../on/file");
    assert_trusted("/");
    assert_trusted("way/on/not/yet");
}

static void a_directory_of_somebody_else_is_not(void **state)
{
    assert_int_equal(chown("way", UID, 0), 0);
    assert_not_trusted("way/on/file", "way", BELONGS);
    assert_not_trusted("way/on/not/yet", "way", BELONGS);
}

static void a_file_of_somebody_else_is_not(void **state)
{
    assert_int_equal(chown("way/on/file", UID, 0), 0);
    assert_not_trusted("way/on/file", "way/on/file", BELONGS);
}

static void what_others_can_write_to_is_not(void **state)
{
    assert_int_equal(chmod("way", 0775), 0);
    assert_not_trusted("way/on", "way",
                       "can be written to by others (mode 0775)");
    assert_int_equal(chmod("way", 0757), 0);
    assert_not_trusted("way/on", "way",
                       "can be written to by others (mode 0757)");
    assert_int_equal(chmod("way", 0755), 0);
    assert_int_equal(chmod("way/on/file", 0620), 0);
    assert_not_trusted("way/on/file", "way/on/file",
                       "can be written to by others (mode 0620)");
}

static void in_a_sticky_directory_what_is_roots_is(void **state)
{
    assert_int_equal(chmod("way", 01777), 0);
    assert_trusted("way/on/file");
    assert_int_equal(chown("way/on", UID, 0), 0);
    assert_not_trusted("way/on/file", "way/on", BELONGS);
}

static void links_are_followed(void **state)
{
    cleanup_free char *to = xasprintf("%s/way", dir);

    assert_int_equal(symlink("on/file", "way/relative"), 0);
    assert_int_equal(symlink(to, "absolute"), 0);
    assert_trusted("absolute/relative");
    assert_int_equal(chmod("way/on", 0777), 0);
    assert_not_trusted("absolute/relative", "way/on",
                       "can be written to by others (mode 0777)");
}

static void a_link_of_somebody_else_is_not(void **state)
{
    assert_int_equal(chmod("way", 01777), 0);
    assert_int_equal(symlink("on", "way/link"), 0);
    assert_int_equal(lchown("way/link", UID, 0), 0);
    assert_not_trusted("way/link/file", "way/link", BELONGS);
}

static void a_link_to_itself_ends(void **state)
{
    struct xlsnap_error err = { 0 };

    assert_int_equal(symlink("link", "link"), 0);

    assert_int_equal(file_check_trusted("link/file", &err), -XLSNAP_REFUSED);
    assert_int_equal(err.errnum, ELOOP);
}

static void a_file_is_no_directory(void **state)
{
    struct xlsnap_error err = { 0 };

    assert_int_equal(file_check_trusted("way/on/file/x", &err),
                     -XLSNAP_REFUSED);
    assert_int_equal(err.errnum, ENOTDIR);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup_way, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_is_roots_alone_is_trusted),
        TEST(a_directory_of_somebody_else_is_not),
        TEST(a_file_of_somebody_else_is_not),
        TEST(what_others_can_write_to_is_not),
        TEST(in_a_sticky_directory_what_is_roots_is),
        TEST(links_are_followed),
        TEST(a_link_of_somebody_else_is_not),
        TEST(a_link_to_itself_ends),
        TEST(a_file_is_no_directory),
    };

    return cmocka_run_group_tests_name("file_trust", tests, NULL, NULL);
}
