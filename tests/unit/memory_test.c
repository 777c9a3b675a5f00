/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * memory-write.c: streams through the pipe, the file as it comes out, and the
 * errors of a writer.  Its process: memory_writer_test.c.
 */
#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "memory_write_testing.h"

#define MIB (1 << 20)

/* Writes a stream in pieces and looks at file, length and digest. */
static void assert_written(const void *stream, size_t len, size_t piece)
{
    struct memory_written written;
    struct image im;
    struct memory_writer *w = start(CONFIG);
    char digest[MEMORY_DIGEST_LEN + 1];

    for (size_t at = 0, n; at < len; at += n) {
        n = len - at < piece ? len - at : piece;
        assert_int_equal(feed(w, (const char *)stream + at, n), 0);
    }
    finish(w, &written);
    expect(&im, stream, len);
    assert_content("image", im.data, im.len);
    assert_int_equal(written.bytes, im.len);
    digest_of(im.data, im.len, digest);
    assert_string_equal(written.digest, digest);
    assert_int_equal(unlink("image"), 0);
    image_free(&im);
}

/* Bytes of a stream of which every second page is zeros. */
static unsigned char *stream_make(size_t len)
{
    unsigned char *p = xcalloc(len, 1);

    for (size_t i = 0; i < len; i++)
        p[i] = i / PAGE % 2 ? 1 + i % 255 : 0;
    return p;
}

/* ---- content ---- */

static void what_is_written_is_read_back(void **state)
{
    struct xlsnap_error err = { 0 };
    struct memory_written written;
    struct memory_image image;
    struct image im;
    struct memory_writer *w = start(CONFIG);

    image_make(&im, 300);
    assert_int_equal(feed(w, im.data + im.stream, im.len - im.stream), 0);
    memory_writer_eof(w);
    finish(w, &written);
    assert_content("image", im.data, im.len);
    if (memory_image_open("image", &image, &err))
        fail_msg("%s", err.msg);
    assert_string_equal(image.config_json, CONFIG);
    assert_int_equal(image.stream, im.stream);
    assert_int_equal(image.bytes, written.bytes);
    memory_image_close(&image);
    image_free(&im);
}

static void any_length_comes_through(void **state)
{
    const size_t around[] = { PAGE, 2 * PAGE, MIB - PAGE, MIB, 2 * MIB };
    const size_t header = sizeof(struct xl_save_header) + 4 + sizeof(CONFIG);
    cleanup_free unsigned char *stream = stream_make(3 * MIB);

    for (size_t i = 0; i < ARRAY_SIZE(around); i++)
        for (size_t len = around[i] - 2; len <= around[i] + 2; len++) {
            assert_written(stream, len, MIB);
            assert_written(stream, len - header, MIB); /* the file's */
        }
}

static void single_bytes_come_through(void **state)
{
    cleanup_free unsigned char *stream = stream_make(3 * PAGE + 5);

    assert_written(stream, 3 * PAGE + 5, 1);
}

static void an_empty_stream_leaves_the_header(void **state)
{
    assert_written("", 0, 1);
}

static void a_configuration_larger_than_the_pipe_is_written(void **state)
{
    cleanup_free char *config = xcalloc(3 * MIB + 1, 1);
    struct memory_written written;
    struct image im = { 0 };

    memset(config, 'c', 3 * MIB);
    image_xl(&im, config, 3 * MIB + 1);
    finish(start(config), &written);
    assert_content("image", im.data, im.len);
    image_free(&im);
}

static void the_digest_is_that_of_the_file(void **state)
{
    cleanup_free unsigned char *stream = stream_make(2 * MIB + 3);
    struct memory_image image = { 0 };
    struct xlsnap_error err = { 0 };
    struct memory_written written;
    struct memory_writer *w = start(CONFIG);

    assert_int_equal(feed(w, stream, 2 * MIB + 3), 0);
    finish(w, &written);
    image.fd = open("image", O_RDONLY | O_CLOEXEC);
    image.bytes = written.bytes;
    if (memory_image_check_digest(&image, "image", written.digest, &err))
        fail_msg("%s", err.msg);
    assert_string_equal(image.digest, written.digest);
    memory_image_close(&image);
}

