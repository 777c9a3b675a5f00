/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * disk-vhd*.c: snapshots of VHD images, undone from every state in which a
 * crash can leave them, with and without a tapdisk.
 */
#include "vhd_testing.h"

/* ---- create ---- */

static void the_frozen_image_is_target_and_the_name_the_childs(void **state)
{
    cleanup_free char *target = NULL;
    struct xlsnap_error err = { 0 };

    use_served();
    create();
    assert_files(".", "a-s1.vhd a.vhd");
    assert_is("a-s1.vhd", &disk->id);
    assert_is("a.vhd", &disk->made);
    assert_true(file_id_equal(&op.pending.disks[0].made, &disk->made));
    assert_goes_on(&disk->made);
    write_data("a.vhd", AFTER);
    call(disk_vhd.sync);
    assert_data("a-s1.vhd", BEFORE);
    assert_int_equal(vhd_check_parent(disk->path, disk->target, &err), 0);
}

static void a_child_of_an_empty_child_has_that_as_parent(void **state)
{
    cleanup_free char *empty = in_dir("empty.vhd");
    cleanup_free char *child = in_dir("child.vhd");
    struct xlsnap_error err = { 0 };

    use_vhd();
    RUN("vhd-util", "snapshot", "-n", "empty.vhd", "-p", "a.vhd", "-e");
    assert_int_equal(vhd_snapshot(child, empty, &err), 0);
    assert_int_equal(vhd_check_parent(child, empty, &err), 0);
}

static void a_name_that_is_taken_is_not_overwritten(void **state)
{
    use_served();
    call(disk_vhd.check);
    put(TMP, "another's");
    assert_fails(disk_vhd.prepare, XLSNAP_FAILED, TMP "' exists already");
}

static void a_snapshot_that_fails_is_told(void **state)
{
    use_served();
    call(disk_vhd.check);
    make_fail("vhd-util snapshot 28\n");
    assert_fails(disk_vhd.prepare, XLSNAP_FAILED,
                 "disk 'xvda': 'vhd-util snapshot' exited with status 28 (No "
                 "space left on device)");
    unlink("state/tapdisks/fail");
    call(disk_vhd.rescue);
    assert_goes_on(&disk->id);
    call(disk_vhd.remove);
    assert_files(".", "a.vhd");
    assert_goes_on(&disk->id);
}

static void a_pause_that_fails_leaves_all_as_it_is(void **state)
{
    use_served();
    call(disk_vhd.check);
    call(disk_vhd.prepare);
    make_fail("tap-ctl pause 5\n");
    assert_fails(disk_vhd.create, XLSNAP_FAILED,
                 "'tap-ctl pause' exited with status 5 (Input/output error)");
    unlink("state/tapdisks/fail");
    call(disk_vhd.rescue);
    assert_goes_on(&disk->id);
    call(disk_vhd.remove);
    assert_files(".", "a.vhd");
    assert_goes_on(&disk->id);
}

/* ---- rescue ---- */

static void a_death_before_the_rename_is_rescued(void **state)
{
    use_served();
    call(disk_vhd.check);
    call(disk_vhd.prepare);
    pause_only();
    call(disk_vhd.rescue);
    assert_goes_on(&disk->id);
    call(disk_vhd.rescue);
    assert_goes_on(&disk->id);
}

static void a_death_after_the_rename_is_rescued(void **state)
{
    use_served();
    call(disk_vhd.check);
    call(disk_vhd.prepare);
    pause_only();
    assert_int_equal(rename(TMP, "a.vhd"), 0);
    call(disk_vhd.rescue);
    assert_goes_on(&disk->made);
    assert_goes_on(&disk->id);
    assert_data("a.vhd", BEFORE);
}

static void a_snapshot_that_is_made_is_not_touched(void **state)
{
    use_served();
    create();
    call(disk_vhd.rescue);
    assert_goes_on(&disk->made);
    assert_files(".", "a-s1.vhd a.vhd");
}

/* It is folded back, or the guest would wait for ever. */
static void a_child_that_cannot_be_opened_is_given_up(void **state)
{
    use_served();
    call(disk_vhd.check);
    call(disk_vhd.prepare);
    pause_only();
    assert_int_equal(rename(TMP, "a.vhd"), 0);
    assert_int_equal(truncate("a.vhd", 1 << 20), 0); /* no footer */
    call(disk_vhd.rescue);
    assert_goes_on(&disk->id);
    assert_files(".", "a.vhd");
    call(disk_vhd.remove);
    assert_data("a.vhd", BEFORE);
}

