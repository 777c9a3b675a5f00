/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * lock.c: the second run is this process (flock belongs to the open file) or
 * a child, in a directory of its own.
 */
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <cmocka.h>

#include "lock.h"
#include "util.h"

#define WHAT "domain 'web1' or one of its disks"
#define KEYS(...)                         \
    (const char *const[]){ __VA_ARGS__ }, \
        ARRAY_SIZE(((const char *const[]){ __VA_ARGS__ }))

static char base[] = "/tmp/lock_test.XXXXXX";
static const char dir[] = "run/xl-snapshot"; /* in base, not there at first */

static int remove_one(const char *path, const struct stat *st, int type,
                      struct FTW *ftw)
{
    return remove(path);
}

static int setup(void **state)
{
    strcpy(base + strlen(base) - 6, "XXXXXX");
    return mkdtemp(base) && !chdir(base) ? 0 : -1;
}

static int teardown(void **state)
{
    return chdir("/") || nftw(base, remove_one, 9, FTW_DEPTH | FTW_PHYS);
}

static struct lock_set *take(const char *const keys[], size_t n_keys)
{
    struct xlsnap_error err = { 0 };
    struct lock_set *set = NULL;

    if (lock_take(dir, keys, n_keys, WHAT, &set, &err))
        fail_msg("%s", err.msg);
    return set;
}

static bool is_locked(const char *key)
{
    char *path = xasprintf("%s/%s", dir, key);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    bool locked;

    assert_true(fd >= 0);
    locked = flock(fd, LOCK_EX | LOCK_NB);
    close(fd);
    free(path);
    return locked;
}

static void assert_busy(const char *const keys[], size_t n_keys,
                        const char *message)
{
    struct xlsnap_error err = { 0 };
    struct lock_set *set = NULL;

    assert_int_equal(lock_take(dir, keys, n_keys, WHAT, &set, &err),
                     -XLSNAP_BUSY);
    assert_string_equal(err.msg, message);
    assert_null(set);
}

static char *held_by_us(void)
{
    return xasprintf("another run (pid %d) holds " WHAT, getpid());
}

static void a_second_run_gets_busy(void **state)
{
    struct lock_set *first = take(KEYS("domain-u", "disk-1-2"));
    char *message = held_by_us();

    assert_busy(KEYS("disk-1-2"), message);
    free(message);
    lock_release(first);
}

static void a_released_lock_can_be_taken(void **state)
{
    struct lock_set *set = take(KEYS("a"));

    lock_release(set);
    assert_false(is_locked("a"));
    set = take(KEYS("a"));
    assert_true(is_locked("a"));
    lock_release(set);
}

static void other_keys_are_free(void **state)
{
    struct lock_set *first = take(KEYS("a", "b"));
    struct lock_set *second = take(KEYS("c"));

    lock_release(first);
    assert_true(is_locked("c"));
    lock_release(second);
}

static void it_is_all_or_none(void **state)
{
    struct lock_set *first = take(KEYS("m"));
    char *message = held_by_us();

    assert_busy(KEYS("z", "m", "a"), message);
    assert_false(is_locked("a"));
    assert_true(is_locked("m"));
    free(message);
    lock_release(first);
}

static void a_key_may_come_twice(void **state)
{
    struct lock_set *set = take(KEYS("a", "b", "a"));

    assert_true(is_locked("a"));
    lock_release(set);
    assert_false(is_locked("a"));
}

static void the_file_holds_the_pid_and_stays(void **state)
{
    struct lock_set *set;
    struct stat st;
    char text[32] = "", expected[32];
    int fd;

    lock_release(take(KEYS("a")));
    fd = open("run/xl-snapshot/a", O_RDWR | O_CLOEXEC);
    assert_int_equal(write(fd, "a longer pid of old\n", 20), 20);
    set = take(KEYS("a"));
    snprintf(expected, sizeof(expected), "%d\n", getpid());
    assert_true(pread(fd, text, sizeof(text) - 1, 0) > 0);
    assert_string_equal(text, expected);
    lock_release(set);
    assert_int_equal(fstat(fd, &st), 0);
    assert_int_equal(st.st_nlink, 1);
    assert_int_equal(st.st_mode & 0777, 0600);
    close(fd);
}

