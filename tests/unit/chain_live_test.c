/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * disk-qemu.c and disk-qemu-chain.c with a real QEMU that has the disks open
 * as Xen's has, but for the guest: it never runs, and what it would write, the
 * monitor does.  Snapshots, their undo, and both after the tool was killed.
 * libxl's configuration of the domain is made up here.
 */
#include "chain_testing.h"

#include <limits.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>

#define MONITOR "monitor"
#define DOMID 7
#define WAIT_MS 20000

static struct disk_group *now; /* the group of the operation under way */

/* ---- what stands for Xen ---- */

/* The domain's monitor is the one of our QEMU. */
static const char *ours(const char *path)
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

static void stop_qemu(void)
{
    qemu_session_end(&op);
    if (op.dom.qemu_pid > 0) {
        kill(op.dom.qemu_pid, SIGKILL);
        waitpid(op.dom.qemu_pid, NULL, 0);
    }
    op.dom.qemu_pid = 0;
    op.dom.domid = DOMAIN_NONE;
}

static char *blockdev_arg(const char *vdev, const char *file)
{
    return xasprintf("driver=qcow2,node-name=%s-qcow2,file.driver=file,"
                     "file.filename=%s/%s,file.locking=off",
                     vdev, dir, file);
}

/* Until it answers. */
static void wait_qemu(void)
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
static void start_qemu(const char *a, const char *b)
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
    op.dom.domid = DOMID;
    wait_qemu();
}

/* One command of the monitor; *reply_r may be NULL. */
static void tell(const char *command, const char *arguments,
                 struct json **reply_r)
{
    struct xlsnap_error err = { 0 };

    if (qemu_session(&op, &err) ||
        qmp_command(op.qmp, command, arguments, WAIT_MS, reply_r, &err))
        fail_msg("%s", err.msg);
}

static void qemu_io(const char *device, const char *command)
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
static void live_writes(const char *device)
{
    cleanup_free char *command =
        xasprintf("write -q -P " AFTER " 0 %dk", WRITTEN_KIB);

    qemu_io(device, command);
    qemu_io(device, "flush");
}

static int setup_live(void **state)
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

static int teardown_live(void **state)
{
    stop_qemu();
    return teardown(state);
}

/* ---- the operation ---- */

static void ok(int rc, const struct xlsnap_error *err)
{
    if (rc)
        fail_msg("%s", err->msg);
    assert_int_equal(err->code, 0);
}

static void begin_create(void)
{
    struct xlsnap_error err = { 0 };

    ok(disk_qemu.check(&op, now, &err), &err);
    disks_publish(&op);
    pending_set_disks(&op.pending, &op);
    ok(disk_qemu.prepare(&op, now, &err), &err);
}

static void make_snapshot(void)
{
    struct xlsnap_error err = { 0 };

    begin_create();
    ok(disk_qemu.create(&op, now, &err), &err);
    ok(disk_qemu.settle(&op, now, &err), &err);
    ok(disk_qemu.sync(&op, now, &err), &err);
}

static struct disk *use_external(void)
{
    return use_for(XLSNAP_METHOD_EXTERNAL, "a.qcow2", "a-s1.qcow2");
}

static struct disk *use_overlay(void)
{
    struct disk *disk = use_for(XLSNAP_METHOD_OVERLAY, "a.qcow2", "t.qcow2");

    strcpy(stored, disk->source);
    stored_format = LIBXL_DISK_FORMAT_QCOW2;
    return disk;
}

/* The next one is of another run. */
static void clear_operation(const char *name)
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

static bool take_record(const struct pending *p, void *user)
{
    pending_clear(&op.pending);
    pending_copy(&op.pending, p);
    return false;
}

/* The tool is killed; what goes on knows the record only. */
static void kill_tool(void)
{
    struct xlsnap_error err = { 0 };

    qemu_session_end(&op);
    ok(pending_each(&xs, take_record, NULL, &err), &err);
    disks_clear(&op);
    op_fill_snapshot(&op);
    ok(disks_from_record(&op, &err), &err);
    now = &op.groups[0];
}

static void rescue(void)
{
    struct xlsnap_error err = { 0 };

    ok(disk_qemu.rescue(&op, now, &err), &err);
    qemu_session_end(&op);
}

