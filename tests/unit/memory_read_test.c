/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * memory-read.c: images made by hand and then broken in every place.  What is
 * read is counted, as holes and pages are to be skipped.
 */
#include <sys/mman.h>
#include <sys/syscall.h>

#include "memory_testing.h"

#define FLIPS 10000
#define CONFIG_AT (sizeof(struct xl_save_header) + 4)

static uint64_t bytes_read;   /* by pread */
static int preads_to_failure; /* 0: none fails, 1: the next */
static int pread_errno;       /* 0: it finds the end of the file */

ssize_t pread(int fd, void *buf, size_t len, off_t at)
{
    ssize_t n;

    if (preads_to_failure && --preads_to_failure == 0) {
        errno = pread_errno;
        return pread_errno ? -1 : 0;
    }
    n = syscall(SYS_pread64, fd, buf, len, at);
    bytes_read += n > 0 ? n : 0;
    return n;
}

static int setup_read(void **state)
{
    preads_to_failure = 0;
    return setup(state);
}

static void open_image(struct memory_image *image)
{
    struct xlsnap_error err = { 0 };

    bytes_read = 0;
    if (memory_image_open("image", image, &err))
        fail_msg("%s", err.msg);
}

static void assert_accepted(const struct image *im)
{
    struct memory_image image;

    put_file("image", im->data, im->len);
    open_image(&image);
    assert_int_equal(image.bytes, im->len);
    memory_image_close(&image);
    assert_int_equal(image.fd, -1);
}

/* What stands at `path` must be refused with this message. */
static void assert_path_refused(const char *path, const char *message)
{
    struct memory_image image;
    struct xlsnap_error err = { 0 };

    assert_int_equal(memory_image_open(path, &image, &err), -XLSNAP_REFUSED);
    memory_image_close(&image);
    assert_int_equal(err.code, XLSNAP_REFUSED);
    assert_string_equal(err.msg, message);
}

static void assert_refused(const struct image *im, const char *message)
{
    put_file("image", im->data, im->len);
    assert_path_refused("image", message);
}

/* Overwrites a part of an image, has it refused, and puts it back. */
static void assert_bad(struct image *im, size_t at, const void *bytes,
                       size_t len, const char *message)
{
    unsigned char old[16];

    assert_true(len <= sizeof(old) && at + len <= im->len);
    memcpy(old, im->data + at, len);
    memcpy(im->data + at, bytes, len);
    assert_refused(im, message);
    memcpy(im->data + at, old, len);
}

static void assert_bad_u32(struct image *im, size_t at, uint32_t value,
                           const char *message)
{
    assert_bad(im, at, &value, sizeof(value), message);
}

/* Messages, one at a time. */
static const char *damaged(const char *what, size_t at)
{
    static char message[256];

    snprintf(message, sizeof(message),
             "memory image 'image' is damaged: %s at byte %zu", what, at);
    return message;
}

static const char *truncated(const char *part, size_t at)
{
    static char message[256];

    snprintf(message, sizeof(message),
             "memory image 'image' is truncated: it ends in the %s, at byte "
             "%zu",
             part, at);
    return message;
}

/* ---- whole ---- */

static void a_whole_image_is_opened(void **state)
{
    struct memory_image image;
    struct image im;
    struct stat st;

    image_make(&im, 3);
    put_file("image", im.data, im.len);
    open_image(&image);
    assert_int_equal(stat("image", &st), 0);
    assert_string_equal(image.config_json, CONFIG);
    assert_int_equal(image.bytes, im.len);
    assert_int_equal(image.disk_bytes, st.st_blocks * 512);
    assert_int_equal(image.stream, im.stream);
    assert_int_equal(image.xen_major, 4);
    assert_int_equal(image.xen_minor, 17);
    assert_string_equal(image.digest, "");
    memory_image_close(&image);
    image_free(&im);
}

static void an_image_without_a_device_model_is_opened(void **state)
{
    struct image im = { 0 };

    image_xl(&im, CONFIG, sizeof(CONFIG));
    image_libxl(&im);
    image_libxc(&im, 2);
    image_record(&im, SR_RECORD_END, 0);
    assert_accepted(&im);
    image_free(&im);
}

static void a_pv_image_is_opened(void **state)
{
    struct image im;

    image_make(&im, 1);
    im.data[im.libxc + sizeof(struct libxc_image_header)] = LIBXC_DOMAIN_PV;
    assert_accepted(&im);
    image_free(&im);
}

