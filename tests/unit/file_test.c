/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * file.c: which file a name is, reading one, absolute paths, and who has a file
 * open.
 */
#include <signal.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>

#include "file_testing.h"

/* "block:7:1" is a block device; it takes root to make one. */
int stat(const char *path, struct stat *st)
{
    unsigned major_no, minor_no;

    if (sscanf(path, "block:%u:%u", &major_no, &minor_no) != 2)
        return fstatat(AT_FDCWD, path, st, 0);
    memset(st, 0, sizeof(*st));
    st->st_mode = S_IFBLK;
    st->st_dev = 5;
    st->st_ino = (uintptr_t)path; /* every node another inode */
    st->st_rdev = makedev(major_no, minor_no);
    return 0;
}

/* ---- has it been written to? ---- */

static void a_file_that_is_only_read_was_not_written(void **state)
{
    struct file_stamp then;

    put("a", "text");
    then = file_stamp("a");
    assert_int_not_equal(then.ino, 0);
    close(open("a", O_RDWR | O_CLOEXEC));
    assert_int_equal(link("a", "b"), 0);
    assert_false(file_was_written("a", &then, true));
    assert_false(file_was_written("b", &then, false));
}

static void a_file_that_was_written_or_replaced_is_noticed(void **state)
{
    struct timespec times[2] = { { .tv_nsec = UTIME_OMIT },
                                 { .tv_sec = 1000000000, .tv_nsec = 7 } };
    struct file_stamp then;

    put("a", "text");
    assert_int_equal(utimensat(AT_FDCWD, "a", times, 0), 0);
    then = file_stamp("a");
    assert_int_equal(then.written, 1000000000000000007);
    times[1].tv_nsec = 8;
    assert_int_equal(utimensat(AT_FDCWD, "a", times, 0), 0);
    assert_true(file_was_written("a", &then, true));
    assert_true(file_was_written("a", &then, false));
    times[1].tv_nsec = 6;
    assert_int_equal(utimensat(AT_FDCWD, "a", times, 0), 0);
    assert_true(file_was_written("a", &then, true));
    assert_false(file_was_written("a", &then, false));
    put("b", "text");
    times[1].tv_nsec = 7;
    assert_int_equal(utimensat(AT_FDCWD, "b", times, 0), 0);
    assert_int_equal(rename("b", "a"), 0);
    assert_true(file_was_written("a", &then, true));
}

static void what_is_not_known_was_not_written(void **state)
{
    struct file_stamp never = { 0 }, then;

    put("a", "text");
    then = file_stamp("a");
    assert_false(file_was_written("a", &never, true));
    assert_int_equal(unlink("a"), 0);
    assert_int_equal(file_stamp("a").ino, 0);
    assert_false(file_was_written("a", &then, true));
}

/* There is no such device, and so nobody has written to it. */
static void a_block_device_made_anew_is_asked_since_then(void **state)
{
    struct file_stamp then = { .ino = makedev(4000, 1), .written = 8 };

    assert_false(file_was_written("block:4000:1", &then, true));
    assert_false(file_was_written("block:4000:1", &then, false));
    assert_false(file_was_written("block:4000:2", &then, true));
}

/* ---- which file it is ---- */

static struct file_id id_of(const char *path)
{
    struct xlsnap_error err = { 0 };
    struct file_id id;

    if (file_id(path, &id, &err))
        fail_msg("%s", err.msg);
    return id;
}

static void assert_same_file(const char *a, const char *b, bool same)
{
    struct file_id id_a = id_of(a), id_b = id_of(b);

    assert_int_equal(file_id_equal(&id_a, &id_b), same);
}

static void two_names_of_one_file_have_one_id(void **state)
{
    put("a", "");
    assert_int_equal(link("a", "hard"), 0);
    assert_int_equal(symlink("a", "soft"), 0);
    assert_same_file("a", "hard", true);
    assert_same_file("a", "soft", true);
}

