/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * memory-read.c: the digest of an image, with holes or without; with it, no
 * damage passes.
 */
#include <sys/mman.h>

#include "memory_read_testing.h"

#define FLIPS 10000

static void the_digest_is_computed(void **state)
{
    char digest[MEMORY_DIGEST_LEN + 1];
    struct xlsnap_error err = { 0 };
    struct memory_image image;
    struct image im;

    image_make(&im, 700);
    put_file("image", im.data, im.len);
    open_image(&image);
    digest_of(im.data, im.len, digest);
    assert_int_equal(memory_image_check_digest(&image, "image", NULL, &err), 0);
    assert_string_equal(image.digest, digest);
    assert_int_equal(memory_image_check_digest(&image, "image", digest, &err),
                     0);
    memory_image_close(&image);
    image_free(&im);
}

static void another_digest_is_refused(void **state)
{
    struct xlsnap_error err = { 0 };
    struct memory_image image;
    cleanup_free char *message = NULL;
    struct image im;

    image_make(&im, 1);
    put_file("image", im.data, im.len);
    open_image(&image);
    assert_int_equal(memory_image_check_digest(&image, "image", "md5:0", &err),
                     -XLSNAP_REFUSED);
    message = xasprintf("memory image 'image' is damaged: its digest is %s, "
                        "but snapshot.cfg says md5:0",
                        image.digest);
    assert_string_equal(err.msg, message);
    assert_int_equal(strlen(image.digest), MEMORY_DIGEST_LEN);
    memory_image_close(&image);
    image_free(&im);
}

static void an_image_that_is_cut_later_is_refused(void **state)
{
    char digest[MEMORY_DIGEST_LEN + 1];
    struct xlsnap_error err = { 0 };
    struct memory_image image;
    struct image im;

    image_make(&im, 3);
    put_file("image", im.data, im.len);
    open_image(&image);
    digest_of(im.data, im.len, digest);
    assert_int_equal(truncate("image", im.len - 100), 0);
    assert_int_equal(memory_image_check_digest(&image, "image", digest, &err),
                     -XLSNAP_REFUSED);
    memory_image_close(&image);
    image_free(&im);
}

/* An error of the disk is none of the image: it may pass. */
static void assert_read_error(int errnum)
{
    struct xlsnap_error err = { 0 };
    struct memory_image image;
    struct image im;

    image_make(&im, 3);
    put_file("image", im.data, im.len);
    open_image(&image);
    preads_to_failure = 1;
    pread_errno = errnum;
    assert_int_equal(memory_image_check_digest(&image, "image", NULL, &err),
                     -XLSNAP_FAILED);
    assert_string_equal(err.msg, "cannot read memory image 'image': "
                                 "Input/output error");
    assert_int_equal(err.errnum, EIO);
    memory_image_close(&image);
    image_free(&im);
}

static void a_read_error_is_told(void **state)
{
    assert_read_error(EIO);
}

static void an_end_that_comes_early_is_told(void **state)
{
    assert_read_error(0);
}

static void an_interrupted_read_goes_on(void **state)
{
    struct xlsnap_error err = { 0 };
    struct memory_image image;
    struct image im;

    image_make(&im, 3);
    put_file("image", im.data, im.len);
    preads_to_failure = 2;
    pread_errno = EINTR;
    open_image(&image);
    preads_to_failure = 1;
    assert_int_equal(memory_image_check_digest(&image, "image", NULL, &err), 0);
    memory_image_close(&image);
    image_free(&im);
}

#define HOLE (256LL << 20)

static void holes_are_not_read(void **state)
{
    char digest[MEMORY_DIGEST_LEN + 1];
    struct memory_image image = { .bytes = 3 * HOLE + 7 };
    struct xlsnap_error err = { 0 };
    void *map;

    image.fd = open("image", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    assert_int_equal(pwrite(image.fd, "a", 1, HOLE), 1);
    assert_int_equal(pwrite(image.fd, "b", 1, 2 * HOLE + 5), 1);
    assert_int_equal(ftruncate(image.fd, image.bytes), 0);
    bytes_read = 0;
    if (memory_image_check_digest(&image, "image", NULL, &err))
        fail_msg("%s", err.msg);
    assert_in_range(bytes_read, 2, 4 * 65536);
    map = mmap(NULL, image.bytes, PROT_READ, MAP_SHARED, image.fd, 0);
    assert_true(map != MAP_FAILED);
    digest_of(map, image.bytes, digest);
    munmap(map, image.bytes);
    assert_string_equal(image.digest, digest);
    memory_image_close(&image);
}

static void many_small_holes_have_the_right_digest(void **state)
{
    struct memory_image image = { .bytes = 0 };
    struct xlsnap_error err = { 0 };
    char digest[MEMORY_DIGEST_LEN + 1];
    cleanup_free unsigned char *data = NULL;
    size_t len;

    image.fd = open("image", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    for (off_t at = 0; at < 4000 * PAGE; at += 3 * PAGE)
        assert_int_equal(pwrite(image.fd, "x", 1, at + at / PAGE), 1);
    data = get_file("image", &len);
    image.bytes = len;
    digest_of(data, len, digest);
    if (memory_image_check_digest(&image, "image", digest, &err))
        fail_msg("%s", err.msg);
    memory_image_close(&image);
}

static unsigned next_random(uint64_t *seed)
{
    *seed = *seed * 6364136223846793005ULL + 1442695040888963407ULL;
    return *seed >> 33;
}

/* True if the walk or the digest finds it. */
static bool is_refused(const char *digest)
{
    struct memory_image image;
    struct xlsnap_error err = { 0 };
    int rc = memory_image_open("image", &image, &err);

    if (!rc)
        rc = memory_image_check_digest(&image, "image", digest, &err);
    memory_image_close(&image);
    assert_true(!rc || (rc == -XLSNAP_REFUSED && err.msg[0]));
    return rc;
}

static void no_flipped_bit_passes(void **state)
{
    char digest[MEMORY_DIGEST_LEN + 1];
    uint64_t seed = 1;
    struct image im;
    int fd;

    image_make(&im, 2);
    digest_of(im.data, im.len, digest);
    put_file("image", im.data, im.len);
    assert_false(is_refused(digest));
    fd = open("image", O_WRONLY | O_CLOEXEC);
    for (int i = 0; i < FLIPS; i++) {
        /* Half of them in the headers. */
        size_t at = next_random(&seed) % (i % 2 ? im.len : im.records + 40);
        unsigned char bad = im.data[at] ^ 1 << next_random(&seed) % 8;

        assert_int_equal(pwrite(fd, &bad, 1, at), 1);
        if (!is_refused(digest))
            fail_msg("a flip at byte %zu passes", at);
        assert_int_equal(pwrite(fd, im.data + at, 1, at), 1);
    }
    close(fd);
    assert_false(is_refused(digest));
    image_free(&im);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_digest_is_computed),
        TEST(another_digest_is_refused),
        TEST(an_image_that_is_cut_later_is_refused),
        TEST(a_read_error_is_told),
        TEST(an_end_that_comes_early_is_told),
        TEST(an_interrupted_read_goes_on),
        TEST(holes_are_not_read),
        TEST(many_small_holes_have_the_right_digest),
        TEST(no_flipped_bit_passes),
    };

    return cmocka_run_group_tests_name("memory_digest", tests, NULL, NULL);
}
