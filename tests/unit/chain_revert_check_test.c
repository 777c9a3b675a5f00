/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * disk-qemu-chain-revert.c: what a revert refuses, before anything is changed:
 * a frozen file that is missing, damaged, or in use as the disk.
 */
#include "chain_revert_testing.h"

#define FILES "a-s1.qcow2 a.qcow2"

/* As a create leaves it that was cut off and never recovered from. */
static void a_frozen_file_in_use_as_the_disk_is_refused(void **state)
{
    make_full_image("a.qcow2");
    use_for(XLSNAP_METHOD_EXTERNAL, "a.qcow2", "a-s1.qcow2");
    assert_int_equal(link("a.qcow2", "a-s1.qcow2"), 0);
    assert_not_proved(FILES, "are the same file: the frozen one is in use as "
                             "the disk");
    assert_filled("a.qcow2", BEFORE);
}

static void an_overlay_that_is_its_own_base_is_refused(void **state)
{
    make_overlay();
    assert_int_equal(unlink("t.qcow2"), 0);
    assert_int_equal(symlink("a.qcow2", "t.qcow2"), 0);
    assert_not_proved("a.qcow2 t.qcow2", "are the same file");
    assert_filled("a.qcow2", BEFORE);
}

static void a_missing_frozen_file_is_refused(void **state)
{
    make_external();
    assert_int_equal(rename("a-s1.qcow2", "moved"), 0);
    assert_not_proved("a.qcow2 moved", "a-s1.qcow2': No such file");
    assert_int_equal(rename("moved", "a-s1.qcow2"), 0);
    assert_data("a.qcow2", "qcow2", AFTER);
}

static void a_missing_frozen_file_of_an_overlay_is_refused(void **state)
{
    make_overlay();
    assert_int_equal(unlink("a.qcow2"), 0);
    assert_not_proved("t.qcow2", "a.qcow2': No such file");
}

static void a_broken_chain_is_refused(void **state)
{
    struct disk *disk;

    make_full_image("base.qcow2");
    RUN("qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b",
        "base.qcow2", "a.qcow2");
    disk = use_for(XLSNAP_METHOD_EXTERNAL, "a.qcow2", "a-s1.qcow2");
    create(disk);
    assert_int_equal(unlink("base.qcow2"), 0);
    assert_not_proved(FILES, "base.qcow2': No such file or directory");
}

static void a_frozen_file_that_is_no_image_is_refused(void **state)
{
    make_external();
    put("a-s1.qcow2", "no image");
    assert_not_proved(FILES, "Image is not in qcow2 format");
}

static void a_frozen_file_marked_as_corrupt_is_refused(void **state)
{
    int fd;

    make_external();
    fd = open("a-s1.qcow2", O_WRONLY | O_CLOEXEC);
    assert_int_equal(pwrite(fd, "\2", 1, 79), 1); /* incompatible bit 1 */
    close(fd);
    assert_not_proved(FILES, "is marked as corrupt (see 'qemu-img check')");
    assert_data("a.qcow2", "qcow2", AFTER);
}

static void the_disk_at_fault_is_named(void **state)
{
    struct xlsnap_error err = { 0 };
    struct disk *a, *b;

    make_full_image("a.qcow2");
    make_full_image("b.qcow2");
    a = use_for(XLSNAP_METHOD_EXTERNAL, "a.qcow2", "a-s1.qcow2");
    b = use_for(XLSNAP_METHOD_EXTERNAL, "b.qcow2", "b-s1.qcow2");
    create(a);
    create(b);
    assert_int_equal(unlink("b-s1.qcow2"), 0);
    load_snapshot();
    assert_int_equal(disks_prove(&op, &err), -XLSNAP_REFUSED);
    assert_non_null(strstr(err.msg, "disk 'xvdb': "));
}

static void an_overlay_without_target_is_refused(void **state)
{
    make_full_image("a.qcow2");
    use_for(XLSNAP_METHOD_OVERLAY, "a.qcow2", "t.qcow2");
    free(op.snap.disks[0].target);
    op.snap.disks[0].target = NULL;
    assert_not_proved("a.qcow2", "disk 'xvda': it has no target");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_frozen_file_in_use_as_the_disk_is_refused),
        TEST(an_overlay_that_is_its_own_base_is_refused),
        TEST(a_missing_frozen_file_is_refused),
        TEST(a_missing_frozen_file_of_an_overlay_is_refused),
        TEST(a_broken_chain_is_refused),
        TEST(a_frozen_file_that_is_no_image_is_refused),
        TEST(a_frozen_file_marked_as_corrupt_is_refused),
        TEST(the_disk_at_fault_is_named),
        TEST(an_overlay_without_target_is_refused),
    };

    return cmocka_run_group_tests_name("chain_revert_check", tests, NULL, NULL);
}
