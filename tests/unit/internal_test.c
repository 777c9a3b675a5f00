/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * disk-qemu.c and disk-qemu-internal.c, as far as they need no QEMU: internal
 * snapshots of real images.
 */
#include "qemu_testing.h"

/* A snapshot is made, found, gone back to and deleted under such a name. */
static void assert_name_works(const char *file)
{
    struct xlsnap_error err = { 0 };

    assert_int_equal(rename("image", file), 0);
    op.disks = xcalloc(MAX_DISKS, sizeof(*op.disks));
    use(file);
    if (qemu_img_snapshot(op.disks[0].path, "-c", "s1", &err) ||
        disk_qemu.prove(&op, &group, &err) ||
        disk_qemu.revert(&op, &group, &err) ||
        disk_qemu.remove(&op, &group, &err))
        fail_msg("%s", err.msg);
    assert_int_equal(count_tags(op.disks[0].path, "s1"), 0);
    disks_clear(&op);
    assert_int_equal(rename(file, "image"), 0);
}

static void no_character_of_a_name_means_anything(void **state)
{
    const char *const names[] = {
        "a,b=c.qcow2",         "it's \"x\"",
        "two  words ",         "50%20\\%s",
        "line\nbreak",         "json:{\"driver\": \"nbd\"}",
        "nbd:localhost:1",     "-l",
        "{}[]#?&;|$HOME`id`*", "fat:\xc3\xa4\xf0\x9f\x98\x80",
        "tab\t\x01",           "file.driver=raw,,x",
    };

    make_image("image");
    disks_clear(&op);
    for (size_t i = 0; i < ARRAY_SIZE(names); i++)
        assert_name_works(names[i]);
}

static void assert_not_proved(const char *message)
{
    struct xlsnap_error err = { 0 };

    assert_int_equal(disk_qemu.prove(&op, &group, &err), -XLSNAP_REFUSED);
    assert_int_equal(err.code, XLSNAP_REFUSED);
    assert_non_null(strstr(err.msg, "disk 'xvda': "));
    if (!strstr(err.msg, message))
        assert_string_equal(err.msg, message);
    assert_null(op.disks[0].tag);
}

static void revert(void)
{
    struct xlsnap_error err = { 0 };

    if (disk_qemu.revert(&op, &group, &err))
        fail_msg("%s", err.msg);
}

static void remove_snapshot(void)
{
    struct xlsnap_error err = { 0 };

    if (disk_qemu.remove(&op, &group, &err))
        fail_msg("%s", err.msg);
}

/* An image with 0x11 in snapshot s1 and 0x22 now. */
static void make_reverted(const char *file)
{
    make_image(file);
    fill(file, "0x11");
    tag(file, "s1");
    fill(file, "0x22");
    use(file);
}

/* ---- prove ---- */

static void a_snapshot_is_proved(void **state)
{
    struct xlsnap_error err = { 0 };

    make_image("a.qcow2");
    tag("a.qcow2", "s0");
    tag("a.qcow2", "s1");
    use("a.qcow2");
    assert_int_equal(disk_qemu.prove(&op, &group, &err), 0);
    assert_string_equal(op.disks[0].tag, "2");
    assert_int_equal(disk_qemu.prove(&op, &group, &err), 0); /* again */
    assert_string_equal(op.disks[0].tag, "2");
}

static void a_missing_snapshot_is_refused(void **state)
{
    make_image("a.qcow2");
    tag("a.qcow2", "s10");
    use("a.qcow2");
    assert_not_proved("disk 'xvda': 'a.qcow2' has no snapshot named 's1'");
}

static void a_missing_snapshot_may_be_in_what_is_below(void **state)
{
    make_image("b.qcow2");
    RUN("qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b",
        "b.qcow2", "a.qcow2");
    use("a.qcow2");
    assert_not_proved("disk 'xvda': 'a.qcow2' has no snapshot named 's1'; it "
                      "may be in what is below it, 'b.qcow2'");
}

static void a_tag_that_is_there_twice_is_refused(void **state)
{
    make_image("a.qcow2");
    tag("a.qcow2", "s1");
    tag("a.qcow2", "s1");
    use("a.qcow2");
    assert_int_equal(count_tags("a.qcow2", "s1"), 2);
    assert_not_proved("disk 'xvda': 'a.qcow2' has more than one snapshot named "
                      "'s1'");
}

