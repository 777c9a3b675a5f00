/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * disk-qemu-chain-undo.c: the undo of external snapshots when no domain runs,
 * from every state in which a crash can leave the files.
 */
#include "chain_undo_testing.h"

/* How far an external snapshot of a.qcow2 came; each includes those before. */
enum progress {
    NOTHING,
    LINKED,    /* a-s1.qcow2 is a second name of the file */
    OVERLAY,   /* an overlay under a temporary name, the record not knowing */
    PREPARED,  /* the record knows it */
    NAME_AWAY, /* a.qcow2 is no name any more */
    SWITCHED,  /* QEMU has written to the overlay */
    RENAMED,   /* the overlay is a.qcow2 */
    COMMITTED, /* by an undo that was cut off: its data is in the base again */
    NAME_BACK, /* a.qcow2 is the old file */
};

/* Brings a disk there. */
static void make_external(struct disk *disk, enum progress progress)
{
    cleanup_free char *tmp = tmp_of(disk);

    if (progress == LINKED)
        assert_int_equal(link(disk->path, disk->target), 0);
    if (progress >= OVERLAY)
        prepare(disk);
    if (progress == OVERLAY)
        disk->made = (struct file_id){ 0 };
    if (progress >= NAME_AWAY)
        switch_over(disk);
    if (progress >= SWITCHED)
        guest_writes(tmp);
    if (progress >= RENAMED)
        rename_one(tmp, disk->path);
    if (progress >= COMMITTED)
        RUN("qemu-img", "commit", "-q", "-d", "-f", "qcow2", disk->path);
    if (progress >= NAME_BACK)
        rename_one(disk->target, disk->path);
}

/* ---- external: every state ---- */

static void assert_undone_from(enum progress progress)
{
    struct disk *disk = use_external();

    make_external(disk, progress);
    remove_all();
    assert_files(".", "a.qcow2");
    assert_undone(disk, "qcow2", progress >= SWITCHED ? AFTER : BEFORE);
    remove_all(); /* recover was cut off, too, and runs again */
    assert_files(".", "a.qcow2");
    assert_undone(disk, "qcow2", progress >= SWITCHED ? AFTER : BEFORE);
}

static void nothing_is_undone(void **state)
{
    assert_undone_from(NOTHING);
}

static void a_link_is_undone(void **state)
{
    assert_undone_from(LINKED);
}

static void an_overlay_that_no_record_knows_is_undone(void **state)
{
    assert_undone_from(OVERLAY);
}

static void an_overlay_that_waits_is_undone(void **state)
{
    assert_undone_from(PREPARED);
}

static void the_name_is_given_back(void **state)
{
    assert_undone_from(NAME_AWAY);
}

static void what_was_written_before_the_renaming_is_kept(void **state)
{
    assert_undone_from(SWITCHED);
}

static void what_the_guest_wrote_is_kept(void **state)
{
    assert_undone_from(RENAMED);
}

static void a_commit_is_gone_on_with(void **state)
{
    assert_undone_from(COMMITTED);
}

/* Of a merge in QEMU: its names were exchanged, and then QEMU was gone. */
static void an_overlay_that_was_merged_under_the_targets_name_goes(void **state)
{
    struct disk *disk = use_external();

    make_external(disk, COMMITTED);
    rename_one(disk->target, "base");
    rename_one(disk->path, disk->target);
    rename_one("base", disk->path);
    disk->merging = true;
    remove_all();
    assert_files(".", "a.qcow2");
    assert_undone(disk, "qcow2", AFTER);
}

static void what_is_undone_stays_so(void **state)
{
    assert_undone_from(NAME_BACK);
}

static void a_switch_without_any_writing_is_undone(void **state)
{
    struct disk *disk = use_external();

    create(disk);
    remove_all();
    assert_files(".", "a.qcow2");
    assert_undone(disk, "qcow2", BEFORE);
}

/* What was cut off in the middle of `qemu-img create` is no image. */
static void half_an_overlay_is_undone(void **state)
{
    struct disk *disk = use_external();

    make_external(disk, LINKED);
    put(TMP_A, "QFI\xfb");
    remove_all();
    assert_files(".", "a.qcow2");
    assert_undone(disk, "qcow2", BEFORE);
}