static void undo(void)
{
    struct xlsnap_error err = { 0 };

    now->touched = true;
    ok(disk_qemu.remove(&op, now, &err), &err);
}

static void assert_active(const char *file, const struct file_id *id)
{
    assert_is(file, id);
    assert_true(file_is_open_in(id, op.dom.qemu_pid));
}

static size_t count_of(const char *command, const char *arguments)
{
    struct json *reply = NULL;
    size_t n;

    tell(command, arguments, &reply);
    n = json_array_len(qmp_result(reply));
    json_free(reply);
    return n;
}

/* QEMU writes to the file that it had at first, and no job is left. */
static void assert_as_before(const char *file, const struct file_id *id,
                             const char *first)
{
    assert_active(file, id);
    assert_int_equal(count_of("query-jobs", NULL), 0);
    stop_qemu();
    assert_data(file, "qcow2", first);
    RUN("qemu-img", "check", "-q", file);
}

/* What the guest writes from now on goes where it belongs. */
static void assert_goes_on(const char *file, const char *device)
{
    live_writes(device);
    stop_qemu();
    assert_data(file, "qcow2", AFTER);
}

/* ---- check ---- */

static void assert_not_checked(const char *message)
{
    struct xlsnap_error err = { 0 };

    assert_int_equal(disk_qemu.check(&op, now, &err), -XLSNAP_REFUSED);
    assert_int_equal(err.code, XLSNAP_REFUSED);
    if (!strstr(err.msg, message))
        assert_string_equal(err.msg, message);
    assert_files(".", "a.qcow2 " MONITOR);
}

static void a_disk_is_checked_with_qemu(void **state)
{
    struct xlsnap_error err = { 0 };
    struct disk *disk = use_external();

    disk->virtual_size = 0;
    start_qemu("a.qcow2", NULL);
    ok(disk_qemu.check(&op, now, &err), &err);
    assert_string_equal(disk->node, "xvda-qcow2");
    assert_int_equal(disk->virtual_size, IMAGE_SIZE);
    assert_null(op.qmp); /* the monitor is free again */
    assert_files(".", "a.qcow2 " MONITOR);
}

static void a_disk_that_was_replaced_is_refused(void **state)
{
    RUN("cp", "a.qcow2", "old.qcow2");
    start_qemu("old.qcow2", NULL);
    assert_int_equal(unlink("old.qcow2"), 0);
    use_external();
    assert_not_checked("a.qcow2' is not the file that QEMU (pid ");
}

static void a_disk_that_qemu_does_not_know_is_refused(void **state)
{
    start_qemu("a.qcow2", NULL);
    use_external()->vdev[3] = 'c';
    assert_not_checked("disk 'xvdc': QEMU does not serve '");
}

static void a_qemu_that_does_not_answer_is_refused(void **state)
{
    use_external();
    start_qemu("a.qcow2", NULL);
    stop_qemu();
    op.dom.domid = DOMID;
    assert_not_checked("cannot connect to QEMU at '");
}

/* ---- create ---- */

static void an_external_snapshot_is_made(void **state)
{
    struct file_id frozen, active;
    struct disk *disk = use_external();

    start_qemu("a.qcow2", NULL);
    make_snapshot();
    frozen = disk->id;
    active = disk->made;
    assert_files(".", "a-s1.qcow2 a.qcow2 " MONITOR);
    assert_active("a.qcow2", &active);
    assert_active("a-s1.qcow2", &frozen);
    RUN("cp", "a-s1.qcow2", "copy");
    assert_goes_on("a.qcow2", "da");
    RUN("cmp", "a-s1.qcow2", "copy");
    assert_filled("a-s1.qcow2", BEFORE);
    RUN("qemu-img", "check", "-q", "a.qcow2");
}

static void an_overlay_is_made(void **state)
{
    cleanup_free char *target = in_dir("t.qcow2");
    struct disk *disk = use_overlay();

    start_qemu("a.qcow2", NULL);
    make_snapshot();
    assert_files(".", "a.qcow2 " MONITOR " t.qcow2");
    assert_active("t.qcow2", &disk->made);
    assert_active("a.qcow2", &disk->id);
    assert_string_equal(stored, target);
    assert_goes_on("t.qcow2", "da");
    assert_filled("a.qcow2", BEFORE);
}