static void the_directory_is_made_for_the_owner_only(void **state)
{
    struct stat st;

    lock_release(take(KEYS("a")));
    assert_int_equal(stat(dir, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0700);
}

static void more_keys_can_be_added(void **state)
{
    struct xlsnap_error err = { 0 };
    struct lock_set *set = take(KEYS("a"));

    assert_int_equal(lock_add(set, KEYS("b", "a"), WHAT, &err), 0);
    assert_true(is_locked("a"));
    assert_true(is_locked("b"));
    lock_release(set);
    assert_false(is_locked("b"));
}

static void a_failing_add_leaves_the_set_as_it_was(void **state)
{
    struct xlsnap_error err = { 0 };
    struct lock_set *other = take(KEYS("m"));
    struct lock_set *set = take(KEYS("a"));
    char *message = held_by_us();

    assert_int_equal(lock_add(set, KEYS("b", "m"), WHAT, &err), -XLSNAP_BUSY);
    assert_string_equal(err.msg, message);
    assert_true(is_locked("a"));
    assert_false(is_locked("b"));
    free(message);
    lock_release(set);
    lock_release(other);
}

/* A child that executed `sleep`, as the guard would be. */
static pid_t exec_child(void)
{
    int gone[2];
    pid_t pid;
    char c;

    assert_int_equal(pipe2(gone, O_CLOEXEC), 0);
    pid = fork();
    if (pid == 0) {
        execlp("sleep", "sleep", "100", (char *)NULL);
        _exit(1);
    }
    close(gone[1]);
    assert_int_equal(read(gone[0], &c, 1), 0); /* it is past exec */
    close(gone[0]);
    return pid;
}

static void kill_child(pid_t pid)
{
    int status;

    kill(pid, SIGKILL);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status)); /* and had not ended before */
}

static void an_inherited_lock_lasts_as_long_as_the_child(void **state)
{
    struct lock_set *set = take(KEYS("a", "b"));
    pid_t child;

    lock_set_inherit(set, true);
    child = exec_child();
    lock_release(set);
    assert_true(is_locked("a"));
    assert_true(is_locked("b"));
    kill_child(child);
    assert_false(is_locked("a"));
    assert_false(is_locked("b"));
}

static void a_lock_is_not_inherited_unasked(void **state)
{
    struct lock_set *set = take(KEYS("a"));
    pid_t child;

    lock_set_inherit(set, true);
    lock_set_inherit(set, false);
    child = exec_child();
    lock_release(set);
    assert_false(is_locked("a"));
    kill_child(child);
}

static void the_low_descriptors_stay_free(void **state)
{
    struct lock_set *set = take(KEYS("a"));
    char path[32], link[64];
    int fd;

    for (fd = 0; fd < 32; fd++) {
        memset(link, 0, sizeof(link));
        snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
        if (readlink(path, link, sizeof(link) - 1) > 0)
            assert_null(strstr(link, "xl-snapshot/a"));
    }
    assert_true(is_locked("a")); /* it is open somewhere */
    lock_release(set);
}

static void a_dead_holder_is_not_named(void **state)
{
    struct lock_set *set;
    int ready[2], forever[2];
    pid_t run;
    char c;

    assert_int_equal(pipe(ready), 0);
    assert_int_equal(pipe(forever), 0);
    run = fork();
    if (run == 0) { /* takes the lock, leaves it to a child and dies */
        take(KEYS("a"));
        if (fork() == 0) {
            close(forever[1]);
            close(ready[1]);
            _exit(read(forever[0], &c, 1));
        }
        _exit(write(ready[1], "", 1) != 1);
    }
    assert_int_equal(waitpid(run, NULL, 0), run);
    assert_busy(KEYS("a"), "another run holds " WHAT);
    close(forever[1]); /* ends the child */
    close(forever[0]);
    close(ready[1]);
    assert_int_equal(read(ready[0], &c, 1), 1);
    close(ready[0]);
    while (is_locked("a"))
        usleep(1000);
    set = take(KEYS("a"));
    lock_release(set);
}

