/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * For tests with a real QEMU that has the disks open as Xen's has, but for the
 * guest: it never runs, and what it would write, the monitor does.  libxl's
 * configuration of the domain is made up here.  For one file of a test only:
 * it takes the place of functions of libc and libxl.
 */
#ifndef LIVE_TESTING_H
#define LIVE_TESTING_H

#include "chain_testing.h"

#include <limits.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>

#define MONITOR "monitor"
#define WAIT_MS 20000

static uint32_t last_domid = 6;
static struct disk_group *now; /* the group of the operation under way */

/* ---- what stands for Xen ---- */

/* The domain's monitor is the one of our QEMU. */
static inline const char *ours(const char *path)
{
    static const char prefix[] = "/var/run/xen/qmp-libxenstat-";

    return strncmp(path, prefix, strlen(prefix)) ? path : MONITOR;
}

int stat(const char *path, struct stat *st)
{
    return fstatat(AT_FDCWD, ours(path), st, 0);
}

int connect(int fd, const struct sockaddr *addr, socklen_t len)
{
    struct sockaddr_un to = *(const struct sockaddr_un *)addr;

    strcpy(to.sun_path, ours(to.sun_path));
    return syscall(SYS_connect, fd, &to, sizeof(to));
}

static char stored[PATH_MAX]; /* the disk's path, in libxl's config */
static libxl_disk_format stored_format;

int libxl_userdata_retrieve(libxl_ctx *ctx, uint32_t domid, const char *userid,
                            uint8_t **data_r, int *len_r)
{
    *data_r = (uint8_t *)xstrdup("{}");
    *len_r = 3;
    return 0;
}

int libxl_domain_config_from_json(libxl_ctx *ctx, libxl_domain_config *config,
                                  const char *text)
{
    config->num_disks = 1;
    config->disks = xcalloc(1, sizeof(*config->disks));
    libxl_device_disk_init(config->disks);
    config->disks->vdev = xstrdup("xvda");
    config->disks->pdev_path = xstrdup(stored);
    config->disks->format = stored_format;
    return 0;
}

char *libxl_domain_config_to_json(libxl_ctx *ctx, libxl_domain_config *config)
{
    snprintf(stored, sizeof(stored), "%s", config->disks->pdev_path);
    stored_format = config->disks->format;
    return xstrdup("{}");
}

int libxl_userdata_store(libxl_ctx *ctx, uint32_t domid, const char *userid,
                         const uint8_t *data, int len)
{
    return 0;
}

/* ---- QEMU ---- */

static inline void stop_qemu(void)
{
    qemu_session_end(&op);
    if (op.dom.qemu_pid > 0) {
        kill(op.dom.qemu_pid, SIGKILL);
        waitpid(op.dom.qemu_pid, NULL, 0);
    }
    op.dom.qemu_pid = 0;
    op.dom.domid = DOMAIN_NONE;
}

static inline char *blockdev_arg(const char *vdev, const char *file)
{
    return xasprintf("driver=qcow2,node-name=%s-qcow2,file.driver=file,"
                     "file.filename=%s/%s,file.locking=off",
                     vdev, dir, file);
}

/* Until it answers. */
static inline void wait_qemu(void)
{
    int64_t deadline = now_ms() + WAIT_MS;
    struct xlsnap_error err;

    do {
        memset(&err, 0, sizeof(err));
        usleep(1000);
    } while (qemu_session(&op, &err) && now_ms() < deadline);
    if (!op.qmp)
        fail_msg("%s", err.msg);
    qemu_session_end(&op);
}

/* With xvda and xvdb; NULL: no such disk. */
static inline void start_qemu(const char *a, const char *b)
{
    cleanup_free char *drive_a = blockdev_arg("xvda", a);
    cleanup_free char *drive_b = b ? blockdev_arg("xvdb", b) : NULL;
    const char *argv[] = { "qemu-system-x86_64",
                           "-M",
                           "pc,accel=tcg",
                           "-m",
                           "16",
                           "-S",
                           "-nodefaults",
                           "-display",
                           "none",
                           "-qmp",
                           "unix:" MONITOR ",server=on,wait=off",
                           "-blockdev",
                           drive_a,
                           "-device",
                           "ide-hd,drive=xvda-qcow2,id=da",
                           b ? "-blockdev" : NULL,
                           drive_b,
                           "-device",
                           "ide-hd,drive=xvdb-qcow2,id=db",
                           NULL };
    pid_t pid;

    unlink(MONITOR);
    pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        execvp(argv[0], (char **)argv);
        _exit(127);
    }
    op.dom.qemu_pid = pid;
    op.dom.domid = ++last_domid;
    wait_qemu();
}

/* One command of the monitor; *reply_r may be NULL. */
static inline void tell(const char *command, const char *arguments,
                        struct json **reply_r)
{
    struct xlsnap_error err = { 0 };

    if (qemu_session(&op, &err) ||
        qmp_command(op.qmp, command, arguments, WAIT_MS, reply_r, &err))
        fail_msg("%s", err.msg);
}