static void a_missing_backing_file_is_refused(void **state)
{
    make_image("base.qcow2");
    RUN("qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b",
        "base.qcow2", "a.qcow2");
    tag("a.qcow2", "s1");
    use("a.qcow2");
    assert_int_equal(unlink("base.qcow2"), 0);
    assert_not_proved("base.qcow2': No such file or directory");
}

static void a_missing_image_is_refused(void **state)
{
    make_image("a.qcow2");
    use("a.qcow2");
    assert_int_equal(unlink("a.qcow2"), 0);
    assert_not_proved("a.qcow2': No such file or directory");
}

static void a_file_that_is_no_qcow2_is_refused(void **state)
{
    put("a.qcow2", "");
    assert_int_equal(truncate("a.qcow2", 1 << 20), 0);
    use("a.qcow2");
    assert_not_proved("Image is not in qcow2 format");
}

static void an_image_marked_as_corrupt_is_refused(void **state)
{
    int fd;

    make_image("a.qcow2");
    tag("a.qcow2", "s1");
    use("a.qcow2");
    fd = open("a.qcow2", O_WRONLY | O_CLOEXEC);
    assert_int_equal(pwrite(fd, "\2", 1, 79), 1); /* incompatible bit 1 */
    close(fd);
    assert_not_proved("disk 'xvda': 'a.qcow2' is marked as corrupt (see "
                      "'qemu-img check')");
}

static void an_image_with_bitmaps_is_refused(void **state)
{
    make_reverted("a.qcow2");
    RUN("qemu-img", "bitmap", "--add", "a.qcow2", "backup");
    assert_not_proved("disk 'xvda': 'a.qcow2' holds persistent dirty bitmaps, "
                      "and QEMU cannot revert such an image (see 'qemu-img "
                      "bitmap --remove')");
}

static void the_disk_at_fault_is_named(void **state)
{
    struct xlsnap_error err = { 0 };

    make_image("a.qcow2");
    make_image("b.qcow2");
    tag("a.qcow2", "s1");
    use("a.qcow2");
    use("b.qcow2");
    assert_int_equal(disk_qemu.prove(&op, &group, &err), -XLSNAP_REFUSED);
    assert_string_equal(err.msg, "disk 'xvdb': 'b.qcow2' has no snapshot named "
                                 "'s1'");
}

/* ---- revert ---- */

static void a_revert_brings_the_data_back(void **state)
{
    make_reverted("a.qcow2");
    assert_filled("a.qcow2", "0x22");
    revert();
    assert_filled("a.qcow2", "0x11");
    assert_int_equal(count_tags("a.qcow2", "s1"), 1);
}

static void a_revert_can_be_repeated(void **state)
{
    make_reverted("a.qcow2");
    for (int i = 0; i < 3; i++) {
        revert();
        assert_filled("a.qcow2", "0x11");
        fill("a.qcow2", "0x33");
    }
    RUN("qemu-img", "check", "-q", "a.qcow2");
}

static void all_disks_are_reverted(void **state)
{
    make_reverted("a.qcow2");
    make_reverted("b.qcow2");
    revert();
    assert_filled("a.qcow2", "0x11");
    assert_filled("b.qcow2", "0x11");
}

/* Our tag "2" has ID 1, and -a would take "2" for the ID of the other. */
static void a_revert_goes_by_the_id(void **state)
{
    make_image("a.qcow2");
    fill("a.qcow2", "0x11");
    tag("a.qcow2", "2");
    fill("a.qcow2", "0x44");
    tag("a.qcow2", "other");
    use("a.qcow2");
    free(op.snap.name);
    op.snap.name = xstrdup("2");
    revert();
    assert_filled("a.qcow2", "0x11");
}

static void a_revert_brings_the_size_back(void **state)
{
    make_reverted("a.qcow2");
    RUN("qemu-img", "resize", "-q", "-f", "qcow2", "a.qcow2", "3M");
    revert();
    assert_filled("a.qcow2", "0x11");
    RUN("sh", "-c", "qemu-img info a.qcow2 | grep -q '(1048576 bytes)'");
}

