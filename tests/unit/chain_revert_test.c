/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * disk-qemu-chain-revert.c: going back to external snapshots and overlays, of
 * real images: the data, owner and mode, what is kept, and what a revert that
 * was cut off has left.
 */
#include <sys/syscall.h>

#include "chain_revert_testing.h"

static bool no_links; /* as on a file system without hard links */

int link(const char *from, const char *to)
{
    if (no_links && access(to, F_OK)) {
        errno = EPERM;
        return -1;
    }
    return syscall(SYS_linkat, AT_FDCWD, from, AT_FDCWD, to, 0);
}

static void assert_owner(const char *file, uid_t uid, gid_t gid, mode_t mode)
{
    struct stat st;

    assert_int_equal(stat(file, &st), 0);
    assert_int_equal(st.st_uid, uid);
    assert_int_equal(st.st_gid, gid);
    assert_int_equal(st.st_mode & 07777, mode);
}

/* ---- what it does ---- */

static void a_revert_brings_the_data_back(void **state)
{
    struct file_id frozen, active;

    make_external();
    frozen = id_of("a-s1.qcow2");
    active = id_of("a.qcow2");
    assert_data("a.qcow2", "qcow2", AFTER);
    revert();
    assert_files(".", "a-s1.qcow2 a.qcow2");
    assert_filled("a.qcow2", BEFORE);
    assert_is("a-s1.qcow2", &frozen);
    assert_false(file_id_equal(&op.disks[0].id, &frozen));
    assert_true(file_id_equal(&op.disks[0].id, &active)); /* that was */
}

static void a_revert_to_below_an_overlay_brings_the_data_back(void **state)
{
    struct file_id frozen;

    make_overlay();
    frozen = id_of("a.qcow2");
    assert_data("t.qcow2", "qcow2", AFTER);
    revert();
    assert_files(".", "a.qcow2 t.qcow2");
    assert_filled("t.qcow2", BEFORE);
    assert_is("a.qcow2", &frozen);
}

static void a_revert_can_be_repeated(void **state)
{
    make_external();
    for (int i = 0; i < 3; i++) {
        revert();
        assert_filled("a.qcow2", BEFORE);
        assert_files(".", "a-s1.qcow2 a.qcow2");
        guest_writes("a.qcow2");
    }
    RUN("qemu-img", "check", "-q", "a.qcow2");
}

static void a_revert_of_an_overlay_can_be_repeated(void **state)
{
    make_overlay();
    for (int i = 0; i < 3; i++) {
        revert();
        assert_filled("t.qcow2", BEFORE);
        assert_files(".", "a.qcow2 t.qcow2");
        guest_writes("t.qcow2");
    }
    RUN("qemu-img", "check", "-q", "t.qcow2");
}

/* A later snapshot, which nobody could ask about, may have frozen it. */
static void an_overlay_of_a_domain_that_did_not_run_is_kept(void **state)
{
    make_overlay();
    op.pending.domid = DOMAIN_NONE;
    revert();
    assert_files(".", "a.qcow2 t.qcow2 t.qcow2-discarded-T");
    assert_filled("t.qcow2", BEFORE);
    assert_data("t.qcow2-discarded-T", "qcow2", AFTER);
}

static void the_frozen_file_is_never_written(void **state)
{
    make_external();
    RUN("cp", "a-s1.qcow2", "copy");
    revert();
    guest_writes("a.qcow2");
    revert();
    RUN("cmp", "a-s1.qcow2", "copy");
}

static void all_disks_are_reverted(void **state)
{
    struct disk *a, *b;

    make_full_image("a.qcow2");
    make_full_image("b.qcow2");
    a = use_for(XLSNAP_METHOD_EXTERNAL, "a.qcow2", "a-s1.qcow2");
    b = use_for(XLSNAP_METHOD_OVERLAY, "b.qcow2", "t.qcow2");
    create(a);
    create(b);
    guest_writes("a.qcow2");
    guest_writes("t.qcow2");
    revert();
    assert_filled("a.qcow2", BEFORE);
    assert_filled("t.qcow2", BEFORE);
    assert_files(".", "a-s1.qcow2 a.qcow2 b.qcow2 t.qcow2");
}

