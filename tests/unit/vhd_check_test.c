/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * disk-vhd.c, tapdisk.c: what tap-ctl and vhd-util say, which disks are
 * tapdisk's, and what a create refuses.
 */
#include "vhd_testing.h"

/* libxl's list of a running domain's disks, as 4.17 gives it. */
static struct {
    libxl_disk_backend backend;
    const char *path;
} running;

libxl_device_disk *libxl_device_disk_list(libxl_ctx *ctx, uint32_t domid,
                                          int *num)
{
    libxl_device_disk *found = xcalloc(1, sizeof(*found));

    libxl_device_disk_init(found);
    found->vdev = xstrdup("xvda");
    found->backend = running.backend;
    found->pdev_path = xstrdup(running.path);
    *num = 1;
    return found;
}

void libxl_device_disk_list_free(libxl_device_disk *disks, int num)
{
    for (int i = 0; i < num; i++)
        libxl_device_disk_dispose(&disks[i]);
    free(disks);
}

libxl_dominfo *libxl_list_domain(libxl_ctx *ctx, int *num)
{
    libxl_dominfo *domain = xcalloc(1, sizeof(*domain));

    libxl_dominfo_init(domain);
    domain->domid = 7;
    *num = 1;
    return domain;
}

void libxl_dominfo_list_free(libxl_dominfo *domains, int num)
{
    free(domains);
}

char *libxl_domid_to_name(libxl_ctx *ctx, uint32_t domid)
{
    return xstrdup("other");
}

/* ---- what is understood ---- */

/* A tap-ctl (or vhd-util) that says this, whatever it is asked. */
static void make_say(const char *program, int status, const char *text)
{
    cleanup_free char *bin = in_dir("state/bin");
    cleanup_free char *path = xasprintf("%s:%s", bin, path_before);
    cleanup_free char *file = xasprintf("%s/%s", bin, program);
    cleanup_free char *script =
        xasprintf("#!/bin/sh\ncat %s.says\nexit %d\n", file, status);
    cleanup_free char *says = xasprintf("%s.says", file);

    RUN("mkdir", "-p", bin);
    put(file, script);
    put(says, text);
    RUN("chmod", "755", file);
    setenv("PATH", path, 1);
}

static void assert_listed(const char *text, int pid, int minor, unsigned state)
{
    struct xlsnap_error err = { 0 };
    struct tapdisk t;

    make_say("tap-ctl", 0, text);
    if (tapdisk_find("vhd:/srv/a.vhd", &t, &err))
        fail_msg("%s: %s", text, err.msg);
    assert_int_equal(t.pid, pid);
    if (!pid)
        return;
    assert_int_equal(t.minor, minor);
    assert_int_equal(t.state, state);
}

static void assert_not_listed(const char *text, const char *message)
{
    struct xlsnap_error err = { 0 };
    struct tapdisk t;

    make_say("tap-ctl", 0, text);
    assert_int_equal(tapdisk_find("vhd:/srv/a.vhd", &t, &err), -XLSNAP_FAILED);
    if (!strstr(err.msg, message))
        assert_string_equal(err.msg, message);
}

static void a_tapdisk_is_found_in_the_list(void **state)
{
    assert_listed("", 0, 0, 0);
    assert_listed("\n", 0, 0, 0);
    assert_listed("pid=12 minor=3 state=0 args=vhd:/srv/a.vhd\n", 12, 3, 0);
    assert_listed("pid=12\nminor=4\n"
                  "pid=1 minor=0 state=0 args=aio:/srv/a.vhd\n"
                  "pid=2 minor=1 state=0 args=vhd:/srv/a.vhd.old\n"
                  "pid=3 minor=2 state=0x20 args=vhd:/srv/a.vhd\n"
                  "pid=4 minor=5 state=0 args=vhd:/srv/a b.vhd\n",
                  3, 2, 0x20);
    assert_listed("pid=2 minor=1 state=0 args=vhd:/srv/a b.vhd\n", 0, 0, 0);
    /* No newline at the end. */
    assert_listed("pid=3 minor=2 state=0x220 args=vhd:/srv/a.vhd", 3, 2, 0x220);
}

