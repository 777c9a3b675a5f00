/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * For the tests of disk-vhd*.c.  tap-ctl and vhd-util are the stand-ins of
 * tests/xen/fakes, without a device: what the guest writes is written to the
 * image that "tapdisk" has open.
 */
#ifndef VHD_TESTING_H
#define VHD_TESTING_H

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

static inline void write_data(const char *file, const char *text)
{
    int fd = open(file, O_WRONLY | O_CLOEXEC);

    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, text, strlen(text) + 1, DATA_AT),
                     (int)strlen(text) + 1);
    close(fd);
}

static inline void assert_data(const char *file, const char *text)
{
    int fd = open(file, O_RDONLY | O_CLOEXEC);
    char found[64] = "";

    assert_true(fd >= 0);
    assert_true(pread(fd, found, sizeof(found) - 1, DATA_AT) > 0);
    close(fd);
    assert_string_equal(found, text);
}

static inline void read_tapdisk(struct tapdisk *t)
{
    struct xlsnap_error err = { 0 };

    if (tapdisk_find(disk->source, t, &err))
        fail_msg("%s", err.msg);
}

static inline void end_tapdisk(void)
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

static inline int setup_vhd(void **state)
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

static inline int teardown_vhd(void **state)
{
    setenv("PATH", path_before, 1);
    unlink("state/tapdisks/fail");
    end_tapdisk();
    disk_vhd.release(&vhd_group);
    return teardown(state);
}

/* A disk a.vhd, to be frozen as a-s1.vhd. */
static inline void use_vhd(void)
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
static inline void use_served(void)
{
    use_vhd();
    RUN("tap-ctl", "create", "-a", disk->source);
    served = true;
    op.dom.domid = 7;
}

/* "tap-ctl pause 5": from now on that fails so. */
static inline void make_fail(const char *what)
{
    put("state/tapdisks/fail", what);
}

static inline void call(disk_fn *fn)
{
    struct xlsnap_error err = { 0 };

    if (fn(&op, &vhd_group, &err))
        fail_msg("%s", err.msg);
    assert_int_equal(err.code, 0);
}

static inline void assert_fails(disk_fn *fn, int code, const char *message)
{
    struct xlsnap_error err = { 0 };

    assert_int_equal(fn(&op, &vhd_group, &err), -code);
    assert_int_equal(err.code, code);
    if (!strstr(err.msg, message))
        assert_string_equal(err.msg, message);
}

static inline void create(void)
{
    call(disk_vhd.check);
    call(disk_vhd.prepare);
    call(disk_vhd.create);
}

static inline void assert_goes_on(const struct file_id *id)
{
    struct tapdisk t;

    read_tapdisk(&t);
    assert_true(t.pid > 0);
    assert_int_equal(t.state, 0);
    assert_true(file_is_open_in(id, t.pid));
}

static inline void pause_only(void)
{
    struct xlsnap_error err = { 0 };
    struct tapdisk t;

    read_tapdisk(&t);
    if (tapdisk_pause(&t, &err))
        fail_msg("%s", err.msg);
}

#define VHD(f) cmocka_unit_test_setup_teardown(f, setup_vhd, teardown_vhd)

/* Before the first test. */
static inline void use_stand_ins(void)
{
    cleanup_free char *here = getcwd(NULL, 0);

    snprintf(path_before, sizeof(path_before), "%s/tests/xen/fakes:%s", here,
             getenv("PATH"));
}

#endif
