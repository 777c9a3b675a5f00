/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * disk-qemu-chain-undo.c: the undo of external snapshots and overlays when no
 * domain runs, from every state in which a crash can leave the files.
 */
#include "chain_testing.h"

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

static void rename_one(const char *from, const char *to)
{
    if (rename(from, to))
        fail_msg("'%s' to '%s': %s", from, to, strerror(errno));
}

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

static void remove_all(void)
{
    struct xlsnap_error err = { 0 };

    if (disk_qemu.remove(&op, &group, &err))
        fail_msg("%s", err.msg);
    assert_int_equal(err.code, 0);
}

static void assert_refused_to_remove(const char *message)
{
    struct xlsnap_error err = { 0 };

    assert_int_equal(disk_qemu.remove(&op, &group, &err), -XLSNAP_REFUSED);
    if (!strstr(err.msg, message))
        assert_string_equal(err.msg, message);
}

static void assert_not_removed(const char *message)
{
    struct xlsnap_error err = { 0 };

    assert_int_equal(disk_qemu.remove(&op, &group, &err), -XLSNAP_FAILED);
    if (!strstr(err.msg, message))
        assert_string_equal(err.msg, message);
}

/* The disk is the file it was, whole, with that at its beginning. */
static void assert_undone(const struct disk *disk, const char *format,
                          const char *first)
{
    struct stat st;

    assert_is(disk->source, &disk->id);
    assert_int_equal(stat(disk->source, &st), 0);
    assert_int_equal(st.st_nlink, 1);
    assert_data(disk->source, format, first);
    if (!strcmp(format, "qcow2"))
        RUN("qemu-img", "check", "-q", "-f", format, disk->source);
}