static void a_revert_that_is_refused_changes_nothing(void **state)
{
    struct xlsnap_error err = { 0 };

    make_reverted("a.qcow2");
    RUN("qemu-img", "bitmap", "--add", "a.qcow2", "backup");
    assert_int_equal(disk_qemu.revert(&op, &group, &err), -XLSNAP_REFUSED);
    assert_non_null(strstr(err.msg, "holds persistent dirty bitmaps"));
    assert_filled("a.qcow2", "0x22");
}

static void what_is_kept_is_kept_once(void **state)
{
    make_reverted("a.qcow2");
    op.pending.keep = true;
    revert();
    revert(); /* recover does this: the kept state must stay the first one's */
    assert_int_equal(count_tags("a.qcow2", "discarded-T"), 1);
    assert_filled("a.qcow2", "0x11");
    RUN("qemu-img", "snapshot", "-q", "-a", "discarded-T", "a.qcow2");
    assert_filled("a.qcow2", "0x22");
}

static void without_keep_nothing_is_kept(void **state)
{
    const struct json *image;
    struct json *root;

    make_reverted("a.qcow2");
    revert();
    image = image_info("a.qcow2", &root);
    assert_int_equal(json_array_len(json_get(image, "snapshots")), 1);
    json_free(root);
}

/* ---- remove, without a domain ---- */

static void a_snapshot_is_removed(void **state)
{
    make_reverted("a.qcow2");
    tag("a.qcow2", "s2");
    remove_snapshot();
    assert_int_equal(count_tags("a.qcow2", "s1"), 0);
    assert_int_equal(count_tags("a.qcow2", "s2"), 1);
    assert_filled("a.qcow2", "0x22");
    RUN("qemu-img", "check", "-q", "a.qcow2");
}

/* QEMU has refused the transaction, or was never asked. */
static void a_tag_that_we_cannot_have_made_is_not_removed(void **state)
{
    struct xlsnap_error err = { 0 };

    make_reverted("a.qcow2");
    op.transacted = false;
    assert_int_equal(disk_qemu.remove(&op, &group, &err), 0);
    assert_int_equal(count_tags("a.qcow2", "s1"), 1);
}

static void what_is_not_there_is_as_good_as_removed(void **state)
{
    make_image("a.qcow2");
    use("a.qcow2");
    remove_snapshot();
    tag("a.qcow2", "s1");
    remove_snapshot();
    remove_snapshot();
    assert_int_equal(count_tags("a.qcow2", "s1"), 0);
}

/* `qemu-img snapshot -d 1` is the tag "1", not the ID of s1. */
static void a_tag_like_our_id_is_not_removed(void **state)
{
    make_reverted("a.qcow2");
    tag("a.qcow2", "1");
    remove_snapshot();
    assert_int_equal(count_tags("a.qcow2", "s1"), 0);
    assert_int_equal(count_tags("a.qcow2", "1"), 1);
}

static void one_of_two_of_a_tag_is_not_removed(void **state)
{
    struct xlsnap_error err = { 0 };

    make_reverted("a.qcow2");
    tag("a.qcow2", "s1");
    assert_int_equal(disk_qemu.remove(&op, &group, &err), -XLSNAP_FAILED);
    assert_string_equal(err.msg, "'a.qcow2' has more than one snapshot named "
                                 "'s1', and it cannot be known which is to be "
                                 "deleted");
    assert_int_equal(count_tags("a.qcow2", "s1"), 2);
}

static void the_snapshots_of_all_disks_are_removed(void **state)
{
    make_image("a.qcow2"); /* half done: only the second has one */
    use("a.qcow2");
    make_reverted("b.qcow2");
    remove_snapshot();
    assert_int_equal(count_tags("b.qcow2", "s1"), 0);
}

static void an_image_that_cannot_be_read_is_told(void **state)
{
    struct xlsnap_error err = { 0 };

    make_reverted("a.qcow2");
    assert_int_equal(unlink("a.qcow2"), 0);
    assert_int_equal(disk_qemu.remove(&op, &group, &err), -XLSNAP_FAILED);
    assert_non_null(strstr(err.msg, "'qemu-img' exited with status 1: "));
    assert_non_null(strstr(err.msg, "No such file or directory"));
}

