/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * snapshot.c: the description's life (under ASan or valgrind these tests also
 * prove that nothing is leaked or freed twice), names and methods.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include "libxl-snapshot.h"
#include "util.h"

static void fill(struct xlsnap_snapshot *snap)
{
    struct xlsnap_disk *disk;

    xlsnap_snapshot_init(snap);
    snap->domain = xstrdup("web1");
    snap->name = xstrdup("before-upgrade");
    snap->description = xstrdup("two words");
    snap->path = xstrdup("/snapshots");
    snap->memory = xstrdup("/snapshots/memory");
    snap->type = XLSNAP_METHOD_EXTERNAL;
    snap->live = 1;
    snap->compress = XLSNAP_COMPRESS_ZSTD;
    snap->uuid = xstrdup("u");
    snap->memory_digest = xstrdup("d");
    snap->creation_time = 1234567890;
    disk = xlsnap_snapshot_add_disk(snap);
    disk->vdev = xstrdup("xvda");
    disk->method = XLSNAP_METHOD_OVERLAY;
    disk->format = xstrdup("qcow2");
    disk->target = xstrdup("/t");
    disk->size = 1 << 20;
    disk->size_percent = 20;
    disk->source = xstrdup("/s");
    disk->source_format = xstrdup("raw");
    disk->options = xstrdup(", untrusted");
    xlsnap_snapshot_add_disk(snap)->vdev = xstrdup("xvdb");
}

static void assert_nothing_given(const struct xlsnap_snapshot *snap)
{
    struct xlsnap_snapshot empty = { .live = -1, .compress = -1 };

    assert_memory_equal(snap, &empty, sizeof(empty));
}

static void a_new_snapshot_has_nothing_given(void **state)
{
    struct xlsnap_snapshot snap;

    memset(&snap, 0xff, sizeof(snap));
    xlsnap_snapshot_init(&snap);
    assert_nothing_given(&snap);
    assert_int_equal(snap.type, XLSNAP_METHOD_DEFAULT);
}

static void a_cleared_snapshot_is_as_new(void **state)
{
    struct xlsnap_snapshot snap;

    fill(&snap);
    xlsnap_snapshot_clear(&snap);
    assert_nothing_given(&snap);
    xlsnap_snapshot_clear(&snap); /* twice is fine */
    assert_nothing_given(&snap);
}

static void a_copy_has_everything(void **state)
{
    struct xlsnap_snapshot snap, copy;

    fill(&snap);
    memset(&copy, 0xff, sizeof(copy));
    xlsnap_snapshot_copy(&copy, &snap);
    xlsnap_snapshot_clear(&snap);
    assert_string_equal(copy.domain, "web1");
    assert_string_equal(copy.name, "before-upgrade");
    assert_string_equal(copy.description, "two words");
    assert_string_equal(copy.path, "/snapshots");
    assert_string_equal(copy.memory, "/snapshots/memory");
    assert_int_equal(copy.type, XLSNAP_METHOD_EXTERNAL);
    assert_int_equal(copy.live, 1);
    assert_int_equal(copy.compress, XLSNAP_COMPRESS_ZSTD);
    assert_string_equal(copy.uuid, "u");
    assert_string_equal(copy.memory_digest, "d");
    assert_int_equal(copy.creation_time, 1234567890);
    assert_int_equal(copy.n_disks, 2);
    xlsnap_snapshot_clear(&copy);
}

static void a_copied_disk_has_everything(void **state)
{
    struct xlsnap_snapshot snap, copy;

    fill(&snap);
    xlsnap_snapshot_copy(&copy, &snap);
    xlsnap_snapshot_clear(&snap);
    assert_string_equal(copy.disks[0].vdev, "xvda");
    assert_int_equal(copy.disks[0].method, XLSNAP_METHOD_OVERLAY);
    assert_string_equal(copy.disks[0].format, "qcow2");
    assert_string_equal(copy.disks[0].target, "/t");
    assert_int_equal(copy.disks[0].size, 1 << 20);
    assert_int_equal(copy.disks[0].size_percent, 20);
    assert_string_equal(copy.disks[0].source, "/s");
    assert_string_equal(copy.disks[0].source_format, "raw");
    assert_string_equal(copy.disks[0].options, ", untrusted");
    assert_string_equal(copy.disks[1].vdev, "xvdb");
    assert_null(copy.disks[1].target);
    xlsnap_snapshot_clear(&copy);
}

