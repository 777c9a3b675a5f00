/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * memory-read.c: whole images are opened, without reading their pages; errors
 * of the disk are told from those of the image.
 */
#include "memory_read_testing.h"

static void assert_accepted(const struct image *im)
{
    struct memory_image image;

    put_file("image", im->data, im->len);
    open_image(&image);
    assert_int_equal(image.bytes, im->len);
    memory_image_close(&image);
    assert_int_equal(image.fd, -1);
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

/* ---- read errors ---- */

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
        TEST(a_read_error_of_the_walk_is_told),
    };

    return cmocka_run_group_tests_name("memory_read", tests, NULL, NULL);
}