/* ---- create ---- */

static void assert_action(const char *expected)
{
    struct json_writer *w = json_writer_new(false);
    cleanup_free char *text = NULL;

    json_open_object(w, NULL);
    qemu_internal.action(&op, &op.disks[0], w);
    json_close_object(w);
    text = json_writer_finish(w);
    assert_string_equal(text, expected);
}

static void the_snapshot_is_made_on_the_disks_node(void **state)
{
    make_image("a.qcow2");
    use("a.qcow2")->node = xstrdup("xvda-qcow2");
    assert_action("{\"type\":\"blockdev-snapshot-internal-sync\",\"data\":{"
                  "\"device\":\"xvda-qcow2\",\"name\":\"s1\"}}");
}

/* The disk's part of query-block, with this more in "image". */
static void assert_check_refused(const char *more, const char *message)
{
    cleanup_free char *text =
        xasprintf("{\"node-name\": \"xvda-qcow2\", \"image\": {%s}}", more);
    struct json *inserted = parse(text);
    struct xlsnap_error err = { 0 };
    int rc = qemu_internal.check(&op, &op.disks[0], inserted, &err);

    json_free(inserted);
    assert_string_equal(err.msg, message);
    assert_int_equal(rc, *message ? -XLSNAP_REFUSED : 0);
}

static void a_name_that_the_image_has_is_refused(void **state)
{
    make_image("a.qcow2");
    use("a.qcow2");
    assert_check_refused("\"snapshots\": [{\"name\": \"s1\"}]",
                         "disk 'xvda': 'a.qcow2' has a snapshot named 's1' "
                         "already");
    assert_check_refused("\"snapshots\": [{\"name\": \"s2\"}]", "");
    assert_check_refused("", "");
}

static void an_internal_snapshot_has_no_target(void **state)
{
    make_image("a.qcow2");
    use("a.qcow2")->target = xstrdup("/t.qcow2");
    assert_check_refused("", "disk 'xvda': an internal snapshot has no target");
}

static void it_is_the_disks_file_that_is_synced(void **state)
{
    struct xlsnap_error err = { 0 }, gone = { 0 };

    make_image("a.qcow2");
    use("a.qcow2");
    assert_int_equal(disk_qemu.sync(&op, &group, &err), 0);
    assert_int_equal(unlink("a.qcow2"), 0);
    assert_int_equal(disk_qemu.sync(&op, &group, &gone), -XLSNAP_FAILED);
    assert_int_equal(gone.errnum, ENOENT);
}

/* ---- which disks ---- */

static bool takes(libxl_disk_format format, libxl_disk_backend backend,
                  enum xlsnap_method method)
{
    struct disk disk = { .format = format, .backend = backend };

    return disk_qemu.takes(&disk, method);
}

static void only_disks_that_qemu_serves_are_taken(void **state)
{
    for (int m = XLSNAP_METHOD_INTERNAL; m <= XLSNAP_METHOD_OVERLAY; m++) {
        assert_true(
            takes(LIBXL_DISK_FORMAT_QCOW2, LIBXL_DISK_BACKEND_QDISK, m));
        assert_false(takes(LIBXL_DISK_FORMAT_QCOW2, LIBXL_DISK_BACKEND_PHY, m));
        assert_false(takes(LIBXL_DISK_FORMAT_QCOW2, LIBXL_DISK_BACKEND_TAP, m));
        assert_false(
            takes(LIBXL_DISK_FORMAT_QCOW2, LIBXL_DISK_BACKEND_UNKNOWN, m));
    }
    assert_false(takes(LIBXL_DISK_FORMAT_QCOW2, LIBXL_DISK_BACKEND_QDISK,
                       XLSNAP_METHOD_DEFAULT));
    assert_false(takes(LIBXL_DISK_FORMAT_QCOW2, LIBXL_DISK_BACKEND_QDISK,
                       XLSNAP_METHOD_NO));
}