static void an_added_disk_is_empty(void **state)
{
    struct xlsnap_disk empty = { 0 };
    struct xlsnap_snapshot snap;

    fill(&snap);
    assert_memory_equal(xlsnap_snapshot_add_disk(&snap), &empty, sizeof(empty));
    assert_int_equal(snap.n_disks, 3);
    xlsnap_snapshot_clear(&snap);
}

static void a_disk_is_found_by_its_vdev(void **state)
{
    struct xlsnap_snapshot snap;

    fill(&snap);
    xlsnap_snapshot_add_disk(&snap); /* still without vdev */
    assert_ptr_equal(xlsnap_snapshot_find_disk(&snap, "xvdb"), &snap.disks[1]);
    assert_null(xlsnap_snapshot_find_disk(&snap, "xvd"));
    assert_null(xlsnap_snapshot_find_disk(&snap, "xvdc"));
    xlsnap_snapshot_clear(&snap);
}

static void a_cleared_report_is_empty(void **state)
{
    struct xlsnap_report report = { .domid = 7, .paused = true }, empty;

    fill(&report.snapshot);
    report.config_path = xstrdup("/snapshots/snapshot.cfg");
    report.steps = xcalloc(2, sizeof(*report.steps));
    report.steps[report.n_steps++] = xstrdup("memory-save");
    report.steps[report.n_steps++] = xstrdup("disk-create");
    xlsnap_report_clear(&report);
    memset(&empty, 0, sizeof(empty));
    xlsnap_snapshot_init(&empty.snapshot);
    assert_memory_equal(&report, &empty, sizeof(empty));
}

static void good_names_pass(void **state)
{
    const char *const good[] = {
        "a",
        "before-upgrade",
        "2026-01-31",
        "1a",
        "a.b_c+d",
        "_x",
        "+1",
        "A123456789012345678901234567890123456789012345678901234567890123",
    };
    struct xlsnap_error err = { 0 };
    size_t i;

    for (i = 0; i < ARRAY_SIZE(good); i++)
        assert_int_equal(xlsnap_name_check(good[i], &err), 0);
    assert_int_equal(err.code, 0);
}

static void assert_bad_name(const char *name, const char *message)
{
    struct xlsnap_error err = { 0 };

    assert_int_equal(xlsnap_name_check(name, &err), -XLSNAP_INVALID);
    assert_string_equal(err.msg, message);
}

static void an_empty_name_is_refused(void **state)
{
    assert_bad_name("", "the snapshot's name is empty");
    assert_bad_name(NULL, "the snapshot's name is empty");
}

static void a_name_of_65_characters_is_refused(void **state)
{
    char name[66] = "", message[128];

    memset(name, 'a', 65);
    snprintf(message, sizeof(message),
             "snapshot name '%s' is longer than 64 characters", name);
    assert_bad_name(name, message);
}

static void a_name_that_looks_like_an_option_is_refused(void **state)
{
    assert_bad_name("-f", "snapshot name '-f' starts with '-'");
}

static void a_hidden_or_parent_name_is_refused(void **state)
{
    assert_bad_name(".", "snapshot name '.' starts with '.'");
    assert_bad_name("..", "snapshot name '..' starts with '.'");
}

static void other_characters_are_refused(void **state)
{
    static const char text[] = " has other characters than letters, digits "
                               "and _ . + -";
    const char *const bad[] = { "a/b", "a b", "a'b", "\xc3\xa4", "a,b", "a@b" };
    struct xlsnap_error err;
    size_t i;

    for (i = 0; i < ARRAY_SIZE(bad); i++) {
        memset(&err, 0, sizeof(err));
        assert_int_equal(xlsnap_name_check(bad[i], &err), -XLSNAP_INVALID);
        assert_non_null(strstr(err.msg, text));
    }
}

static void a_line_break_in_a_name_stays_out_of_the_message(void **state)
{
    assert_bad_name("a\nb", "snapshot name 'a?b' has other characters than "
                            "letters, digits and _ . + -");
}