static void below_a_raw_image_stays_raw(void **state)
{
    struct disk *disk;

    make_full_image("a.qcow2");
    RUN("qemu-img", "convert", "-f", "qcow2", "-O", "raw", "a.qcow2", "a.raw");
    disk = use_for(XLSNAP_METHOD_OVERLAY, "a.raw", "t.qcow2");
    disk->format = LIBXL_DISK_FORMAT_RAW;
    op.snap.disks[0].source_format = xstrdup("raw");
    create(disk);
    guest_writes("t.qcow2");
    revert();
    assert_filled("t.qcow2", BEFORE);
    assert_base("t.qcow2", "a.raw", "raw");
}

static void the_new_overlay_has_small_clusters(void **state)
{
    const struct json *image;
    struct json *root;

    make_external();
    revert();
    image = image_info("a.qcow2", &root);
    assert_int_equal(json_get_int(image, "cluster-size", 0), 16 << 10);
    assert_false(
        json_get_bool(json_path(image, "format-specific", "data", NULL),
                      "extended-l2", true));
    assert_int_equal(json_get_int(image, "virtual-size", 0), IMAGE_SIZE);
    json_free(root);
}

static void the_size_is_that_of_the_frozen_file(void **state)
{
    const struct json *image;
    struct json *root;

    make_external();
    RUN("qemu-img", "resize", "-q", "-f", "qcow2", "a.qcow2", "3M");
    revert();
    image = image_info("a.qcow2", &root);
    assert_int_equal(json_get_int(image, "virtual-size", 0), IMAGE_SIZE);
    json_free(root);
}

/* ---- owner and mode ---- */

/* Only root can give a file to another. */
#define UID (geteuid() ? geteuid() : 1234)
#define GID (geteuid() ? getegid() : 2345)

static void owner_and_mode_stay(void **state)
{
    make_external();
    assert_int_equal(chown("a.qcow2", UID, GID), 0);
    assert_int_equal(chmod("a.qcow2", 0640), 0);
    revert();
    assert_owner("a.qcow2", UID, GID, 0640);
}

static void create_gives_owner_and_mode_of_the_disk(void **state)
{
    struct disk *disk;

    make_full_image("a.qcow2");
    assert_int_equal(chown("a.qcow2", UID, GID), 0);
    assert_int_equal(chmod("a.qcow2", 0606), 0);
    disk = use_for(XLSNAP_METHOD_EXTERNAL, "a.qcow2", "a-s1.qcow2");
    create(disk);
    assert_owner("a.qcow2", UID, GID, 0606);
    assert_owner("a-s1.qcow2", UID, GID, 0606);
}

static void without_the_active_file_they_are_the_frozen_ones(void **state)
{
    make_external();
    assert_int_equal(chown("a-s1.qcow2", UID, GID), 0);
    assert_int_equal(chmod("a-s1.qcow2", 0640), 0);
    assert_int_equal(unlink("a.qcow2"), 0);
    revert();
    assert_owner("a.qcow2", UID, GID, 0640);
}

/* ---- keep ---- */

#define KEPT "a.qcow2-discarded-T"

static void what_is_discarded_is_kept_when_asked(void **state)
{
    struct file_id active;

    make_external();
    active = id_of("a.qcow2");
    op.pending.keep = true;
    revert();
    assert_files(".", "a-s1.qcow2 a.qcow2 " KEPT);
    assert_is(KEPT, &active);
    assert_data(KEPT, "qcow2", AFTER);
    assert_filled("a.qcow2", BEFORE);
    assert_non_null(strstr(logged, "disk 'xvda': what it was is kept as '"));
    assert_non_null(strstr(logged, KEPT "'\n"));
}

static void a_discarded_overlay_is_kept_when_asked(void **state)
{
    make_overlay();
    op.pending.keep = true;
    revert();
    assert_files(".", "a.qcow2 t.qcow2 t.qcow2-discarded-T");
    assert_data("t.qcow2-discarded-T", "qcow2", AFTER);
    assert_filled("t.qcow2", BEFORE);
}

/* The revert was cut off after it had the name; recover does it again. */
static void what_is_kept_is_kept_once(void **state)
{
    make_external();
    op.pending.keep = true;
    revert();
    logged[0] = '\0';
    revert();
    assert_files(".", "a-s1.qcow2 a.qcow2 " KEPT);
    assert_data(KEPT, "qcow2", AFTER);
    assert_string_equal(logged, "");
}

static void assert_kept_before_a_crash(int (*give_name)(const char *,
                                                        const char *))
{
    make_external();
    op.pending.keep = true;
    assert_int_equal(give_name("a.qcow2", KEPT), 0);
    revert();
    assert_files(".", "a-s1.qcow2 a.qcow2 " KEPT);
    assert_data(KEPT, "qcow2", AFTER);
    assert_filled("a.qcow2", BEFORE);
}