static void a_target_in_another_directory_is_undone(void **state)
{
    struct disk *disk;

    make_full_image("a.qcow2");
    assert_int_equal(mkdir("snaps", 0700), 0);
    disk = use_for(XLSNAP_METHOD_EXTERNAL, "a.qcow2", "snaps/frozen");
    make_external(disk, RENAMED);
    assert_files("snaps", "frozen");
    remove_all();
    assert_files("snaps", "");
    assert_files(".", "a.qcow2 snaps");
    assert_undone(disk, "qcow2", AFTER);
}

static void internal_snapshots_survive_an_undo(void **state)
{
    struct disk *disk;

    make_full_image("a.qcow2");
    tag("a.qcow2", "old");
    disk = use_for(XLSNAP_METHOD_EXTERNAL, "a.qcow2", "a-s1.qcow2");
    make_external(disk, RENAMED);
    remove_all();
    assert_int_equal(count_tags("a.qcow2", "old"), 1);
    assert_undone(disk, "qcow2", AFTER);
}

static void a_base_of_the_disk_stays_as_it_is(void **state)
{
    struct disk *disk;

    make_full_image("base.qcow2");
    RUN("qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b",
        "base.qcow2", "a.qcow2");
    disk = use_for(XLSNAP_METHOD_EXTERNAL, "a.qcow2", "a-s1.qcow2");
    make_external(disk, RENAMED);
    remove_all();
    assert_files(".", "a.qcow2 base.qcow2");
    assert_undone(disk, "qcow2", AFTER);
    assert_filled("base.qcow2", BEFORE);
}

static void disks_are_undone_from_different_states(void **state)
{
    struct disk *a = use_external(), *b;

    make_full_image("b.qcow2");
    b = use_for(XLSNAP_METHOD_EXTERNAL, "b.qcow2", "b-s1.qcow2");
    make_external(a, RENAMED);
    make_external(b, SWITCHED);
    remove_all();
    assert_files(".", "a.qcow2 b.qcow2");
    assert_undone(a, "qcow2", AFTER);
    assert_undone(b, "qcow2", AFTER);
}

/* ---- external: files of others ---- */

#define NEITHER                                                          \
    "disk 'xvda': neither '%s/a.qcow2' nor '%s/a-s1.qcow2' is the file " \
    "that the disk was"

static void a_target_that_was_replaced_is_refused(void **state)
{
    cleanup_free char *message = xasprintf(NEITHER, dir, dir);
    struct disk *disk = use_external();

    make_external(disk, RENAMED);
    rename_one("a-s1.qcow2", "moved");
    put("a-s1.qcow2", "another's");
    assert_not_removed(message);
    assert_files(".", "a-s1.qcow2 a.qcow2 moved");
    assert_is("a.qcow2", &disk->made);
    assert_is("moved", &disk->id);
    rename_one("moved", "a-s1.qcow2"); /* and the cure */
    remove_all();
    assert_undone(disk, "qcow2", AFTER);
}

static void a_target_that_is_gone_is_refused(void **state)
{
    cleanup_free char *message = xasprintf(NEITHER, dir, dir);
    struct disk *disk = use_external();

    make_external(disk, RENAMED);
    rename_one("a-s1.qcow2", "moved");
    assert_not_removed(message);
    assert_files(".", "a.qcow2 moved");
    assert_is("a.qcow2", &disk->made);
}

/* What waits under the temporary name may have all the guest's writes. */
static void a_target_replaced_while_the_name_is_away_is_refused(void **state)
{
    cleanup_free char *message = xasprintf(NEITHER, dir, dir);
    struct disk *disk = use_external();

    make_external(disk, SWITCHED);
    rename_one("a-s1.qcow2", "moved");
    put("a-s1.qcow2", "another's");
    assert_not_removed(message);
    assert_files(".", TMP_A " a-s1.qcow2 moved");
    assert_is(TMP_A, &disk->made);
}

