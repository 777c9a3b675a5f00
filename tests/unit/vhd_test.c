/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * disk-vhd*.c: snapshots of VHD images, undone from every state in which a
 * crash can leave them, with and without a tapdisk.  tap-ctl and vhd-util are
 * the stand-ins of tests/xen/fakes, without a device: what the guest writes is
 * written to the image that "tapdisk" has open.
 */
#include "qemu_testing.h"

#include "disk-vhd.h"

#define DATA_AT 4096 /* of the stand-ins' images */
#define TMP ".xl-snapshot." TOKEN ".xvda"
#define BEFORE "what was there before"
#define AFTER "what the guest wrote after"

static struct disk *disk;
static struct disk_group vhd_group = { .driver = &disk_vhd, .disks = &disk };
static char path_before[4096];
static bool served;

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

/* ---- what is there ---- */

static void write_data(const char *file, const char *text)
{
    int fd = open(file, O_WRONLY | O_CLOEXEC);

    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, text, strlen(text) + 1, DATA_AT),
                     (int)strlen(text) + 1);
    close(fd);
}

static void assert_data(const char *file, const char *text)
{
    int fd = open(file, O_RDONLY | O_CLOEXEC);
    char found[64] = "";

    assert_true(fd >= 0);
    assert_true(pread(fd, found, sizeof(found) - 1, DATA_AT) > 0);
    close(fd);
    assert_string_equal(found, text);
}

static void read_tapdisk(struct tapdisk *t)
{
    struct xlsnap_error err = { 0 };

    if (tapdisk_find(disk->source, t, &err))
        fail_msg("%s", err.msg);
}

static void end_tapdisk(void)
{
    struct tapdisk t;
    cleanup_free char *pid = NULL;

    if (!served)
        return;
    served = false;
    read_tapdisk(&t);
    pid = xasprintf("%d", (int)t.pid);
    RUN("tap-ctl", "destroy", "-p", pid, "-m", "0");
}

static int setup_vhd(void **state)
{
    cleanup_free char *tapdisks = NULL;

    disk = NULL;
    vhd_group.n = 0;
    vhd_group.touched = false;
    setenv("PATH", path_before, 1);
    if (setup(state))
        return -1;
    tapdisks = xasprintf("%s/state/tapdisks", dir);
    setenv("FAKE_TAPDISK_DIR", tapdisks, 1);
    RUN("mkdir", "-p", tapdisks);
    return 0;
}

static int teardown_vhd(void **state)
{
    setenv("PATH", path_before, 1);
    unlink("state/tapdisks/fail");
    end_tapdisk();
    disk_vhd.release(&vhd_group);
    return teardown(state);
}

/* A disk a.vhd, to be frozen as a-s1.vhd. */
static void use_vhd(void)
{
    cleanup_free char *path = in_dir("a.vhd");
    struct xlsnap_disk *s = xlsnap_snapshot_add_disk(&op.snap);

    RUN("vhd-util", "create", "-n", "a.vhd", "-s", "1");
    write_data("a.vhd", BEFORE);
    disk = use(path);
    free(disk->source);
    disk->source = xasprintf("vhd:%s", path);
    disk->target = in_dir("a-s1.vhd");
    disk->method = XLSNAP_METHOD_EXTERNAL;
    disk->format = LIBXL_DISK_FORMAT_VHD;
    disk->backend = LIBXL_DISK_BACKEND_TAP;
    vhd_group.n = 1;
    s->vdev = xstrdup(disk->vdev);
    s->source = xstrdup(disk->source);
    s->target = xstrdup(disk->target);
    s->method = disk->method;
    s->format = xstrdup("vhd");
    pending_set_disks(&op.pending, &op);
}

/* The same, and a domain that has it. */
static void use_served(void)
{
    use_vhd();
    RUN("tap-ctl", "create", "-a", disk->source);
    served = true;
    op.dom.domid = 7;
}

/* "tap-ctl pause 5": from now on that fails so. */
static void make_fail(const char *what)
{
    put("state/tapdisks/fail", what);
}