static struct disk *use_external(void)
{
    make_full_image("a.qcow2");
    return use_for(XLSNAP_METHOD_EXTERNAL, "a.qcow2", "a-s1.qcow2");
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

/* A commit cannot even begin. */
static void spoil(const char *file)
{
    int fd = open(file, O_WRONLY | O_CLOEXEC);

    assert_int_equal(pwrite(fd, "X", 1, 0), 1);
    close(fd);
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

/* ---- overlay ---- */

/* How far the overlay t.qcow2 of a disk came. */
enum overlay_progress {
    OVERLAY_NOTHING,
    OVERLAY_TMP,      /* under a temporary name, the record not knowing */
    OVERLAY_RECORDED, /* the record knows it */
    OVERLAY_NAMED,    /* it is t.qcow2 */
    OVERLAY_SWITCHED, /* QEMU has written to it */
    OVERLAY_COMMITTED,
};

static void make_overlay(struct disk *disk, enum overlay_progress progress)
{
    if (progress >= OVERLAY_TMP)
        prepare(disk);
    if (progress == OVERLAY_TMP || progress == OVERLAY_RECORDED)
        rename_one(disk->target, TMP_A);
    if (progress == OVERLAY_TMP)
        disk->made = (struct file_id){ 0 };
    if (progress >= OVERLAY_SWITCHED)
        guest_writes(disk->target);
    if (progress >= OVERLAY_COMMITTED)
        RUN("qemu-img", "commit", "-q", "-d", "-f", "qcow2", disk->target);
}

static void assert_overlay_undone_from(enum overlay_progress progress)
{
    const char *first = progress >= OVERLAY_SWITCHED ? AFTER : BEFORE;
    struct disk *disk;

    make_full_image("a.qcow2");
    disk = use_for(XLSNAP_METHOD_OVERLAY, "a.qcow2", "t.qcow2");
    make_overlay(disk, progress);
    remove_all();
    assert_files(".", "a.qcow2");
    assert_undone(disk, "qcow2", first);
    remove_all();
    assert_files(".", "a.qcow2");
    assert_undone(disk, "qcow2", first);
}

static void no_overlay_is_undone(void **state)
{
    assert_overlay_undone_from(OVERLAY_NOTHING);
}

static void an_overlay_without_record_is_undone(void **state)
{
    assert_overlay_undone_from(OVERLAY_TMP);
}

static void an_overlay_without_its_name_is_undone(void **state)
{
    assert_overlay_undone_from(OVERLAY_RECORDED);
}

static void an_empty_overlay_is_undone(void **state)
{
    assert_overlay_undone_from(OVERLAY_NAMED);
}

static void what_the_guest_wrote_to_an_overlay_is_kept(void **state)
{
    assert_overlay_undone_from(OVERLAY_SWITCHED);
}

static void the_commit_of_an_overlay_is_gone_on_with(void **state)
{
    op.disks[0].merging = true; /* the record says that it had begun */
    assert_overlay_undone_from(OVERLAY_COMMITTED);
}

static void the_overlay_of_a_raw_image_is_undone(void **state)
{
    struct disk *disk;

    make_full_image("a.qcow2");
    RUN("qemu-img", "convert", "-f", "qcow2", "-O", "raw", "a.qcow2", "a.raw");
    disk = use_for(XLSNAP_METHOD_OVERLAY, "a.raw", "t.qcow2");
    disk->format = LIBXL_DISK_FORMAT_RAW;
    make_overlay(disk, OVERLAY_SWITCHED);
    assert_data("a.raw", "raw", BEFORE);
    remove_all();
    assert_files(".", "a.qcow2 a.raw");
    assert_undone(disk, "raw", AFTER);
}

static void the_overlay_of_a_vhd_is_undone(void **state)
{
    struct disk *disk;

    make_full_image("a.qcow2");
    RUN("qemu-img", "convert", "-f", "qcow2", "-O", "vpc", "-o",
        "force_size=on", "a.qcow2", "a.vhd");
    disk = use_for(XLSNAP_METHOD_OVERLAY, "a.vhd", "t.qcow2");
    disk->format = LIBXL_DISK_FORMAT_VHD;
    make_overlay(disk, OVERLAY_SWITCHED);
    remove_all();
    assert_files(".", "a.qcow2 a.vhd");
    assert_undone(disk, "vpc", AFTER);
}

static void an_overlay_in_another_directory_is_undone(void **state)
{
    cleanup_free char *tmp = NULL;
    struct disk *disk;

    make_full_image("a.qcow2");
    assert_int_equal(mkdir("new", 0700), 0);
    disk = use_for(XLSNAP_METHOD_OVERLAY, "a.qcow2", "new/t.qcow2");
    make_overlay(disk, OVERLAY_SWITCHED);
    put("new/" TMP_A, "half"); /* of an earlier try */
    remove_all();
    assert_files("new", "");
    assert_files(".", "a.qcow2 new");
    assert_undone(disk, "qcow2", AFTER);
}

static void anothers_file_in_place_of_an_overlay_stays(void **state)
{
    struct disk *disk;

    make_full_image("a.qcow2");
    disk = use_for(XLSNAP_METHOD_OVERLAY, "a.qcow2", "t.qcow2");
    make_overlay(disk, OVERLAY_RECORDED);
    put("t.qcow2", "another's"); /* so the renaming failed */
    remove_all();
    assert_files(".", "a.qcow2 t.qcow2");
    assert_undone(disk, "qcow2", BEFORE);
}

/* A merge that was cut off, and then a reboot of the host, which started the
 * guest on the base. */
static void an_overlay_whose_base_runs_since_the_reboot_is_kept(void **state)
{
    struct disk *disk;

    make_full_image("a.qcow2");
    disk = use_for(XLSNAP_METHOD_OVERLAY, "a.qcow2", "t.qcow2");
    make_overlay(disk, OVERLAY_SWITCHED);
    guest_writes("t.qcow2");
    disk->merging = true;
    free(op.pending.boot_id);
    op.pending.boot_id = xstrdup("another");
    assert_refused_to_remove("choose one");
    assert_files(".", "a.qcow2 t.qcow2");
}

static void an_overlay_that_was_used_after_its_merge_is_merged_again(
    void **state)
{
    struct disk *disk;

    make_full_image("a.qcow2");
    disk = use_for(XLSNAP_METHOD_OVERLAY, "a.qcow2", "t.qcow2");
    make_overlay(disk, OVERLAY_SWITCHED);
    guest_writes("t.qcow2");
    disk->merging = disk->merged = true;
    remove_all();
    assert_undone(disk, "qcow2", AFTER);
}

/* qemu-img would write to it. */
static void an_overlay_on_another_base_is_not_committed(void **state)
{
    struct disk *disk;

    make_full_image("a.qcow2");
    make_full_image("other.qcow2");
    disk = use_for(XLSNAP_METHOD_OVERLAY, "a.qcow2", "t.qcow2");
    make_overlay(disk, OVERLAY_SWITCHED);
    RUN("qemu-img", "rebase", "-q", "-u", "-F", "qcow2", "-b", "other.qcow2",
        "t.qcow2");
    assert_not_removed("other.qcow2', which is not what the disk was");
    assert_files(".", "a.qcow2 other.qcow2 t.qcow2");
}

static void an_overlay_that_cannot_be_read_is_kept(void **state)
{
    struct disk *disk;

    make_full_image("a.qcow2");
    disk = use_for(XLSNAP_METHOD_EXTERNAL, "a.qcow2", "a-s1.qcow2");
    prepare(disk);
    spoil(".xl-snapshot." TOKEN ".xvda");
    assert_not_removed("cannot be read, so nobody knows whether the guest has "
                       "written to it");
}

static void an_overlay_that_cannot_be_committed_stays(void **state)
{
    struct disk *disk;

    make_full_image("a.qcow2");
    disk = use_for(XLSNAP_METHOD_OVERLAY, "a.qcow2", "t.qcow2");
    make_overlay(disk, OVERLAY_SWITCHED);
    spoil("a.qcow2");
    RUN("touch", "t.qcow2"); /* or the base would be the newer one */
    assert_not_removed("'qemu-img' exited with status 1: ");
    assert_files(".", "a.qcow2 t.qcow2");
    assert_is("t.qcow2", &disk->made);
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
        TEST(no_overlay_is_undone),
        TEST(an_overlay_without_record_is_undone),
        TEST(an_overlay_without_its_name_is_undone),
        TEST(an_empty_overlay_is_undone),
        TEST(what_the_guest_wrote_to_an_overlay_is_kept),
        TEST(the_commit_of_an_overlay_is_gone_on_with),
        TEST(the_overlay_of_a_raw_image_is_undone),
        TEST(the_overlay_of_a_vhd_is_undone),
        TEST(an_overlay_in_another_directory_is_undone),
        TEST(anothers_file_in_place_of_an_overlay_stays),
        TEST(an_overlay_whose_base_runs_since_the_reboot_is_kept),
        TEST(an_overlay_that_was_used_after_its_merge_is_merged_again),
        TEST(an_overlay_on_another_base_is_not_committed),
        TEST(an_overlay_that_cannot_be_read_is_kept),
        TEST(an_overlay_that_cannot_be_committed_stays),
    };

    return cmocka_run_group_tests_name("chain", tests, NULL, NULL);
}
