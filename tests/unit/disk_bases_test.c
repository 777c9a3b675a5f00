/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * disk-bases.c: what a revert of a domain that does not run would rewrite must
 * not be what an overlay was put upon.
 */
#include "chain_testing.h"

static char snapshot_dir[sizeof(dir) + 16];

/* a.qcow2 is to be gone back to; snapshots are where they are by default. */
static int setup_disk(void **state)
{
    if (setup(state))
        return -1;
    snprintf(snapshot_dir, sizeof(snapshot_dir), "%s/snapshots", dir);
    xs.snapshot_dir = snapshot_dir;
    free(op.config_path);
    op.config_path = in_dir("elsewhere/s1/snapshot.cfg");
    make_image("a.qcow2");
    use_for(XLSNAP_METHOD_EXTERNAL, "a.qcow2", "a-s1.qcow2");
    return 0;
}

static void describe_overlay(const char *directory, const char *target)
{
    cleanup_free char *config = xasprintf("%s/snapshot.cfg", directory);
    cleanup_free char *text =
        xasprintf("domain = \"web1\"\nname = \"s2\"\n"
                  "disks = [ \"vdev=xvda,snapshot=overlay,format=qcow2,"
                  "source=%s/a.qcow2,source_format=qcow2,target=%s/%s\" ]\n",
                  dir, dir, target);

    RUN("mkdir", "-p", directory);
    put(config, text);
}

static void assert_base(const char *overlay)
{
    struct xlsnap_error err = { 0 };
    cleanup_free char *says =
        xasprintf("is what '%s/%s' was put upon", dir, overlay);

    assert_int_equal(disks_check_no_base(&op, &err), -XLSNAP_REFUSED);
    if (!strstr(err.msg, says))
        assert_string_equal(err.msg, says);
}

static void assert_no_base(void)
{
    struct xlsnap_error err = { 0 };

    if (disks_check_no_base(&op, &err))
        fail_msg("%s", err.msg);
}

static void a_disk_with_nothing_on_it_may_be_rewritten(void **state)
{
    make_image("b.qcow2");
    put("c", "QFI");
    put("d", "");
    RUN("qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b",
        "b.qcow2", "on-b.qcow2");
    assert_no_base();
}

static void an_overlay_beside_it_is_found(void **state)
{
    RUN("qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b",
        "a.qcow2", "on-a.qcow2");
    assert_base("on-a.qcow2");
    assert_int_equal(unlink("on-a.qcow2"), 0);
    assert_no_base();
}

static void an_overlay_that_names_it_otherwise_is_found(void **state)
{
    cleanup_free char *whole = in_dir("a.qcow2");

    RUN("qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", whole,
        "on-a.qcow2");
    assert_base("on-a.qcow2");
}

static void an_overlay_of_a_snapshot_is_found(void **state)
{
    describe_overlay("snapshots/web1/s2", "far/a.ovl");
    assert_no_base(); /* it was deleted */
    RUN("mkdir", "far");
    put("far/a.ovl", "");
    assert_base("far/a.ovl");
}

static void an_overlay_of_a_snapshot_beside_ours_is_found(void **state)
{
    describe_overlay("elsewhere/s2", "a.ovl");
    put("a.ovl", "");
    assert_base("a.ovl");
}

static void what_an_overlay_gives_up_is_kept_anyway(void **state)
{
    RUN("qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b",
        "a.qcow2", "on-a.qcow2");
    op.disks[0].method = XLSNAP_METHOD_OVERLAY;
    assert_no_base();
}

#define DISK_TEST(f) cmocka_unit_test_setup_teardown(f, setup_disk, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        DISK_TEST(a_disk_with_nothing_on_it_may_be_rewritten),
        DISK_TEST(an_overlay_beside_it_is_found),
        DISK_TEST(an_overlay_that_names_it_otherwise_is_found),
        DISK_TEST(an_overlay_of_a_snapshot_is_found),
        DISK_TEST(an_overlay_of_a_snapshot_beside_ours_is_found),
        DISK_TEST(what_an_overlay_gives_up_is_kept_anyway),
    };

    return cmocka_run_group_tests_name("disk_bases", tests, NULL, NULL);
}
