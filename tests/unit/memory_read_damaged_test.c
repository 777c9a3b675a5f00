/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * memory-read.c: images made by hand and then broken in every place, and files
 * that are no image at all, are refused when they are opened.
 */
#include "memory_testing.h"

#define CONFIG_AT (sizeof(struct xl_save_header) + 4)

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

/* libxl would read it, for minutes. */
static void a_configuration_that_is_deep_is_refused(void **state)
{
    char config[20001];
    struct image im;

    memset(config, '[', 10000);
    memset(config + 10000, ']', 10000);
    config[20000] = '\0';
    image_make_with(&im, config, sizeof(config), 0);
    put_file("image", im.data, im.len);
    assert_path_refused("image",
                        damaged("invalid JSON in the domain's configuration: "
                                "nested too deeply",
                                CONFIG_AT));
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

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(an_image_cut_anywhere_is_refused),
        TEST(the_part_that_is_cut_is_named),
        TEST(anything_after_the_end_is_refused),
        TEST(another_file_is_refused),
        TEST(a_damaged_header_is_refused),
        TEST(a_configuration_of_impossible_size_is_refused),
        TEST(a_wrong_length_of_the_configuration_is_refused),
        TEST(a_configuration_is_one_string),
        TEST(a_configuration_that_is_deep_is_refused),
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
    };

    return cmocka_run_group_tests_name("memory_read_damaged", tests, NULL,
                                       NULL);
}
