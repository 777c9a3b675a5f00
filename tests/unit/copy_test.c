/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * copy.c, on whatever file system the tests run.  The system calls that can
 * fail are replaced here and fail on request.
 */
#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <linux/fs.h>
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <cmocka.h>

#include "copy.h"
#include "run.h"
#include "util.h"

static char dir[] = "/tmp/copy_test.XXXXXX";

static size_t read_most;  /* 0: no limit to one read */
static int read_failures; /* so many reads fail ... */
static int read_errno;    /* ... with this; 0: they read nothing */
static int writes_until_error;
static int write_errno;
static bool no_seek_data;
static int clone_failures; /* so many FICLONE fail ... */
static int clone_errno;    /* ... with this */
static bool no_tmpfile;

ssize_t pread(int fd, void *buf, size_t len, off_t at)
{
    if (read_failures) {
        read_failures--;
        errno = read_errno;
        return read_errno ? -1 : 0;
    }
    if (read_most && len > read_most)
        len = read_most;
    return syscall(SYS_pread64, fd, buf, len, at);
}

ssize_t pwrite(int fd, const void *buf, size_t len, off_t at)
{
    if (writes_until_error && --writes_until_error == 0) {
        errno = write_errno;
        return -1;
    }
    return syscall(SYS_pwrite64, fd, buf, len > 5000 ? 5000 : len, at);
}

off_t lseek(int fd, off_t at, int whence)
{
    if (no_seek_data && (whence == SEEK_DATA || whence == SEEK_HOLE)) {
        errno = EINVAL;
        return -1;
    }
    return syscall(SYS_lseek, fd, at, whence);
}

int ioctl(int fd, unsigned long request, ...)
{
    va_list ap;
    void *arg;

    va_start(ap, request);
    arg = va_arg(ap, void *);
    va_end(ap);
    if (clone_failures && (request == FICLONE || request == FICLONERANGE)) {
        clone_failures--;
        errno = clone_errno;
        return -1;
    }
    return syscall(SYS_ioctl, fd, request, arg);
}

static int open_mode(const char *path, int flags, unsigned mode)
{
    if (no_tmpfile && (flags & O_TMPFILE) == O_TMPFILE) {
        errno = EOPNOTSUPP;
        return -1;
    }
    return syscall(SYS_openat, AT_FDCWD, path, flags, mode);
}

int open(const char *path, int flags, ...)
{
    va_list ap;
    unsigned mode;

    va_start(ap, flags);
    mode = flags & (O_CREAT | __O_TMPFILE) ? va_arg(ap, unsigned) : 0;
    va_end(ap);
    return open_mode(path, flags, mode);
}

static int remove_one(const char *path, const struct stat *st, int type,
                      struct FTW *ftw)
{
    return remove(path);
}

static int setup(void **state)
{
    strcpy(dir + strlen(dir) - 6, "XXXXXX");
    read_most = 0;
    read_failures = read_errno = writes_until_error = write_errno = 0;
    no_seek_data = no_tmpfile = false;
    clone_failures = clone_errno = 0;
    return mkdtemp(dir) && !chdir(dir) ? 0 : -1;
}

static int teardown(void **state)
{
    return chdir("/") || nftw(dir, remove_one, 9, FTW_DEPTH | FTW_PHYS);
}

/* ---- files ---- */

#define RUN 65536 /* bytes; a hole of it is one everywhere */