/* Once snapshot.cfg is there, nothing is given up. */
static void a_published_snapshot_is_not_given_up(void **state)
{
    use_served();
    call(disk_vhd.check);
    call(disk_vhd.prepare);
    pause_only();
    free(op.pending.config_path);
    op.pending.config_path = in_dir("a.vhd");
    assert_int_equal(rename(TMP, "a.vhd"), 0);
    make_fail("tap-ctl unpause 22\n");
    assert_fails(disk_vhd.rescue, XLSNAP_FAILED,
                 "disk 'xvda': 'tap-ctl unpause' exited with status 22");
    assert_files(".", "a-s1.vhd a.vhd");
    unlink("state/tapdisks/fail");
    call(disk_vhd.rescue);
    assert_goes_on(&disk->made);
}

/* ---- undo, tapdisk serving the disk ---- */

static void what_was_only_prepared_is_undone(void **state)
{
    use_served();
    call(disk_vhd.check);
    call(disk_vhd.prepare);
    call(disk_vhd.remove);
    assert_files(".", "a.vhd");
    assert_goes_on(&disk->id);
}

static void what_the_guest_wrote_is_kept(void **state)
{
    use_served();
    create();
    write_data("a.vhd", AFTER);
    call(disk_vhd.remove);
    assert_files(".", "a.vhd");
    assert_is("a.vhd", &disk->id);
    assert_goes_on(&disk->id);
    assert_data("a.vhd", AFTER);
    call(disk_vhd.remove);
    assert_data("a.vhd", AFTER);
}

static void a_coalesce_that_fails_loses_nothing(void **state)
{
    use_served();
    create();
    write_data("a.vhd", AFTER);
    make_fail("vhd-util coalesce 28\n");
    assert_fails(disk_vhd.remove, XLSNAP_FAILED,
                 "disk 'xvda': 'vhd-util coalesce' exited with status 28 (No "
                 "space left on device)");
    assert_goes_on(&disk->made);
    assert_data("a.vhd", AFTER);
    unlink("state/tapdisks/fail");
    call(disk_vhd.remove);
    assert_goes_on(&disk->id);
    assert_data("a.vhd", AFTER);
    assert_files(".", "a.vhd");
}

/* The undo was cut off with tapdisk paused. */
static void an_undo_is_gone_on_with(bool coalesced, bool renamed)
{
    use_served();
    create();
    write_data("a.vhd", AFTER);
    pause_only();
    if (coalesced)
        RUN("vhd-util", "coalesce", "-n", "a.vhd");
    if (renamed)
        assert_int_equal(rename("a-s1.vhd", "a.vhd"), 0);
    call(disk_vhd.remove);
    assert_files(".", "a.vhd");
    assert_goes_on(&disk->id);
    assert_data("a.vhd", AFTER);
}

static void an_undo_cut_off_after_the_pause(void **state)
{
    an_undo_is_gone_on_with(false, false);
}

static void an_undo_cut_off_after_the_coalesce(void **state)
{
    an_undo_is_gone_on_with(true, false);
}

static void an_undo_cut_off_after_the_rename(void **state)
{
    an_undo_is_gone_on_with(true, true);
}

/* ---- undo, no domain ---- */

enum progress {
    NOTHING,
    LINKED,
    CHILD, /* under a temporary name, the record not knowing */
    PREPARED,
    SWITCHED,
    COALESCED,
    NAME_BACK,
};

static void assert_undone_from(enum progress progress)
{
    bool written = progress >= SWITCHED;

    use_served();
    if (progress == LINKED)
        assert_int_equal(link("a.vhd", "a-s1.vhd"), 0);
    if (progress >= CHILD) {
        call(disk_vhd.check);
        call(disk_vhd.prepare);
    }
    if (progress == CHILD)
        memset(&disk->made, 0, sizeof(disk->made));
    if (progress >= SWITCHED) {
        call(disk_vhd.create);
        write_data("a.vhd", AFTER);
    }
    end_tapdisk();
    if (progress >= COALESCED)
        RUN("vhd-util", "coalesce", "-n", "a.vhd");
    if (progress >= NAME_BACK)
        assert_int_equal(rename("a-s1.vhd", "a.vhd"), 0);
    op.dom.domid = DOMAIN_NONE;
    for (int again = 0; again < 2; again++) {
        call(disk_vhd.remove);
        assert_files(".", "a.vhd");
        assert_is("a.vhd", &disk->id);
        assert_data("a.vhd", written ? AFTER : BEFORE);
        RUN("vhd-util", "check", "-n", "a.vhd");
    }
}

