/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * disk-record.c: how a revert leaves its disks, for a recovery; disk-users.c: the
 * last look before a name is changed.
 */
#include "chain_testing.h"

/* xvda and xvdb, each a group of its own, in the record. */
static struct disk_group groups[2];

static int setup_disks(void **state)
{
    if (setup(state))
        return -1;
    make_image("a.qcow2");
    make_image("b.qcow2");
    for (int i = 0; i < 2; i++) {
        use_for(XLSNAP_METHOD_EXTERNAL, i ? "b.qcow2" : "a.qcow2", "t");
        groups[i] = (struct disk_group){ .disks = &list[i], .n = 1 };
    }
    op.groups = groups;
    op.n_groups = 2;
    pending_set_disks(&op.pending, &op);
    return 0;
}

static int teardown_disks(void **state)
{
    op.groups = NULL;
    op.n_groups = 0;
    return teardown(state);
}

/* As long after what was before that the time of modification shows it. */
static void write_to(const char *file)
{
    usleep(20000);
    fill(file, AFTER);
}

static void assert_written(const char *message)
{
    struct xlsnap_error err = { 0 };

    assert_int_equal(disks_check_left(&op, &err), -XLSNAP_REFUSED);
    if (!strstr(err.msg, message))
        assert_string_equal(err.msg, message);
}

static void assert_not_written(void)
{
    struct xlsnap_error err = { 0 };

    if (disks_check_left(&op, &err))
        fail_msg("%s", err.msg);
}

static void a_disk_that_is_opened_only_was_not_written_to(void **state)
{
    disks_note_left(&op, NULL);
    RUN("qemu-io", "-f", "qcow2", "-c", "read 0 4k", "a.qcow2");
    assert_not_written();
}

static void a_disk_that_was_written_to_is_told(void **state)
{
    disks_note_left(&op, NULL);
    write_to("b.qcow2");
    assert_written("disk 'xvdb': '");
    assert_written("b.qcow2' was written to since the revert to 's1'");
    assert_written("'xl snapshot-recover --abandon web1'");
}

static void a_disk_that_is_being_taken_back_may_be_written_to(void **state)
{
    disks_note_left(&op, NULL);
    disks_forget_left(&op, &groups[1]);
    write_to("b.qcow2");
    assert_not_written();
    write_to("a.qcow2");
    assert_written("disk 'xvda': '");
}

static void a_disk_is_noted_by_its_group(void **state)
{
    disks_note_left(&op, &groups[0]);
    write_to("b.qcow2");
    assert_not_written();
    disks_note_left(&op, &groups[1]);
    assert_not_written();
    write_to("b.qcow2");
    assert_written("disk 'xvdb': '");
}

static void a_disk_that_was_never_noted_is_not_told(void **state)
{
    write_to("a.qcow2");
    assert_not_written();
}

/* ---- the last look ---- */

static void who_only_reads_does_not_hinder(void **state)
{
    struct xlsnap_error err = { 0 };
    int fd = open("a.qcow2", O_RDONLY | O_CLOEXEC);

    if (disks_check_closed(&op, &err))
        fail_msg("%s", err.msg);
    close(fd);
}

static void who_may_write_is_told(void **state)
{
    struct xlsnap_error err = { 0 };
    int fd = open("b.qcow2", O_RDWR | O_CLOEXEC);

    assert_int_equal(disks_check_closed(&op, &err), -XLSNAP_FAILED);
    assert_non_null(strstr(err.msg, "disk 'xvdb' ('"));
    assert_non_null(strstr(err.msg, "has been opened by process"));
    close(fd);
}

static void who_has_what_was_made_is_told(void **state)
{
    struct xlsnap_error err = { 0 };
    int fd;

    make_image("t");
    op.disks[0].made = id_of("t");
    fd = open("t", O_WRONLY | O_CLOEXEC);
    assert_int_equal(disks_check_closed(&op, &err), -XLSNAP_FAILED);
    assert_non_null(strstr(err.msg, "disk 'xvda' ('"));
    close(fd);
}

#define DISK_TEST(f) \
    cmocka_unit_test_setup_teardown(f, setup_disks, teardown_disks)

int main(void)
{
    const struct CMUnitTest tests[] = {
        DISK_TEST(a_disk_that_is_opened_only_was_not_written_to),
        DISK_TEST(a_disk_that_was_written_to_is_told),
        DISK_TEST(a_disk_that_is_being_taken_back_may_be_written_to),
        DISK_TEST(a_disk_is_noted_by_its_group),
        DISK_TEST(a_disk_that_was_never_noted_is_not_told),
        DISK_TEST(who_only_reads_does_not_hinder),
        DISK_TEST(who_may_write_is_told),
        DISK_TEST(who_has_what_was_made_is_told),
    };

    return cmocka_run_group_tests_name("disk_left", tests, NULL, NULL);
}
