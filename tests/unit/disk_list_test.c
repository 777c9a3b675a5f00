/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * disk-list.c: which disks an operation has, by snapshot.cfg and by the record
 * of an earlier one; after a crash, and after a reboot of the host, which
 * numbers devices anew.
 */
#include "chain_testing.h"

/* ---- by snapshot.cfg ---- */

/* The next disk of snapshot.cfg; paths in the directory of the tests. */
static struct xlsnap_disk *describe(enum xlsnap_method method,
                                    const char *format, const char *source,
                                    const char *target)
{
    struct xlsnap_disk *s = xlsnap_snapshot_add_disk(&op.snap);

    s->vdev = xasprintf("xvd%c", (int)('a' + op.snap.n_disks - 1));
    s->method = method;
    s->format = xstrdup(format);
    s->source = source ? in_dir(source) : NULL;
    s->target = target ? in_dir(target) : NULL;
    return s;
}

static void assert_path(const char *path, const char *name)
{
    cleanup_free char *expected = in_dir(name);

    assert_string_equal(path, expected);
}

static void assert_snapshot_refused(int code, const char *message)
{
    struct xlsnap_error err = { 0 };

    disks_clear(&op);
    assert_int_equal(disks_from_snapshot(&op, &err), -code);
    assert_int_equal(err.code, code);
    if (!strstr(err.msg, message))
        assert_string_equal(err.msg, message);
}

static void a_disk_is_the_file_of_its_source(void **state)
{
    struct file_id id;

    put("a.qcow2", "");
    id = id_of("a.qcow2");
    describe(XLSNAP_METHOD_EXTERNAL, "qcow2", "a.qcow2", "a-s1.qcow2");
    load_snapshot();
    assert_int_equal(op.n_disks, 1);
    assert_string_equal(op.disks[0].vdev, "xvda");
    assert_path(op.disks[0].source, "a.qcow2");
    assert_path(op.disks[0].path, "a.qcow2");
    assert_path(op.disks[0].target, "a-s1.qcow2");
    assert_true(file_id_equal(&op.disks[0].id, &id));
    assert_int_equal(op.disks[0].format, LIBXL_DISK_FORMAT_QCOW2);
    assert_int_equal(op.disks[0].backend, LIBXL_DISK_BACKEND_QDISK);
    assert_int_equal(op.disks[0].made.ino, 0);
    assert_int_equal(op.n_groups, 1);
    assert_false(op.groups[0].touched);
}

static void symbolic_links_are_resolved(void **state)
{
    put("a.qcow2", "");
    assert_int_equal(symlink("a.qcow2", "name"), 0);
    describe(XLSNAP_METHOD_INTERNAL, "qcow2", "name", NULL);
    load_snapshot();
    assert_path(op.disks[0].source, "name");
    assert_path(op.disks[0].path, "a.qcow2");
}

static void the_disk_of_an_overlay_is_the_target(void **state)
{
    struct file_id id;

    put("a.raw", "");
    put("t.qcow2", "");
    id = id_of("t.qcow2");
    describe(XLSNAP_METHOD_OVERLAY, "qcow2", "a.raw", "t.qcow2")
        ->source_format = xstrdup("raw");
    load_snapshot();
    assert_path(op.disks[0].source, "a.raw");
    assert_path(op.disks[0].path, "t.qcow2");
    assert_true(file_id_equal(&op.disks[0].id, &id));
    assert_int_equal(op.disks[0].format, LIBXL_DISK_FORMAT_RAW);
    assert_int_equal(op.disks[0].backend, LIBXL_DISK_BACKEND_QDISK);
}

static void a_disk_left_out_stays_out(void **state)
{
    put("b.qcow2", "");
    describe(XLSNAP_METHOD_NO, "qcow2", "missing", NULL);
    describe(XLSNAP_METHOD_INTERNAL, "qcow2", "b.qcow2", NULL);
    load_snapshot();
    assert_int_equal(op.n_disks, 1);
    assert_string_equal(op.disks[0].vdev, "xvdb");
}

static void a_missing_disk_is_refused(void **state)
{
    cleanup_free char *message =
        xasprintf("disk 'xvda': '%s/a.qcow2' does not exist", dir);

    describe(XLSNAP_METHOD_INTERNAL, "qcow2", "a.qcow2", NULL);
    assert_snapshot_refused(XLSNAP_REFUSED, message);
}