static void a_list_that_is_not_understood_is_an_error(void **state)
{
    static const char *const texts[] = {
        "pid=-1 minor=3 state=0 args=vhd:/srv/a.vhd\n",
        "pid= minor=3 state=0 args=vhd:/srv/a.vhd\n",
        "pid=0 minor=3 state=0 args=vhd:/srv/a.vhd\n",
        "pid=99999999999999999999 minor=3 args=vhd:/srv/a.vhd\n",
        "pid=4294967297 minor=3 args=vhd:/srv/a.vhd\n",
        "pid=1 pid=2 minor=3 state=0 args=vhd:/srv/a.vhd\n",
        "pid=12 minor=x state=0 args=vhd:/srv/a.vhd\n",
        "pid=12 minor=3 state=paused args=vhd:/srv/a.vhd\n",
        "pid=12 minor=3 state=0 what=ever args=vhd:/srv/a.vhd\n",
        "     pid minor state type file\n",
        "minor=3 state=0 args=vhd:/srv/a.vhd\n",
        "pid=12 state=0 args=vhd:/srv/a.vhd\n",
    };

    for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
        assert_not_listed(texts[i],
                          "'tap-ctl list' says something unknown here: '");
    assert_not_listed("pid=1 minor=0 state=0 args=vhd:/srv/a.vhd\n"
                      "pid=2 minor=1 state=0 args=vhd:/srv/a.vhd\n",
                      "'vhd:/srv/a.vhd' is served twice, by the tapdisks 1 "
                      "and 2");
}

static void an_exit_status_is_an_errno_value(void **state)
{
    struct xlsnap_error err = { 0 };
    struct tapdisk t;

    make_say("tap-ctl", 13, "one\nand \t two\n\n");
    assert_int_equal(tapdisk_find("vhd:/srv/a", &t, &err), -XLSNAP_FAILED);
    assert_string_equal(err.msg, "'tap-ctl list' exited with status 13 "
                                 "(Permission denied): and ? two");
}

static void assert_parent_not_understood(const char *text)
{
    struct xlsnap_error err = { 0 };

    make_say("vhd-util", 0, text);
    assert_int_equal(vhd_check_parent("/srv/c", "/tmp/p", &err),
                     -XLSNAP_FAILED);
}

static void a_parent_is_known_by_its_name(void **state)
{
    struct xlsnap_error err = { 0 };

    make_say("vhd-util", 0, "/tmp/p\n");
    assert_int_equal(vhd_check_parent("/srv/c", "/tmp/p", &err), 0);
    make_say("vhd-util", 0, "/tmp/../tmp/./p\n");
    assert_int_equal(vhd_check_parent("/srv/c", "/tmp/p", &err), 0);
    assert_parent_not_understood("");
    assert_parent_not_understood("/tmp/p");
    assert_parent_not_understood("\n");
    assert_parent_not_understood("p\n");
    assert_parent_not_understood("/tmp/q\n");
    assert_parent_not_understood("/srv/p\n");
    assert_parent_not_understood("/tmp/p\n/tmp/p\n");
    assert_parent_not_understood("/srv/c has no parent\n");
    assert_parent_not_understood("query failed\n");
}

static void numbers_are_read_strictly(void **state)
{
    static const char *const texts[] = { "chain depth: \n", "chain depth: -1\n",
                                         "chain depth: 2 \n", "2\n",
                                         "chain depth: 99999999999999\n" };
    struct xlsnap_error err = { 0 };
    int depth;

    make_say("vhd-util", 0, "chain depth: 2\n");
    assert_int_equal(vhd_depth("/x", &depth, &err), 0);
    assert_int_equal(depth, 2);
    for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
        struct xlsnap_error one = { 0 };

        make_say("vhd-util", 0, texts[i]);
        assert_int_equal(vhd_depth("/x", &depth, &one), -XLSNAP_FAILED);
    }
}