static inline void qemu_io(const char *device, const char *command)
{
    cleanup_free char *arguments =
        xasprintf("{\"command-line\": \"qemu-io -d /machine/peripheral/%s "
                  "\\\"%s\\\"\"}",
                  device, command);
    struct json *reply = NULL;

    tell("human-monitor-command", arguments, &reply);
    assert_string_equal(json_string(qmp_result(reply)), "");
    json_free(reply);
}

/* The guest writes to the beginning of its disk, and flushes. */
static inline void live_writes(const char *device)
{
    cleanup_free char *command =
        xasprintf("write -q -P " AFTER " 0 %dk", WRITTEN_KIB);

    qemu_io(device, command);
    qemu_io(device, "flush");
}

static inline int setup_live(void **state)
{
    if (setup(state))
        return -1;
    op.dom.name = xstrdup("web1");
    now = &group;
    group.touched = false;
    stored[0] = '\0';
    make_full_image("a.qcow2");
    return 0;
}

static inline int teardown_live(void **state)
{
    stop_qemu();
    return teardown(state);
}

/* ---- the operation ---- */

static inline void ok(int rc, const struct xlsnap_error *err)
{
    if (rc)
        fail_msg("%s", err->msg);
    assert_int_equal(err->code, 0);
}

static inline void begin_create(void)
{
    struct xlsnap_error err = { 0 };

    ok(disk_qemu.check(&op, now, &err), &err);
    disks_publish(&op);
    op.pending.domid = op.dom.domid;
    pending_set_disks(&op.pending, &op);
    ok(disk_qemu.prepare(&op, now, &err), &err);
}

static inline void make_snapshot(void)
{
    struct xlsnap_error err = { 0 };

    begin_create();
    ok(disk_qemu.create(&op, now, &err), &err);
    ok(disk_qemu.settle(&op, now, &err), &err);
    ok(disk_qemu.sync(&op, now, &err), &err);
}

static inline struct disk *use_external(void)
{
    return use_for(XLSNAP_METHOD_EXTERNAL, "a.qcow2", "a-s1.qcow2");
}

static inline struct disk *use_overlay(void)
{
    struct disk *disk = use_for(XLSNAP_METHOD_OVERLAY, "a.qcow2", "t.qcow2");

    strcpy(stored, disk->source);
    stored_format = LIBXL_DISK_FORMAT_QCOW2;
    return disk;
}

/* The next one is of another run. */
static inline void clear_operation(const char *name)
{
    qemu_session_end(&op);
    disks_clear(&op);
    op.disks = xcalloc(MAX_DISKS, sizeof(*op.disks));
    now = &group;
    xlsnap_snapshot_clear(&op.snap);
    op.snap.name = xstrdup(name);
    op.snap.memory = xstrdup("/memory.save");
    pending_clear(&op.pending);
    op.pending.uuid = xstrdup(UUID);
    op.pending.token = xstrdup("fedcba9876543210");
}

static inline bool take_record(const struct pending *p, void *user)
{
    pending_clear(&op.pending);
    pending_copy(&op.pending, p);
    return false;
}

/* The tool is killed; what goes on knows the record only. */
static inline void kill_tool(void)
{
    struct xlsnap_error err = { 0 };

    qemu_session_end(&op);
    ok(pending_each(&xs, take_record, NULL, &err), &err);
    disks_clear(&op);
    op_fill_snapshot(&op);
    ok(disks_from_record(&op, &err), &err);
    now = &op.groups[0];
}

static inline void rescue(void)
{
    struct xlsnap_error err = { 0 };

    ok(disk_qemu.rescue(&op, now, &err), &err);
    qemu_session_end(&op);
}

static inline void undo(void)
{
    struct xlsnap_error err = { 0 };

    now->touched = true;
    ok(disk_qemu.remove(&op, now, &err), &err);
}

static inline void assert_active(const char *file, const struct file_id *id)
{
    assert_is(file, id);
    assert_true(file_is_open_in(id, op.dom.qemu_pid));
}

static inline size_t count_of(const char *command, const char *arguments)
{
    struct json *reply = NULL;
    size_t n;

    tell(command, arguments, &reply);
    n = json_array_len(qmp_result(reply));
    json_free(reply);
    return n;
}

/* QEMU writes to the file that it had at first, and no job is left. */
static inline void assert_as_before(const char *file, const struct file_id *id,
                                    const char *first)
{
    assert_active(file, id);
    assert_int_equal(count_of("query-jobs", NULL), 0);
    stop_qemu();
    assert_data(file, "qcow2", first);
    RUN("qemu-img", "check", "-q", file);
}

/* What the guest writes from now on goes where it belongs. */
static inline void assert_goes_on(const char *file, const char *device)
{
    live_writes(device);
    stop_qemu();
    assert_data(file, "qcow2", AFTER);
}

static inline void assert_not_checked(const char *message)
{
    struct xlsnap_error err = { 0 };

    assert_int_equal(disk_qemu.check(&op, now, &err), -XLSNAP_REFUSED);
    assert_int_equal(err.code, XLSNAP_REFUSED);
    if (!strstr(err.msg, message))
        assert_string_equal(err.msg, message);
    assert_files(".", "a.qcow2 " MONITOR);
}

#define LIVE_TEST(f) \
    cmocka_unit_test_setup_teardown(f, setup_live, teardown_live)

#endif