static void call(disk_fn *fn)
{
    struct xlsnap_error err = { 0 };

    if (fn(&op, &vhd_group, &err))
        fail_msg("%s", err.msg);
    assert_int_equal(err.code, 0);
}

static void assert_fails(disk_fn *fn, int code, const char *message)
{
    struct xlsnap_error err = { 0 };

    assert_int_equal(fn(&op, &vhd_group, &err), -code);
    assert_int_equal(err.code, code);
    if (!strstr(err.msg, message))
        assert_string_equal(err.msg, message);
}

static void create(void)
{
    call(disk_vhd.check);
    call(disk_vhd.prepare);
    call(disk_vhd.create);
}

static void assert_goes_on(const struct file_id *id)
{
    struct tapdisk t;

    read_tapdisk(&t);
    assert_true(t.pid > 0);
    assert_int_equal(t.state, 0);
    assert_true(file_is_open_in(id, t.pid));
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

/* ---- create ---- */

static void the_frozen_image_is_target_and_the_name_the_childs(void **state)
{
    cleanup_free char *target = NULL;
    struct xlsnap_error err = { 0 };

    use_served();
    create();
    assert_files(".", "a-s1.vhd a.vhd");
    assert_is("a-s1.vhd", &disk->id);
    assert_is("a.vhd", &disk->made);
    assert_true(file_id_equal(&op.pending.disks[0].made, &disk->made));
    assert_goes_on(&disk->made);
    write_data("a.vhd", AFTER);
    call(disk_vhd.sync);
    assert_data("a-s1.vhd", BEFORE);
    assert_int_equal(vhd_check_parent(disk->path, disk->target, &err), 0);
}

static void a_child_of_an_empty_child_has_that_as_parent(void **state)
{
    use_served();
    create();
    end_tapdisk();
    RUN("vhd-util", "snapshot", "-n", "new", "-p", "a.vhd", "-e");
    RUN("mv", "new", "a.vhd");
    disk->id = id_of("a.vhd");
    memset(&disk->made, 0, sizeof(disk->made));
    free(disk->target);
    disk->target = in_dir("second.vhd");
    call(disk_vhd.prepare);
}

static void a_name_that_is_taken_is_not_overwritten(void **state)
{
    use_served();
    call(disk_vhd.check);
    put(TMP, "another's");
    assert_fails(disk_vhd.prepare, XLSNAP_FAILED, TMP "' exists already");
}

static void a_snapshot_that_fails_is_told(void **state)
{
    use_served();
    call(disk_vhd.check);
    make_fail("vhd-util snapshot 28\n");
    assert_fails(disk_vhd.prepare, XLSNAP_FAILED,
                 "disk 'xvda': 'vhd-util snapshot' exited with status 28 (No "
                 "space left on device)");
    call(disk_vhd.remove);
    assert_files(".", "a.vhd");
    assert_goes_on(&disk->id);
}

static void a_pause_that_fails_leaves_all_as_it_is(void **state)
{
    use_served();
    call(disk_vhd.check);
    call(disk_vhd.prepare);
    make_fail("tap-ctl pause 5\n");
    assert_fails(disk_vhd.create, XLSNAP_FAILED,
                 "'tap-ctl pause' exited with status 5 (Input/output error)");
    unlink("state/tapdisks/fail");
    call(disk_vhd.rescue);
    assert_goes_on(&disk->id);
    call(disk_vhd.remove);
    assert_files(".", "a.vhd");
    assert_goes_on(&disk->id);
}

/* ---- rescue ---- */

static void pause_only(void)
{
    struct xlsnap_error err = { 0 };
    struct tapdisk t;

    read_tapdisk(&t);
    if (tapdisk_pause(&t, &err))
        fail_msg("%s", err.msg);
}

static void a_death_before_the_rename_is_rescued(void **state)
{
    use_served();
    call(disk_vhd.check);
    call(disk_vhd.prepare);
    pause_only();
    call(disk_vhd.rescue);
    assert_goes_on(&disk->id);
    call(disk_vhd.rescue);
    assert_goes_on(&disk->id);
}

static void a_death_after_the_rename_is_rescued(void **state)
{
    use_served();
    call(disk_vhd.check);
    call(disk_vhd.prepare);
    pause_only();
    assert_int_equal(rename(TMP, "a.vhd"), 0);
    call(disk_vhd.rescue);
    assert_goes_on(&disk->made);
    assert_goes_on(&disk->id);
    assert_data("a.vhd", BEFORE);
}

static void a_snapshot_that_is_made_is_not_touched(void **state)
{
    use_served();
    create();
    call(disk_vhd.rescue);
    assert_goes_on(&disk->made);
    assert_files(".", "a-s1.vhd a.vhd");
}

/* It is folded back, or the guest would wait for ever. */
static void a_child_that_cannot_be_opened_is_given_up(void **state)
{
    use_served();
    call(disk_vhd.check);
    call(disk_vhd.prepare);
    pause_only();
    assert_int_equal(rename(TMP, "a.vhd"), 0);
    assert_int_equal(truncate("a.vhd", 1 << 20), 0); /* no footer */
    call(disk_vhd.rescue);
    assert_goes_on(&disk->id);
    assert_files(".", "a.vhd");
    call(disk_vhd.remove);
    assert_data("a.vhd", BEFORE);
}

/* Once snapshot.cfg is there, nothing is given up. */
static void a_published_snapshot_is_not_given_up(void **state)
{
    use_served();
    call(disk_vhd.check);
    call(disk_vhd.prepare);
    pause_only();
    free(op.pending.config_path);
    op.pending.config_path = in_dir("a.vhd");
    assert_int_equal(rename(TMP, "a.vhd"), 0);
    make_fail("tap-ctl unpause 22\n");
    assert_fails(disk_vhd.rescue, XLSNAP_FAILED,
                 "disk 'xvda': 'tap-ctl unpause' exited with status 22");
    assert_files(".", "a-s1.vhd a.vhd");
    unlink("state/tapdisks/fail");
    call(disk_vhd.rescue);
    assert_goes_on(&disk->made);
}

/* ---- undo, tapdisk serving the disk ---- */

static void what_was_only_prepared_is_undone(void **state)
{
    use_served();
    call(disk_vhd.check);
    call(disk_vhd.prepare);
    call(disk_vhd.remove);
    assert_files(".", "a.vhd");
    assert_goes_on(&disk->id);
}

static void what_the_guest_wrote_is_kept(void **state)
{
    use_served();
    create();
    write_data("a.vhd", AFTER);
    call(disk_vhd.remove);
    assert_files(".", "a.vhd");
    assert_is("a.vhd", &disk->id);
    assert_goes_on(&disk->id);
    assert_data("a.vhd", AFTER);
    call(disk_vhd.remove);
    assert_data("a.vhd", AFTER);
}

static void a_coalesce_that_fails_loses_nothing(void **state)
{
    use_served();
    create();
    write_data("a.vhd", AFTER);
    make_fail("vhd-util coalesce 28\n");
    assert_fails(disk_vhd.remove, XLSNAP_FAILED,
                 "disk 'xvda': 'vhd-util coalesce' exited with status 28 (No "
                 "space left on device)");
    assert_goes_on(&disk->made);
    assert_data("a.vhd", AFTER);
    unlink("state/tapdisks/fail");
    call(disk_vhd.remove);
    assert_goes_on(&disk->id);
    assert_data("a.vhd", AFTER);
    assert_files(".", "a.vhd");
}

/* The undo was cut off with tapdisk paused. */
static void an_undo_is_gone_on_with(bool coalesced, bool renamed)
{
    use_served();
    create();
    write_data("a.vhd", AFTER);
    pause_only();
    if (coalesced)
        RUN("vhd-util", "coalesce", "-n", "a.vhd");
    if (renamed)
        assert_int_equal(rename("a-s1.vhd", "a.vhd"), 0);
    call(disk_vhd.remove);
    assert_files(".", "a.vhd");
    assert_goes_on(&disk->id);
    assert_data("a.vhd", AFTER);
}

static void an_undo_cut_off_after_the_pause(void **state)
{
    an_undo_is_gone_on_with(false, false);
}

static void an_undo_cut_off_after_the_coalesce(void **state)
{
    an_undo_is_gone_on_with(true, false);
}

static void an_undo_cut_off_after_the_rename(void **state)
{
    an_undo_is_gone_on_with(true, true);
}

/* ---- undo, no domain ---- */

enum progress {
    NOTHING,
    LINKED,
    CHILD, /* under a temporary name, the record not knowing */
    PREPARED,
    SWITCHED,
    COALESCED,
    NAME_BACK,
};

static void assert_undone_from(enum progress progress)
{
    bool written = progress >= SWITCHED;

    use_served();
    if (progress == LINKED)
        assert_int_equal(link("a.vhd", "a-s1.vhd"), 0);
    if (progress >= CHILD) {
        call(disk_vhd.check);
        call(disk_vhd.prepare);
    }
    if (progress == CHILD)
        memset(&disk->made, 0, sizeof(disk->made));
    if (progress >= SWITCHED) {
        call(disk_vhd.create);
        write_data("a.vhd", AFTER);
    }
    end_tapdisk();
    if (progress >= COALESCED)
        RUN("vhd-util", "coalesce", "-n", "a.vhd");
    if (progress >= NAME_BACK)
        assert_int_equal(rename("a-s1.vhd", "a.vhd"), 0);
    op.dom.domid = DOMAIN_NONE;
    for (int again = 0; again < 2; again++) {
        call(disk_vhd.remove);
        assert_files(".", "a.vhd");
        assert_is("a.vhd", &disk->id);
        assert_data("a.vhd", written ? AFTER : BEFORE);
        RUN("vhd-util", "check", "-n", "a.vhd");
    }
}

static void nothing_is_undone(void **state)
{
    assert_undone_from(NOTHING);
}

static void a_link_is_undone(void **state)
{
    assert_undone_from(LINKED);
}

static void a_child_that_no_record_knows_is_undone(void **state)
{
    assert_undone_from(CHILD);
}

static void a_child_that_waits_is_undone(void **state)
{
    assert_undone_from(PREPARED);
}

static void a_switch_is_undone(void **state)
{
    assert_undone_from(SWITCHED);
}

static void a_coalesced_child_is_undone(void **state)
{
    assert_undone_from(COALESCED);
}

static void what_is_undone_stays_so(void **state)
{
    assert_undone_from(NAME_BACK);
}

static void half_a_child_is_undone(void **state)
{
    use_vhd();
    assert_int_equal(link("a.vhd", "a-s1.vhd"), 0);
    put(TMP, "conec");
    call(disk_vhd.remove);
    assert_files(".", "a.vhd");
    assert_data("a.vhd", BEFORE);
}

/* A record is all that is known of others' files. */
static void a_target_that_was_replaced_is_refused(void **state)
{
    use_served();
    create();
    write_data("a.vhd", AFTER);
    end_tapdisk();
    op.dom.domid = DOMAIN_NONE;
    assert_int_equal(rename("a-s1.vhd", "moved"), 0);
    put("a-s1.vhd", "another's");
    assert_fails(disk_vhd.remove, XLSNAP_FAILED,
                 "a-s1.vhd' is the file that the disk was");
    assert_files(".", "a-s1.vhd a.vhd moved");
    assert_is("a.vhd", &disk->made);
}

static void a_file_put_under_the_name_stays(void **state)
{
    use_served();
    create();
    end_tapdisk();
    op.dom.domid = DOMAIN_NONE;
    assert_int_equal(rename("a.vhd", "moved"), 0);
    put("a.vhd", "another's");
    assert_fails(disk_vhd.remove, XLSNAP_FAILED,
                 "a.vhd' is no longer the file it was");
    assert_files(".", "a-s1.vhd a.vhd moved");
}

/* The parent was changed behind our back: nothing may be merged there. */
static void a_child_of_another_image_is_not_coalesced(void **state)
{
    use_served();
    create();
    end_tapdisk();
    op.dom.domid = DOMAIN_NONE;
    RUN("vhd-util", "create", "-n", "other", "-s", "1");
    RUN("vhd-util", "snapshot", "-n", "a.vhd", "-p", "other", "-e");
    assert_fails(disk_vhd.remove, XLSNAP_FAILED,
                 "disk 'xvda': the parent of '");
    assert_is("a.vhd", &disk->made);
    assert_is("a-s1.vhd", &disk->id);
}

/* ---- revert ---- */

/* As in a process of its own: the disk is what snapshot.cfg says. */
static void load_snapshot(void)
{
    struct xlsnap_error err = { 0 };

    disks_clear(&op);
    if (disks_from_snapshot(&op, &err))
        fail_msg("%s", err.msg);
    disk = &op.disks[0];
    assert_int_equal(disk->backend, LIBXL_DISK_BACKEND_TAP);
    assert_int_equal(disk->format, LIBXL_DISK_FORMAT_VHD);
    assert_string_equal(op.groups[0].driver->name, "vhd");
}

static void freeze(void)
{
    use_served();
    create();
    write_data("a.vhd", AFTER);
    end_tapdisk();
    op.dom.domid = DOMAIN_NONE;
}

static void assert_reverted(void)
{
    RUN("tap-ctl", "create", "-a", disk->source);
    served = true;
    assert_data("a.vhd", BEFORE);
    write_data("a.vhd", AFTER);
    end_tapdisk();
    assert_data("a-s1.vhd", BEFORE);
}

static void a_revert_can_be_repeated(void **state)
{
    freeze();
    for (int i = 0; i < 3; i++) {
        load_snapshot();
        call(disk_vhd.prove);
        call(disk_vhd.unused);
        call(disk_vhd.revert);
        assert_files(".", "a-s1.vhd a.vhd");
        assert_reverted();
    }
}

static void a_revert_that_was_cut_off_is_gone_on_with(void **state)
{
    freeze();
    RUN("vhd-util", "snapshot", "-n", TMP, "-p", "a-s1.vhd", "-e");
    load_snapshot();
    call(disk_vhd.prove);
    call(disk_vhd.revert);
    assert_files(".", "a-s1.vhd a.vhd");
    assert_reverted();
    call(disk_vhd.revert);
    assert_reverted();
}

static void a_disk_that_is_gone_comes_back(void **state)
{
    freeze();
    assert_int_equal(unlink("a.vhd"), 0);
    load_snapshot();
    call(disk_vhd.prove);
    call(disk_vhd.revert);
    assert_reverted();
}

static void what_is_given_up_is_kept(void **state)
{
    freeze();
    load_snapshot();
    op.pending.keep = true;
    call(disk_vhd.revert);
    call(disk_vhd.revert);
    assert_files(".", "a-s1.vhd a.vhd a.vhd-discarded-T");
    assert_data("a.vhd-discarded-T", AFTER);
    RUN("vhd-util", "check", "-n", "a.vhd-discarded-T", "-p");
    assert_reverted();
}

static void the_owner_and_mode_stay(void **state)
{
    struct stat st;

    freeze();
    assert_int_equal(chmod("a.vhd", 0640), 0);
    load_snapshot();
    call(disk_vhd.revert);
    assert_int_equal(stat("a.vhd", &st), 0);
    assert_int_equal(st.st_mode & 07777, 0640);
}

static void assert_not_proved(const char *message)
{
    load_snapshot();
    assert_fails(disk_vhd.prove, XLSNAP_REFUSED, message);
}

static void a_frozen_image_that_is_gone_is_refused(void **state)
{
    freeze();
    assert_int_equal(unlink("a-s1.vhd"), 0);
    assert_not_proved("disk 'xvda': cannot examine '");
}

static void a_frozen_image_that_is_damaged_is_refused(void **state)
{
    freeze();
    assert_int_equal(truncate("a-s1.vhd", 1 << 20), 0);
    assert_not_proved("disk 'xvda': 'vhd-util check' exited with status 22 "
                      "(Invalid argument): ");
}

static void a_frozen_image_that_is_the_disk_is_refused(void **state)
{
    freeze();
    assert_int_equal(unlink("a.vhd"), 0);
    assert_int_equal(link("a-s1.vhd", "a.vhd"), 0);
    assert_not_proved("are the same file: the frozen one is in use as the "
                      "disk");
}

static void a_frozen_image_that_is_served_is_refused(void **state)
{
    cleanup_free char *frozen = NULL;
    cleanup_free char *source = NULL;

    freeze();
    frozen = in_dir("a-s1.vhd");
    source = xasprintf("vhd:%s", frozen);
    RUN("tap-ctl", "create", "-a", source);
    assert_not_proved("is served by tapdisk (pid ");
    free(disk->source);
    disk->source = xstrdup(source);
    served = true;
}

static void a_disk_that_tapdisk_has_is_in_use(void **state)
{
    use_served();
    pause_only(); /* nothing open, and yet */
    assert_fails(disk_vhd.unused, XLSNAP_REFUSED, "is served by tapdisk (pid ");
    end_tapdisk();
    call(disk_vhd.unused);
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
    static const char *const forms[] = { "%s", "vhd:%s" };
    uint32_t own = 7;

    use_served();
    for (size_t i = 0; i < ARRAY_SIZE(forms); i++) {
        cleanup_free char *path = xasprintf(forms[i], disk->path);
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

#define VHD(f) cmocka_unit_test_setup_teardown(f, setup_vhd, teardown_vhd)

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
        VHD(the_frozen_image_is_target_and_the_name_the_childs),
        VHD(a_child_of_an_empty_child_has_that_as_parent),
        VHD(a_name_that_is_taken_is_not_overwritten),
        VHD(a_snapshot_that_fails_is_told),
        VHD(a_pause_that_fails_leaves_all_as_it_is),
        VHD(a_death_before_the_rename_is_rescued),
        VHD(a_death_after_the_rename_is_rescued),
        VHD(a_snapshot_that_is_made_is_not_touched),
        VHD(a_child_that_cannot_be_opened_is_given_up),
        VHD(a_published_snapshot_is_not_given_up),
        VHD(what_was_only_prepared_is_undone),
        VHD(what_the_guest_wrote_is_kept),
        VHD(a_coalesce_that_fails_loses_nothing),
        VHD(an_undo_cut_off_after_the_pause),
        VHD(an_undo_cut_off_after_the_coalesce),
        VHD(an_undo_cut_off_after_the_rename),
        VHD(nothing_is_undone),
        VHD(a_link_is_undone),
        VHD(a_child_that_no_record_knows_is_undone),
        VHD(a_child_that_waits_is_undone),
        VHD(a_switch_is_undone),
        VHD(a_coalesced_child_is_undone),
        VHD(what_is_undone_stays_so),
        VHD(half_a_child_is_undone),
        VHD(a_target_that_was_replaced_is_refused),
        VHD(a_file_put_under_the_name_stays),
        VHD(a_child_of_another_image_is_not_coalesced),
        VHD(a_revert_can_be_repeated),
        VHD(a_revert_that_was_cut_off_is_gone_on_with),
        VHD(a_disk_that_is_gone_comes_back),
        VHD(what_is_given_up_is_kept),
        VHD(the_owner_and_mode_stay),
        VHD(a_frozen_image_that_is_gone_is_refused),
        VHD(a_frozen_image_that_is_damaged_is_refused),
        VHD(a_frozen_image_that_is_the_disk_is_refused),
        VHD(a_frozen_image_that_is_served_is_refused),
        VHD(a_disk_that_tapdisk_has_is_in_use),
        VHD(a_disk_of_block_tap_is_taken),
        VHD(what_else_block_tap_attaches_is_refused),
        VHD(a_vhd_of_another_script_is_refused),
        VHD(tapback_is_refused),
        VHD(another_format_than_vhd_is_refused),
        VHD(the_domain_that_uses_a_disk_is_seen),
        VHD(a_stranger_beside_tapdisk_is_seen),
    };
    cleanup_free char *here = getcwd(NULL, 0);

    snprintf(path_before, sizeof(path_before), "%s/tests/xen/fakes:%s", here,
             getenv("PATH"));
    return cmocka_run_group_tests_name("vhd", tests, NULL, NULL);
}