static void two_disks_switch_together(void **state)
{
    struct disk *a, *b;

    make_full_image("b.qcow2");
    a = use_external();
    b = use_for(XLSNAP_METHOD_EXTERNAL, "b.qcow2", "b-s1.qcow2");
    start_qemu("a.qcow2", "b.qcow2");
    make_snapshot();
    assert_active("a.qcow2", &a->made);
    assert_active("b.qcow2", &b->made);
    live_writes("db");
    assert_goes_on("a.qcow2", "da");
    assert_data("b.qcow2", "qcow2", AFTER);
    assert_filled("a-s1.qcow2", BEFORE);
    assert_filled("b-s1.qcow2", BEFORE);
}

/* On the overlay of the first, as of any qcow2. */
static void a_second_snapshot_is_made_of_the_first(void **state)
{
    use_external();
    start_qemu("a.qcow2", NULL);
    make_snapshot();
    live_writes("da");
    clear_operation("s2");
    use_for(XLSNAP_METHOD_EXTERNAL, "a.qcow2", "a-s2.qcow2");
    make_snapshot();
    assert_files(".", "a-s1.qcow2 a-s2.qcow2 a.qcow2 " MONITOR);
    assert_goes_on("a.qcow2", "da");
    assert_data("a-s2.qcow2", "qcow2", AFTER);
    assert_filled("a-s1.qcow2", BEFORE);
}

/* ---- undo, the tool alive ---- */

static void an_external_snapshot_is_undone(void **state)
{
    struct file_id id;
    struct disk *disk = use_external();

    id = disk->id;
    start_qemu("a.qcow2", NULL);
    make_snapshot();
    live_writes("da");
    undo();
    assert_files(".", "a.qcow2 " MONITOR);
    assert_as_before("a.qcow2", &id, AFTER);
}

static void after_an_undo_the_guest_goes_on(void **state)
{
    use_external();
    start_qemu("a.qcow2", NULL);
    make_snapshot();
    undo();
    assert_files(".", "a.qcow2 " MONITOR);
    assert_int_equal(count_of("query-named-block-nodes", "{\"flat\": true}"),
                     2);
    assert_goes_on("a.qcow2", "da");
}

static void after_an_undo_another_snapshot_is_made(void **state)
{
    use_external();
    start_qemu("a.qcow2", NULL);
    make_snapshot();
    undo();
    clear_operation("s2");
    use_for(XLSNAP_METHOD_EXTERNAL, "a.qcow2", "a-s2.qcow2");
    make_snapshot();
    assert_files(".", "a-s2.qcow2 a.qcow2 " MONITOR);
    assert_goes_on("a.qcow2", "da");
}

static void an_overlay_is_undone(void **state)
{
    struct file_id id;
    struct disk *disk = use_overlay();

    id = disk->id;
    start_qemu("a.qcow2", NULL);
    make_snapshot();
    live_writes("da");
    undo();
    assert_files(".", "a.qcow2 " MONITOR);
    assert_string_equal(stored, disk->source);
    assert_int_equal(stored_format, LIBXL_DISK_FORMAT_QCOW2);
    assert_as_before("a.qcow2", &id, AFTER);
}

static void two_disks_are_undone(void **state)
{
    struct disk *a, *b;

    make_full_image("b.qcow2");
    a = use_external();
    b = use_for(XLSNAP_METHOD_EXTERNAL, "b.qcow2", "b-s1.qcow2");
    start_qemu("a.qcow2", "b.qcow2");
    make_snapshot();
    live_writes("da");
    live_writes("db");
    undo();
    assert_files(".", "a.qcow2 b.qcow2 " MONITOR);
    assert_active("b.qcow2", &b->id);
    assert_as_before("a.qcow2", &a->id, AFTER);
    assert_data("b.qcow2", "qcow2", AFTER);
}

