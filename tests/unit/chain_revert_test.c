/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * disk-qemu-chain-revert.c: going back to external snapshots and overlays, of real
 * images.
 */
#include "chain_testing.h"

/* A snapshot of a.qcow2 as a-s1.qcow2; the guest has written since. */
static void make_external(void)
{
    struct disk *disk;

    make_full_image("a.qcow2");
    disk = use_for(XLSNAP_METHOD_EXTERNAL, "a.qcow2", "a-s1.qcow2");
    create(disk);
    guest_writes("a.qcow2");
}

/* The same, with a.qcow2 frozen under its name and t.qcow2 the overlay. */
static void make_overlay(void)
{
    struct disk *disk;

    make_full_image("a.qcow2");
    disk = use_for(XLSNAP_METHOD_OVERLAY, "a.qcow2", "t.qcow2");
    create(disk);
    guest_writes("t.qcow2");
}

static void assert_base(const char *file, const char *name, const char *format)
{
    struct json *root;
    const struct json *image = image_info(file, &root);

    assert_string_equal(json_get_string(image, "backing-filename"), name);
    assert_string_equal(json_get_string(image, "backing-filename-format"),
                        format);
    json_free(root);
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

/* ---- names ---- */

static void a_base_beside_it_is_named_relative(void **state)
{
    make_external();
    assert_base("a.qcow2", "a-s1.qcow2", "qcow2"); /* by create, too */
    revert();
    assert_base("a.qcow2", "a-s1.qcow2", "qcow2");
}

static void a_base_beside_an_overlay_is_named_relative(void **state)
{
    make_overlay();
    assert_base("t.qcow2", "a.qcow2", "qcow2");
    revert();
    assert_base("t.qcow2", "a.qcow2", "qcow2");
}

static void a_base_elsewhere_is_named_absolute(void **state)
{
    cleanup_free char *name = in_dir("snaps/frozen");
    struct disk *disk;

    make_full_image("a.qcow2");
    assert_int_equal(mkdir("snaps", 0700), 0);
    disk = use_for(XLSNAP_METHOD_EXTERNAL, "a.qcow2", "snaps/frozen");
    create(disk);
    assert_base("a.qcow2", name, "qcow2");
    revert();
    assert_base("a.qcow2", name, "qcow2");
    assert_filled("a.qcow2", BEFORE);
}

static void a_base_of_an_overlay_elsewhere_is_named_absolute(void **state)
{
    cleanup_free char *name = in_dir("a.qcow2");
    struct disk *disk;

    make_full_image("a.qcow2");
    assert_int_equal(mkdir("new", 0700), 0);
    disk = use_for(XLSNAP_METHOD_OVERLAY, "a.qcow2", "new/t.qcow2");
    create(disk);
    assert_base("new/t.qcow2", name, "qcow2");
    revert();
    assert_base("new/t.qcow2", name, "qcow2");
    assert_filled("new/t.qcow2", BEFORE);
}

static void the_directory_can_be_moved(void **state)
{
    struct disk *disk;

    assert_int_equal(mkdir("images", 0700), 0);
    make_full_image("images/a.qcow2");
    disk =
        use_for(XLSNAP_METHOD_EXTERNAL, "images/a.qcow2", "images/a-s1.qcow2");
    create(disk);
    revert();
    assert_int_equal(rename("images", "elsewhere"), 0);
    assert_filled("elsewhere/a.qcow2", BEFORE);
    guest_writes("elsewhere/a.qcow2");
    assert_data("elsewhere/a.qcow2", "qcow2", AFTER);
}

/* QEMU takes a relative name as from the directory of the name it is given. */
static void a_disk_known_by_a_symbolic_link_finds_its_base(void **state)
{
    struct disk *disk;

    assert_int_equal(mkdir("images", 0700), 0);
    make_full_image("images/a.qcow2");
    assert_int_equal(symlink("images/a.qcow2", "name"), 0);
    disk = use_for(XLSNAP_METHOD_EXTERNAL, "name", "images/a-s1.qcow2");
    create(disk);
    assert_filled("name", BEFORE);
    guest_writes("name");
    revert();
    assert_filled("name", BEFORE);
    assert_filled("images/a.qcow2", BEFORE);
    assert_files(".", "images name");
    assert_files("images", "a-s1.qcow2 a.qcow2");
}

static void a_directory_known_by_a_symbolic_link_can_be_moved(void **state)
{
    struct disk *disk;

    assert_int_equal(mkdir("images", 0700), 0);
    make_full_image("images/a.qcow2");
    assert_int_equal(symlink("images", "link"), 0);
    disk = use_for(XLSNAP_METHOD_EXTERNAL, "link/a.qcow2", "link/a-s1.qcow2");
    create(disk);
    revert();
    assert_base("link/a.qcow2", "a-s1.qcow2", "qcow2");
    assert_filled("link/a.qcow2", BEFORE);
}

/* In a directory of its own: such a name is all that it is known by. */
static void assert_name_works(enum xlsnap_method method, const char *name)
{
    bool external = method == XLSNAP_METHOD_EXTERNAL;
    cleanup_free char *target = xasprintf("%s.s1", name);
    cleanup_free char *active = NULL;

    assert_int_equal(teardown(NULL) || setup(NULL), 0);
    make_full_image("image");
    assert_int_equal(rename("image", name), 0);
    create(use_for(method, name, target));
    active = in_dir(external ? name : target);
    guest_writes(active);
    revert();
    assert_filled(active, BEFORE);
}

/* Those in which QEMU could see a protocol, an option or an end. */
static void no_character_of_a_name_means_anything(void **state)
{
    const char *const names[] = {
        "a,b=c.qcow2",
        "it's \"x\"",
        "two  words ",
        "50%20\\%s",
        "line\nbreak",
        "json:{\"driver\": \"nbd\"}",
        "nbd:localhost:1",
        "-l",
        "{}[]#?&;|$HOME`id`*",
        "fat:\xc3\xa4\xf0\x9f\x98\x80",
        "tab\t\x01",
        "file.driver=raw,,x",
        "file:x",
        "2026-01-31T12:00",
    };

    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        assert_name_works(XLSNAP_METHOD_EXTERNAL, names[i]);
        assert_name_works(XLSNAP_METHOD_OVERLAY, names[i]);
    }
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

static void what_was_kept_before_a_crash_is_enough(void **state)
{
    make_external();
    op.pending.keep = true;
    assert_int_equal(link("a.qcow2", KEPT), 0);
    revert();
    assert_files(".", "a-s1.qcow2 a.qcow2 " KEPT);
    assert_data(KEPT, "qcow2", AFTER);
    assert_filled("a.qcow2", BEFORE);
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

/* ---- refusals ---- */

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
        TEST(a_base_beside_it_is_named_relative),
        TEST(a_base_beside_an_overlay_is_named_relative),
        TEST(a_base_elsewhere_is_named_absolute),
        TEST(a_base_of_an_overlay_elsewhere_is_named_absolute),
        TEST(the_directory_can_be_moved),
        TEST(a_disk_known_by_a_symbolic_link_finds_its_base),
        TEST(a_directory_known_by_a_symbolic_link_can_be_moved),
        TEST(no_character_of_a_name_means_anything),
        TEST(owner_and_mode_stay),
        TEST(create_gives_owner_and_mode_of_the_disk),
        TEST(without_the_active_file_they_are_the_frozen_ones),
        TEST(what_is_discarded_is_kept_when_asked),
        TEST(a_discarded_overlay_is_kept_when_asked),
        TEST(what_is_kept_is_kept_once),
        TEST(what_was_kept_before_a_crash_is_enough),
        TEST(a_file_with_internal_snapshots_is_kept_unasked),
        TEST(a_file_that_cannot_be_read_is_kept_unasked),
        TEST(a_missing_active_file_is_made_anew),
        TEST(a_missing_overlay_is_made_anew),
        TEST(what_an_earlier_try_left_is_made_anew),
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

    return cmocka_run_group_tests_name("chain_revert", tests, NULL, NULL);
}
