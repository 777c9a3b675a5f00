/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * lvm.c: what `lvs` of LVM 2.03.16 prints, and what it should not; locks, with
 * a fake `lvs`.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "lvm.h"
#include "util.h"

/* ---- lvs ---- */

struct field {
    const char *name, *value;
};

/* Of an active linear LV. */
static const struct field usual[] = {
    { "lv_name", "a" },
    { "lv_layout", "linear" },
    { "lv_role", "public" },
    { "origin", "" },
    { "pool_lv", "" },
    { "lv_tags", "" },
    { "lv_health_status", "" },
    { "lv_read_ahead", "auto" },
    { "lv_kernel_major", "253" },
    { "lv_kernel_minor", "7" },
    { "lv_size", "67108864" },
    { "data_percent", "" },
    { "metadata_percent", "" },
    { "lv_permissions", "writeable" },
    { "lv_merging", "0" },
    { "lv_snapshot_invalid", "-1" },
    { "lv_check_needed", "-1" },
    { "lv_skip_activation", "0" },
    { "lv_fixed_minor", "0" },
    { "vg_name", "my-vg" },
    { "vg_extent_size", "4194304" },
    { "vg_free_count", "533" },
    { "vg_missing_pv_count", "0" },
    { "vg_shared", "0" },
    { "vg_clustered", "0" },
    { "vg_exported", "0" },
    { "vg_permissions", "writeable" },
};

/* One LV's object; `value` in the place of the usual one, NULL: without it. */
static char *row(const char *name, const char *value)
{
    char *text = xstrdup("{");

    for (size_t i = 0; i < ARRAY_SIZE(usual); i++) {
        bool other = name && !strcmp(usual[i].name, name);
        char *longer;

        if (other && !value)
            continue;
        longer = xasprintf("%s%s\"%s\":\"%s\"", text, text[1] ? ", " : "",
                           usual[i].name, other ? value : usual[i].value);
        free(text);
        text = longer;
    }
    text = xrealloc(text, strlen(text) + 2, 1);
    return strcat(text, "}");
}

static char *report(const char *rows)
{
    return xasprintf("  {\n \"report\": [ { \"lv\": [ %s ] } ]\n }\n", rows);
}

static struct lvm_vg parse_good(const char *text)
{
    struct xlsnap_error err = { 0 };
    struct lvm_vg vg;

    if (lvm_parse(text, "my-vg", &vg, &err))
        fail_msg("%s", err.msg);
    return vg;
}

static void assert_unexpected(const char *text)
{
    struct xlsnap_error err = { 0 };
    struct lvm_vg vg;

    assert_int_equal(lvm_parse(text, "my-vg", &vg, &err), -XLSNAP_FAILED);
    assert_string_equal(err.msg,
                        "'lvs' gives an unexpected answer about volume "
                        "group 'my-vg'");
    lvm_vg_clear(&vg);
}

/* The first LV when one field has this value. */
static struct lvm_vg with(const char *name, const char *value)
{
    cleanup_free char *one = row(name, value);
    cleanup_free char *text = report(one);

    return parse_good(text);
}

static void all_fields_are_read(void **state)
{
    struct lvm_vg vg = with(NULL, NULL);
    const struct lvm_lv *lv = &vg.lvs[0];

    assert_int_equal(vg.n, 1);
    assert_string_equal(vg.name, "my-vg");
    assert_int_equal(vg.extent_size, 4 << 20);
    assert_int_equal(vg.extents_free, 533);
    assert_true(vg.writable && !vg.shared && !vg.exported && !vg.partial);
    assert_string_equal(lv->name, "a");
    assert_string_equal(lv->layout, "linear");
    assert_string_equal(lv->role, "public");
    assert_string_equal(lv->origin, "");
    assert_string_equal(lv->read_ahead, "auto");
    assert_int_equal(lv->dev, makedev(253, 7));
    assert_int_equal(lv->size, 64 << 20);
    assert_int_equal(lv->data, -1);
    assert_true(lv->writable && !lv->merging && !lv->invalid &&
                !lv->needs_check && !lv->skips_activation && !lv->fixed_minor);
    lvm_vg_clear(&vg);
}