/* xl does not mind either (xl_vmcontrol.c). */
static void more_than_the_configuration_may_stand_beside_it(void **state)
{
    struct image im = { 0 }, stream = { 0 };
    const uint32_t len = 4 + sizeof(CONFIG) + 5;

    image_xl(&im, CONFIG, sizeof(CONFIG));
    memcpy(im.data + offsetof(struct xl_save_header, optional_data_len), &len,
           sizeof(len));
    image_put(&im, "extra", 5);
    image_make(&stream, 0);
    image_put(&im, stream.data + stream.stream, stream.len - stream.stream);
    assert_accepted(&im);
    image_free(&stream);
    image_free(&im);
}

/* xl writes 0 and looks at nothing. */
static void optional_flags_are_ignored(void **state)
{
    struct image im;

    image_make(&im, 0);
    im.data[offsetof(struct xl_save_header, optional_flags)] = 0xff;
    assert_accepted(&im);
    image_free(&im);
}

static void a_symbolic_link_is_followed(void **state)
{
    struct memory_image image;
    struct image im;

    image_make(&im, 0);
    put_file("elsewhere", im.data, im.len);
    assert_int_equal(symlink("elsewhere", "image"), 0);
    open_image(&image);
    memory_image_close(&image);
    image_free(&im);
}

static void the_walk_reads_no_pages(void **state)
{
    struct memory_image image;
    struct image im;

    image_make(&im, 1024); /* the most of one record */
    put_file("image", im.data, im.len);
    open_image(&image);
    assert_in_range(bytes_read, 100, 500);
    memory_image_close(&image);
    image_free(&im);
}

/* ---- broken ---- */

static void an_image_cut_anywhere_is_refused(void **state)
{
    struct image im;

    image_make(&im, 1);
    put_file("image", im.data, im.len);
    for (size_t len = im.len; len--;) {
        struct memory_image image;
        struct xlsnap_error err = { 0 };
        cleanup_free char *end = xasprintf(", at byte %zu", len);

        assert_int_equal(truncate("image", len), 0);
        assert_int_equal(memory_image_open("image", &image, &err),
                         -XLSNAP_REFUSED);
        memory_image_close(&image);
        assert_int_equal(err.code, XLSNAP_REFUSED);
        assert_non_null(strstr(err.msg, " is truncated: it ends in the "));
        assert_string_equal(err.msg + strlen(err.msg) - strlen(end), end);
    }
    image_free(&im);
}

static void the_part_that_is_cut_is_named(void **state)
{
    struct image im;

    image_make(&im, 1);
    const struct {
        size_t len;
        const char *part;
    } cuts[] = {
        { 0, "header" },
        { sizeof(struct xl_save_header) - 1, "header" },
        { CONFIG_AT + 1, "domain's configuration" },
        { im.stream + 1, "stream's header" },
        { im.libxc + 1, "domain's pages" },
        { im.rest - 1, "domain's pages" },
        { im.rest + 9, "device model's state" },
    };

    for (size_t i = 0; i < ARRAY_SIZE(cuts); i++) {
        put_file("image", im.data, cuts[i].len);
        assert_path_refused("image", truncated(cuts[i].part, cuts[i].len));
    }
    image_free(&im);
}

static void anything_after_the_end_is_refused(void **state)
{
    const size_t more[] = { 1, 8, 4096 };
    static const char zeros[4096];

    for (size_t i = 0; i < ARRAY_SIZE(more); i++) {
        struct image im;

        size_t end;

        image_make(&im, 0);
        end = im.len;
        image_put(&im, zeros, more[i]);
        assert_refused(&im,
                       damaged("something after the end of the stream", end));
        image_free(&im);
    }
}

static void another_file_is_refused(void **state)
{
    char text[4096] = "not an image\n";

    put_file("image", text, sizeof(text));
    assert_path_refused("image",
                        "'image' is not a memory image in xl's save format");
}

#define HEADER(field) offsetof(struct xl_save_header, field)