/* ---- holes ---- */

/* Writes the stream; bytes that the file then takes. */
static uint64_t blocks_of(const void *stream, size_t len)
{
    struct memory_written written;
    struct memory_writer *w = start(CONFIG);
    struct image im;
    struct stat st;

    assert_int_equal(feed(w, stream, len), 0);
    finish(w, &written);
    expect(&im, stream, len);
    assert_content("image", im.data, im.len);
    image_free(&im);
    assert_int_equal(stat("image", &st), 0);
    assert_int_equal(written.disk_bytes, (uint64_t)st.st_blocks * 512);
    return written.disk_bytes;
}

static void zero_pages_become_holes(void **state)
{
    cleanup_free unsigned char *stream = xcalloc(4 * MIB, 1);

    for (size_t at = 0; at < 4 * MIB; at += MIB)
        stream[at] = 1;
    /* The header's block and those four. */
    assert_in_range(blocks_of(stream, 4 * MIB), PAGE, 8 * PAGE);
}

static void a_stream_of_zeros_takes_one_block(void **state)
{
    cleanup_free unsigned char *stream = xcalloc(3 * MIB + 17, 1);

    assert_in_range(blocks_of(stream, 3 * MIB + 17), PAGE, 2 * PAGE);
}

static void a_short_last_block_may_be_a_hole(void **state)
{
    const size_t header = sizeof(struct xl_save_header) + 4 + sizeof(CONFIG);
    cleanup_free unsigned char *stream = xcalloc(PAGE + 100, 1);
    struct stat st;

    /* Block 0 is full, block 1 has 100 bytes. */
    assert_in_range(blocks_of(stream, PAGE - header + 100), PAGE, PAGE);
    assert_int_equal(stat("image", &st), 0);
    assert_int_equal(st.st_size, PAGE + 100);
}

static void a_last_byte_after_zeros_is_written(void **state)
{
    cleanup_free unsigned char *stream = xcalloc(2 * MIB + 100, 1);

    stream[2 * MIB + 99] = 1;
    assert_in_range(blocks_of(stream, 2 * MIB + 100), 2 * PAGE, 3 * PAGE);
}

/* ---- the file ---- */

static void an_existing_file_is_not_touched(void **state)
{
    put_file("image", "precious", 8);
    assert_not_started("cannot create memory image 'image': File exists");
    assert_content("image", "precious", 8);
}

static void a_symbolic_link_is_not_followed(void **state)
{
    assert_int_equal(symlink("elsewhere", "image"), 0);
    assert_not_started("cannot create memory image 'image': File exists");
    assert_int_equal(access("elsewhere", F_OK), -1);
    assert_int_equal(errno, ENOENT);
}

static void a_directory_in_the_way_is_told(void **state)
{
    assert_int_equal(mkdir("image", 0700), 0);
    assert_not_started("cannot create memory image 'image': File exists");
}

static void a_missing_directory_is_told(void **state)
{
    struct xlsnap_error err = { 0 };
    struct memory_writer *w;

    assert_int_equal(memory_writer_start("no/image", CONFIG, &w, &err),
                     -XLSNAP_FAILED);
    assert_string_equal(err.msg, "cannot create memory image 'no/image': "
                                 "No such file or directory");
    assert_int_equal(err.errnum, ENOENT);
    memory_writer_free(w);
}

static void the_mode_is_0600_under_any_umask(void **state)
{
    const mode_t masks[] = { 0, 022, 0777 };
    struct memory_written written;
    struct stat st;

    for (size_t i = 0; i < ARRAY_SIZE(masks); i++) {
        mode_t old = umask(masks[i]);
        struct memory_writer *w = start(CONFIG);

        umask(old);
        assert_int_equal(stat("image", &st), 0);
        assert_int_equal(st.st_mode, S_IFREG | 0600);
        finish(w, &written);
        assert_int_equal(unlink("image"), 0);
    }
}