static void flags_are_read(void **state)
{
    struct lvm_vg vg = with("lv_merging", "1");

    assert_true(vg.lvs[0].merging);
    lvm_vg_clear(&vg);
    vg = with("lv_snapshot_invalid", "1");
    assert_true(vg.lvs[0].invalid);
    lvm_vg_clear(&vg);
    vg = with("lv_permissions", "read-only");
    assert_false(vg.lvs[0].writable);
    lvm_vg_clear(&vg);
    vg = with("lv_permissions", "read-only-override");
    assert_false(vg.lvs[0].writable);
    lvm_vg_clear(&vg);
    vg = with("lv_permissions", "unknown"); /* it is not active */
    assert_true(vg.lvs[0].writable);
    lvm_vg_clear(&vg);
    vg = with("vg_missing_pv_count", "2");
    assert_true(vg.partial);
    lvm_vg_clear(&vg);
    vg = with("vg_shared", "1");
    assert_true(vg.shared);
    lvm_vg_clear(&vg);
    vg = with("vg_clustered", "1");
    assert_true(vg.shared);
    lvm_vg_clear(&vg);
    vg = with("vg_exported", "1");
    assert_true(vg.exported);
    lvm_vg_clear(&vg);
    vg = with("vg_permissions", "read-only");
    assert_false(vg.writable);
    lvm_vg_clear(&vg);
}

static void percentages_are_read(void **state)
{
    const struct {
        const char *text;
        int value;
    } all[] = { { "0.00", 0 },      { "10.94", 1094 }, { "99.99", 9999 },
                { "100", 10000 },   { "0.07", 7 },     { "33.33", 3333 },
                { "100.00", 10000 } };

    for (size_t i = 0; i < ARRAY_SIZE(all); i++) {
        struct lvm_vg vg = with("data_percent", all[i].text);

        assert_int_equal(vg.lvs[0].data, all[i].value);
        lvm_vg_clear(&vg);
    }
}

static void an_inactive_volume_has_no_device(void **state)
{
    struct lvm_vg vg = with("lv_kernel_major", "-1");

    assert_int_equal(vg.lvs[0].dev, 0);
    assert_null(lvm_find_dev(&vg, 0));
    assert_null(lvm_find_dev(&vg, makedev(253, 7)));
    lvm_vg_clear(&vg);
}

static void volumes_are_found_by_name_and_by_number(void **state)
{
    cleanup_free char *a = row(NULL, NULL);
    cleanup_free char *b = row("lv_name", "pool_tdata");
    cleanup_free char *c = row("lv_kernel_minor", "8");
    cleanup_free char *rows = xasprintf("%s, %s, %s", b, c, a);
    cleanup_free char *text = report(rows);
    struct lvm_vg vg = parse_good(text);

    assert_int_equal(vg.n, 3);
    assert_ptr_equal(lvm_find(&vg, "pool_tdata"), &vg.lvs[0]);
    assert_ptr_equal(lvm_find(&vg, "a"), &vg.lvs[1]);
    assert_null(lvm_find(&vg, "b"));
    assert_null(lvm_find(&vg, ""));
    assert_ptr_equal(lvm_find_dev(&vg, makedev(253, 8)), &vg.lvs[1]);
    assert_null(lvm_find_dev(&vg, makedev(253, 9)));
    lvm_vg_clear(&vg);
}

static void a_missing_field_is_unexpected(void **state)
{
    for (size_t i = 0; i < ARRAY_SIZE(usual); i++) {
        cleanup_free char *one = row(usual[i].name, NULL);
        cleanup_free char *text = report(one);

        assert_unexpected(text);
    }
}