/* One overlay cannot be opened: no disk switches, and both get their names. */
static void a_failed_transaction_is_undone(void **state)
{
    struct xlsnap_error err = { 0 };
    struct disk *a, *b;

    make_full_image("b.qcow2");
    a = use_external();
    b = use_for(XLSNAP_METHOD_EXTERNAL, "b.qcow2", "b-s1.qcow2");
    start_qemu("a.qcow2", "b.qcow2");
    begin_create();
    put(TMP_B, "no image");
    assert_int_equal(disk_qemu.create(&op, now, &err), -XLSNAP_FAILED);
    assert_non_null(strstr(err.msg, "QMP command 'transaction' failed: "));
    rescue();
    assert_active("a.qcow2", &a->id);
    assert_active("b.qcow2", &b->id);
    undo();
    assert_files(".", "a.qcow2 b.qcow2 " MONITOR);
    assert_as_before("a.qcow2", &a->id, BEFORE);
}

static void what_was_only_prepared_is_undone(void **state)
{
    struct file_id id;
    struct disk *disk = use_external();

    id = disk->id;
    start_qemu("a.qcow2", NULL);
    begin_create();
    undo();
    assert_files(".", "a.qcow2 " MONITOR);
    assert_as_before("a.qcow2", &id, BEFORE);
}

/* ---- the tool killed ---- */

/* A snapshot that was cut off before its renaming. */
static struct file_id cut_off_switched(void)
{
    struct xlsnap_error err = { 0 };
    struct disk *disk = use_external();
    struct file_id id = disk->id;

    start_qemu("a.qcow2", NULL);
    begin_create();
    ok(disk_qemu.create(&op, now, &err), &err);
    assert_files(".", TMP_A " a-s1.qcow2 " MONITOR);
    kill_tool();
    return id;
}

static void the_name_goes_to_what_qemu_writes_to(void **state)
{
    cut_off_switched();
    rescue();
    assert_files(".", "a-s1.qcow2 a.qcow2 " MONITOR);
    assert_active("a.qcow2", &op.disks[0].made);
    rescue(); /* again, by recover after the guard */
    assert_files(".", "a-s1.qcow2 a.qcow2 " MONITOR);
    assert_goes_on("a.qcow2", "da");
}

static void a_rescued_snapshot_is_undone(void **state)
{
    struct file_id id = cut_off_switched();

    rescue();
    live_writes("da");
    kill_tool();
    undo();
    assert_files(".", "a.qcow2 " MONITOR);
    assert_as_before("a.qcow2", &id, AFTER);
}

static void the_name_goes_back_to_what_qemu_still_writes_to(void **state)
{
    struct xlsnap_error err = { 0 };
    struct disk *disk = use_external();
    struct file_id id = disk->id;

    start_qemu("a.qcow2", NULL);
    begin_create();
    ok(qemu_external.begin(&op, disk, &err), &err);
    kill_tool();
    rescue();
    assert_files(".", TMP_A " a-s1.qcow2 a.qcow2 " MONITOR);
    assert_active("a.qcow2", &id);
    undo();
    assert_files(".", "a.qcow2 " MONITOR);
    assert_as_before("a.qcow2", &id, BEFORE);
}

static void a_finished_switch_is_undone(void **state)
{
    struct disk *disk = use_external();
    struct file_id id = disk->id;

    start_qemu("a.qcow2", NULL);
    make_snapshot();
    live_writes("da");
    kill_tool();
    rescue();
    undo();
    assert_files(".", "a.qcow2 " MONITOR);
    assert_as_before("a.qcow2", &id, AFTER);
}

static void anothers_file_under_the_name_is_told(void **state)
{
    struct xlsnap_error err = { 0 };
    struct file_id other;

    cut_off_switched();
    put("a.qcow2", "another's");
    other = id_of("a.qcow2");
    assert_int_equal(disk_qemu.rescue(&op, now, &err), -XLSNAP_FAILED);
    assert_non_null(strstr(err.msg, "a.qcow2' is neither of the files it "
                                    "should be; the guest writes to '"));
    assert_files(".", TMP_A " a-s1.qcow2 a.qcow2 " MONITOR);
    assert_is("a.qcow2", &other);
}

