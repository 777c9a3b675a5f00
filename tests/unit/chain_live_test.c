/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * disk-qemu.c and disk-qemu-chain.c with a real QEMU: snapshots and their undo.
 */
#include "live_testing.h"

/* ---- check ---- */

static void a_disk_is_checked_with_qemu(void **state)
{
    struct xlsnap_error err = { 0 };
    struct disk *disk = use_external();

    disk->virtual_size = 0;
    start_qemu("a.qcow2", NULL);
    ok(disk_qemu.check(&op, now, &err), &err);
    assert_string_equal(disk->node, "xvda-qcow2");
    assert_int_equal(disk->virtual_size, IMAGE_SIZE);
    assert_null(op.qmp); /* the monitor is free again */
    assert_files(".", "a.qcow2 " MONITOR);
}

static void a_disk_that_was_replaced_is_refused(void **state)
{
    RUN("cp", "a.qcow2", "old.qcow2");
    start_qemu("old.qcow2", NULL);
    assert_int_equal(unlink("old.qcow2"), 0);
    use_external();
    assert_not_checked("a.qcow2' is not the file that QEMU (pid ");
}

/* As another disk, or below one. */
static void a_file_that_qemu_has_open_twice_is_refused(void **state)
{
    start_qemu("a.qcow2", "a.qcow2");
    use_external();
    assert_not_checked("a.qcow2' open more than once: ");
}

static void a_disk_that_qemu_does_not_know_is_refused(void **state)
{
    start_qemu("a.qcow2", NULL);
    use_external()->vdev[3] = 'c';
    assert_not_checked("disk 'xvdc': QEMU does not serve '");
}

static void a_qemu_that_does_not_answer_is_refused(void **state)
{
    use_external();
    start_qemu("a.qcow2", NULL);
    stop_qemu();
    op.dom.domid = last_domid;
    assert_not_checked("cannot connect to QEMU at '");
}

/* ---- create ---- */

static void an_external_snapshot_is_made(void **state)
{
    struct file_id frozen, active;
    struct disk *disk = use_external();

    start_qemu("a.qcow2", NULL);
    make_snapshot();
    frozen = disk->id;
    active = disk->made;
    assert_files(".", "a-s1.qcow2 a.qcow2 " MONITOR);
    assert_active("a.qcow2", &active);
    assert_active("a-s1.qcow2", &frozen);
    RUN("cp", "a-s1.qcow2", "copy");
    assert_goes_on("a.qcow2", "da");
    RUN("cmp", "a-s1.qcow2", "copy");
    assert_filled("a-s1.qcow2", BEFORE);
    RUN("qemu-img", "check", "-q", "a.qcow2");
}

static void an_overlay_is_made(void **state)
{
    cleanup_free char *target = in_dir("t.qcow2");
    struct disk *disk = use_overlay();

    start_qemu("a.qcow2", NULL);
    make_snapshot();
    assert_files(".", "a.qcow2 " MONITOR " t.qcow2");
    assert_active("t.qcow2", &disk->made);
    assert_active("a.qcow2", &disk->id);
    assert_string_equal(stored, target);
    assert_goes_on("t.qcow2", "da");
    assert_filled("a.qcow2", BEFORE);
}

static void two_disks_switch_together(void **state)
{
    struct disk *a, *b;

    make_full_image("b.qcow2");
    a = use_external();
    b = use_for(XLSNAP_METHOD_EXTERNAL, "b.qcow2", "b-s1.qcow2");
    start_qemu("a.qcow2", "b.qcow2");
    make_snapshot();
    assert_active("a.qcow2", &a->made);
    assert_active("b.qcow2", &b->made);
    live_writes("db");
    assert_goes_on("a.qcow2", "da");
    assert_data("b.qcow2", "qcow2", AFTER);
    assert_filled("a-s1.qcow2", BEFORE);
    assert_filled("b-s1.qcow2", BEFORE);
}

static int syncs_of_directories;

int fsync(int fd)
{
    struct stat st;

    syncs_of_directories += !fstat(fd, &st) && S_ISDIR(st.st_mode);
    return syscall(SYS_fsync, fd);
}

/* Each costs the guest some ms of its pause. */
static void assert_one_sync_a_directory(const char *b, const char *b_target,
                                        int directories)
{
    struct xlsnap_error err = { 0 };

    make_full_image(b);
    use_external();
    use_for(XLSNAP_METHOD_EXTERNAL, b, b_target);
    start_qemu("a.qcow2", b);
    begin_create();
    ok(disk_qemu.create(&op, now, &err), &err);
    syncs_of_directories = 0;
    ok(disk_qemu.settle(&op, now, &err), &err);
    assert_int_equal(syncs_of_directories, directories);
}

static void names_in_one_directory_are_synced_once(void **state)
{
    assert_one_sync_a_directory("b.qcow2", "b-s1.qcow2", 1);
}

static void names_in_two_directories_are_synced_each(void **state)
{
    assert_int_equal(mkdir("sub", 0700), 0);
    assert_one_sync_a_directory("sub/b.qcow2", "sub/b-s1.qcow2", 2);
}