static void a_source_is_a_tapdisks_by_its_prefix(void **state)
{
    assert_string_equal(tapdisk_file("vhd:/srv/a.vhd"), "/srv/a.vhd");
    assert_null(tapdisk_file("aio:/srv/a"));
    assert_null(tapdisk_file("vhd:srv/a"));
    assert_null(tapdisk_file("/srv/vhd:/a"));
    assert_null(tapdisk_file(NULL));
}

/* ---- check ---- */

static void a_disk_that_is_served_is_taken(void **state)
{
    cleanup_free char *target = in_dir("a-s1.vhd");

    use_served();
    free(disk->target);
    disk->target = NULL;
    assert_true(disk_vhd.takes(disk, XLSNAP_METHOD_EXTERNAL));
    assert_false(disk_vhd.takes(disk, XLSNAP_METHOD_INTERNAL));
    assert_false(disk_vhd.takes(disk, XLSNAP_METHOD_OVERLAY));
    call(disk_vhd.check);
    assert_string_equal(disk->target, target);
    assert_files(".", "a.vhd");
    assert_false(vhd_group.touched);
}

static void missing_tools_are_refused(void **state)
{
    use_served();
    setenv("PATH", "/nowhere", 1);
    assert_fails(disk_vhd.check, XLSNAP_REFUSED,
                 "disk 'xvda': cannot run 'tap-ctl': No such file or "
                 "directory");
}

static void other_tools_are_refused(void **state)
{
    use_served();
    make_say("vhd-util", 0, "options: <-n name> <-p parent name>\n");
    assert_fails(disk_vhd.check, XLSNAP_REFUSED,
                 "disk 'xvda': this 'vhd-util' is another version than those "
                 "known here: its command 'snapshot' has no option '-e'");
}

static void a_target_that_exists_is_refused(void **state)
{
    use_served();
    put("a-s1.vhd", "");
    assert_fails(disk_vhd.check, XLSNAP_REFUSED,
                 "a-s1.vhd' exists already, and nothing is ever overwritten");
}

static void a_target_in_another_directory_is_refused(void **state)
{
    use_served();
    assert_int_equal(mkdir("other", 0700), 0);
    free(disk->target);
    disk->target = xstrdup("other/t.vhd");
    assert_fails(disk_vhd.check, XLSNAP_REFUSED,
                 "a VHD image finds its parent by a name relative to its own "
                 "directory");
}

static void a_disk_without_tapdisk_is_refused(void **state)
{
    use_vhd();
    assert_fails(disk_vhd.check, XLSNAP_REFUSED,
                 "disk 'xvda': no tapdisk serves 'vhd:");
}

static void a_paused_tapdisk_is_refused(void **state)
{
    struct xlsnap_error err = { 0 };
    struct tapdisk t;

    use_served();
    read_tapdisk(&t);
    assert_int_equal(tapdisk_pause(&t, &err), 0);
    assert_fails(disk_vhd.check, XLSNAP_REFUSED,
                 "is not just running, but in state 0x20");
}

static void a_file_that_was_replaced_is_refused(void **state)
{
    use_served();
    assert_int_equal(rename("a.vhd", "moved"), 0);
    RUN("vhd-util", "create", "-n", "a.vhd", "-s", "1");
    disk->id = id_of("a.vhd");
    assert_fails(disk_vhd.check, XLSNAP_REFUSED, "open; was it replaced?");
}

static void a_disk_in_use_otherwise_is_refused(void **state)
{
    int fd;

    use_served();
    fd = open("a.vhd", O_RDONLY | O_CLOEXEC);
    assert_fails(disk_vhd.check, XLSNAP_REFUSED, "is open in process");
    close(fd);
}

static void a_damaged_image_is_refused(void **state)
{
    int fd;

    use_served();
    fd = open("a.vhd", O_WRONLY | O_CLOEXEC);
    assert_int_equal(pwrite(fd, "x", 1, 0), 1);
    close(fd);
    assert_fails(disk_vhd.check, XLSNAP_REFUSED,
                 "disk 'xvda': 'vhd-util check' exited with status 22 "
                 "(Invalid argument): ");
}