static void an_overlay_that_was_not_settled_is_so_by_a_rescue(void **state)
{
    cleanup_free char *target = in_dir("t.qcow2");
    struct xlsnap_error err = { 0 };
    struct disk *disk = use_overlay();
    struct file_id id = disk->id;

    start_qemu("a.qcow2", NULL);
    begin_create();
    ok(disk_qemu.create(&op, now, &err), &err);
    kill_tool();
    rescue();
    assert_string_equal(stored, target);
    assert_active("t.qcow2", &op.disks[0].made);
    live_writes("da");
    undo();
    assert_files(".", "a.qcow2 " MONITOR);
    assert_string_equal(stored, op.disks[0].source);
    assert_as_before("a.qcow2", &id, AFTER);
}

/* libxl's configuration was changed, but QEMU never switched. */
static void an_overlay_that_was_not_switched_to_leaves_the_config(void **state)
{
    struct disk *disk = use_overlay();
    struct file_id id = disk->id;

    start_qemu("a.qcow2", NULL);
    begin_create();
    strcpy(stored, disk->target);
    kill_tool();
    rescue();
    assert_string_equal(stored, op.disks[0].source);
    undo();
    assert_files(".", "a.qcow2 " MONITOR);
    assert_as_before("a.qcow2", &id, BEFORE);
}

/* ---- an undo that was cut off ---- */

#define JOB "{\"id\": \"xl-snapshot-xvda\"}"

static void wait_job(const char *wanted)
{
    int64_t deadline = now_ms() + WAIT_MS;
    bool reached = false;

    while (!reached && now_ms() < deadline) {
        struct json *reply = NULL;
        const char *status;

        tell("query-jobs", NULL, &reply);
        status = json_get_string(json_array_at(qmp_result(reply), 0), "status");
        reached = status && !strcmp(status, wanted);
        json_free(reply);
        usleep(1000);
    }
    assert_true(reached);
}

/* The commit of a finished snapshot, as far as "ready". */
static struct file_id begin_commit(void)
{
    struct disk *disk = use_external();
    struct file_id id = disk->id;

    start_qemu("a.qcow2", NULL);
    make_snapshot();
    live_writes("da");
    tell("block-commit",
         "{\"job-id\": \"xl-snapshot-xvda\", \"device\": \"xvda-" TOKEN
         "\", \"base-node\": \"xvda-qcow2\", \"auto-finalize\": false, "
         "\"auto-dismiss\": false}",
         NULL);
    wait_job("ready");
    return id;
}

static void begin_commit_pending(struct file_id *id_r)
{
    *id_r = begin_commit();
    tell("job-complete", JOB, NULL);
    wait_job("pending");
}

static void assert_commit_gone_on_with(const struct file_id *id)
{
    undo();
    assert_files(".", "a.qcow2 " MONITOR);
    assert_as_before("a.qcow2", id, AFTER);
}

static void a_commit_that_was_ready_is_made_anew(void **state)
{
    struct file_id id = begin_commit();

    kill_tool();
    rescue();
    assert_active("a.qcow2", &op.disks[0].made);
    assert_commit_gone_on_with(&id);
}

/* QEMU held the guest's requests: it must not wait for us for ever. */
static void a_commit_before_its_renaming_is_made_anew(void **state)
{
    struct file_id id;

    begin_commit_pending(&id);
    kill_tool();
    rescue();
    assert_active("a.qcow2", &op.disks[0].made);
    live_writes("da");
    assert_commit_gone_on_with(&id);
}

static void a_commit_after_its_renaming_is_ended(void **state)
{
    struct file_id id;

    begin_commit_pending(&id);
    assert_int_equal(rename("a-s1.qcow2", "a.qcow2"), 0);
    kill_tool();
    rescue();
    assert_active("a.qcow2", &id);
    live_writes("da");
    assert_commit_gone_on_with(&id);
}

static void a_commit_that_was_not_dismissed_is_so(void **state)
{
    struct file_id id;

    begin_commit_pending(&id);
    assert_int_equal(rename("a-s1.qcow2", "a.qcow2"), 0);
    tell("job-finalize", JOB, NULL);
    wait_job("concluded");
    kill_tool();
    assert_commit_gone_on_with(&id);
}

/* ---- the domain died, and was started again meanwhile ---- */