/* A crash may have left it without its name; the driver knows. */
static void a_missing_disk_that_gets_another_file_is_not_refused(void **state)
{
    describe(XLSNAP_METHOD_EXTERNAL, "qcow2", "a.qcow2", "a-s1.qcow2");
    describe(XLSNAP_METHOD_OVERLAY, "qcow2", "b.qcow2", "t.qcow2");
    load_snapshot();
    assert_path(op.disks[0].path, "a.qcow2");
    assert_int_equal(op.disks[0].id.ino, 0);
    assert_false(op.disks[0].id.block);
    assert_path(op.disks[1].path, "t.qcow2");
    assert_int_equal(op.disks[1].id.ino, 0);
}

static void a_missing_disks_directory_is_resolved(void **state)
{
    assert_int_equal(mkdir("images", 0700), 0);
    assert_int_equal(symlink("images", "link"), 0);
    describe(XLSNAP_METHOD_EXTERNAL, "qcow2", "link/a.qcow2", "t");
    load_snapshot();
    assert_path(op.disks[0].path, "images/a.qcow2");
}

/* The file has lost its name, and the link that the config has shows where. */
static void a_missing_disk_is_found_behind_its_symbolic_link(void **state)
{
    assert_int_equal(mkdir("images", 0700), 0);
    assert_int_equal(symlink("images/a.qcow2", "relative"), 0);
    assert_int_equal(symlink("relative", "twice"), 0);
    describe(XLSNAP_METHOD_EXTERNAL, "qcow2", "relative", "t");
    describe(XLSNAP_METHOD_EXTERNAL, "qcow2", "twice", "u");
    load_snapshot();
    assert_path(op.disks[0].path, "images/a.qcow2");
    assert_path(op.disks[1].path, "images/a.qcow2");
}

static void a_missing_directory_is_refused(void **state)
{
    describe(XLSNAP_METHOD_EXTERNAL, "qcow2", "missing/a.qcow2", "t");
    assert_snapshot_refused(XLSNAP_REFUSED, "disk 'xvda': cannot look at '");
    assert_snapshot_refused(XLSNAP_REFUSED,
                            "/missing/a.qcow2': No such file or directory");
}

static void an_unknown_format_is_refused(void **state)
{
    put("a", "");
    describe(XLSNAP_METHOD_INTERNAL, "vmdk", "a", NULL);
    assert_snapshot_refused(XLSNAP_INVALID,
                            "disk 'xvda': unknown format 'vmdk'");
    free(op.snap.disks[0].format);
    op.snap.disks[0].format = xstrdup("qcow2");
    op.snap.disks[0].source_format = xstrdup("floppy");
    assert_snapshot_refused(XLSNAP_INVALID,
                            "disk 'xvda': unknown format 'floppy'");
}

static void what_a_check_filled_in_is_published(void **state)
{
    struct xlsnap_disk *s;

    put("a.qcow2", "");
    describe(XLSNAP_METHOD_EXTERNAL, "qcow2", "a.qcow2", "a-s1.qcow2");
    load_snapshot();
    free(op.disks[0].target);
    op.disks[0].target = xstrdup("/t");
    op.disks[0].size = 5 << 20;
    op.disks[0].size_percent = 30;
    disks_publish(&op);
    s = &op.snap.disks[0];
    assert_int_equal(s->method, XLSNAP_METHOD_EXTERNAL);
    assert_string_equal(s->target, "/t");
    assert_int_equal(s->size, 5 << 20);
    assert_int_equal(s->size_percent, 30);
    assert_string_equal(s->format, "qcow2");
    assert_null(s->source_format);
}

/* From then on the domain's config has the overlay, and its format. */
static void an_overlay_is_published_with_both_formats(void **state)
{
    put("a.raw", "");
    describe(XLSNAP_METHOD_OVERLAY, "raw", "a.raw", "t.qcow2");
    load_snapshot();
    disks_publish(&op);
    assert_string_equal(op.snap.disks[0].format, "qcow2");
    assert_string_equal(op.snap.disks[0].source_format, "raw");
    load_snapshot(); /* and read back */
    assert_int_equal(op.disks[0].format, LIBXL_DISK_FORMAT_RAW);
}