static void a_damaged_header_is_refused(void **state)
{
    struct image im;

    image_make(&im, 0);
    for (size_t i = 0; i < sizeof(((struct xl_save_header *)0)->magic); i++)
        assert_bad(&im, i, "?", 1,
                   "'image' is not a memory image in xl's save format");
    assert_bad_u32(&im, HEADER(byteorder), 0x04030201,
                   damaged("a foreign byte order", 0));
    assert_bad_u32(&im, HEADER(mandatory_flags), 7,
                   damaged("flags of a newer xl", 0));
    assert_bad_u32(&im, HEADER(mandatory_flags), 1,
                   damaged("an old format (no JSON config or stream 1)", 0));
    assert_bad_u32(&im, HEADER(mandatory_flags), 2,
                   damaged("an old format (no JSON config or stream 1)", 0));
    assert_bad_u32(&im, HEADER(optional_data_len), 0xffffffff,
                   truncated("domain's configuration", im.len));
    assert_bad_u32(&im, HEADER(optional_data_len), 3,
                   damaged("no configuration of the domain", 0));
    image_free(&im);
}

static void a_configuration_of_impossible_size_is_refused(void **state)
{
    const uint32_t len = (16 << 20) + 1;
    struct image im;

    image_make(&im, 0);
    memcpy(im.data + HEADER(optional_data_len), &len, sizeof(len));
    put_file("image", im.data, im.len);
    assert_int_equal(truncate("image", 32 << 20), 0);
    assert_path_refused("image", damaged("no configuration of the domain", 0));
    image_free(&im);
}

static void a_wrong_length_of_the_configuration_is_refused(void **state)
{
    const char *message = damaged("wrong length of the configuration", 48);
    struct image im;

    image_make(&im, 0);
    assert_bad_u32(&im, 48, 0, message);
    assert_bad_u32(&im, 48, sizeof(CONFIG) + 1, message);
    assert_bad_u32(&im, 48, 0xffffffff, message);
    assert_bad_u32(&im, 48, 0xfffffffc, message);
    image_free(&im);
}

static void a_configuration_is_one_string(void **state)
{
    const char *message =
        damaged("a configuration that does not end in a NUL", CONFIG_AT);
    struct image im;

    image_make(&im, 0);
    assert_bad(&im, CONFIG_AT + 5, "", 1, message); /* within */
    assert_bad(&im, CONFIG_AT + strlen(CONFIG), "x", 1, message);
    image_free(&im);
}

static void a_damaged_libxl_header_is_refused(void **state)
{
    struct image im;

    image_make(&im, 0);
    for (size_t i = 0; i < sizeof(struct libxl_stream_header); i++)
        assert_bad(&im, im.stream + i, "\x55", 1,
                   damaged("no libxl stream of version 2", im.stream));
    image_free(&im);
}

static void a_damaged_libxc_header_is_refused(void **state)
{
    const size_t end = offsetof(struct libxc_image_header, reserved1);
    struct image im;

    image_make(&im, 0);
    for (size_t i = 0; i < end; i++)
        assert_bad(&im, im.libxc + i, "\x55", 1,
                   damaged("no libxc stream of version 3", im.libxc));
    image_free(&im);
}

static void a_damaged_domain_header_is_refused(void **state)
{
    struct image im;
    size_t at;

    image_make(&im, 0);
    at = im.libxc + sizeof(struct libxc_image_header);
    assert_bad_u32(&im, at, 0, damaged("an unknown kind of domain", at));
    assert_bad_u32(&im, at, 3, damaged("an unknown kind of domain", at));
    assert_bad(&im, at + 4, "\x0d", 2, damaged("a wrong page size", at));
    image_free(&im);
}

static void a_record_of_impossible_length_is_refused(void **state)
{
    struct image im;

    image_make(&im, 0);
    assert_bad_u32(&im, im.records + 4, 0xffffffff,
                   damaged("a record of impossible length", im.records));
    assert_bad_u32(&im, im.records + 4, (128 << 20) + 1,
                   damaged("a record of impossible length", im.records));
    assert_bad_u32(&im, im.records + 4, 128 << 20,
                   truncated("domain's pages", im.len));
    assert_bad_u32(&im, im.rest + 4, 0xffffffff,
                   truncated("device model's state", im.len));
    image_free(&im);
}

static void an_end_with_a_body_is_refused(void **state)
{
    struct image im;

    image_make(&im, 0);
    assert_bad_u32(&im, im.rest - 4, 8,
                   damaged("an END record with a body", im.rest - 8));
    assert_bad_u32(&im, im.rest, SR_RECORD_END,
                   damaged("an END record with a body", im.rest));
    image_free(&im);
}

