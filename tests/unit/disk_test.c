/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * disk.c: names of files, which method and driver a disk gets, and calling
 * drivers, here made-up ones.
 */
#include "qemu_testing.h"

/* ---- the names of files ---- */

/* The next disk, without a file. */
static struct disk *made_up(const char *path, const char *target)
{
    struct disk *disk = &op.disks[op.n_disks];

    assert_true(op.n_disks < MAX_DISKS);
    disk->vdev = xasprintf("xvd%c", (int)('a' + op.n_disks++));
    disk->source = xstrdup(path);
    disk->path = xstrdup(path);
    disk->target = xstrdup(target);
    disk->format = LIBXL_DISK_FORMAT_QCOW2;
    disk->backend = LIBXL_DISK_BACKEND_QDISK;
    return disk;
}

static void assert_target(const char *path, const char *target,
                          const char *expected)
{
    struct disk disk = { .path = (char *)path, .target = (char *)target };
    cleanup_free char *found = disk_file_target(&op, &disk);

    assert_string_equal(found, expected);
}

static void the_default_target_has_the_snapshots_name(void **state)
{
    assert_target("/d/a.qcow2", NULL, "/d/a-s1.qcow2");
    assert_target("/d/a.b.qcow2", NULL, "/d/a.b-s1.qcow2");
    assert_target("/d/a.", NULL, "/d/a-s1.");
    assert_target("/a.qcow2", NULL, "/a-s1.qcow2");
}

static void a_disk_without_a_suffix_gets_none(void **state)
{
    assert_target("/d/disk", NULL, "/d/disk-s1");
    assert_target("/d.x/disk", NULL, "/d.x/disk-s1");
    assert_target("/d/.disk", NULL, "/d/.disk-s1");
    assert_target("/disk", NULL, "/disk-s1");
}

static void a_relative_target_is_beside_the_disk(void **state)
{
    assert_target("/d/a.qcow2", "t", "/d/t");
    assert_target("/d/a.qcow2", "./x//t", "/d/x/t");
    assert_target("/d/a.qcow2", "../t", "/d/../t"); /* d may be a symlink */
    assert_target("/a.qcow2", "t", "/t");
}

static void an_absolute_target_stays(void **state)
{
    assert_target("/d/a.qcow2", "/t/u.qcow2", "/t/u.qcow2");
    assert_target("/d/a.qcow2", "//t/./u.qcow2", "/t/u.qcow2");
}

static void a_temporary_name_is_known_to_this_run_only(void **state)
{
    struct disk *a = made_up("/d/a.qcow2", NULL);
    struct disk *b = made_up("/b.qcow2", "/t/b.qcow2");
    cleanup_free char *tmp_a = disk_temporary(&op, a);
    cleanup_free char *tmp_b = disk_temporary(&op, b);

    assert_string_equal(tmp_a, "/d/.xl-snapshot." TOKEN ".xvda");
    assert_string_equal(tmp_b, "//.xl-snapshot." TOKEN ".xvdb");
}

static void assert_bad_target(struct disk *disk, const char *target,
                              const char *message)
{
    struct xlsnap_error err = { 0 };

    free(disk->target);
    disk->target = xstrdup(target);
    assert_int_equal(disk_check_target(&op, disk, &err), -XLSNAP_REFUSED);
    assert_string_equal(err.msg, message);
}

static void a_target_is_no_disk(void **state)
{
    struct disk *a = made_up("/d/a.qcow2", NULL);
    struct disk *b = made_up("/real/b.qcow2", NULL);

    free(b->source);
    b->source = xstrdup("/link/b.qcow2");
    assert_bad_target(a, "/d/a.qcow2",
                      "disk 'xvda': target '/d/a.qcow2' is disk 'xvda' or its "
                      "target, too");
    assert_bad_target(a, "/real/b.qcow2",
                      "disk 'xvda': target '/real/b.qcow2' is disk 'xvdb' or "
                      "its target, too");
    assert_bad_target(a, "/link/b.qcow2",
                      "disk 'xvda': target '/link/b.qcow2' is disk 'xvdb' or "
                      "its target, too");
}