static void raw_and_vhd_get_an_overlay_only(void **state)
{
    const libxl_disk_format formats[] = { LIBXL_DISK_FORMAT_RAW,
                                          LIBXL_DISK_FORMAT_VHD };

    for (size_t i = 0; i < ARRAY_SIZE(formats); i++) {
        assert_false(takes(formats[i], LIBXL_DISK_BACKEND_QDISK,
                           XLSNAP_METHOD_INTERNAL));
        assert_false(takes(formats[i], LIBXL_DISK_BACKEND_QDISK,
                           XLSNAP_METHOD_EXTERNAL));
        assert_true(
            takes(formats[i], LIBXL_DISK_BACKEND_QDISK, XLSNAP_METHOD_OVERLAY));
    }
}

static void qed_and_qcow_get_nothing(void **state)
{
    const libxl_disk_format formats[] = { LIBXL_DISK_FORMAT_QED,
                                          LIBXL_DISK_FORMAT_QCOW };

    for (size_t i = 0; i < ARRAY_SIZE(formats); i++) {
        assert_false(
            takes(formats[i], LIBXL_DISK_BACKEND_QDISK, XLSNAP_METHOD_OVERLAY));
        assert_false(takes(formats[i], LIBXL_DISK_BACKEND_QDISK,
                           XLSNAP_METHOD_EXTERNAL));
    }
}

/* qcow2 in a logical volume: its name is not ours to give to another file. */
static void a_block_device_gets_no_other_file(void **state)
{
    struct disk disk = { .format = LIBXL_DISK_FORMAT_QCOW2,
                         .backend = LIBXL_DISK_BACKEND_QDISK,
                         .id = { .block = true } };

    assert_false(disk_qemu.takes(&disk, XLSNAP_METHOD_EXTERNAL));
    assert_true(disk_qemu.takes(&disk, XLSNAP_METHOD_INTERNAL));
    assert_false(disk_qemu.takes(&disk, XLSNAP_METHOD_OVERLAY));
}

/* Recovery looks under the name for the file that was there. */
static void an_internal_snapshot_moves_no_file(void **state)
{
    struct disk disk = { .method = XLSNAP_METHOD_INTERNAL };

    assert_false(disk_qemu.moves(&disk));
    disk.method = XLSNAP_METHOD_EXTERNAL;
    assert_true(disk_qemu.moves(&disk));
    disk.method = XLSNAP_METHOD_OVERLAY;
    assert_true(disk_qemu.moves(&disk));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(no_character_of_a_name_means_anything),
        TEST(a_snapshot_is_proved),
        TEST(a_missing_snapshot_is_refused),
        TEST(a_missing_snapshot_may_be_in_what_is_below),
        TEST(a_tag_that_is_there_twice_is_refused),
        TEST(a_missing_backing_file_is_refused),
        TEST(a_missing_image_is_refused),
        TEST(a_file_that_is_no_qcow2_is_refused),
        TEST(an_image_marked_as_corrupt_is_refused),
        TEST(an_image_with_bitmaps_is_refused),
        TEST(the_disk_at_fault_is_named),
        TEST(a_revert_brings_the_data_back),
        TEST(a_revert_can_be_repeated),
        TEST(all_disks_are_reverted),
        TEST(a_revert_goes_by_the_id),
        TEST(a_revert_brings_the_size_back),
        TEST(a_revert_that_is_refused_changes_nothing),
        TEST(what_is_kept_is_kept_once),
        TEST(without_keep_nothing_is_kept),
        TEST(a_snapshot_is_removed),
        TEST(a_tag_that_we_cannot_have_made_is_not_removed),
        TEST(what_is_not_there_is_as_good_as_removed),
        TEST(a_tag_like_our_id_is_not_removed),
        TEST(one_of_two_of_a_tag_is_not_removed),
        TEST(the_snapshots_of_all_disks_are_removed),
        TEST(an_image_that_cannot_be_read_is_told),
        TEST(the_snapshot_is_made_on_the_disks_node),
        TEST(a_name_that_the_image_has_is_refused),
        TEST(an_internal_snapshot_has_no_target),
        TEST(it_is_the_disks_file_that_is_synced),
        TEST(only_disks_that_qemu_serves_are_taken),
        TEST(raw_and_vhd_get_an_overlay_only),
        TEST(qed_and_qcow_get_nothing),
        TEST(a_block_device_gets_no_other_file),
        TEST(an_internal_snapshot_moves_no_file),
    };

    return cmocka_run_group_tests_name("internal", tests, NULL, NULL);
}