static void a_number_is_no_name(void **state)
{
    assert_bad_name("42", "snapshot name '42' is a mere number, which "
                          "qemu-img takes for an ID");
}

static void a_method_name_parses_to_its_method(void **state)
{
    enum xlsnap_method method, parsed;

    for (method = XLSNAP_METHOD_INTERNAL; method <= XLSNAP_METHOD_NO;
         method++) {
        parsed = XLSNAP_METHOD_DEFAULT;
        assert_int_equal(
            xlsnap_method_parse(xlsnap_method_name(method), &parsed), 0);
        assert_int_equal(parsed, method);
    }
}

static void the_methods_have_their_documented_names(void **state)
{
    assert_string_equal(xlsnap_method_name(XLSNAP_METHOD_DEFAULT), "");
    assert_string_equal(xlsnap_method_name(XLSNAP_METHOD_INTERNAL), "internal");
    assert_string_equal(xlsnap_method_name(XLSNAP_METHOD_EXTERNAL), "external");
    assert_string_equal(xlsnap_method_name(XLSNAP_METHOD_OVERLAY), "overlay");
    assert_string_equal(xlsnap_method_name(XLSNAP_METHOD_NO), "no");
    assert_string_equal(xlsnap_method_name(99), "");
}

static void another_word_is_no_method(void **state)
{
    enum xlsnap_method method = XLSNAP_METHOD_NO;

    assert_int_equal(xlsnap_method_parse("", &method), -1);
    assert_int_equal(xlsnap_method_parse("Internal", &method), -1);
    assert_int_equal(xlsnap_method_parse("none", &method), -1);
    assert_int_equal(method, XLSNAP_METHOD_NO);
}

/* What the domain's own config must say from then on. */
static void an_overlay_changes_the_line_of_the_config(void **state)
{
    struct xlsnap_disk disk = { .vdev = (char *)"xvda",
                                .method = XLSNAP_METHOD_OVERLAY,
                                .target = (char *)"/t/a,b=c.qcow2",
                                .source = (char *)"/a" };
    cleanup_free char *line = xlsnap_disk_config(&disk);

    assert_string_equal(line, "format=qcow2, vdev=xvda, access=rw, "
                              "target=/t/a,b=c.qcow2");
    free(line);
    disk.options = (char *)", no-discard";
    line = xlsnap_disk_config(&disk);
    assert_string_equal(line, "format=qcow2, vdev=xvda, access=rw, "
                              "no-discard, target=/t/a,b=c.qcow2");
    for (disk.method = XLSNAP_METHOD_DEFAULT; disk.method <= XLSNAP_METHOD_NO;
         disk.method++)
        if (disk.method != XLSNAP_METHOD_OVERLAY)
            assert_null(xlsnap_disk_config(&disk));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_new_snapshot_has_nothing_given),
        cmocka_unit_test(a_cleared_snapshot_is_as_new),
        cmocka_unit_test(a_copy_has_everything),
        cmocka_unit_test(a_copied_disk_has_everything),
        cmocka_unit_test(an_added_disk_is_empty),
        cmocka_unit_test(a_disk_is_found_by_its_vdev),
        cmocka_unit_test(a_cleared_report_is_empty),
        cmocka_unit_test(good_names_pass),
        cmocka_unit_test(an_empty_name_is_refused),
        cmocka_unit_test(a_name_of_65_characters_is_refused),
        cmocka_unit_test(a_name_that_looks_like_an_option_is_refused),
        cmocka_unit_test(a_hidden_or_parent_name_is_refused),
        cmocka_unit_test(other_characters_are_refused),
        cmocka_unit_test(a_line_break_in_a_name_stays_out_of_the_message),
        cmocka_unit_test(a_number_is_no_name),
        cmocka_unit_test(a_method_name_parses_to_its_method),
        cmocka_unit_test(the_methods_have_their_documented_names),
        cmocka_unit_test(another_word_is_no_method),
        cmocka_unit_test(an_overlay_changes_the_line_of_the_config),
    };

    return cmocka_run_group_tests_name("snapshot", tests, NULL, NULL);
}
