/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* disk-vhd-revert.c: what a revert does to VHD images, and refuses to. */
#include "vhd_testing.h"

/* ---- revert ---- */

/* As in a process of its own: the disk is what snapshot.cfg says. */
static void load_snapshot(void)
{
    struct xlsnap_error err = { 0 };

    disks_clear(&op);
    if (disks_from_snapshot(&op, &err))
        fail_msg("%s", err.msg);
    disk = &op.disks[0];
    assert_int_equal(disk->backend, LIBXL_DISK_BACKEND_TAP);
    assert_int_equal(disk->format, LIBXL_DISK_FORMAT_VHD);
    assert_string_equal(op.groups[0].driver->name, "vhd");
}

static void freeze(void)
{
    use_served();
    create();
    write_data("a.vhd", AFTER);
    end_tapdisk();
    op.dom.domid = DOMAIN_NONE;
}

static void assert_reverted(void)
{
    RUN("tap-ctl", "create", "-a", disk->source);
    served = true;
    assert_data("a.vhd", BEFORE);
    write_data("a.vhd", AFTER);
    end_tapdisk();
    assert_data("a-s1.vhd", BEFORE);
}

static void a_revert_can_be_repeated(void **state)
{
    freeze();
    for (int i = 0; i < 3; i++) {
        load_snapshot();
        call(disk_vhd.prove);
        call(disk_vhd.unused);
        call(disk_vhd.revert);
        assert_files(".", "a-s1.vhd a.vhd");
        assert_reverted();
    }
}

static void a_revert_that_was_cut_off_is_gone_on_with(void **state)
{
    freeze();
    RUN("vhd-util", "snapshot", "-n", TMP, "-p", "a-s1.vhd", "-e");
    load_snapshot();
    call(disk_vhd.prove);
    call(disk_vhd.revert);
    assert_files(".", "a-s1.vhd a.vhd");
    assert_reverted();
    call(disk_vhd.revert);
    assert_reverted();
}

static void a_disk_that_is_gone_comes_back(void **state)
{
    freeze();
    assert_int_equal(unlink("a.vhd"), 0);
    load_snapshot();
    call(disk_vhd.prove);
    call(disk_vhd.revert);
    assert_reverted();
}

static void what_is_given_up_is_kept(void **state)
{
    freeze();
    load_snapshot();
    op.pending.keep = true;
    call(disk_vhd.revert);
    call(disk_vhd.revert);
    assert_files(".", "a-s1.vhd a.vhd a.vhd-discarded-T");
    assert_data("a.vhd-discarded-T", AFTER);
    RUN("vhd-util", "check", "-n", "a.vhd-discarded-T", "-p");
    assert_reverted();
}

static void the_owner_and_mode_stay(void **state)
{
    struct stat st;

    freeze();
    assert_int_equal(chmod("a.vhd", 0640), 0);
    load_snapshot();
    call(disk_vhd.revert);
    assert_int_equal(stat("a.vhd", &st), 0);
    assert_int_equal(st.st_mode & 07777, 0640);
}

static void assert_not_proved(const char *message)
{
    load_snapshot();
    assert_fails(disk_vhd.prove, XLSNAP_REFUSED, message);
}

static void a_frozen_image_that_is_gone_is_refused(void **state)
{
    freeze();
    assert_int_equal(unlink("a-s1.vhd"), 0);
    assert_not_proved("disk 'xvda': cannot examine '");
}

static void a_frozen_image_that_is_damaged_is_refused(void **state)
{
    freeze();
    assert_int_equal(truncate("a-s1.vhd", 1 << 20), 0);
    assert_not_proved("disk 'xvda': 'vhd-util check' exited with status 22 "
                      "(Invalid argument): ");
}

static void a_frozen_image_that_is_the_disk_is_refused(void **state)
{
    freeze();
    assert_int_equal(unlink("a.vhd"), 0);
    assert_int_equal(link("a-s1.vhd", "a.vhd"), 0);
    assert_not_proved("are the same file: the frozen one is in use as the "
                      "disk");
}

static void a_frozen_image_that_is_served_is_refused(void **state)
{
    cleanup_free char *frozen = NULL;
    cleanup_free char *source = NULL;

    freeze();
    frozen = in_dir("a-s1.vhd");
    source = xasprintf("vhd:%s", frozen);
    RUN("tap-ctl", "create", "-a", source);
    assert_not_proved("is served by tapdisk (pid ");
    free(disk->source);
    disk->source = xstrdup(source);
    served = true;
}

static void a_frozen_image_that_may_be_written_is_refused(void **state)
{
    int fd;

    freeze();
    fd = open("a-s1.vhd", O_RDWR | O_CLOEXEC);
    assert_not_proved("has the frozen file '");
    close(fd);
    call(disk_vhd.prove);
}

static void a_name_to_keep_it_under_that_is_taken_is_refused(void **state)
{
    freeze();
    put("a.vhd-discarded-T", "somebody's");
    op.pending.keep = true;
    free(op.pending.file); /* not a recovery */
    op.pending.file = NULL;
    assert_not_proved("a.vhd-discarded-T' exists already, and nothing is ever "
                      "overwritten");
}

static void a_disk_that_tapdisk_has_is_in_use(void **state)
{
    use_served();
    pause_only(); /* nothing open, and yet */
    assert_fails(disk_vhd.unused, XLSNAP_REFUSED, "is served by tapdisk (pid ");
    end_tapdisk();
    call(disk_vhd.unused);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        VHD(a_revert_can_be_repeated),
        VHD(a_revert_that_was_cut_off_is_gone_on_with),
        VHD(a_disk_that_is_gone_comes_back),
        VHD(what_is_given_up_is_kept),
        VHD(the_owner_and_mode_stay),
        VHD(a_frozen_image_that_is_gone_is_refused),
        VHD(a_frozen_image_that_is_damaged_is_refused),
        VHD(a_frozen_image_that_is_the_disk_is_refused),
        VHD(a_frozen_image_that_is_served_is_refused),
        VHD(a_frozen_image_that_may_be_written_is_refused),
        VHD(a_name_to_keep_it_under_that_is_taken_is_refused),
        VHD(a_disk_that_tapdisk_has_is_in_use),
    };

    use_stand_ins();
    return cmocka_run_group_tests_name("vhd_revert", tests, NULL, NULL);
}