/* On the overlay of the first, as of any qcow2. */
static void a_second_snapshot_is_made_of_the_first(void **state)
{
    use_external();
    start_qemu("a.qcow2", NULL);
    make_snapshot();
    live_writes("da");
    clear_operation("s2");
    use_for(XLSNAP_METHOD_EXTERNAL, "a.qcow2", "a-s2.qcow2");
    make_snapshot();
    assert_files(".", "a-s1.qcow2 a-s2.qcow2 a.qcow2 " MONITOR);
    assert_goes_on("a.qcow2", "da");
    assert_data("a-s2.qcow2", "qcow2", AFTER);
    assert_filled("a-s1.qcow2", BEFORE);
}

/* ---- undo, the tool alive ---- */

static void an_external_snapshot_is_undone(void **state)
{
    struct file_id id;
    struct disk *disk = use_external();

    id = disk->id;
    start_qemu("a.qcow2", NULL);
    make_snapshot();
    live_writes("da");
    undo();
    assert_files(".", "a.qcow2 " MONITOR);
    assert_as_before("a.qcow2", &id, AFTER);
}

static void after_an_undo_the_guest_goes_on(void **state)
{
    use_external();
    start_qemu("a.qcow2", NULL);
    make_snapshot();
    undo();
    assert_files(".", "a.qcow2 " MONITOR);
    assert_int_equal(count_of("query-named-block-nodes", "{\"flat\": true}"),
                     2);
    assert_goes_on("a.qcow2", "da");
}

static void after_an_undo_another_snapshot_is_made(void **state)
{
    use_external();
    start_qemu("a.qcow2", NULL);
    make_snapshot();
    undo();
    clear_operation("s2");
    use_for(XLSNAP_METHOD_EXTERNAL, "a.qcow2", "a-s2.qcow2");
    make_snapshot();
    assert_files(".", "a-s2.qcow2 a.qcow2 " MONITOR);
    assert_goes_on("a.qcow2", "da");
}

static void an_overlay_is_undone(void **state)
{
    struct file_id id;
    struct disk *disk = use_overlay();

    id = disk->id;
    start_qemu("a.qcow2", NULL);
    make_snapshot();
    live_writes("da");
    undo();
    assert_files(".", "a.qcow2 " MONITOR);
    assert_string_equal(stored, disk->source);
    assert_int_equal(stored_format, LIBXL_DISK_FORMAT_QCOW2);
    assert_as_before("a.qcow2", &id, AFTER);
}

static void two_disks_are_undone(void **state)
{
    struct disk *a, *b;

    make_full_image("b.qcow2");
    a = use_external();
    b = use_for(XLSNAP_METHOD_EXTERNAL, "b.qcow2", "b-s1.qcow2");
    start_qemu("a.qcow2", "b.qcow2");
    make_snapshot();
    live_writes("da");
    live_writes("db");
    undo();
    assert_files(".", "a.qcow2 b.qcow2 " MONITOR);
    assert_active("b.qcow2", &b->id);
    assert_as_before("a.qcow2", &a->id, AFTER);
    assert_data("b.qcow2", "qcow2", AFTER);
}

/* One overlay cannot be opened: no disk switches, and both get their names. */
static void a_failed_transaction_is_undone(void **state)
{
    struct xlsnap_error err = { 0 };
    struct disk *a, *b;

    make_full_image("b.qcow2");
    a = use_external();
    b = use_for(XLSNAP_METHOD_EXTERNAL, "b.qcow2", "b-s1.qcow2");
    start_qemu("a.qcow2", "b.qcow2");
    begin_create();
    put(TMP_B, "no image");
    assert_int_equal(disk_qemu.create(&op, now, &err), -XLSNAP_FAILED);
    assert_non_null(strstr(err.msg, "QMP command 'transaction' failed: "));
    rescue();
    assert_active("a.qcow2", &a->id);
    assert_active("b.qcow2", &b->id);
    undo();
    assert_files(".", "a.qcow2 b.qcow2 " MONITOR);
    assert_as_before("a.qcow2", &a->id, BEFORE);
}

static void what_was_only_prepared_is_undone(void **state)
{
    struct file_id id;
    struct disk *disk = use_external();

    id = disk->id;
    start_qemu("a.qcow2", NULL);
    begin_create();
    undo();
    assert_files(".", "a.qcow2 " MONITOR);
    assert_as_before("a.qcow2", &id, BEFORE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        LIVE_TEST(a_disk_is_checked_with_qemu),
        LIVE_TEST(a_disk_that_was_replaced_is_refused),
        LIVE_TEST(a_file_that_qemu_has_open_twice_is_refused),
        LIVE_TEST(a_disk_that_qemu_does_not_know_is_refused),
        LIVE_TEST(a_qemu_that_does_not_answer_is_refused),
        LIVE_TEST(an_external_snapshot_is_made),
        LIVE_TEST(an_overlay_is_made),
        LIVE_TEST(two_disks_switch_together),
        LIVE_TEST(names_in_one_directory_are_synced_once),
        LIVE_TEST(names_in_two_directories_are_synced_each),
        LIVE_TEST(a_second_snapshot_is_made_of_the_first),
        LIVE_TEST(an_external_snapshot_is_undone),
        LIVE_TEST(after_an_undo_the_guest_goes_on),
        LIVE_TEST(after_an_undo_another_snapshot_is_made),
        LIVE_TEST(an_overlay_is_undone),
        LIVE_TEST(two_disks_are_undone),
        LIVE_TEST(a_failed_transaction_is_undone),
        LIVE_TEST(what_was_only_prepared_is_undone),
    };

    return cmocka_run_group_tests_name("chain_live", tests, NULL, NULL);
}
