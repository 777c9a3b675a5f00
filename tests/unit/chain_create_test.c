/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * disk-qemu-chain.c: the checks of external snapshots and overlays, what is
 * made before the pause, and what QEMU is told to do then.
 */
#include "chain_testing.h"

/* xvda is a.qcow2, its target not yet chosen. */
static struct disk *use_a(enum xlsnap_method method, const char *target)
{
    cleanup_free char *path = in_dir("a.qcow2");
    struct disk *disk;

    make_image("a.qcow2");
    disk = use(path);
    disk->method = method;
    disk->target = xstrdup(target);
    return disk;
}

#define SIZE "\"virtual-size\": 1048576"

/* The disk's part of query-block, with that in "image". */
static int check_with(const char *image, struct xlsnap_error *err)
{
    cleanup_free char *text =
        xasprintf("{\"node-name\": \"xvda-qcow2\", \"image\": {%s}}", image);
    struct json *inserted = parse(text);
    int rc = method_of(&op.disks[0])->check(&op, &op.disks[0], inserted, err);

    json_free(inserted);
    return rc;
}

static void assert_checked(const char *image)
{
    struct xlsnap_error err = { 0 };

    if (check_with(image, &err))
        fail_msg("%s", err.msg);
}

static void assert_refused(const char *image, const char *message)
{
    struct xlsnap_error err = { 0 };

    assert_int_equal(check_with(image, &err), -XLSNAP_REFUSED);
    assert_int_equal(err.code, XLSNAP_REFUSED);
    assert_ptr_equal(strstr(err.msg, "disk 'xvda': "), err.msg);
    if (!strstr(err.msg, message))
        assert_string_equal(err.msg, message);
}

static void assert_target(const char *name)
{
    cleanup_free char *path = in_dir(name);

    assert_string_equal(op.disks[0].target, path);
}

/* ---- check ---- */

static void the_target_is_by_default_beside_the_disk(void **state)
{
    use_a(XLSNAP_METHOD_EXTERNAL, NULL);
    assert_checked(SIZE);
    assert_target("a-s1.qcow2");
    assert_int_equal(op.disks[0].virtual_size, IMAGE_SIZE);
    assert_files(".", "a.qcow2"); /* read only */
}

static void a_relative_target_is_beside_the_disk(void **state)
{
    use_a(XLSNAP_METHOD_OVERLAY, "sub/t.qcow2");
    assert_int_equal(mkdir("sub", 0700), 0);
    assert_checked(SIZE);
    assert_target("sub/t.qcow2");
}

static void an_overlay_without_target_is_refused(void **state)
{
    struct xlsnap_error err = { 0 };

    use_a(XLSNAP_METHOD_OVERLAY, NULL);
    assert_int_equal(check_with(SIZE, &err), -XLSNAP_INVALID);
    assert_string_equal(err.msg, "disk 'xvda': an overlay needs a target, the "
                                 "new file that the guest will write to");
}

static void an_existing_target_is_refused(void **state)
{
    use_a(XLSNAP_METHOD_EXTERNAL, "t.qcow2");
    put("t.qcow2", "");
    assert_refused(SIZE, "t.qcow2' exists already, and nothing is ever "
                         "overwritten");
}

static void a_target_that_is_a_link_to_nowhere_is_refused(void **state)
{
    use_a(XLSNAP_METHOD_OVERLAY, "t.qcow2");
    assert_int_equal(symlink("nowhere", "t.qcow2"), 0);
    assert_refused(SIZE, "t.qcow2' exists already");
}

static void the_disk_itself_is_no_target(void **state)
{
    use_a(XLSNAP_METHOD_OVERLAY, "a.qcow2");
    assert_refused(SIZE, "a.qcow2' is disk 'xvda' or its target, too");
}

static void a_vhd_that_qemu_reads_wrong_is_refused(void **state)
{
    int fd;

    use_a(XLSNAP_METHOD_OVERLAY, "t.qcow2");
    op.disks[0].format = LIBXL_DISK_FORMAT_VHD;
    assert_refused(SIZE, "a.qcow2' is no VHD, or a damaged one");
    RUN("qemu-img", "create", "-q", "-f", "vpc", "a.qcow2", "1M");
    assert_checked(SIZE);
    fd = open("a.qcow2", O_WRONLY | O_CLOEXEC);
    assert_int_equal(pwrite(fd, "\4", 1, 63), 1); /* the type */
    close(fd);
    assert_refused(SIZE, "a.qcow2' is a differencing VHD, of which QEMU does "
                         "not read what is in the parent");
}