static void two_files_have_two_ids(void **state)
{
    put("a", "same");
    put("b", "same");
    assert_same_file("a", "b", false);
}

static void a_block_device_is_known_by_its_number(void **state)
{
    char other_node[] = "block:7:1";
    struct file_id id = id_of("block:7:1"), file;

    assert_same_file("block:7:1", other_node, true);
    assert_same_file("block:7:1", "block:7:2", false);
    assert_true(id.block);
    assert_int_equal(id.dev, 0);
    assert_int_equal(id.ino, makedev(7, 1));
    file = id;
    file.block = false; /* a file whose inode number is 0x701 */
    assert_false(file_id_equal(&id, &file));
}

static void a_missing_file_has_no_id(void **state)
{
    struct xlsnap_error err = { 0 };
    struct file_id id;

    assert_int_equal(file_id("none", &id, &err), -XLSNAP_FAILED);
    assert_error(&err, ENOENT,
                 "cannot examine 'none': No such file or directory");
}

static void another_process_sees_the_same_file(void **state)
{
    const char *const names[] = { "a", "soft", "-L", ".", "/dev/null" };
    struct xlsnap_error err = { 0 };
    struct file_id id, want;

    put("a", "");
    put("-L", "");
    assert_int_equal(symlink("a", "soft"), 0);
    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        want = id_of(names[i]);
        assert_int_equal(file_id_within(names[i], 20000, &id, &err), 0);
        assert_true(file_id_equal(&id, &want));
    }
    assert_int_equal(file_id_within("none", 20000, &id, &err), -XLSNAP_FAILED);
    assert_non_null(strstr(err.msg, "No such file or directory"));
}

/* ---- reading ---- */

static void a_file_is_read_whole(void **state)
{
    static const char bytes[] = "a\0b\n";
    struct xlsnap_error err = { 0 };
    char *data;
    size_t len;

    assert_int_equal(file_write_durable("a", bytes, 5, false, &err), 0);
    assert_int_equal(file_read("a", 5, &data, &len, &err), 0);
    assert_int_equal(len, 5);
    assert_memory_equal(data, "a\0b\n\0\0", 6); /* and the NUL of file_read */
    free(data);
}

static void an_empty_file_is_read(void **state)
{
    put("a", "");
    assert_content("a", "");
}

static void a_file_that_says_length_0_is_read(void **state)
{
    struct xlsnap_error err = { 0 };
    char *data;
    size_t len;

    assert_int_equal(file_read("/proc/self/status", 100000, &data, &len, &err),
                     0);
    assert_true(len > 600); /* more than one read's worth */
    assert_int_equal(strlen(data), len);
    assert_non_null(strstr(data, "nonvoluntary_ctxt_switches"));
    free(data);
}

static void assert_unreadable(const char *path, size_t max, int errnum,
                              const char *message)
{
    struct xlsnap_error err = { 0 };
    char *data = NULL;

    assert_int_equal(file_read(path, max, &data, NULL, &err), -XLSNAP_FAILED);
    assert_error(&err, errnum, message);
    assert_null(data);
}

static void a_larger_file_is_refused(void **state)
{
    put("a", "12345");
    assert_unreadable("a", 4, 0, "cannot read 'a': it is larger than 4 bytes");
    assert_unreadable("/proc/self/status", 10, 0,
                      "cannot read '/proc/self/status': it is larger than "
                      "10 bytes");
}

static void only_a_regular_file_is_read(void **state)
{
    assert_int_equal(mkfifo("fifo", 0600), 0);
    assert_unreadable(".", 9, 0, "cannot read '.': it is a directory");
    assert_unreadable("fifo", 9, 0,
                      "cannot read 'fifo': it is not a regular file");
    assert_unreadable("/dev/null", 9, 0,
                      "cannot read '/dev/null': it is not a regular file");
}

static void a_missing_file_is_not_read(void **state)
{
    assert_unreadable("none", 9, ENOENT,
                      "cannot read 'none': No such file or directory");
}

/* ---- absolute paths ---- */