static void a_libxl_record_of_unknown_type_is_refused(void **state)
{
    const uint32_t types[] = { 4, 5, 6, 0xffffffff };
    struct image im;

    image_make(&im, 0);
    for (size_t i = 0; i < ARRAY_SIZE(types); i++)
        assert_bad_u32(&im, im.rest, types[i],
                       damaged("a record of unknown type", im.rest));
    image_free(&im);
}

/* libxl would build a domain without memory of it. */
static void an_image_without_memory_is_refused(void **state)
{
    struct image im = { 0 };

    image_xl(&im, CONFIG, sizeof(CONFIG));
    image_libxl(&im);
    image_rest(&im);
    assert_refused(&im, damaged("an end without the domain's pages",
                                im.len - sizeof(struct sr_record)));
    image_free(&im);
}

static void an_image_with_two_memories_is_refused(void **state)
{
    struct image im = { 0 };
    size_t second;

    image_xl(&im, CONFIG, sizeof(CONFIG));
    image_libxl(&im);
    image_libxc(&im, 0);
    second = im.len;
    image_libxc(&im, 0);
    image_rest(&im);
    assert_refused(&im, damaged("a wrong record", second));
    image_free(&im);
}

static void a_context_with_a_body_is_refused(void **state)
{
    struct image im;

    image_make(&im, 0);
    assert_bad_u32(&im, im.context + 4, 8,
                   damaged("a wrong record", im.context));
    image_free(&im);
}

static void only_a_regular_file_is_opened(void **state)
{
    assert_int_equal(mkdir("d", 0700), 0);
    assert_path_refused("d", "memory image 'd' is not a regular file");
    assert_int_equal(mkfifo("f", 0600), 0);
    assert_path_refused("f", "memory image 'f' is not a regular file");
    assert_path_refused("/dev/zero",
                        "memory image '/dev/zero' is not a regular file");
}

static void a_missing_file_is_told(void **state)
{
    assert_path_refused("image", "cannot open memory image 'image': No such "
                                 "file or directory");
}

/* ---- the digest ---- */

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

static void a_read_error_of_the_walk_is_told(void **state)
{
    struct memory_image image;
    struct image im;

    image_make(&im, 3);
    put_file("image", im.data, im.len);
    for (int n = 1; n <= 4; n++) {
        struct xlsnap_error err = { 0 };

        preads_to_failure = n;
        pread_errno = EIO;
        assert_int_equal(memory_image_open("image", &image, &err),
                         -XLSNAP_FAILED);
        assert_string_equal(err.msg, "cannot read memory image 'image': "
                                     "Input/output error");
        memory_image_close(&image);
    }
    image_free(&im);
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

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup_read, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_whole_image_is_opened),
        TEST(an_image_without_a_device_model_is_opened),
        TEST(a_pv_image_is_opened),
        TEST(more_than_the_configuration_may_stand_beside_it),
        TEST(optional_flags_are_ignored),
        TEST(a_symbolic_link_is_followed),
        TEST(the_walk_reads_no_pages),
        TEST(an_image_cut_anywhere_is_refused),
        TEST(the_part_that_is_cut_is_named),
        TEST(anything_after_the_end_is_refused),
        TEST(another_file_is_refused),
        TEST(a_damaged_header_is_refused),
        TEST(a_configuration_of_impossible_size_is_refused),
        TEST(a_wrong_length_of_the_configuration_is_refused),
        TEST(a_configuration_is_one_string),
        TEST(a_damaged_libxl_header_is_refused),
        TEST(a_damaged_libxc_header_is_refused),
        TEST(a_damaged_domain_header_is_refused),
        TEST(a_record_of_impossible_length_is_refused),
        TEST(an_end_with_a_body_is_refused),
        TEST(a_libxl_record_of_unknown_type_is_refused),
        TEST(an_image_without_memory_is_refused),
        TEST(an_image_with_two_memories_is_refused),
        TEST(a_context_with_a_body_is_refused),
        TEST(only_a_regular_file_is_opened),
        TEST(a_missing_file_is_told),
        TEST(the_digest_is_computed),
        TEST(another_digest_is_refused),
        TEST(an_image_that_is_cut_later_is_refused),
        TEST(a_read_error_is_told),
        TEST(an_end_that_comes_early_is_told),
        TEST(a_read_error_of_the_walk_is_told),
        TEST(an_interrupted_read_goes_on),
        TEST(holes_are_not_read),
        TEST(many_small_holes_have_the_right_digest),
        TEST(no_flipped_bit_passes),
    };

    return cmocka_run_group_tests_name("memory_read", tests, NULL, NULL);
}