/* ---- by the record ---- */

static bool take_record(const struct pending *p, void *user)
{
    pending_clear(&op.pending);
    pending_copy(&op.pending, p);
    return false;
}

/* Written durably, read again by another process. */
static void store_record(void)
{
    struct xlsnap_error err = { 0 };

    if (pending_write(&xs, &op.pending, &err) ||
        pending_each(&xs, take_record, NULL, &err))
        fail_msg("%s", err.msg);
}

/* The host has another boot id, and other numbers for its devices. */
static void reboot_host(void)
{
    struct pending *p = &op.pending;

    p->boot_id[0] = p->boot_id[0] == '0' ? '1' : '0';
    for (size_t i = 0; i < p->n_disks; i++) {
        p->disks[i].id.dev += 7;
        if (p->disks[i].made.ino)
            p->disks[i].made.dev += 7;
    }
}

static int load_record(struct xlsnap_error *err)
{
    disks_clear(&op);
    op_fill_snapshot(&op);
    return disks_from_record(&op, err);
}

static void recall(void)
{
    struct xlsnap_error err = { 0 };

    if (load_record(&err))
        fail_msg("%s", err.msg);
}

static void remove_recorded(void)
{
    struct xlsnap_error err = { 0 };

    recall();
    if (op.groups[0].driver->remove(&op, &op.groups[0], &err))
        fail_msg("%s", err.msg);
}

static void the_record_says_which_files_they_were(void **state)
{
    struct disk *disk;
    struct file_id id, made;

    make_image("a.qcow2");
    disk = use_for(XLSNAP_METHOD_EXTERNAL, "a.qcow2", "a-s1.qcow2");
    disk->node = xstrdup("xvda-qcow2");
    create(disk);
    id = disk->id;
    made = disk->made;
    store_record();
    recall();
    assert_int_equal(op.n_disks, 1);
    assert_path(op.disks[0].path, "a.qcow2");
    assert_true(file_id_equal(&op.disks[0].id, &id));
    assert_true(file_id_equal(&op.disks[0].made, &made));
    assert_string_equal(op.disks[0].node, "xvda-qcow2");
    assert_true(op.groups[0].touched);
}

static void the_disk_of_a_recorded_overlay_is_its_source(void **state)
{
    struct disk *disk;
    struct file_id id, made;

    make_image("a.qcow2");
    disk = use_for(XLSNAP_METHOD_OVERLAY, "a.qcow2", "t.qcow2");
    create(disk);
    id = disk->id;
    made = disk->made;
    store_record();
    recall();
    assert_path(op.disks[0].path, "a.qcow2");
    assert_path(op.disks[0].target, "t.qcow2");
    assert_true(file_id_equal(&op.disks[0].id, &id));
    assert_true(file_id_equal(&op.disks[0].made, &made));
}

/* What is not mounted is not "removed already". */
static void a_target_whose_directory_is_another_is_refused(void **state)
{
    struct xlsnap_error err = { 0 };

    assert_int_equal(mkdir("far", 0755), 0);
    make_image("a.qcow2");
    use_for(XLSNAP_METHOD_OVERLAY, "a.qcow2", "far/t.qcow2");
    pending_set_disks(&op.pending, &op);
    store_record();
    assert_int_equal(load_record(&err), 0);
    assert_int_equal(rename("far", "mounted"), 0);
    assert_int_equal(mkdir("far", 0755), 0);
    assert_int_equal(load_record(&err), -XLSNAP_REFUSED);
    assert_non_null(strstr(err.msg, "far/t.qcow2' was in is not there (is its "
                                    "file system mounted?); put it back, or"));
}

static void a_record_with_a_disk_left_out_is_told(void **state)
{
    struct xlsnap_error err = { 0 };

    make_image("a.qcow2");
    use_for(XLSNAP_METHOD_INTERNAL, "a.qcow2", "t");
    pending_set_disks(&op.pending, &op);
    store_record();
    op.pending.disks[0].spec.method = XLSNAP_METHOD_NO;
    assert_int_equal(load_record(&err), -XLSNAP_FAILED);
    assert_string_equal(err.msg, "'state/pending/" UUID ".json' has disks "
                                 "without a method");
}