static void assert_absolute(const char *path, const char *expected)
{
    char *result = file_absolute(path);

    assert_string_equal(result, expected);
    free(result);
}

static void a_path_is_made_absolute(void **state)
{
    char *inside = xasprintf("%s/a/b", dir);

    assert_absolute("a/b", inside);
    assert_absolute("./a//b/.", inside);
    assert_absolute("/a/./b/", "/a/b");
    assert_absolute("//", "/");
    assert_absolute(".", dir);
    assert_absolute("", dir);
    assert_absolute("/a/../b/..c", "/a/../b/..c");
    free(inside);
}

static void a_removed_current_directory_has_a_name(void **state)
{
    assert_int_equal(mkdir("gone", 0700), 0);
    assert_int_equal(chdir("gone"), 0);
    assert_int_equal(rmdir("../gone"), 0);
    assert_absolute("a", "/proc/self/cwd/a");
}

/* ---- users ---- */

static pid_t fork_user(const char *path)
{
    int ready[2];
    pid_t pid;
    char c;

    assert_int_equal(pipe(ready), 0);
    pid = fork();
    if (pid == 0) {
        if (open(path, O_RDONLY) >= 0)
            syscall(SYS_write, ready[1], "", 1);
        close(ready[1]);
        for (;;)
            pause();
    }
    close(ready[1]);
    assert_int_equal(read(ready[0], &c, 1), 1);
    close(ready[0]);
    return pid;
}

static void the_users_of_a_file_are_found(void **state)
{
    struct file_id id;
    pid_t child, found = 0;

    put("a", "");
    assert_int_equal(link("a", "other-name"), 0);
    id = id_of("a");
    child = fork_user("other-name");
    assert_int_equal(file_users(&id, 0, &found), 1);
    assert_int_equal(found, child);
    assert_int_equal(file_users(&id, child, NULL), 0);
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    assert_int_equal(file_users(&id, 0, NULL), 0);
}

static void a_process_counts_once_and_may_be_excepted(void **state)
{
    int first, second;
    struct file_id id;
    pid_t found = 0;

    put("a", "");
    id = id_of("a");
    first = open("a", O_RDONLY | O_CLOEXEC);
    second = open("a", O_RDONLY | O_CLOEXEC);
    assert_int_equal(file_users(&id, 0, &found), 1);
    assert_int_equal(found, getpid());
    found = 0;
    assert_int_equal(file_users(&id, getpid(), &found), 0);
    assert_int_equal(found, 0);
    close(first);
    close(second);
}

static void one_process_can_be_asked(void **state)
{
    struct file_id id;
    int fd;

    put("a", "");
    id = id_of("a");
    assert_false(file_is_open_in(&id, getpid()));
    fd = open("a", O_RDONLY | O_CLOEXEC);
    assert_true(file_is_open_in(&id, getpid()));
    assert_false(file_is_open_in(&id, getppid()));
    close(fd);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_file_that_is_only_read_was_not_written),
        TEST(a_file_that_was_written_or_replaced_is_noticed),
        TEST(what_is_not_known_was_not_written),
        TEST(a_block_device_made_anew_is_asked_since_then),
        TEST(two_names_of_one_file_have_one_id),
        TEST(two_files_have_two_ids),
        TEST(a_block_device_is_known_by_its_number),
        TEST(a_missing_file_has_no_id),
        TEST(another_process_sees_the_same_file),
        TEST(a_file_is_read_whole),
        TEST(an_empty_file_is_read),
        TEST(a_file_that_says_length_0_is_read),
        TEST(a_larger_file_is_refused),
        TEST(only_a_regular_file_is_read),
        TEST(a_missing_file_is_not_read),
        TEST(a_path_is_made_absolute),
        TEST(a_removed_current_directory_has_a_name),
        TEST(the_users_of_a_file_are_found),
        TEST(a_process_counts_once_and_may_be_excepted),
        TEST(one_process_can_be_asked),
    };

    return cmocka_run_group_tests_name("file", tests, NULL, NULL);
}