static void a_failing_sync_is_told(void **state)
{
    struct xlsnap_error err = { 0 };
    struct memory_written written;
    struct memory_writer *w = start(CONFIG);

    if (memory_writer_finish(w, &written, &err))
        fail_msg("%s", err.msg);
    assert_int_equal(memory_writer_sync(w, &err), 0);
    fsync_fails = true;
    assert_int_equal(memory_writer_sync(w, &err), -XLSNAP_FAILED);
    assert_string_equal(err.msg, "cannot write memory image 'image' to disk: "
                                 "Input/output error");
    memory_writer_free(w);
}

/* ---- errors of the writer ---- */

/* The producer is stopped by EPIPE, and finish says why. */
static void assert_stopped(struct memory_writer *w, int errnum,
                           const char *message)
{
    cleanup_free unsigned char *stream = xcalloc(8 * MIB, 1);
    struct xlsnap_error err = { 0 };
    struct memory_written written;

    memset(stream, 'x', 8 * MIB);
    assert_int_equal(feed(w, stream, 8 * MIB), EPIPE);
    assert_int_equal(memory_writer_finish(w, &written, &err), -XLSNAP_FAILED);
    assert_int_equal(err.code, XLSNAP_FAILED);
    assert_int_equal(err.errnum, errnum);
    assert_string_equal(err.msg, message);
    memory_writer_free(w);
}

static void a_full_disk_is_told(void **state)
{
    struct xlsnap_error err = { 0 };
    struct memory_writer *w;

    assert_int_equal(mkdir("small", 0700), 0);
    if (mount("small", "small", "tmpfs", 0, "size=64k")) {
        print_message("cannot mount: %s\n", strerror(errno));
        skip();
    }
    if (memory_writer_start("small/image", CONFIG, &w, &err))
        fail_msg("%s", err.msg);
    assert_stopped(w, ENOSPC,
                   "cannot write memory image 'small/image': No "
                   "space left on device");
    assert_int_equal(umount("small"), 0);
}

/* SIGXFSZ must not kill the writer before it can tell. */
static void a_limit_on_files_is_told(void **state)
{
    struct rlimit old, limit;
    struct memory_writer *w;

    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    limit = old;
    limit.rlim_cur = 64 << 10;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
    w = start(CONFIG);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    assert_stopped(w, EFBIG,
                   "cannot write memory image 'image': File too "
                   "large");
}

static void a_killed_writer_is_told(void **state)
{
    struct memory_writer *w = start(CONFIG);

    assert_int_equal(kill(forked, SIGKILL), 0);
    assert_stopped(w, 0, "the writer of memory image 'image' died");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_is_written_is_read_back),
        TEST(any_length_comes_through),
        TEST(single_bytes_come_through),
        TEST(an_empty_stream_leaves_the_header),
        TEST(a_configuration_larger_than_the_pipe_is_written),
        TEST(the_digest_is_that_of_the_file),
        TEST(zero_pages_become_holes),
        TEST(a_stream_of_zeros_takes_one_block),
        TEST(a_short_last_block_may_be_a_hole),
        TEST(a_last_byte_after_zeros_is_written),
        TEST(an_existing_file_is_not_touched),
        TEST(a_symbolic_link_is_not_followed),
        TEST(a_directory_in_the_way_is_told),
        TEST(a_missing_directory_is_told),
        TEST(the_mode_is_0600_under_any_umask),
        TEST(a_failing_sync_is_told),
        TEST(a_full_disk_is_told),
        TEST(a_limit_on_files_is_told),
        TEST(a_killed_writer_is_told),
    };

    return cmocka_run_group_tests_name("memory", tests, NULL, NULL);
}