static void nonsense_in_a_lock_file_names_nobody(void **state)
{
    const char *const texts[] = { "", "x", "-1\n", "0\n", "99999999999999\n" };
    struct lock_set *set = take(KEYS("a"));
    size_t i;
    int fd;

    for (i = 0; i < ARRAY_SIZE(texts); i++) {
        fd = open("run/xl-snapshot/a", O_WRONLY | O_TRUNC | O_CLOEXEC);
        assert_int_equal(write(fd, texts[i], strlen(texts[i])),
                         strlen(texts[i]));
        close(fd);
        assert_busy(KEYS("a"), "another run holds " WHAT);
    }
    lock_release(set);
}

static void assert_cannot(const char *directory, const char *key, int code,
                          const char *message)
{
    struct xlsnap_error err = { 0 };
    struct lock_set *set = NULL;

    assert_int_equal(lock_take(directory, &key, 1, WHAT, &set, &err), -code);
    assert_string_equal(err.msg, message);
    assert_null(set);
}

static void a_directory_that_cannot_be_made_is_told(void **state)
{
    char *message = xasprintf("cannot lock " WHAT ": cannot make directory "
                              "'%s/file/d': Not a directory",
                              base);
    int fd = open("file", O_CREAT | O_WRONLY | O_CLOEXEC, 0600);

    assert_true(fd >= 0);
    close(fd);
    assert_cannot("file/d", "a", XLSNAP_FAILED, message);
    free(message);
}

static void a_directory_of_everyone_is_refused(void **state)
{
    char *message = xasprintf("cannot lock " WHAT ": directory '%s/open' is "
                              "writable by others (mode 0777)",
                              base);

    assert_int_equal(mkdir("open", 0700), 0);
    assert_int_equal(chmod("open", 0777), 0);
    assert_cannot("open", "a", XLSNAP_REFUSED, message);
    free(message);
}

static void a_key_that_is_no_file_name_is_refused(void **state)
{
    assert_cannot(dir, "../x", XLSNAP_FAILED, "'../x' is no name of a lock");
    assert_cannot(dir, "a/b", XLSNAP_FAILED, "'a/b' is no name of a lock");
    assert_cannot(dir, "", XLSNAP_FAILED, "'' is no name of a lock");
}

static void a_symbolic_link_is_not_followed(void **state)
{
    assert_int_equal(mkdir("run", 0700), 0);
    assert_int_equal(mkdir(dir, 0700), 0);
    assert_int_equal(symlink("../../victim", "run/xl-snapshot/a"), 0);
    assert_cannot(dir, "a", XLSNAP_FAILED,
                  "cannot lock 'run/xl-snapshot/a': Too many levels of "
                  "symbolic links");
    assert_int_equal(access("victim", F_OK), -1);
}

static void no_key_is_no_lock(void **state)
{
    struct lock_set *set = NULL;
    struct xlsnap_error err = { 0 };

    assert_int_equal(lock_take(dir, NULL, 0, WHAT, &set, &err), 0);
    assert_non_null(set);
    lock_release(set);
    lock_release(NULL);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_second_run_gets_busy),
        TEST(a_released_lock_can_be_taken),
        TEST(other_keys_are_free),
        TEST(it_is_all_or_none),
        TEST(a_key_may_come_twice),
        TEST(the_file_holds_the_pid_and_stays),
        TEST(the_directory_is_made_for_the_owner_only),
        TEST(more_keys_can_be_added),
        TEST(a_failing_add_leaves_the_set_as_it_was),
        TEST(an_inherited_lock_lasts_as_long_as_the_child),
        TEST(a_lock_is_not_inherited_unasked),
        TEST(the_low_descriptors_stay_free),
        TEST(a_dead_holder_is_not_named),
        TEST(nonsense_in_a_lock_file_names_nobody),
        TEST(a_directory_that_cannot_be_made_is_told),
        TEST(a_directory_of_everyone_is_refused),
        TEST(a_key_that_is_no_file_name_is_refused),
        TEST(a_symbolic_link_is_not_followed),
        TEST(no_key_is_no_lock),
    };

    return cmocka_run_group_tests_name("lock", tests, NULL, NULL);
}
