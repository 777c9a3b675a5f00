/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * lvm.c: names that LVM takes or refuses, those of device mapper, and the paths
 * by which a volume is known.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <sys/sysmacros.h>

#include "lvm.h"
#include "util.h"

/* ---- names ---- */

static void names_that_lvm_takes_are_taken(void **state)
{
    const char *const all[] = {
        "a",   "web1-root", "lvol0",       "A_b.c+d-e", "_x",
        "...", "1",         "my.snapshot", "thin_t",    "root-20261120T231501Z"
    };

    for (size_t i = 0; i < ARRAY_SIZE(all); i++)
        assert_null(lvm_name_problem("vg", all[i]));
}

static void names_that_lvm_refuses_are_refused(void **state)
{
    const struct {
        const char *name, *why;
    } all[] = {
        { "", "it is empty" },
        { "-a", "it starts with '-'" },
        { ".", "it is that of a directory" },
        { "..", "it is that of a directory" },
        { "a/b", "it has other characters than letters, digits and _.+-" },
        { "a b", "it has other characters than letters, digits and _.+-" },
        { "a@b", "it has other characters than letters, digits and _.+-" },
        { "\xc3\xa4", "it has other characters than letters, digits and _.+-" },
        { "snapshot1", "it is reserved by LVM" },
        { "snapshot", "it is reserved by LVM" },
        { "pvmove0", "it is reserved by LVM" },
        { "a_tdata", "it is reserved by LVM" },
        { "a_rimage_0", "it is reserved by LVM" },
        { "lvol0_pmspare", "it is reserved by LVM" },
    };

    for (size_t i = 0; i < ARRAY_SIZE(all); i++)
        assert_string_equal(lvm_name_problem("vg", all[i].name), all[i].why);
}

/* Device mapper's name has VG, LV, each hyphen twice, and a layer. */
static void the_longest_name_is_device_mappers(void **state)
{
    char name[200];

    memset(name, 'x', sizeof(name));
    name[127 - 4 - 1 - 2] = 0;
    assert_null(lvm_name_problem("vg", name));
    assert_string_equal(lvm_name_problem("v-g", name), "it is too long");
    name[60] = '-';
    assert_string_equal(lvm_name_problem("vg", name), "it is too long");
}

static void assert_dm(const char *name, const char *vg, const char *lv)
{
    cleanup_free char *got_vg = NULL, *got_lv = NULL;

    assert_int_equal(lvm_split_dm(name, &got_vg, &got_lv), vg != NULL);
    if (!vg)
        return;
    assert_string_equal(got_vg, vg);
    assert_string_equal(got_lv, lv);
}

static void names_of_device_mapper_are_split(void **state)
{
    assert_dm("vg-lv", "vg", "lv");
    assert_dm("my--vg-lv", "my-vg", "lv");
    assert_dm("vg-my--lv", "vg", "my-lv");
    assert_dm("a----b-c--d----e", "a--b", "c-d--e");
    assert_dm("vg-lv--", "vg", "lv-");
    assert_dm("vg", NULL, NULL);
    assert_dm("my--vg", NULL, NULL);
    assert_dm("", NULL, NULL);
    assert_dm("-lv", NULL, NULL);
    assert_dm("vg-", NULL, NULL);
}

static void paths_are_split(void **state)
{
    const char *const bad[] = { "/dev/vg",   "/dev/vg/",   "/dev//lv",
                                "vg/lv",     "/dev/a/b/c", "/srv/vg/lv",
                                "/dev/",     "",           "/dev/--config=x/lv",
                                "/dev/vg/-x" };
    cleanup_free char *vg = NULL, *lv = NULL;

    assert_true(lvm_split_path("/dev/my-vg/my-lv", &vg, &lv));
    assert_string_equal(vg, "my-vg");
    assert_string_equal(lv, "my-lv");
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        char *no_vg = NULL, *no_lv = NULL;

        assert_false(lvm_split_path(bad[i], &no_vg, &no_lv));
    }
}

/* ---- paths by name ---- */

static void assert_name_of(const char *path, const char *lv)
{
    cleanup_free char *got = lvm_name_of_path(path, "no-such-vg");

    if (!lv)
        assert_null(got);
    else
        assert_string_equal(got ? got : "(none)", lv);
}

static void paths_that_go_by_name_are_known(void **state)
{
    assert_name_of("/dev/no-such-vg/my-lv", "my-lv");
    assert_name_of("/dev/mapper/no--such--vg-my--lv", "my-lv");
    assert_name_of("/dev/disk/by-id/dm-name-no--such--vg-my--lv", "my-lv");
    assert_name_of("/dev/other/lv", NULL);
    assert_name_of("/dev/mapper/other-lv", NULL);
    assert_name_of("/dev/dm-3", NULL);
    assert_name_of("/dev/disk/by-id/dm-uuid-LVM-xyz", NULL);
    assert_name_of("/dev/no-such-vg/a_tdata", NULL);
    assert_name_of("/srv/x", NULL);
}

static void symbolic_links_are_followed(void **state)
{
    char dir[] = "/tmp/lvm-test.XXXXXX";
    cleanup_free char *one = NULL, *two = NULL, *loop = NULL, *node = NULL;

    assert_non_null(mkdtemp(dir));
    one = xasprintf("%s/one", dir);
    two = xasprintf("%s/two", dir);
    loop = xasprintf("%s/loop", dir);
    node = xasprintf("%s/node", dir);
    assert_int_equal(symlink("/dev/no-such-vg/lv", one), 0);
    assert_int_equal(symlink("one", two), 0);
    assert_int_equal(symlink("loop", loop), 0);
    assert_int_equal(symlink("/dev/dm-77", node), 0);
    assert_name_of(one, "lv");
    assert_name_of(two, "lv");
    assert_name_of(loop, NULL);
    assert_name_of(node, NULL);
    unlink(one);
    unlink(two);
    unlink(loop);
    unlink(node);
    rmdir(dir);
}

static void a_device_that_is_not_mapped_is_refused(void **state)
{
    struct xlsnap_error err = { 0 };
    char *vg = NULL;

    assert_int_equal(lvm_vg_of_device(makedev(7, 3), &vg, &err),
                     -XLSNAP_REFUSED);
    assert_non_null(strstr(err.msg, "7:3"));
    free(vg);
}

#define TEST(name) cmocka_unit_test(name)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(names_that_lvm_takes_are_taken),
        TEST(names_that_lvm_refuses_are_refused),
        TEST(the_longest_name_is_device_mappers),
        TEST(names_of_device_mapper_are_split),
        TEST(paths_are_split),
        TEST(paths_that_go_by_name_are_known),
        TEST(symbolic_links_are_followed),
        TEST(a_device_that_is_not_mapped_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