static void two_disks_share_no_target(void **state)
{
    struct disk *a = made_up("/d/a.qcow2", NULL);

    made_up("/d/b.qcow2", "/t");
    assert_bad_target(a, "/t",
                      "disk 'xvda': target '/t' is disk 'xvdb' or its target, "
                      "too");
}

static void a_target_is_no_other_file_of_the_snapshot(void **state)
{
    struct disk *a = made_up("/d/a.qcow2", NULL);

    assert_bad_target(a, "/memory.save",
                      "disk 'xvda': target '/memory.save' is where another "
                      "file of the snapshot goes");
    assert_bad_target(a, "/snapshot.cfg",
                      "disk 'xvda': target '/snapshot.cfg' is where another "
                      "file of the snapshot goes");
}

static void another_target_is_permitted(void **state)
{
    struct xlsnap_error err = { 0 };
    struct disk *a = made_up("/d/a.qcow2", "/d/t");

    made_up("/d/b.qcow2", "/d/u");
    assert_int_equal(disk_check_target(&op, a, &err), 0);
    assert_int_equal(err.code, 0);
}

/* Each of them is looked at before the second has its final form. */
static void two_spellings_of_a_target_are_one(void **state)
{
    cleanup_free char *a = in_dir("a.qcow2"), *b = in_dir("b.qcow2");
    struct json *inserted = parse("{\"image\": {\"virtual-size\": 512}}");
    struct xlsnap_error err = { 0 }, again = { 0 };

    put("a.qcow2", "");
    put("b.qcow2", "");
    use(a)->target = xstrdup("t");
    use(b)->target = xasprintf("%s/.//t", dir);
    op.disks[0].method = op.disks[1].method = XLSNAP_METHOD_EXTERNAL;
    assert_int_equal(qemu_external.check(&op, &op.disks[0], inserted, &err), 0);
    assert_int_equal(qemu_external.check(&op, &op.disks[1], inserted, &again),
                     -XLSNAP_REFUSED);
    assert_non_null(strstr(again.msg, "/t' is disk 'xvda' or its target"));
    json_free(inserted);
}

/* ---- methods ---- */

static void group_all(void)
{
    struct xlsnap_error err = { 0 };

    if (disks_group(&op, &err))
        fail_msg("%s", err.msg);
}

static void an_image_that_can_is_snapshotted_internally(void **state)
{
    struct disk *a = made_up("/a.qcow2", NULL);

    group_all();
    assert_int_equal(a->method, XLSNAP_METHOD_INTERNAL);
    assert_int_equal(op.n_groups, 1);
    assert_ptr_equal(op.groups[0].driver, &disk_qemu);
}

static void a_target_asks_for_an_external_snapshot(void **state)
{
    struct disk *a = made_up("/a.qcow2", "/t");

    op.snap.type = XLSNAP_METHOD_INTERNAL;
    group_all();
    assert_int_equal(a->method, XLSNAP_METHOD_EXTERNAL);
}

static void a_disk_that_does_not_say_goes_by_the_type(void **state)
{
    struct disk *a = made_up("/a.qcow2", NULL);
    struct disk *b = made_up("/b.qcow2", NULL);

    op.snap.type = XLSNAP_METHOD_EXTERNAL;
    b->method = XLSNAP_METHOD_INTERNAL;
    group_all();
    assert_int_equal(a->method, XLSNAP_METHOD_EXTERNAL);
    assert_int_equal(b->method, XLSNAP_METHOD_INTERNAL);
}

/* All or none: one transaction. */
static void all_disks_of_qemu_are_one_group(void **state)
{
    struct disk *a = made_up("/a.qcow2", "/t");
    struct disk *b = made_up("/b.qcow2", NULL);

    group_all();
    assert_int_equal(op.n_groups, 1);
    assert_int_equal(op.groups[0].n, 2);
    assert_ptr_equal(op.groups[0].disks[0], a);
    assert_ptr_equal(op.groups[0].disks[1], b);
    assert_false(op.groups[0].touched);
}

