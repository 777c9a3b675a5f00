/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * disk-qemu-chain-undo.c: the undo of overlays when no domain runs, from every
 * state in which a crash, or a guest that was started since, can leave them.
 */
#include "chain_undo_testing.h"
#include "disk-qemu-chain.h"

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

/* Before it commits, the owner of the overlay puts another base into its header. */
static void use_late_rebase(void)
{
    cleanup_free char *path = xasprintf("%s/bin:%s", dir, getenv("PATH"));

    assert_int_equal(mkdir("bin", 0700), 0);
    put("bin/qemu-img",
        "#!/bin/sh\n"
        "PATH=${PATH#*:}\n"
        "if [ \"$1\" = commit ]; then\n"
        "qemu-img rebase -q -u -F qcow2 -b other.qcow2 t.qcow2 || exit 99\n"
        ": >rebased\n"
        "fi\n"
        "exec qemu-img \"$@\"\n");
    assert_int_equal(chmod("bin/qemu-img", 0700), 0);
    setenv("PATH", path, 1);
}

static void what_is_committed_goes_to_the_base_that_was_looked_at(void **state)
{
    cleanup_free char *overlay = in_dir("t.qcow2"), *path = NULL;
    struct xlsnap_error err = { 0 };
    struct disk *disk;

    make_full_image("a.qcow2");
    make_full_image("other.qcow2");
    disk = use_for(XLSNAP_METHOD_OVERLAY, "a.qcow2", "t.qcow2");
    make_overlay(disk, OVERLAY_SWITCHED);
    fill("t.qcow2", AFTER);
    path = xstrdup(getenv("PATH"));
    use_late_rebase();
    if (chain_commit_offline(disk, overlay, &err))
        fail_msg("%s", err.msg);
    setenv("PATH", path, 1);
    assert_int_equal(access("rebased", F_OK), 0);
    assert_filled("a.qcow2", AFTER);
    assert_filled("other.qcow2", BEFORE);
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
        TEST(what_is_committed_goes_to_the_base_that_was_looked_at),
        TEST(an_overlay_that_cannot_be_read_is_kept),
        TEST(an_overlay_that_cannot_be_committed_stays),
    };

    return cmocka_run_group_tests_name("chain_overlay", tests, NULL, NULL);
}