static void a_disk_that_was_replaced_is_refused(void **state)
{
    cleanup_free char *message = xasprintf(
        "disk 'xvda': '%s/a.qcow2' is no longer the file it was; put it back, "
        "or drop the record with 'xl snapshot-recover --abandon web1'",
        dir);
    struct xlsnap_error err = { 0 };

    make_image("a.qcow2");
    use_for(XLSNAP_METHOD_INTERNAL, "a.qcow2", "t");
    pending_set_disks(&op.pending, &op);
    store_record();
    assert_int_equal(rename("a.qcow2", "moved"), 0);
    put("a.qcow2", "another's");
    assert_int_equal(load_record(&err), -XLSNAP_REFUSED);
    assert_string_equal(err.msg, message);
}

/* snapshot.cfg, which a revert's recovery reads again, has been changed. */
static void a_disk_more_than_recorded_is_refused(void **state)
{
    struct xlsnap_error err = { 0 };

    make_image("a.qcow2");
    make_image("b.qcow2");
    use_for(XLSNAP_METHOD_INTERNAL, "a.qcow2", "t");
    pending_set_disks(&op.pending, &op);
    store_record();
    free(op.pending.operation);
    op.pending.operation = xstrdup("revert");
    free(op.pending.config_path);
    op.pending.config_path = xstrdup("/cfg");
    use_for(XLSNAP_METHOD_INTERNAL, "b.qcow2", "t");
    assert_int_equal(disks_check_record(&op, &err), -XLSNAP_REFUSED);
    assert_string_equal(err.msg,
                        "'/cfg' has other disks than when the revert began");
}

/* It is told, but what is known of the others serves to rescue them. */
static void a_disk_out_of_reach_does_not_hide_the_others(void **state)
{
    struct xlsnap_error err = { 0 };
    struct file_id id;

    assert_int_equal(mkdir("far", 0755), 0);
    make_image("far/a.qcow2");
    make_image("b.qcow2");
    use_for(XLSNAP_METHOD_INTERNAL, "far/a.qcow2", "t");
    id = use_for(XLSNAP_METHOD_EXTERNAL, "b.qcow2", "b-s1.qcow2")->id;
    pending_set_disks(&op.pending, &op);
    store_record();
    assert_int_equal(rename("far", "away"), 0);
    put("far", "no directory");
    assert_int_equal(load_record(&err), -XLSNAP_REFUSED);
    assert_non_null(strstr(err.msg, "disk 'xvda': cannot look at '"));
    assert_int_equal(op.n_disks, 2);
    assert_int_equal(op.n_groups, 1);
    assert_int_equal(op.groups[0].n, 2);
    assert_true(op.groups[0].touched);
    assert_path(op.disks[1].path, "b.qcow2");
    assert_true(file_id_equal(&op.disks[1].id, &id));
}

/* ---- undone after a crash ---- */

static void assert_undone(const char *files, const char *first)
{
    assert_files(".", files);
    assert_data("a.qcow2", "qcow2", first);
}

static struct disk *begin_external(void)
{
    struct disk *disk;

    make_full_image("a.qcow2");
    disk = use_for(XLSNAP_METHOD_EXTERNAL, "a.qcow2", "a-s1.qcow2");
    prepare(disk);
    return disk;
}

/* A record that is written after the reboot is of that boot. */
static void a_record_is_renewed_after_a_reboot(void **state)
{
    struct xlsnap_error err = { 0 };
    struct disk *disk = begin_external();
    struct file_id id = disk->id;

    reboot_host();
    recall();
    if (pending_write(&xs, &op.pending, &err))
        fail_msg("%s", err.msg);
    recall();
    assert_true(file_id_equal(&op.pending.disks[0].id, &id));
    assert_true(file_id_equal(&op.disks[0].id, &id));
    assert_true(pending_same_boot(&op.pending));
}

static void a_disk_without_its_name_gets_it_back(void **state)
{
    switch_over(begin_external());
    guest_writes(TMP_A);
    store_record();
    remove_recorded();
    assert_undone("a.qcow2", AFTER);
}

static void a_disk_without_its_name_gets_it_back_after_a_reboot(void **state)
{
    switch_over(begin_external());
    guest_writes(TMP_A);
    store_record();
    reboot_host();
    remove_recorded();
    assert_undone("a.qcow2", AFTER);
}