/* "d" data, "." hole, RUN bytes each; then `tail` bytes more of data. */
static int make(const char *name, const char *runs, size_t tail)
{
    static unsigned char data[RUN];
    int fd = open(name, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    off_t at = 0;

    assert_true(fd >= 0);
    for (size_t i = 0; i < sizeof(data); i++)
        data[i] = i * 7 + (i >> 8) + 1;
    for (; *runs; runs++, at += RUN)
        if (*runs == 'd')
            assert_int_equal(syscall(SYS_pwrite64, fd, data, RUN, at), RUN);
    assert_int_equal(ftruncate(fd, at), 0);
    assert_int_equal(syscall(SYS_pwrite64, fd, data, tail, at), tail);
    return fd;
}

static int make_target(void)
{
    return open("to", O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
}

static void assert_same_content(int a, int b)
{
    static char buf_a[RUN], buf_b[RUN];
    ssize_t n;
    off_t at = 0;

    do {
        n = syscall(SYS_pread64, a, buf_a, RUN, at);
        assert_int_equal(syscall(SYS_pread64, b, buf_b, RUN, at), n);
        assert_memory_equal(buf_a, buf_b, n);
        at += n;
    } while (n > 0);
}

static blkcnt_t blocks(int fd)
{
    struct stat st;

    assert_int_equal(fsync(fd), 0);
    assert_int_equal(fstat(fd, &st), 0);
    return st.st_blocks;
}

struct seen {
    uint64_t done, total, stop_at; /* 0: never */
};

static bool watch(void *user, uint64_t done, uint64_t total)
{
    struct seen *seen = user;

    assert_true(done > seen->done);
    assert_true(done <= total);
    seen->done = done;
    seen->total = total;
    return !seen->stop_at || done < seen->stop_at;
}

static struct copy copy_of(int from, int to, struct seen *seen)
{
    return (struct copy){ .from = from,
                          .to = to,
                          .from_name = "from",
                          .to_name = "to",
                          .go_on = seen ? watch : NULL,
                          .user = seen };
}

/* Copies a file of such runs and compares. */
static void check_copy(const char *runs, size_t tail)
{
    cleanup_close int from = make("from", runs, tail);
    cleanup_close int to = make_target();
    struct copy copy = copy_of(from, to, NULL);
    struct xlsnap_error err = { 0 };

    if (copy_data(&copy, &err))
        fail_msg("%s: %s", runs, err.msg);
    assert_same_content(from, to);
    assert_true(blocks(to) <= blocks(from));
    unlink("to");
}

static void holes_stay_holes(void **state)
{
    check_copy("", 0);
    check_copy("", 1);
    check_copy("d", 0);
    check_copy("....", 0);
    check_copy("d......", 0);
    check_copy("......d", 100);
    check_copy("d.d..d", 4097);
    check_copy("dddddddddddddddddddddddddddddddddddddd.d", 511);
}

static void a_file_system_that_tells_no_holes(void **state)
{
    cleanup_close int from = make("from", "d..d", 7);
    cleanup_close int to = make_target();
    struct copy copy = copy_of(from, to, NULL);
    struct xlsnap_error err = { 0 };

    no_seek_data = true;
    assert_int_equal(copy_data_bytes(from), 4 * RUN + 7);
    assert_int_equal(copy_data(&copy, &err), 0);
    assert_same_content(from, to);
}

static void what_was_in_the_target_goes(void **state)
{
    cleanup_close int from = make("from", "d.", 0);
    cleanup_close int to = make("to", "dddd", 9);
    struct copy copy = copy_of(from, to, NULL);
    struct xlsnap_error err = { 0 };

    assert_int_equal(copy_data(&copy, &err), 0);
    assert_same_content(from, to);
}

static void short_and_interrupted_reads(void **state)
{
    cleanup_close int from = make("from", "d.d", 3);
    cleanup_close int to = make_target();
    struct copy copy = copy_of(from, to, NULL);
    struct xlsnap_error err = { 0 };

    read_most = 1000;
    read_failures = 2;
    read_errno = EINTR;
    assert_int_equal(copy_data(&copy, &err), 0);
    assert_same_content(from, to);
}

static void progress_counts_data_only(void **state)
{
    cleanup_close int from = make("from", "dd..dddd.", 0);
    cleanup_close int to = make_target();
    struct seen seen = { 0 };
    struct copy copy = copy_of(from, to, &seen);
    struct xlsnap_error err = { 0 };

    read_most = RUN / 2;
    assert_int_equal(copy_data(&copy, &err), 0);
    assert_true(seen.done == seen.total);
    assert_true(seen.total == (uint64_t)copy_data_bytes(from));
    assert_true(seen.total >= 6 * RUN);
}

static void cancelled(void **state)
{
    cleanup_close int from = make("from", "dddddddd", 0);
    cleanup_close int to = make_target();
    struct seen seen = { .stop_at = 3 * RUN };
    struct copy copy = copy_of(from, to, &seen);
    struct xlsnap_error err = { 0 };

    read_most = RUN;
    assert_int_equal(copy_data(&copy, &err), -XLSNAP_FAILED);
    assert_int_equal(err.errnum, EINTR);
    assert_string_equal(err.msg, "cancelled while 'from' was copied");
    assert_true(seen.done == 3 * RUN);
}

/* ---- failures ---- */

static void check_failure(const char *message, int errnum)
{
    cleanup_close int from = make("from", "d.d", 0);
    cleanup_close int to = make_target();
    struct copy copy = copy_of(from, to, NULL);
    struct xlsnap_error err = { 0 };

    assert_int_equal(copy_data(&copy, &err), -XLSNAP_FAILED);
    assert_string_equal(err.msg, message);
    assert_int_equal(err.errnum, errnum);
}

static void no_space(void **state)
{
    writes_until_error = 3;
    write_errno = ENOSPC;
    check_failure("cannot write 'to': No space left on device", ENOSPC);
}

static void a_bad_block(void **state)
{
    read_failures = 1;
    read_errno = EIO;
    check_failure("cannot read 'from': Input/output error", EIO);
}

static void a_file_that_shrinks(void **state)
{
    read_failures = 1;
    check_failure("'from' became shorter while it was copied", 0);
}

/* ---- reflinks ---- */

static void check_clone(int failures, int errnum, const char *message)
{
    cleanup_close int from = make("from", "d.d", 1);
    cleanup_close int to = make_target();
    struct copy copy = copy_of(from, to, NULL);
    struct xlsnap_error err = { 0 };

    clone_failures = failures;
    clone_errno = errnum;
    assert_int_equal(copy_reflink(&copy, &err), -XLSNAP_FAILED);
    assert_string_equal(err.msg, message);
    assert_int_equal(err.errnum, errnum);
    unlink("to");
}

static void a_reflink_that_fails(void **state)
{
    check_clone(1, EXDEV,
                "'to' cannot share the blocks of 'from': Invalid cross-device "
                "link");
    check_clone(1, ENOSPC,
                "'to' cannot share the blocks of 'from': No space left on "
                "device");
}

/* Whether it can here or not: what was tried out is what happens. */
static void trying_out_tells_the_truth(void **state)
{
    cleanup_close int from = make("from", "d.dd", 1);
    cleanup_close int to = make_target();
    struct copy copy = copy_of(from, to, NULL);
    struct xlsnap_error err = { 0 };
    int why = copy_try_reflink(from, ".");

    clone_failures = 2;
    clone_errno = EINTR;
    copy_reflink(&copy, &err);
    assert_int_equal(err.errnum, why);
    if (!why)
        assert_same_content(from, to);
}

static size_t count_entries(void)
{
    DIR *d = opendir(".");
    size_t n = 0;

    assert_non_null(d);
    while (readdir(d))
        n++;
    closedir(d);
    return n - 2; /* . and .. */
}

static void trying_out_leaves_nothing(void **state)
{
    cleanup_close int from = make("from", "d", 1);

    copy_try_reflink(from, ".");
    no_tmpfile = true;
    copy_try_reflink(from, ".");
    assert_int_equal(count_entries(), 1);
}

static void trying_out_in_no_directory(void **state)
{
    cleanup_close int from = make("from", "d", 1);

    assert_int_equal(copy_try_reflink(from, "nowhere"), ENOENT);
}

static void reasons(void **state)
{
    assert_string_equal(copy_reflink_reason(EXDEV),
                        "they are on different file systems");
    assert_non_null(strstr(copy_reflink_reason(EOPNOTSUPP), "reflink=1"));
    assert_non_null(strstr(copy_reflink_reason(ENOTTY), "reflink=1"));
    assert_non_null(strstr(copy_reflink_reason(EINVAL), "this file"));
    assert_string_equal(copy_reflink_reason(EACCES), "Permission denied");
}

/* ---- VHD ---- */

/* A footer of that type; `spoil` is added to its checksum. */
static void put_footer(int fd, off_t at, uint32_t type, uint32_t spoil)
{
    unsigned char f[512] = "conectix";
    uint32_t sum = 0;

    for (int i = 0; i < 4; i++)
        f[60 + i] = type >> (24 - 8 * i);
    for (size_t i = 0; i < sizeof(f); i++)
        sum += f[i];
    sum = ~sum + spoil;
    for (int i = 0; i < 4; i++)
        f[64 + i] = sum >> (24 - 8 * i);
    assert_int_equal(syscall(SYS_pwrite64, fd, f, sizeof(f), at), sizeof(f));
}

static void vhd_with_a_sound_footer(void **state)
{
    cleanup_close int fixed = make("fixed", "d", 0);
    cleanup_close int dynamic = make("dynamic", "d", 0);

    put_footer(fixed, RUN, 2, 0);
    assert_int_equal(copy_vhd_kind(fixed), VHD_FIXED);
    put_footer(dynamic, 0, 3, 0);
    put_footer(dynamic, RUN, 3, 0);
    assert_int_equal(copy_vhd_kind(dynamic), VHD_DYNAMIC);
    /* As QEMU has it for a moment when the file grows. */
    assert_int_equal(ftruncate(dynamic, RUN + 1024), 0);
    assert_int_equal(copy_vhd_kind(dynamic), VHD_DYNAMIC);
}

static void vhd_that_needs_a_parent(void **state)
{
    cleanup_close int whole = make("whole", "d", 0);
    cleanup_close int half = make("half", "d", 0);

    put_footer(whole, 0, 4, 0);
    put_footer(whole, RUN, 4, 0);
    assert_int_equal(copy_vhd_kind(whole), VHD_DIFFERENCING);
    put_footer(half, 0, 4, 1);
    put_footer(half, RUN, 3, 0);
    assert_int_equal(copy_vhd_kind(half), VHD_DIFFERENCING);
    put_footer(half, 0, 3, 0);
    put_footer(half, RUN, 4, 0);
    assert_int_equal(copy_vhd_kind(half), VHD_DIFFERENCING);
}

static void vhd_that_is_none(void **state)
{
    cleanup_close int empty = make("empty", "", 0);
    cleanup_close int tiny = make("tiny", "", 511);
    cleanup_close int data = make("data", "d", 512);
    cleanup_close int fixed = make("fixed", "d", 0);

    assert_int_equal(copy_vhd_kind(empty), VHD_NONE);
    assert_int_equal(copy_vhd_kind(tiny), VHD_NONE);
    assert_int_equal(copy_vhd_kind(data), VHD_NONE);
    /* Cut off, and what the guest wrote looks like a footer. */
    put_footer(fixed, 0, 2, 0);
    assert_int_equal(copy_vhd_kind(fixed), VHD_NONE);
    put_footer(data, RUN, 2, 1);
    assert_int_equal(copy_vhd_kind(data), VHD_NONE);
    for (uint32_t type = 0; type < 9; type++) {
        put_footer(data, RUN, type, 0);
        assert_int_equal(copy_vhd_kind(data),
                         type >= 2 && type <= 4 ? type : VHD_NONE);
    }
    put_footer(data, RUN, 0x02000003, 0);
    assert_int_equal(copy_vhd_kind(data), VHD_NONE);
    assert_int_equal(ftruncate(fixed, 512), 0);
    assert_int_equal(copy_vhd_kind(fixed), VHD_FIXED);
}

/* Every byte of a footer turned: never taken for something else. */
static void vhd_with_any_byte_wrong(void **state)
{
    cleanup_close int fd = make("x", "", 0);

    for (int i = 0; i < 512; i++) {
        unsigned char c;
        enum vhd_kind kind;

        put_footer(fd, 0, 3, 0);
        assert_int_equal(syscall(SYS_pread64, fd, &c, 1, i), 1);
        c ^= 7; /* makes the type 4 */
        assert_int_equal(syscall(SYS_pwrite64, fd, &c, 1, i), 1);
        kind = copy_vhd_kind(fd);
        assert_int_equal(kind, i == 63 ? VHD_DIFFERENCING : VHD_NONE);
    }
}

static void vhd_check_made(const char *subformat, enum vhd_kind kind)
{
    const char *argv[] = { "qemu-img", "create",  "-q",      "-f", "vpc",
                           "-o",       subformat, "img.vhd", "4M", NULL };
    struct xlsnap_error err = { 0 };
    cleanup_close int fd = -1;

    if (run_ok(argv, RUN_TIMEOUT_MS, &err))
        fail_msg("%s", err.msg);
    fd = open("img.vhd", O_RDONLY | O_CLOEXEC);
    assert_int_equal(copy_vhd_kind(fd), kind);
    unlink("img.vhd");
}

static void vhd_that_qemu_img_made(void **state)
{
    vhd_check_made("subformat=dynamic", VHD_DYNAMIC);
    vhd_check_made("subformat=fixed", VHD_FIXED);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(holes_stay_holes),
        TEST(a_file_system_that_tells_no_holes),
        TEST(what_was_in_the_target_goes),
        TEST(short_and_interrupted_reads),
        TEST(progress_counts_data_only),
        TEST(cancelled),
        TEST(no_space),
        TEST(a_bad_block),
        TEST(a_file_that_shrinks),
        TEST(a_reflink_that_fails),
        TEST(trying_out_tells_the_truth),
        TEST(trying_out_leaves_nothing),
        TEST(trying_out_in_no_directory),
        TEST(reasons),
        TEST(vhd_with_a_sound_footer),
        TEST(vhd_that_needs_a_parent),
        TEST(vhd_that_is_none),
        TEST(vhd_with_any_byte_wrong),
        TEST(vhd_that_qemu_img_made),
    };

    return cmocka_run_group_tests_name("copy", tests, NULL, NULL);
}