static void a_new_qemu_is_switched_back(void **state)
{
    struct disk *disk = use_external();
    struct file_id id = disk->id;

    start_qemu("a.qcow2", NULL);
    make_snapshot();
    live_writes("da");
    stop_qemu();
    start_qemu("a.qcow2", NULL);
    kill_tool();
    rescue();
    undo();
    assert_files(".", "a.qcow2 " MONITOR);
    assert_as_before("a.qcow2", &id, AFTER);
}

/* Its base is a node that nobody has given a name: known as xvda no more. */
static void a_new_qemu_makes_no_other_snapshot(void **state)
{
    use_external();
    start_qemu("a.qcow2", NULL);
    make_snapshot();
    stop_qemu();
    start_qemu("a.qcow2", NULL);
    kill_tool();
    undo();
    clear_operation("s2");
    use_for(XLSNAP_METHOD_EXTERNAL, "a.qcow2", "a-s2.qcow2");
    assert_not_checked("disk 'xvda': QEMU does not serve '");
}

static void a_new_qemu_on_an_overlay_is_switched_back(void **state)
{
    struct disk *disk = use_overlay();
    struct file_id id = disk->id;

    start_qemu("a.qcow2", NULL);
    make_snapshot();
    live_writes("da");
    stop_qemu();
    start_qemu("t.qcow2", NULL);
    kill_tool();
    rescue();
    undo();
    assert_files(".", "a.qcow2 " MONITOR);
    assert_as_before("a.qcow2", &id, AFTER);
}

static void without_any_qemu_it_is_undone_offline(void **state)
{
    cut_off_switched();
    live_writes("da");
    stop_qemu();
    undo();
    assert_files(".", "a.qcow2 " MONITOR);
    assert_data("a.qcow2", "qcow2", AFTER);
}

#define LIVE_TEST(f) \
    cmocka_unit_test_setup_teardown(f, setup_live, teardown_live)

int main(void)
{
    const struct CMUnitTest tests[] = {
        LIVE_TEST(a_disk_is_checked_with_qemu),
        LIVE_TEST(a_disk_that_was_replaced_is_refused),
        LIVE_TEST(a_disk_that_qemu_does_not_know_is_refused),
        LIVE_TEST(a_qemu_that_does_not_answer_is_refused),
        LIVE_TEST(an_external_snapshot_is_made),
        LIVE_TEST(an_overlay_is_made),
        LIVE_TEST(two_disks_switch_together),
        LIVE_TEST(a_second_snapshot_is_made_of_the_first),
        LIVE_TEST(an_external_snapshot_is_undone),
        LIVE_TEST(after_an_undo_the_guest_goes_on),
        LIVE_TEST(after_an_undo_another_snapshot_is_made),
        LIVE_TEST(an_overlay_is_undone),
        LIVE_TEST(two_disks_are_undone),
        LIVE_TEST(a_failed_transaction_is_undone),
        LIVE_TEST(what_was_only_prepared_is_undone),
        LIVE_TEST(the_name_goes_to_what_qemu_writes_to),
        LIVE_TEST(a_rescued_snapshot_is_undone),
        LIVE_TEST(the_name_goes_back_to_what_qemu_still_writes_to),
        LIVE_TEST(a_finished_switch_is_undone),
        LIVE_TEST(anothers_file_under_the_name_is_told),
        LIVE_TEST(an_overlay_that_was_not_settled_is_so_by_a_rescue),
        LIVE_TEST(an_overlay_that_was_not_switched_to_leaves_the_config),
        LIVE_TEST(a_commit_that_was_ready_is_made_anew),
        LIVE_TEST(a_commit_before_its_renaming_is_made_anew),
        LIVE_TEST(a_commit_after_its_renaming_is_ended),
        LIVE_TEST(a_commit_that_was_not_dismissed_is_so),
        LIVE_TEST(a_new_qemu_is_switched_back),
        LIVE_TEST(a_new_qemu_makes_no_other_snapshot),
        LIVE_TEST(a_new_qemu_on_an_overlay_is_switched_back),
        LIVE_TEST(without_any_qemu_it_is_undone_offline),
    };

    return cmocka_run_group_tests_name("chain_live", tests, NULL, NULL);
}