static void a_chain_at_its_limit_is_refused(void **state)
{
    char from[] = "aa", to[] = "ba";

    use_vhd();
    assert_int_equal(rename("a.vhd", from), 0);
    for (int i = 0; i < VHD_DEPTH_MAX - 1; i++) {
        snprintf(to, sizeof(to), "%c%c", 'b' + i % 20, 'a' + i / 20);
        RUN("vhd-util", "snapshot", "-n", to, "-p", from, "-e");
        memcpy(from, to, sizeof(to));
    }
    assert_int_equal(rename(to, "a.vhd"), 0);
    disk->id = id_of("a.vhd");
    RUN("tap-ctl", "create", "-a", disk->source);
    served = true;
    assert_fails(disk_vhd.check, XLSNAP_REFUSED,
                 "has a chain of 30 images already, and 30 is the limit");
}

/* ---- which disks they are ---- */

static libxl_device_disk *configure(const char *script, const char *path)
{
    libxl_domain_config *c = &op.dom.config;

    op.dom.name = xstrdup("web1");
    c->disks = xcalloc(1, sizeof(*c->disks));
    c->num_disks = 1;
    libxl_device_disk_init(&c->disks[0]);
    c->disks[0].vdev = xstrdup("xvda");
    c->disks[0].pdev_path = xstrdup(path);
    c->disks[0].format = LIBXL_DISK_FORMAT_RAW;
    c->disks[0].readwrite = 1;
    c->disks[0].script = xstrdup(script);
    running.backend = LIBXL_DISK_BACKEND_PHY;
    return &c->disks[0];
}

static void a_disk_of_block_tap_is_taken(void **state)
{
    cleanup_free char *path = in_dir("a.vhd");
    cleanup_free char *source = xasprintf("vhd:%s", path);
    struct xlsnap_error err = { 0 };

    put("a.vhd", "");
    configure("/etc/xen/scripts/block-tap", source);
    if (disks_from_domain(&op, &err))
        fail_msg("%s", err.msg);
    assert_int_equal(op.n_disks, 1);
    assert_string_equal(op.disks[0].source, source);
    assert_string_equal(op.disks[0].path, path);
    assert_is("a.vhd", &op.disks[0].id);
    assert_int_equal(op.disks[0].format, LIBXL_DISK_FORMAT_VHD);
    assert_int_equal(op.disks[0].backend, LIBXL_DISK_BACKEND_TAP);
    assert_int_equal(op.disks[0].method, XLSNAP_METHOD_EXTERNAL);
    assert_string_equal(op.groups[0].driver->name, "vhd");
    assert_string_equal(op.snap.disks[0].format, "vhd");
    assert_string_equal(op.snap.disks[0].source, source);
}

static void assert_not_taken(const char *message)
{
    struct xlsnap_error err = { 0 };

    assert_int_equal(disks_from_domain(&op, &err), -XLSNAP_REFUSED);
    assert_string_equal(err.msg, message);
}

static void what_else_block_tap_attaches_is_refused(void **state)
{
    configure("block-tap", "aio:/srv/a");
    assert_not_taken("disk 'xvda': of what script 'block-tap' attaches, only "
                     "VHD images ('vhd:/path') can be snapshotted, not "
                     "'aio:/srv/a'");
}

static void a_vhd_of_another_script_is_refused(void **state)
{
    configure("block-tapdance", "vhd:/srv/a");
    assert_not_taken("disk 'xvda' is attached by script 'block-tapdance', "
                     "which this version does not know");
}

static void tapback_is_refused(void **state)
{
    configure(NULL, "/srv/a");
    running.backend = LIBXL_DISK_BACKEND_TAP;
    assert_not_taken("disk 'xvda' is served by tapback (backendtype=tap), "
                     "which this version does not know; with "
                     "script=block-tap,target=vhd:/srv/a it would be");
}