static void a_target_in_a_missing_directory_is_refused(void **state)
{
    use_a(XLSNAP_METHOD_EXTERNAL, "missing/t.qcow2");
    assert_refused(SIZE, "missing/t.qcow2': No such file or directory");
}

static void a_target_below_a_file_is_refused(void **state)
{
    use_a(XLSNAP_METHOD_EXTERNAL, "a.qcow2/t.qcow2");
    assert_refused(SIZE, "a.qcow2/t.qcow2': Not a directory");
}

/* access(2) asks for the real user, who is to be nobody for once. */
static void check_as_nobody(const char *image, struct xlsnap_error *err)
{
    bool root = !geteuid();

    assert_int_equal(root ? setreuid(65534, 0) : 0, 0);
    check_with(image, err);
    assert_int_equal(root ? setreuid(0, 0) : 0, 0);
    assert_int_equal(err->code, XLSNAP_REFUSED);
}

static void a_directory_that_cannot_be_written_is_refused(void **state)
{
    struct xlsnap_error target = { 0 }, disk = { 0 };

    use_a(XLSNAP_METHOD_EXTERNAL, "sub/t.qcow2");
    assert_int_equal(mkdir("sub", 0), 0);
    assert_int_equal(chmod("sub", 0555), 0);
    assert_int_equal(chmod(".", 0555), 0);
    check_as_nobody(SIZE, &target);
    assert_non_null(strstr(target.msg, "disk 'xvda': cannot write to '"));
    assert_non_null(strstr(target.msg, "/sub', where the target goes"));
    assert_int_equal(chmod("sub", 0777), 0);
    check_as_nobody(SIZE, &disk);
    assert_int_equal(chmod(".", 0700), 0);
    assert_non_null(strstr(disk.msg, "disk 'xvda': cannot write to '"));
    assert_non_null(strstr(disk.msg, "', where the overlay goes: "));
    assert_int_equal(disk.errnum, EACCES);
}

/* Where the file gets a second name it cannot be on another file system. */
static void another_file_system_is_for_overlays_only(void **state)
{
    cleanup_free char *target = xasprintf("/dev/shm/xl-snapshot-%d", getpid());

    use_a(XLSNAP_METHOD_EXTERNAL, target);
    assert_refused(SIZE, "is on another file system than");
    op.disks[0].method = XLSNAP_METHOD_OVERLAY;
    assert_checked(SIZE);
    assert_string_equal(op.disks[0].target, target);
}

#define CORRUPT SIZE ", \"format-specific\": {\"data\": {\"corrupt\": true}}"

static void an_image_marked_as_corrupt_is_refused(void **state)
{
    use_a(XLSNAP_METHOD_EXTERNAL, NULL);
    assert_refused(CORRUPT, "a.qcow2' is marked as corrupt (see 'qemu-img "
                            "check')");
}

static void internal_snapshots_are_refused_without_force(void **state)
{
    const char *image = SIZE ", \"snapshots\": [{\"name\": \"s0\"}]";

    use_a(XLSNAP_METHOD_EXTERNAL, NULL);
    assert_refused(image, "a.qcow2' holds internal snapshots, which would go "
                          "with the frozen file: going back to one of them "
                          "would need that file (--force permits it)");
    op.force = true;
    assert_checked(image);
}

static void no_snapshots_are_no_internal_snapshots(void **state)
{
    use_a(XLSNAP_METHOD_EXTERNAL, NULL);
    assert_checked(SIZE ", \"snapshots\": []");
}

static void a_relative_base_needs_a_target_beside_the_disk(void **state)
{
    const char *image = SIZE ", \"backing-filename\": \"base.qcow2\"";

    use_a(XLSNAP_METHOD_EXTERNAL, "sub/t.qcow2");
    assert_int_equal(mkdir("sub", 0700), 0);
    assert_refused(image, "a.qcow2' has the backing file 'base.qcow2', "
                          "relative to its own directory, so the target must "
                          "be in that directory, too");
    assert_checked(SIZE ", \"backing-filename\": \"/base.qcow2\"");
    assert_checked(SIZE ", \"backing-filename\": \"nbd://host/x\"");
    free(op.disks[0].target);
    op.disks[0].target = xstrdup("t.qcow2");
    assert_checked(image);
}

/* The frozen file keeps its name. */
static void an_overlay_may_be_anywhere(void **state)
{
    use_a(XLSNAP_METHOD_OVERLAY, "sub/t.qcow2");
    assert_int_equal(mkdir("sub", 0700), 0);
    assert_checked(SIZE ", \"backing-filename\": \"base.qcow2\"");
}