static void assert_stranger_refused(const char *files)
{
    struct file_id stranger;

    put("a.qcow2", "another's");
    stranger = id_of("a.qcow2");
    assert_not_removed("a.qcow2'");
    assert_files(".", files);
    assert_is("a.qcow2", &stranger);
    assert_is("a-s1.qcow2", &op.disks[0].id);
}

static void a_file_put_under_the_name_is_not_overwritten(void **state)
{
    make_external(use_external(), SWITCHED);
    assert_stranger_refused(TMP_A " a-s1.qcow2 a.qcow2");
}

static void a_file_put_in_the_overlays_place_is_not_overwritten(void **state)
{
    make_external(use_external(), RENAMED);
    rename_one("a.qcow2", "moved");
    assert_stranger_refused("a-s1.qcow2 a.qcow2 moved");
}

/* No crash does that: someone has moved it away, and the guest's writes. */
static void an_overlay_that_is_gone_is_refused(void **state)
{
    struct disk *disk = use_external();

    make_external(disk, RENAMED);
    rename_one("a.qcow2", "moved");
    assert_not_removed("a.qcow2'");
    assert_files(".", "a-s1.qcow2 moved");
    assert_is("a-s1.qcow2", &disk->id);
}

/* It is not known what it points to; never what a rename may replace. */
static void a_link_to_nowhere_is_not_overwritten(void **state)
{
    struct disk *disk = use_external();
    char to[8] = "";

    make_external(disk, SWITCHED);
    assert_int_equal(symlink("nowhere", "a.qcow2"), 0);
    assert_not_removed("a.qcow2'");
    assert_files(".", TMP_A " a-s1.qcow2 a.qcow2");
    assert_int_equal(readlink("a.qcow2", to, sizeof(to)), 7);
    assert_is(TMP_A, &disk->made);
}

static void anothers_target_stays(void **state)
{
    struct disk *disk = use_external();

    put("a-s1.qcow2", "another's"); /* so the link failed */
    remove_all();
    assert_files(".", "a-s1.qcow2 a.qcow2");
    assert_undone(disk, "qcow2", BEFORE);
}

/* Nothing that the guest has written goes before it is in the base. */
static void a_commit_that_fails_leaves_all_as_it_is(void **state)
{
    struct disk *disk = use_external();

    make_external(disk, RENAMED);
    spoil("a-s1.qcow2");
    assert_not_removed("'qemu-img' exited with status 1: ");
    assert_files(".", "a-s1.qcow2 a.qcow2");
    assert_is("a.qcow2", &disk->made);
    assert_is("a-s1.qcow2", &disk->id);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(nothing_is_undone),
        TEST(a_link_is_undone),
        TEST(an_overlay_that_no_record_knows_is_undone),
        TEST(an_overlay_that_waits_is_undone),
        TEST(the_name_is_given_back),
        TEST(what_was_written_before_the_renaming_is_kept),
        TEST(what_the_guest_wrote_is_kept),
        TEST(a_commit_is_gone_on_with),
        TEST(an_overlay_that_was_merged_under_the_targets_name_goes),
        TEST(what_is_undone_stays_so),
        TEST(a_switch_without_any_writing_is_undone),
        TEST(half_an_overlay_is_undone),
        TEST(a_target_in_another_directory_is_undone),
        TEST(internal_snapshots_survive_an_undo),
        TEST(a_base_of_the_disk_stays_as_it_is),
        TEST(disks_are_undone_from_different_states),
        TEST(a_target_that_was_replaced_is_refused),
        TEST(a_target_that_is_gone_is_refused),
        TEST(a_target_replaced_while_the_name_is_away_is_refused),
        TEST(a_file_put_under_the_name_is_not_overwritten),
        TEST(a_file_put_in_the_overlays_place_is_not_overwritten),
        TEST(an_overlay_that_is_gone_is_refused),
        TEST(a_link_to_nowhere_is_not_overwritten),
        TEST(anothers_target_stays),
        TEST(a_commit_that_fails_leaves_all_as_it_is),
    };

    return cmocka_run_group_tests_name("chain", tests, NULL, NULL);
}