static void a_finished_switch_is_undone_after_a_reboot(void **state)
{
    make_full_image("a.qcow2");
    create(use_for(XLSNAP_METHOD_EXTERNAL, "a.qcow2", "a-s1.qcow2"));
    guest_writes("a.qcow2");
    store_record();
    reboot_host();
    remove_recorded();
    assert_undone("a.qcow2", AFTER);
}

static void an_overlay_is_undone_after_a_reboot(void **state)
{
    make_full_image("a.qcow2");
    create(use_for(XLSNAP_METHOD_OVERLAY, "a.qcow2", "t.qcow2"));
    guest_writes("t.qcow2");
    store_record();
    reboot_host();
    remove_recorded();
    assert_undone("a.qcow2", AFTER);
}

/* Its device's number is not that of the disk's own file system. */
static void an_overlay_elsewhere_is_undone_after_a_reboot(void **state)
{
    cleanup_free char *shm = xasprintf("/dev/shm/xl-snapshot-%d", getpid());
    struct disk *disk;
    struct stat st;
    bool there;

    make_full_image("a.qcow2");
    disk = use_for(XLSNAP_METHOD_OVERLAY, "a.qcow2", "t.qcow2");
    free(disk->target);
    free(op.snap.disks[0].target);
    disk->target = xstrdup(shm);
    op.snap.disks[0].target = xstrdup(shm);
    create(disk);
    assert_int_not_equal(disk->made.dev, disk->id.dev);
    guest_writes(shm);
    store_record();
    reboot_host();
    remove_recorded();
    there = !lstat(shm, &st);
    unlink(shm);
    assert_false(there);
    assert_undone("a.qcow2", AFTER);
}

/* The disk is known by a link, and the file behind it has lost its name. */
static void a_disk_behind_a_symbolic_link_gets_its_name_back(void **state)
{
    struct disk *disk;
    struct stat st;

    assert_int_equal(mkdir("images", 0700), 0);
    make_full_image("images/a.qcow2");
    assert_int_equal(symlink("images/a.qcow2", "name"), 0);
    disk = use_for(XLSNAP_METHOD_EXTERNAL, "name", "images/a-s1.qcow2");
    prepare(disk);
    switch_over(disk);
    guest_writes("images/" TMP_A);
    store_record();
    remove_recorded();
    assert_files("images", "a.qcow2");
    assert_data("images/a.qcow2", "qcow2", AFTER);
    assert_int_equal(lstat("name", &st), 0);
    assert_true(S_ISLNK(st.st_mode));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_disk_is_the_file_of_its_source),
        TEST(symbolic_links_are_resolved),
        TEST(the_disk_of_an_overlay_is_the_target),
        TEST(a_disk_left_out_stays_out),
        TEST(a_missing_disk_is_refused),
        TEST(a_missing_disk_that_gets_another_file_is_not_refused),
        TEST(a_missing_disks_directory_is_resolved),
        TEST(a_missing_disk_is_found_behind_its_symbolic_link),
        TEST(a_missing_directory_is_refused),
        TEST(an_unknown_format_is_refused),
        TEST(what_a_check_filled_in_is_published),
        TEST(an_overlay_is_published_with_both_formats),
        TEST(the_record_says_which_files_they_were),
        TEST(the_disk_of_a_recorded_overlay_is_its_source),
        TEST(a_record_is_renewed_after_a_reboot),
        TEST(a_target_whose_directory_is_another_is_refused),
        TEST(a_record_with_a_disk_left_out_is_told),
        TEST(a_disk_more_than_recorded_is_refused),
        TEST(a_disk_out_of_reach_does_not_hide_the_others),
        TEST(a_disk_that_was_replaced_is_refused),
        TEST(a_disk_without_its_name_gets_it_back),
        TEST(a_disk_without_its_name_gets_it_back_after_a_reboot),
        TEST(a_finished_switch_is_undone_after_a_reboot),
        TEST(an_overlay_is_undone_after_a_reboot),
        TEST(an_overlay_elsewhere_is_undone_after_a_reboot),
        TEST(a_disk_behind_a_symbolic_link_gets_its_name_back),
    };

    return cmocka_run_group_tests_name("disk_list", tests, NULL, NULL);
}