static void assert_group_refused(struct disk *disk, enum xlsnap_method method,
                                 const char *message)
{
    struct xlsnap_error err = { 0 };

    disk->method = method;
    assert_int_equal(disks_group(&op, &err), -XLSNAP_REFUSED);
    assert_string_equal(err.msg, message);
    assert_int_equal(op.n_groups, 0);
}

static void a_disk_that_nobody_can_snapshot_is_refused(void **state)
{
    struct disk *disk = made_up("/a.raw", NULL);

    disk->format = LIBXL_DISK_FORMAT_RAW;
    assert_group_refused(disk, XLSNAP_METHOD_INTERNAL,
                         "disk 'xvda' ('/a.raw', format raw, backend qdisk): "
                         "only qcow2 images that QEMU serves can hold an "
                         "internal snapshot");
    disk->backend = LIBXL_DISK_BACKEND_PHY;
    assert_group_refused(
        disk, XLSNAP_METHOD_OVERLAY,
        "disk 'xvda' ('/a.raw', format raw, backend phy): "
        "only raw, VHD and qcow2 files that QEMU serves can get an overlay");
    disk->format = LIBXL_DISK_FORMAT_QCOW2;
    disk->backend = LIBXL_DISK_BACKEND_UNKNOWN;
    assert_group_refused(disk, XLSNAP_METHOD_INTERNAL,
                         "disk 'xvda' ('/a.raw', format qcow2, backend "
                         "unknown): only qcow2 images that QEMU serves can "
                         "hold an internal snapshot");
}

static void a_format_that_nobody_knows_is_refused_by_default(void **state)
{
    struct disk *disk = made_up("/a.qed", NULL);

    disk->format = LIBXL_DISK_FORMAT_QED;
    assert_group_refused(disk, XLSNAP_METHOD_DEFAULT,
                         "disk 'xvda' ('/a.qed', format qed, backend qdisk): "
                         "snapshots are made of logical volumes, and of "
                         "qcow2, raw and VHD images ('qemu-img convert' makes "
                         "one of another)");
}

/* One disk that cannot: none is grouped, so none is touched. */
static void one_disk_that_cannot_refuses_all(void **state)
{
    struct xlsnap_error err = { 0 };

    made_up("/a.qcow2", NULL);
    made_up("/b.raw", NULL)->format = LIBXL_DISK_FORMAT_RAW;
    op.snap.type = XLSNAP_METHOD_INTERNAL;
    assert_int_equal(disks_group(&op, &err), -XLSNAP_REFUSED);
    assert_ptr_equal(strstr(err.msg, "disk 'xvdb' ('/b.raw'"), err.msg);
    assert_int_equal(op.n_groups, 0);
}

static void the_disks_of_a_group_are_named(void **state)
{
    cleanup_free char *none = disk_group_names(&group);
    cleanup_free char *both = NULL;

    made_up("/a.qcow2", NULL);
    made_up("/b.qcow2", NULL);
    group_all();
    both = disk_group_names(&op.groups[0]);
    assert_string_equal(none, "");
    assert_string_equal(both, "xvda, xvdb");
}

static void a_disk_is_found_by_its_file(void **state)
{
    struct file_id none = { 0 }, other = { .ino = 7, .block = true };
    struct disk *a = made_up("/a.qcow2", NULL);
    struct disk *b = made_up("/b.qcow2", NULL);

    assert_null(disks_find_id(&op, &none)); /* of a file that is missing */
    b->id = (struct file_id){ .ino = 7 };
    assert_ptr_equal(disks_find_id(&op, &b->id), b);
    assert_null(disks_find_id(&op, &other));
    a->id = other;
    assert_ptr_equal(disks_find_id(&op, &other), a);
}

/* ---- calling drivers ---- */

static char called[64];

static int call(const char *name, bool fails, struct xlsnap_error *err)
{
    strcat(called, name);
    return fails ? xlsnap_fail(err, XLSNAP_FAILED, "%s failed", name) : 0;
}