static void a_disk_of_unknown_size_is_refused(void **state)
{
    use_a(XLSNAP_METHOD_EXTERNAL, NULL);
    assert_refused("\"format\": \"qcow2\"", "QEMU does not say how large it "
                                            "is");
}

/* ---- prepare ---- */

static int prepare_one(struct xlsnap_error *err)
{
    struct disk *disk = &op.disks[0];

    pending_set_disks(&op.pending, &op);
    return method_of(disk)->prepare(&op, disk, err);
}

static bool check_record(const struct pending *p, void *user)
{
    struct disk *disk = user;

    assert_int_equal(p->n_disks, 1);
    assert_true(file_id_equal(&p->disks[0].id, &disk->id));
    assert_true(file_id_equal(&p->disks[0].made, &disk->made));
    assert_true(disk->made.ino);
    disk->virtual_size = 0; /* a record was found */
    return true;
}

/* Recovery must know which file is the overlay. */
static void assert_recorded(struct disk *disk)
{
    struct xlsnap_error err = { 0 };

    if (pending_each(&xs, check_record, disk, &err))
        fail_msg("%s", err.msg);
    assert_int_equal(disk->virtual_size, 0);
}

static void the_overlay_waits_beside_the_disk(void **state)
{
    struct disk *disk;

    make_full_image("a.qcow2");
    disk = use_for(XLSNAP_METHOD_EXTERNAL, "a.qcow2", "a-s1.qcow2");
    prepare(disk);
    assert_files(".", TMP_A " a-s1.qcow2 a.qcow2");
    assert_is("a-s1.qcow2", &disk->id);
    assert_is("a.qcow2", &disk->id);
    assert_is(TMP_A, &disk->made);
    assert_filled(TMP_A, BEFORE);
    assert_recorded(disk);
}

static void an_overlay_has_its_name_at_once(void **state)
{
    struct disk *disk;

    make_full_image("a.qcow2");
    disk = use_for(XLSNAP_METHOD_OVERLAY, "a.qcow2", "t.qcow2");
    prepare(disk);
    assert_files(".", "a.qcow2 t.qcow2");
    assert_is("a.qcow2", &disk->id);
    assert_is("t.qcow2", &disk->made);
    assert_filled("t.qcow2", BEFORE);
    assert_recorded(disk);
}

static void assert_not_prepared(const char *message)
{
    struct xlsnap_error err = { 0 }, undo = { 0 };

    assert_int_equal(prepare_one(&err), -XLSNAP_FAILED);
    if (!strstr(err.msg, message))
        assert_string_equal(err.msg, message);
    assert_int_equal(disk_qemu.remove(&op, &group, &undo), 0);
}

static void a_target_made_meanwhile_is_not_replaced(void **state)
{
    make_image("a.qcow2");
    use_for(XLSNAP_METHOD_EXTERNAL, "a.qcow2", "a-s1.qcow2");
    put("a-s1.qcow2", "another's");
    assert_not_prepared("a-s1.qcow2': File exists");
    assert_files(".", "a-s1.qcow2 a.qcow2");
}

static void an_overlay_made_meanwhile_is_not_replaced(void **state)
{
    struct file_id other;

    make_image("a.qcow2");
    use_for(XLSNAP_METHOD_OVERLAY, "a.qcow2", "t.qcow2");
    put("t.qcow2", "another's");
    other = id_of("t.qcow2");
    assert_not_prepared("t.qcow2': File exists");
    assert_files(".", "a.qcow2 t.qcow2");
    assert_is("t.qcow2", &other);
}

static void a_disk_that_was_replaced_is_told(void **state)
{
    struct xlsnap_error err = { 0 };

    make_image("a.qcow2");
    use_for(XLSNAP_METHOD_EXTERNAL, "a.qcow2", "a-s1.qcow2");
    assert_int_equal(rename("a.qcow2", "moved"), 0);
    make_image("a.qcow2");
    assert_int_equal(prepare_one(&err), -XLSNAP_FAILED);
    assert_non_null(strstr(err.msg, "a.qcow2' is no longer the file it was"));
    assert_files(".", "a.qcow2 moved"); /* no second name of another's file */
}

/* ---- in the pause ---- */

static void the_name_goes_away_for_the_switch(void **state)
{
    struct xlsnap_error err = { 0 };
    struct disk *disk;

    make_image("a.qcow2");
    disk = use_for(XLSNAP_METHOD_EXTERNAL, "a.qcow2", "a-s1.qcow2");
    prepare(disk);
    assert_int_equal(qemu_external.begin(&op, disk, &err), 0);
    assert_files(".", TMP_A " a-s1.qcow2");
    assert_is("a-s1.qcow2", &disk->id);
}