static void hostile_values_are_unexpected(void **state)
{
    const struct field all[] = {
        { "lv_name", "" },
        { "lv_name", "../etc" },
        { "lv_name", "a b" },
        { "lv_name", "a\\nb" },
        { "lv_name", "a;rm" },
        { "lv_name", "\\u00e4" },
        { "origin", "a/b" },
        { "pool_lv", "$(x)" },
        { "lv_size", "" },
        { "lv_size", "-1" },
        { "lv_size", "64.00m" },
        { "lv_size", "1e9" },
        { "lv_size", " 1" },
        { "lv_size", "99999999999999999999999" },
        { "lv_kernel_major", "253x" },
        { "lv_kernel_major", "4294967296" },
        { "lv_kernel_minor", "-1" },
        { "lv_kernel_minor", "" },
        { "data_percent", "nan" },
        { "data_percent", "inf" },
        { "data_percent", "-3" },
        { "data_percent", "12,5" },
        { "data_percent", "1e300" },
        { "metadata_percent", "50 %" },
        { "lv_merging", "merging" },
        { "lv_merging", "" },
        { "vg_shared", "2" },
        { "vg_name", "other" },
        { "vg_extent_size", "0" },
        { "vg_free_count", "18446744073709551615" },
        { "vg_missing_pv_count", "none" },
    };

    for (size_t i = 0; i < ARRAY_SIZE(all); i++) {
        cleanup_free char *one = row(all[i].name, all[i].value);
        cleanup_free char *text = report(one);

        assert_unexpected(text);
    }
}

static void a_name_too_long_is_unexpected(void **state)
{
    char name[300];
    cleanup_free char *one = NULL, *text = NULL;

    memset(name, 'x', sizeof(name));
    name[sizeof(name) - 1] = 0;
    one = row("lv_name", name);
    text = report(one);
    assert_unexpected(text);
}

static void one_bad_volume_spoils_the_answer(void **state)
{
    cleanup_free char *good = row(NULL, NULL);
    cleanup_free char *bad = row("lv_size", "?");
    cleanup_free char *rows = xasprintf("%s, %s, %s", good, bad, good);
    cleanup_free char *text = report(rows);

    assert_unexpected(text);
}

static void another_shape_is_unexpected(void **state)
{
    const char *const all[] = {
        "{}",
        "[]",
        "{\"report\": []}",
        "{\"report\": {\"lv\": []}}",
        "{\"report\": [{\"lv\": []}]}",
        "{\"report\": [{\"lv\": {}}]}",
        "{\"report\": [{\"lv\": [1, 2]}]}",
        "{\"report\": [{\"lv\": [null]}]}",
        "{\"report\": [{\"vg\": [{}]}]}",
        "{\"report\": [{\"lv\": [{\"lv_name\": 3}]}]}",
    };

    for (size_t i = 0; i < ARRAY_SIZE(all); i++)
        assert_unexpected(all[i]);
}

static void what_is_no_json_is_told(void **state)
{
    struct xlsnap_error err = { 0 };
    struct lvm_vg vg;

    assert_int_equal(lvm_parse("  LV VG\n", "my-vg", &vg, &err),
                     -XLSNAP_FAILED);
    assert_non_null(strstr(err.msg, "lvs"));
    lvm_vg_clear(&vg);
}

static void words_are_whole(void **state)
{
    assert_true(lvm_has_word("linear", "linear"));
    assert_true(lvm_has_word("public,snapshot,thicksnapshot", "snapshot"));
    assert_true(lvm_has_word("a,b,c", "c"));
    assert_false(lvm_has_word("thin,pool", "thi"));
    assert_false(lvm_has_word("thin,pool", "pools"));
    assert_false(lvm_has_word("thicksnapshot", "snapshot"));
    assert_false(lvm_has_word("", "a"));
    assert_false(lvm_has_word("a,b", "a,b"));
    assert_true(lvm_has_word("x,xl-snapshot.0123456789abcdef",
                             "xl-snapshot.0123456789abcdef"));
    assert_false(lvm_has_word("x,xl-snapshot.0123456789abcdef0",
                              "xl-snapshot.0123456789abcdef"));
}

/* ---- locks ---- */

struct fake {
    char dir[32];
    char *path;
};

/* `lvs` that does not get the lock `times` times, and counts. */
static int fake_setup(void **state)
{
    struct fake *f = xcalloc(1, sizeof(*f));

    strcpy(f->dir, "/tmp/lvm-fake.XXXXXX");
    if (!mkdtemp(f->dir))
        return -1;
    f->path = xstrdup(getenv("PATH"));
    setenv("PATH", f->dir, 1);
    *state = f;
    return 0;
}