static void what_was_kept_before_a_crash_is_enough(void **state)
{
    assert_kept_before_a_crash(link);
}

static void without_hard_links_it_is_kept_all_the_same(void **state)
{
    struct file_id active;

    make_external();
    active = id_of("a.qcow2");
    op.pending.keep = true;
    no_links = true;
    revert();
    no_links = false;
    assert_files(".", "a-s1.qcow2 a.qcow2 " KEPT);
    assert_is(KEPT, &active);
    assert_data(KEPT, "qcow2", AFTER);
    assert_filled("a.qcow2", BEFORE);
    assert_non_null(strstr(logged, "disk 'xvda': what it was is kept as '"));
}

/* Cut off before the fresh one had the name. */
static void what_was_kept_by_renaming_it_is_not_missed(void **state)
{
    assert_kept_before_a_crash(rename);
}

/* Another revert's tag would have nowhere to go back to. */
static void a_file_with_internal_snapshots_is_kept_unasked(void **state)
{
    make_external();
    tag("a.qcow2", "later");
    revert();
    assert_files(".", "a-s1.qcow2 a.qcow2 " KEPT);
    assert_int_equal(count_tags(KEPT, "later"), 1);
    assert_data(KEPT, "qcow2", AFTER);
    assert_non_null(strstr(logged, KEPT "'\n"));
    revert(); /* the fresh one has none */
    assert_files(".", "a-s1.qcow2 a.qcow2 " KEPT);
    assert_int_equal(count_tags(KEPT, "later"), 1);
}

static void a_file_that_cannot_be_read_is_kept_unasked(void **state)
{
    make_external();
    put("a.qcow2", "no image at all");
    revert();
    assert_files(".", "a-s1.qcow2 a.qcow2 " KEPT);
    assert_filled("a.qcow2", BEFORE);
}

/* ---- after a crash ---- */

static void a_missing_active_file_is_made_anew(void **state)
{
    make_external();
    assert_int_equal(unlink("a.qcow2"), 0);
    op.pending.keep = true; /* there is nothing to keep */
    revert();
    assert_files(".", "a-s1.qcow2 a.qcow2");
    assert_filled("a.qcow2", BEFORE);
    assert_base("a.qcow2", "a-s1.qcow2", "qcow2");
}

static void a_missing_overlay_is_made_anew(void **state)
{
    make_overlay();
    assert_int_equal(unlink("t.qcow2"), 0);
    revert();
    assert_files(".", "a.qcow2 t.qcow2");
    assert_filled("t.qcow2", BEFORE);
}

static void what_an_earlier_try_left_is_made_anew(void **state)
{
    make_external();
    put(TMP_A, "half");
    revert();
    assert_files(".", "a-s1.qcow2 a.qcow2");
    assert_filled("a.qcow2", BEFORE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_revert_brings_the_data_back),
        TEST(a_revert_to_below_an_overlay_brings_the_data_back),
        TEST(a_revert_can_be_repeated),
        TEST(a_revert_of_an_overlay_can_be_repeated),
        TEST(an_overlay_of_a_domain_that_did_not_run_is_kept),
        TEST(the_frozen_file_is_never_written),
        TEST(all_disks_are_reverted),
        TEST(below_a_raw_image_stays_raw),
        TEST(the_new_overlay_has_small_clusters),
        TEST(the_size_is_that_of_the_frozen_file),
        TEST(owner_and_mode_stay),
        TEST(create_gives_owner_and_mode_of_the_disk),
        TEST(without_the_active_file_they_are_the_frozen_ones),
        TEST(what_is_discarded_is_kept_when_asked),
        TEST(a_discarded_overlay_is_kept_when_asked),
        TEST(without_hard_links_it_is_kept_all_the_same),
        TEST(what_was_kept_by_renaming_it_is_not_missed),
        TEST(what_is_kept_is_kept_once),
        TEST(what_was_kept_before_a_crash_is_enough),
        TEST(a_file_with_internal_snapshots_is_kept_unasked),
        TEST(a_file_that_cannot_be_read_is_kept_unasked),
        TEST(a_missing_active_file_is_made_anew),
        TEST(a_missing_overlay_is_made_anew),
        TEST(what_an_earlier_try_left_is_made_anew),
    };

    return cmocka_run_group_tests_name("chain_revert", tests, NULL, NULL);
}