static void the_last_name_is_never_taken_away(void **state)
{
    struct xlsnap_error err = { 0 };
    struct disk *disk;

    make_image("a.qcow2");
    disk = use_for(XLSNAP_METHOD_EXTERNAL, "a.qcow2", "a-s1.qcow2");
    prepare(disk);
    assert_int_equal(unlink("a-s1.qcow2"), 0);
    put("a-s1.qcow2", "another's");
    assert_int_equal(qemu_external.begin(&op, disk, &err), -XLSNAP_FAILED);
    assert_non_null(strstr(err.msg, "a-s1.qcow2' is no longer the file it "
                                    "was"));
    assert_is("a.qcow2", &disk->id);
}

static void anothers_name_is_not_taken_away(void **state)
{
    struct xlsnap_error err = { 0 };
    struct disk *disk;

    make_image("a.qcow2");
    disk = use_for(XLSNAP_METHOD_EXTERNAL, "a.qcow2", "a-s1.qcow2");
    prepare(disk);
    assert_int_equal(rename("a.qcow2", "moved"), 0);
    put("a.qcow2", "another's");
    assert_int_equal(qemu_external.begin(&op, disk, &err), -XLSNAP_FAILED);
    assert_files(".", TMP_A " a-s1.qcow2 a.qcow2 moved");
}

/* What QEMU is told; *file_r is the new node's description, to be freed. */
static struct json *action(struct json **file_r)
{
    struct disk *disk = &op.disks[0];
    struct json_writer *w = json_writer_new(false);
    cleanup_free char *text = NULL;
    struct json *v;
    const char *file;

    json_open_object(w, NULL);
    method_of(disk)->action(&op, disk, w);
    json_close_object(w);
    text = json_writer_finish(w);
    v = parse(text);
    file = json_get_string(json_get(v, "data"), "snapshot-file");
    assert_ptr_equal(strstr(file, "json:"), file);
    *file_r = parse(file + 5);
    return v;
}

static void assert_member(const struct json *v, const char *name,
                          const char *value)
{
    const char *found = json_get_string(v, name);

    assert_int_equal(!found, !value);
    if (value)
        assert_string_equal(found, value);
}

static void qemu_switches_to_the_waiting_overlay(void **state)
{
    cleanup_free char *tmp = in_dir(TMP_A);
    struct json *v, *file;
    const struct json *data;

    make_image("a.qcow2");
    use_for(XLSNAP_METHOD_EXTERNAL, "a.qcow2", "a-s1.qcow2")->node =
        xstrdup("xvda-qcow2");
    v = action(&file);
    data = json_get(v, "data");
    assert_member(v, "type", "blockdev-snapshot-sync");
    assert_member(data, "node-name", "xvda-qcow2");
    assert_member(data, "snapshot-node-name", "xvda-" TOKEN);
    assert_member(data, "format", "qcow2");
    assert_member(data, "mode", "existing");
    assert_member(file, "driver", "qcow2");
    assert_member(json_get(file, "file"), "driver", "file");
    assert_member(json_get(file, "file"), "filename", tmp);
    assert_member(json_get(file, "file"), "locking", "off");
    json_free(file);
    json_free(v);
}

static void qemu_switches_to_the_target_of_an_overlay(void **state)
{
    cleanup_free char *target = in_dir("t.qcow2");
    struct json *v, *file;

    make_image("a.qcow2");
    use_for(XLSNAP_METHOD_OVERLAY, "a.qcow2", "t.qcow2")->node =
        xstrdup("xvda-qcow2");
    v = action(&file);
    assert_member(json_get(file, "file"), "filename", target);
    json_free(file);
    json_free(v);
}

static void the_disks_options_go_over_to_the_overlay(void **state)
{
    struct json *v, *file;
    struct disk *disk;

    make_image("a.qcow2");
    disk = use_for(XLSNAP_METHOD_EXTERNAL, "a.qcow2", "a-s1.qcow2");
    disk->node = xstrdup("xvda-qcow2");
    v = action(&file);
    assert_member(file, "discard", NULL);
    assert_member(json_get(file, "file"), "aio", NULL);
    json_free(file);
    json_free(v);
    disk->discard = disk->direct_io_safe = true;
    v = action(&file);
    assert_member(file, "discard", "unmap");
    assert_member(json_get(file, "file"), "discard", "unmap");
    assert_member(json_get(file, "file"), "aio", "native");
    assert_true(
        json_get_bool(json_path(file, "file", "cache", NULL), "direct", false));
    json_free(file);
    json_free(v);
}

