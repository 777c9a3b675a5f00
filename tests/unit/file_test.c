/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * file.c in a directory of its own.  The system calls that matter for
 * durability are replaced here: they record their order and fail on request.
 */
#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <cmocka.h>

#include "file.h"
#include "util.h"

static char dir[] = "/tmp/file_test.XXXXXX";
static char trace[256];      /* what was done, in order */
static int fsyncs_until_eio; /* 0: none fails, 1: the next */
static bool no_renameat2;
static size_t write_most;  /* 0: no limit to one write */
static int write_failures; /* so many calls fail ... */
static int write_errno;    /* ... with this; 0: they write nothing */

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

static int remove_one(const char *path, const struct stat *st, int type,
                      struct FTW *ftw)
{
    return remove(path);
}

static int setup(void **state)
{
    strcpy(dir + strlen(dir) - 6, "XXXXXX");
    trace[0] = '\0';
    fsyncs_until_eio = 0;
    no_renameat2 = false;
    write_most = write_failures = write_errno = 0;
    return mkdtemp(dir) && !chdir(dir) ? 0 : -1;
}

static int teardown(void **state)
{
    umask(022);
    return chdir("/") || nftw(dir, remove_one, 9, FTW_DEPTH | FTW_PHYS);
}

static void put(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    assert_true(fd >= 0);
    assert_int_equal(syscall(SYS_write, fd, text, strlen(text)), strlen(text));
    close(fd);
}

static void assert_content(const char *path, const char *expected)
{
    struct xlsnap_error err = { 0 };
    char *data;

    if (file_read(path, 1000, &data, NULL, &err))
        fail_msg("%s", err.msg);
    assert_string_equal(data, expected);
    free(data);
}

static int count_entries(const char *path)
{
    DIR *d = opendir(path);
    int n = -2; /* . and .. */

    assert_non_null(d);
    while (readdir(d))
        n++;
    closedir(d);
    return n;
}

static void assert_error(const struct xlsnap_error *err, int errnum,
                         const char *message)
{
    assert_string_equal(err->msg, message);
    assert_int_equal(err->errnum, errnum);
}

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
        TEST(two_names_of_one_file_have_one_id),
        TEST(two_files_have_two_ids),
        TEST(a_block_device_is_known_by_its_number),
        TEST(a_missing_file_has_no_id),
        TEST(a_file_is_read_whole),
        TEST(an_empty_file_is_read),
        TEST(a_file_that_says_length_0_is_read),
        TEST(a_larger_file_is_refused),
        TEST(only_a_regular_file_is_read),
        TEST(a_missing_file_is_not_read),
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
        TEST(a_path_is_made_absolute),
        TEST(a_removed_current_directory_has_a_name),
        TEST(the_users_of_a_file_are_found),
        TEST(a_process_counts_once_and_may_be_excepted),
        TEST(one_process_can_be_asked),
    };

    return cmocka_run_group_tests_name("file", tests, NULL, NULL);
}