static int fake_teardown(void **state)
{
    struct fake *f = *state;
    cleanup_free char *lvs = xasprintf("%s/lvs", f->dir);
    cleanup_free char *count = xasprintf("%s/count", f->dir);

    setenv("PATH", f->path, 1);
    unlink(lvs);
    unlink(count);
    rmdir(f->dir);
    free(f->path);
    free(f);
    return 0;
}

static void fake_program(const struct fake *f, const char *body)
{
    cleanup_free char *path = xasprintf("%s/lvs", f->dir);
    FILE *file = fopen(path, "we");

    assert_non_null(file);
    fprintf(file, "#!/bin/sh\necho x >>%s/count\n%s\n", f->dir, body);
    fclose(file);
    assert_int_equal(chmod(path, 0700), 0);
}

static long fake_count(const struct fake *f)
{
    cleanup_free char *path = xasprintf("%s/count", f->dir);
    struct stat st;

    return stat(path, &st) ? 0 : st.st_size / 2;
}

static void a_lock_is_asked_for_again(void **state)
{
    const struct fake *f = *state;
    cleanup_free char *one = row(NULL, NULL);
    cleanup_free char *text = report(one);
    cleanup_free char *body = xasprintf(
        "[ \"$(/usr/bin/wc -l <%s/count)\" -gt 2 ] || {\n"
        "echo \"  Can't get lock for my-vg.\" >&2\n"
        "echo \"  Cannot process volume group my-vg\" >&2\nexit 5; }\n"
        "/bin/cat <<'E'\n%s\nE",
        f->dir, text);
    struct xlsnap_error err = { 0 };
    struct lvm_vg vg;

    fake_program(f, body);
    assert_int_equal(lvm_look("my-vg", &vg, &err), 0);
    assert_int_equal(fake_count(f), 3);
    assert_string_equal(err.msg, "");
    lvm_vg_clear(&vg);
}

static void another_failure_is_told_at_once(void **state)
{
    const struct fake *f = *state;
    struct xlsnap_error err = { 0 };
    struct lvm_vg vg;

    fake_program(f, "echo '  no space' >&2; exit 5");
    assert_int_equal(lvm_look("my-vg", &vg, &err), -XLSNAP_FAILED);
    assert_int_equal(fake_count(f), 1);
    assert_string_equal(err.msg, "'lvs' exited with status 5: no space");
    lvm_vg_clear(&vg);
}

static void lvm_is_told_not_to_wait(void **state)
{
    const struct fake *f = *state;
    const char *argv[] = { "lvs", "-a", "x y", NULL };
    struct xlsnap_error err = { 0 };
    cleanup_free char *out = NULL;

    fake_program(f, "for a; do echo \"<$a>\"; done");
    assert_int_equal(lvm_output(argv, "a/b=1", 10000, &out, &err), 0);
    assert_string_equal(out, "<--config>\n<global/wait_for_locks=0 a/b=1>\n"
                             "<-a>\n<x y>\n");
}

static void a_missing_program_is_told(void **state)
{
    struct xlsnap_error err = { 0 };
    struct lvm_vg vg;

    assert_int_equal(lvm_look("my-vg", &vg, &err), -XLSNAP_FAILED);
    assert_string_equal(err.msg, "cannot run 'lvs': No such file or directory");
    lvm_vg_clear(&vg);
}

#define TEST(name) cmocka_unit_test(name)
#define FAKE(name) \
    cmocka_unit_test_setup_teardown(name, fake_setup, fake_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(all_fields_are_read),
        TEST(flags_are_read),
        TEST(percentages_are_read),
        TEST(an_inactive_volume_has_no_device),
        TEST(volumes_are_found_by_name_and_by_number),
        TEST(a_missing_field_is_unexpected),
        TEST(hostile_values_are_unexpected),
        TEST(a_name_too_long_is_unexpected),
        TEST(one_bad_volume_spoils_the_answer),
        TEST(another_shape_is_unexpected),
        TEST(what_is_no_json_is_told),
        TEST(words_are_whole),
        FAKE(a_lock_is_asked_for_again),
        FAKE(another_failure_is_told_at_once),
        FAKE(lvm_is_told_not_to_wait),
        FAKE(a_missing_program_is_told),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