static int call_a(struct op *o, struct disk_group *g, struct xlsnap_error *err)
{
    return call("a", g->touched, err);
}

static int call_b(struct op *o, struct disk_group *g, struct xlsnap_error *err)
{
    return call("b", g->touched, err);
}

static const struct disk_driver driver_a = { .check = call_a,
                                             .prove = call_a,
                                             .rescue = call_a };
static const struct disk_driver driver_b = { .check = call_b,
                                             .prove = call_b,
                                             .rescue = call_b };
static const struct disk_driver driver_none = { .name = "no rescue" };

/* Groups of these drivers; those that are "touched" fail. */
static void made_up_groups(bool a_fails, bool b_fails)
{
    op.groups = xcalloc(3, sizeof(*op.groups));
    op.groups[0].driver = &driver_a;
    op.groups[0].touched = a_fails;
    op.groups[1].driver = &driver_b;
    op.groups[1].touched = b_fails;
    op.groups[2].driver = &driver_none;
    op.n_groups = 2;
    called[0] = '\0';
}

static void checks_end_with_the_first_refusal(void **state)
{
    struct xlsnap_error check = { 0 }, prove = { 0 };

    made_up_groups(true, true);
    assert_int_equal(disks_check(&op, &check), -XLSNAP_FAILED);
    assert_int_equal(disks_prove(&op, &prove), -XLSNAP_FAILED);
    assert_string_equal(called, "aa");
    assert_string_equal(check.msg, "a failed");
    assert_string_equal(prove.msg, "a failed");
}

static void all_groups_are_checked(void **state)
{
    struct xlsnap_error err = { 0 };

    made_up_groups(false, false);
    assert_int_equal(disks_check(&op, &err), 0);
    assert_int_equal(disks_prove(&op, &err), 0);
    assert_string_equal(called, "abab");
}

/* The guest is about to go on: the others must still be seen to. */
static void all_groups_are_rescued_when_one_cannot_be(void **state)
{
    struct xlsnap_error err = { 0 };

    made_up_groups(true, true);
    op.n_groups = 3;
    assert_int_equal(disks_rescue(&op, &err), -XLSNAP_FAILED);
    assert_string_equal(called, "ab");
    assert_string_equal(err.msg, "a failed");
}

static void a_rescue_that_fails_later_is_told(void **state)
{
    struct xlsnap_error err = { 0 }, none = { 0 };

    made_up_groups(false, true);
    assert_int_equal(disks_rescue(&op, &err), -XLSNAP_FAILED);
    assert_string_equal(err.msg, "b failed");
    op.groups[1].touched = false;
    assert_int_equal(disks_rescue(&op, &none), 0);
    assert_int_equal(none.code, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_default_target_has_the_snapshots_name),
        TEST(a_disk_without_a_suffix_gets_none),
        TEST(a_relative_target_is_beside_the_disk),
        TEST(an_absolute_target_stays),
        TEST(a_temporary_name_is_known_to_this_run_only),
        TEST(a_target_is_no_disk),
        TEST(two_disks_share_no_target),
        TEST(a_target_is_no_other_file_of_the_snapshot),
        TEST(another_target_is_permitted),
        TEST(two_spellings_of_a_target_are_one),
        TEST(an_image_that_can_is_snapshotted_internally),
        TEST(a_target_asks_for_an_external_snapshot),
        TEST(a_disk_that_does_not_say_goes_by_the_type),
        TEST(all_disks_of_qemu_are_one_group),
        TEST(a_disk_that_nobody_can_snapshot_is_refused),
        TEST(a_format_that_nobody_knows_is_refused_by_default),
        TEST(one_disk_that_cannot_refuses_all),
        TEST(the_disks_of_a_group_are_named),
        TEST(a_disk_is_found_by_its_file),
        TEST(checks_end_with_the_first_refusal),
        TEST(all_groups_are_checked),
        TEST(all_groups_are_rescued_when_one_cannot_be),
        TEST(a_rescue_that_fails_later_is_told),
    };

    return cmocka_run_group_tests_name("disk", tests, NULL, NULL);
}