static void nothing_is_undone(void **state)
{
    assert_undone_from(NOTHING);
}

static void a_link_is_undone(void **state)
{
    assert_undone_from(LINKED);
}

static void a_child_that_no_record_knows_is_undone(void **state)
{
    assert_undone_from(CHILD);
}

static void a_child_that_waits_is_undone(void **state)
{
    assert_undone_from(PREPARED);
}

static void a_switch_is_undone(void **state)
{
    assert_undone_from(SWITCHED);
}

static void a_coalesced_child_is_undone(void **state)
{
    assert_undone_from(COALESCED);
}

static void what_is_undone_stays_so(void **state)
{
    assert_undone_from(NAME_BACK);
}

static void half_a_child_is_undone(void **state)
{
    use_vhd();
    assert_int_equal(link("a.vhd", "a-s1.vhd"), 0);
    put(TMP, "conec");
    call(disk_vhd.remove);
    assert_files(".", "a.vhd");
    assert_data("a.vhd", BEFORE);
}

/* A record is all that is known of others' files. */
static void a_target_that_was_replaced_is_refused(void **state)
{
    use_served();
    create();
    write_data("a.vhd", AFTER);
    end_tapdisk();
    op.dom.domid = DOMAIN_NONE;
    assert_int_equal(rename("a-s1.vhd", "moved"), 0);
    put("a-s1.vhd", "another's");
    assert_fails(disk_vhd.remove, XLSNAP_FAILED,
                 "a-s1.vhd' is the file that the disk was");
    assert_files(".", "a-s1.vhd a.vhd moved");
    assert_is("a.vhd", &disk->made);
}

static void a_file_put_under_the_name_stays(void **state)
{
    use_served();
    create();
    end_tapdisk();
    op.dom.domid = DOMAIN_NONE;
    assert_int_equal(rename("a.vhd", "moved"), 0);
    put("a.vhd", "another's");
    assert_fails(disk_vhd.remove, XLSNAP_FAILED,
                 "a.vhd' is no longer the file it was");
    assert_files(".", "a-s1.vhd a.vhd moved");
}

/* The parent was changed behind our back: nothing may be merged there. */
static void a_child_of_another_image_is_not_coalesced(void **state)
{
    use_served();
    create();
    end_tapdisk();
    op.dom.domid = DOMAIN_NONE;
    RUN("vhd-util", "create", "-n", "other", "-s", "1");
    RUN("vhd-util", "snapshot", "-n", "a.vhd", "-p", "other", "-e");
    assert_fails(disk_vhd.remove, XLSNAP_FAILED,
                 "disk 'xvda': the parent of '");
    assert_is("a.vhd", &disk->made);
    assert_is("a-s1.vhd", &disk->id);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        VHD(the_frozen_image_is_target_and_the_name_the_childs),
        VHD(a_child_of_an_empty_child_has_that_as_parent),
        VHD(a_name_that_is_taken_is_not_overwritten),
        VHD(a_snapshot_that_fails_is_told),
        VHD(a_pause_that_fails_leaves_all_as_it_is),
        VHD(a_death_before_the_rename_is_rescued),
        VHD(a_death_after_the_rename_is_rescued),
        VHD(a_snapshot_that_is_made_is_not_touched),
        VHD(a_child_that_cannot_be_opened_is_given_up),
        VHD(a_published_snapshot_is_not_given_up),
        VHD(what_was_only_prepared_is_undone),
        VHD(what_the_guest_wrote_is_kept),
        VHD(a_coalesce_that_fails_loses_nothing),
        VHD(an_undo_cut_off_after_the_pause),
        VHD(an_undo_cut_off_after_the_coalesce),
        VHD(an_undo_cut_off_after_the_rename),
        VHD(nothing_is_undone),
        VHD(a_link_is_undone),
        VHD(a_child_that_no_record_knows_is_undone),
        VHD(a_child_that_waits_is_undone),
        VHD(a_switch_is_undone),
        VHD(a_coalesced_child_is_undone),
        VHD(what_is_undone_stays_so),
        VHD(half_a_child_is_undone),
        VHD(a_target_that_was_replaced_is_refused),
        VHD(a_file_put_under_the_name_stays),
        VHD(a_child_of_another_image_is_not_coalesced),
    };

    use_stand_ins();
    return cmocka_run_group_tests_name("vhd", tests, NULL, NULL);
}
