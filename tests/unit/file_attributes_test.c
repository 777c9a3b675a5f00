/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * file.c: whose a file is that takes another's place, and what may be done
 * with it.  Setting an attribute can be made to fail here.
 */
#include <fcntl.h>
#include <ftw.h>
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <cmocka.h>

#include "file.h"
#include "util.h"

#define ACL_ACCESS "system.posix_acl_access"
#define ACL_DEFAULT "system.posix_acl_default"
/* Only root can give a file to another. */
#define UID (geteuid() ? geteuid() : 1234)
#define GID (geteuid() ? getegid() : 2345)

static char dir[] = "/tmp/attributes_test.XXXXXX";
static const char *failing; /* this attribute is set with... */
static int failing_errno;   /* ...this error */

int fsetxattr(int fd, const char *name, const void *value, size_t size,
              int flags)
{
    if (failing && !strcmp(failing, name)) {
        errno = failing_errno;
        return -1;
    }
    return syscall(SYS_fsetxattr, fd, name, value, size, flags);
}

static int remove_one(const char *path, const struct stat *st, int type,
                      struct FTW *ftw)
{
    return remove(path);
}

static void put(const char *file, mode_t mode)
{
    int fd = open(file, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

    assert_true(fd >= 0);
    assert_int_equal(fchmod(fd, mode), 0);
    close(fd);
}

static int setup(void **state)
{
    strcpy(dir + strlen(dir) - 6, "XXXXXX");
    failing = NULL;
    if (!mkdtemp(dir) || chdir(dir))
        return -1;
    put("from", 0640);
    put("to", 0604);
    return 0;
}

static int teardown(void **state)
{
    return chdir("/") || nftw(dir, remove_one, 9, FTW_DEPTH | FTW_PHYS);
}

static void copy(void)
{
    struct xlsnap_error err = { 0 };
    cleanup_close int to = open("to", O_WRONLY);

    assert_true(to >= 0);
    if (file_copy_attributes("from", to, "to", &err))
        fail_msg("%s", err.msg);
}

static void assert_not_copied(const char *from, int errnum, const char *message)
{
    struct xlsnap_error err = { 0 };
    cleanup_close int to = open("to", O_WRONLY);

    assert_int_equal(file_copy_attributes(from, to, "to", &err),
                     -XLSNAP_FAILED);
    assert_int_equal(err.errnum, errnum);
    assert_string_equal(err.msg, message);
}

static struct stat stat_of(const char *file)
{
    struct stat st;

    assert_int_equal(stat(file, &st), 0);
    return st;
}

static void set(const char *file, const char *name, const char *value)
{
    if (setxattr(file, name, value, strlen(value), 0))
        fail_msg("%s: %s: %s", file, name, strerror(errno));
}

static void assert_attribute(const char *file, const char *name,
                             const char *expected)
{
    char value[64] = "";

    if (getxattr(file, name, value, sizeof(value) - 1) < 0)
        fail_msg("%s: %s: %s", file, name, strerror(errno));
    assert_string_equal(value, expected);
}

/* ---- owner and mode ---- */

static void owner_and_mode_are_copied(void **state)
{
    struct stat st;

    assert_int_equal(chown("from", UID, GID), 0);
    copy();
    st = stat_of("to");
    assert_int_equal(st.st_uid, UID);
    assert_int_equal(st.st_gid, GID);
    assert_int_equal(st.st_mode, S_IFREG | 0640);
}

/* Somebody may have put a program there, to be copied with what root gives it. */
static void nothing_of_a_program_is_copied(void **state)
{
    /* linux/capability.h, VFS_CAP_REVISION_2: all of them, permitted. */
    const uint32_t capabilities[] = { 0x02000001, -1, 0, -1, 0 };

    assert_int_equal(chmod("from", 06711), 0);
    assert_int_equal(setxattr("from", "security.capability", capabilities,
                              sizeof(capabilities), 0),
                     0);
    copy();
    assert_int_equal(stat_of("to").st_mode, S_IFREG | 0600);
    assert_int_equal(getxattr("to", "security.capability", NULL, 0), -1);
    assert_int_equal(errno, ENODATA);
}

static void the_umask_takes_nothing(void **state)
{
    mode_t old = umask(0777);

    assert_int_equal(chmod("from", 0666), 0);
    copy();
    umask(old);
    assert_int_equal(stat_of("to").st_mode, S_IFREG | 0666);
}

static void what_is_in_the_file_stays(void **state)
{
    assert_int_equal(truncate("from", 5), 0);
    assert_int_equal(truncate("to", 7), 0);
    copy();
    assert_int_equal(stat_of("to").st_size, 7);
}

/* Opening one would wait for a writer. */
static void a_pipe_does_not_keep_us_waiting(void **state)
{
    assert_int_equal(unlink("from"), 0);
    assert_int_equal(mkfifo("from", 0600), 0);
    alarm(20);
    copy();
    alarm(0);
    assert_int_equal(stat_of("to").st_mode, S_IFREG | 0600);
}

/* ---- extended attributes ---- */

static void extended_attributes_are_copied(void **state)
{
    set("from", "user.one", "1");
    set("from", "user.two", "two");
    set("to", "user.two", "other");
    copy();
    assert_attribute("to", "user.one", "1");
    assert_attribute("to", "user.two", "two");
}

static void an_empty_attribute_is_copied(void **state)
{
    set("from", "user.empty", "");
    copy();
    assert_attribute("to", "user.empty", "");
}

struct acl_entry {
    uint16_t tag, perm;
    uint32_t id;
};

/* linux/posix_acl_xattr.h: the owner, user 4711 with `perm`, the others. */
static void set_acl(const char *file, const char *name, uint16_t perm)
{
    struct {
        uint32_t version;
        struct acl_entry entry[5];
    } acl = { 2,
              { { 0x01, 6, -1 },
                { 0x02, perm, 4711 },
                { 0x04, 4, -1 },
                { 0x10, 6, -1 },
                { 0x20, 0, -1 } } };

    if (setxattr(file, name, &acl, sizeof(acl), 0))
        fail_msg("%s: %s: %s", file, name, strerror(errno));
}

/* 0: there is none. */
static ssize_t get_acl(const char *file, char acl[64])
{
    ssize_t n = getxattr(file, ACL_ACCESS, acl, 64);

    assert_true(n >= 0 || errno == ENODATA);
    return n < 0 ? 0 : n;
}

static void an_access_list_is_copied(void **state)
{
    char from[64], to[64];

    set_acl("from", ACL_ACCESS, 4);
    copy();
    assert_int_equal(get_acl("from", from), get_acl("to", to));
    assert_int_equal(get_acl("from", from), 44);
    assert_memory_equal(from, to, 44);
    assert_int_equal(stat_of("to").st_mode, stat_of("from").st_mode);
}

/* A directory's default gives access to a new file; the old had it not. */
static void an_access_list_of_the_directory_does_not_stay(void **state)
{
    char acl[64];

    set_acl(".", ACL_DEFAULT, 6);
    put("new", 0600);
    assert_int_equal(get_acl("new", acl), 44);
    assert_int_equal(rename("new", "to"), 0);
    copy();
    assert_int_equal(get_acl("to", acl), 0);
    assert_int_equal(stat_of("to").st_mode, S_IFREG | 0640);
}

static void what_the_file_system_does_not_know_is_passed_over(void **state)
{
    set("from", "user.one", "1");
    set("from", "user.two", "2");
    set("from", "user.three", "3");
    failing = "user.two";
    failing_errno = ENOTSUP;
    copy();
    assert_attribute("to", "user.one", "1");
    assert_attribute("to", "user.three", "3");
    assert_int_equal(getxattr("to", "user.two", NULL, 0), -1);
    assert_int_equal(errno, ENODATA);
}

static void an_attribute_that_cannot_be_set_is_told(void **state)
{
    set("from", "user.one", "1");
    failing = "user.one";
    failing_errno = ENOSPC;
    assert_not_copied("from", ENOSPC,
                      "cannot give 'to' owner and mode of 'from': No space "
                      "left on device");
}

/* ---- files that are not there ---- */

static void a_missing_file_is_told(void **state)
{
    assert_not_copied("gone", ENOENT,
                      "cannot examine 'gone': No such file or directory");
    assert_int_equal(stat_of("to").st_mode, S_IFREG | 0604);
}

/* ---- files that others could have put there ---- */

static void a_new_file_is_nobody_elses(void **state)
{
    struct xlsnap_error err = { 0 };
    mode_t old = umask(0);
    cleanup_close int fd = file_make_empty("new", &err);

    umask(old);
    assert_true(fd >= 0);
    assert_int_equal(stat_of("new").st_mode, S_IFREG | 0600);
}

static void nothing_is_made_through_a_link(void **state)
{
    struct xlsnap_error err = { 0 };

    assert_int_equal(symlink("elsewhere", "link"), 0);
    assert_int_equal(file_make_empty("link", &err), -1);
    assert_string_equal(err.msg, "cannot make 'link': File exists");
    assert_int_equal(access("elsewhere", F_OK), -1);
}

static void assert_not_taken(const char *file, const char *message)
{
    struct xlsnap_error err = { 0 };

    alarm(20);
    assert_int_equal(file_open_known(file, O_RDONLY, NULL, &err), -1);
    alarm(0);
    assert_non_null(strstr(err.msg, message));
}

static void what_was_put_in_the_place_of_a_file_is_not_taken(void **state)
{
    struct xlsnap_error err = { 0 };
    cleanup_close int fd = file_open_known("to", O_RDONLY, NULL, &err);

    assert_true(fd >= 0);
    assert_int_equal(symlink("to", "link"), 0);
    assert_not_taken("link", "cannot open 'link': Too many levels of symbolic");
    assert_int_equal(link("to", "second"), 0);
    assert_not_taken("to", "is no longer the file it was");
    assert_int_equal(unlink("second"), 0);
    assert_int_equal(mkfifo("pipe", 0600), 0);
    assert_not_taken("pipe", "is no longer the file it was");
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(owner_and_mode_are_copied),
        TEST(nothing_of_a_program_is_copied),
        TEST(the_umask_takes_nothing),
        TEST(what_is_in_the_file_stays),
        TEST(a_pipe_does_not_keep_us_waiting),
        TEST(extended_attributes_are_copied),
        TEST(an_empty_attribute_is_copied),
        TEST(an_access_list_is_copied),
        TEST(an_access_list_of_the_directory_does_not_stay),
        TEST(what_the_file_system_does_not_know_is_passed_over),
        TEST(an_attribute_that_cannot_be_set_is_told),
        TEST(a_missing_file_is_told),
        TEST(a_new_file_is_nobody_elses),
        TEST(nothing_is_made_through_a_link),
        TEST(what_was_put_in_the_place_of_a_file_is_not_taken),
    };

    return cmocka_run_group_tests_name("file_attributes", tests, NULL, NULL);
}