/* After the switch; this process stands for QEMU, which has both files open. */
static struct disk *settle(bool base_open, bool overlay_open, int *rc_r,
                           struct xlsnap_error *err)
{
    struct disk *disk;
    int base = -1, overlay = -1;

    make_image("a.qcow2");
    disk = use_for(XLSNAP_METHOD_EXTERNAL, "a.qcow2", "a-s1.qcow2");
    prepare(disk);
    switch_over(disk);
    if (base_open)
        base = open("a-s1.qcow2", O_RDONLY | O_CLOEXEC);
    if (overlay_open)
        overlay = open(TMP_A, O_RDONLY | O_CLOEXEC);
    op.dom.qemu_pid = getpid();
    *rc_r = qemu_external.settle(&op, disk, err);
    close(base);
    close(overlay);
    return disk;
}

static void the_overlay_gets_the_disks_name(void **state)
{
    struct xlsnap_error err = { 0 };
    int rc;
    struct disk *disk = settle(true, true, &rc, &err);

    if (rc)
        fail_msg("%s", err.msg);
    assert_files(".", "a-s1.qcow2 a.qcow2");
    assert_is("a.qcow2", &disk->made);
    assert_is("a-s1.qcow2", &disk->id);
}

static void qemu_must_have_both_files_open(void **state)
{
    const char *message = "disk 'xvda': QEMU does not have the files open "
                          "that it should after the switch";
    struct xlsnap_error err = { 0 };
    int rc;

    settle(true, false, &rc, &err);
    assert_int_equal(rc, -XLSNAP_FAILED);
    assert_string_equal(err.msg, message);
}

static void qemu_must_still_have_the_base_open(void **state)
{
    struct xlsnap_error err = { 0 };
    int rc;

    settle(false, true, &rc, &err);
    assert_int_equal(rc, -XLSNAP_FAILED);
}

/* ---- after the resume ---- */

static void it_is_the_frozen_file_that_is_synced(void **state)
{
    struct xlsnap_error err = { 0 }, gone = { 0 };
    struct disk *disk;

    make_image("a.qcow2");
    disk = use_for(XLSNAP_METHOD_EXTERNAL, "a.qcow2", "a-s1.qcow2");
    create(disk);
    assert_int_equal(disk_qemu.sync(&op, &group, &err), 0);
    assert_int_equal(unlink("a-s1.qcow2"), 0);
    assert_int_equal(disk_qemu.sync(&op, &group, &gone), -XLSNAP_FAILED);
    assert_int_equal(gone.errnum, ENOENT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_target_is_by_default_beside_the_disk),
        TEST(a_relative_target_is_beside_the_disk),
        TEST(an_overlay_without_target_is_refused),
        TEST(an_existing_target_is_refused),
        TEST(a_target_that_is_a_link_to_nowhere_is_refused),
        TEST(the_disk_itself_is_no_target),
        TEST(a_vhd_that_qemu_reads_wrong_is_refused),
        TEST(a_target_in_a_missing_directory_is_refused),
        TEST(a_target_below_a_file_is_refused),
        TEST(a_directory_that_cannot_be_written_is_refused),
        TEST(another_file_system_is_for_overlays_only),
        TEST(an_image_marked_as_corrupt_is_refused),
        TEST(internal_snapshots_are_refused_without_force),
        TEST(no_snapshots_are_no_internal_snapshots),
        TEST(a_relative_base_needs_a_target_beside_the_disk),
        TEST(an_overlay_may_be_anywhere),
        TEST(a_disk_of_unknown_size_is_refused),
        TEST(the_overlay_waits_beside_the_disk),
        TEST(an_overlay_has_its_name_at_once),
        TEST(a_target_made_meanwhile_is_not_replaced),
        TEST(an_overlay_made_meanwhile_is_not_replaced),
        TEST(a_disk_that_was_replaced_is_told),
        TEST(the_name_goes_away_for_the_switch),
        TEST(the_last_name_is_never_taken_away),
        TEST(anothers_name_is_not_taken_away),
        TEST(qemu_switches_to_the_waiting_overlay),
        TEST(qemu_switches_to_the_target_of_an_overlay),
        TEST(the_disks_options_go_over_to_the_overlay),
        TEST(the_overlay_gets_the_disks_name),
        TEST(qemu_must_have_both_files_open),
        TEST(qemu_must_still_have_the_base_open),
        TEST(it_is_the_frozen_file_that_is_synced),
    };

    return cmocka_run_group_tests_name("chain_create", tests, NULL, NULL);
}