static void another_format_than_vhd_is_refused(void **state)
{
    struct xlsnap_disk *s = xlsnap_snapshot_add_disk(&op.snap);

    s->vdev = xstrdup("xvda");
    s->format = xstrdup("raw");
    configure("block-tap", "vhd:/srv/a");
    assert_not_taken("disk 'xvda' is of format vhd, not raw");
}

/* Whether libxl has cut its path at the colon or not. */
static void the_domain_that_uses_a_disk_is_seen(void **state)
{
    static const char *const forms[] = { "", "vhd:" };
    uint32_t own = 7;

    use_served();
    for (size_t i = 0; i < ARRAY_SIZE(forms); i++) {
        cleanup_free char *path = xasprintf("%s%s", forms[i], disk->path);
        struct xlsnap_error err = { 0 };

        running.path = path;
        assert_int_equal(disks_check_unused(&op, 0, NULL, &err),
                         -XLSNAP_REFUSED);
        assert_non_null(strstr(err.msg, "is in use by domain 'other'"));
        /* Of the domain itself; its tapdisk is no stranger. */
        assert_int_equal(disks_check_unused(&op, 0, &own, &err), 0);
        running.path = NULL;
    }
}

static void a_stranger_beside_tapdisk_is_seen(void **state)
{
    struct xlsnap_error err = { 0 };
    uint32_t own = 7;
    int fd;

    use_served();
    fd = open("a.vhd", O_RDWR | O_CLOEXEC);
    assert_int_equal(disks_check_unused(&op, 0, &own, &err), -XLSNAP_REFUSED);
    assert_non_null(strstr(err.msg, "is open in process "));
    close(fd);
}

/* What was made is gone, and its number another file's. */
static void a_file_of_the_same_number_is_no_disk(void **state)
{
    struct xlsnap_error err = { 0 };
    uint32_t own = 7;
    int fd;

    use_served();
    put("log", "");
    fd = open("log", O_RDWR | O_CLOEXEC);
    disk->made = id_of("log");
    assert_int_equal(disks_check_unused(&op, 0, &own, &err), 0);
    op.dom.qemu_pid = 0;
    assert_int_equal(disks_check_writers(&op, &err), 0);
    assert_int_equal(rename("log", "a-s1.vhd"), 0);
    assert_int_equal(disks_check_writers(&op, &err), -XLSNAP_REFUSED);
    assert_non_null(strstr(err.msg, "can be written by process "));
    assert_int_equal(disks_check_unused(&op, 0, &own, &err), -XLSNAP_REFUSED);
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        VHD(a_tapdisk_is_found_in_the_list),
        VHD(a_list_that_is_not_understood_is_an_error),
        VHD(an_exit_status_is_an_errno_value),
        VHD(a_parent_is_known_by_its_name),
        VHD(numbers_are_read_strictly),
        VHD(a_source_is_a_tapdisks_by_its_prefix),
        VHD(a_disk_that_is_served_is_taken),
        VHD(missing_tools_are_refused),
        VHD(other_tools_are_refused),
        VHD(a_target_that_exists_is_refused),
        VHD(a_target_in_another_directory_is_refused),
        VHD(a_disk_without_tapdisk_is_refused),
        VHD(a_paused_tapdisk_is_refused),
        VHD(a_file_that_was_replaced_is_refused),
        VHD(a_disk_in_use_otherwise_is_refused),
        VHD(a_damaged_image_is_refused),
        VHD(a_chain_at_its_limit_is_refused),
        VHD(a_disk_of_block_tap_is_taken),
        VHD(what_else_block_tap_attaches_is_refused),
        VHD(a_vhd_of_another_script_is_refused),
        VHD(tapback_is_refused),
        VHD(another_format_than_vhd_is_refused),
        VHD(the_domain_that_uses_a_disk_is_seen),
        VHD(a_stranger_beside_tapdisk_is_seen),
        VHD(a_file_of_the_same_number_is_no_disk),
    };

    use_stand_ins();
    return cmocka_run_group_tests_name("vhd_check", tests, NULL, NULL);
}
