/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What every driver of images in QEMU's hands needs: a session with the
 * domain's QEMU, an image's block node in it, and asking qemu-img about an
 * image that QEMU does not serve.  See qemu.h.
 */
#include "qemu.h"

#include <ctype.h>
#include <fcntl.h>
#include <limits.h>

#include "file.h"
#include "run.h"
#include "util.h"

/* What changes an image is never cut off in the middle. */
#define QEMU_IMG_TIMEOUT_MS INT_MAX
#define CHAIN_MAX 200 /* images below each other; query-block has no more */
#define DRAIN_MS 60000

/* ---- through QEMU ---- */

int qemu_session_within(struct op *op, int timeout_ms, struct xlsnap_error *err)
{
    cleanup_free char *path =
        xasprintf("/var/run/xen/qmp-libxenstat-%" PRIu32, op->dom.domid);

    return op->qmp ? 0 : qmp_connect(path, timeout_ms, &op->qmp, err);
}

int qemu_session(struct op *op, struct xlsnap_error *err)
{
    return qemu_session_within(op, QMP_TIMEOUT_MS, err);
}

void qemu_session_end(struct op *op)
{
    qmp_close(op->qmp);
    op->qmp = NULL;
}

int qemu_query_block(struct op *op, struct json **reply_r,
                     struct xlsnap_error *err)
{
    int rc = qemu_session(op, err);

    return rc ? rc
              : qmp_command(op->qmp, "query-block", NULL,
                            QEMU_TRANSACTION_TIMEOUT_MS, reply_r, err);
}

/* Is this entry of query-block our disk, by the name of its node? */
static bool qemu_entry_is_named(const struct json *entry,
                                const struct disk *disk)
{
    const char *node =
        json_get_string(json_get(entry, "inserted"), "node-name");
    size_t len = strlen(disk->vdev);

    return node && !strncmp(node, disk->vdev, len) && node[len] == '-';
}

/*
 * Is it our disk, by its device?  xen-block's property "vdev" always has a
 * partition's number, 0 for a whole disk (xen_block_get_vdev).  *broken is set
 * if QEMU does not answer; an error that it answers is a device of another kind.
 */
static bool qemu_entry_is_device(struct op *op, const struct json *entry,
                                 const struct disk *disk,
                                 struct xlsnap_error *broken)
{
    const char *qdev = json_get_string(entry, "qdev"), *vdev;
    struct json_writer *w;
    cleanup_free char *arguments = NULL;
    struct xlsnap_error failed = { 0 };
    struct json *reply = NULL;
    size_t len = strlen(disk->vdev);
    bool is = false;

    if (!op->qmp || !qdev || !json_get(entry, "inserted"))
        return false;
    w = json_writer_new(false);
    json_open_object(w, NULL);
    json_put_string(w, "path", qdev);
    json_put_string(w, "property", "vdev");
    json_close_object(w);
    arguments = json_writer_finish(w);
    if (!qmp_command(op->qmp, "qom-get", arguments, QMP_TIMEOUT_MS, &reply,
                     &failed)) {
        vdev = json_string(qmp_result(reply));
        is = vdev && !strncmp(vdev, disk->vdev, len) &&
             (!vdev[len] || (!isdigit((unsigned char)vdev[len - 1]) &&
                             !strcmp(vdev + len, "0")));
    } else if (failed.errnum && !broken->code) {
        *broken = failed;
    }
    json_free(reply);
    return is;
}

/* The "inserted" of the only such entry; *n_r: how many there are. */
static const struct json *qemu_pick(struct op *op, const struct json *blocks,
                                    const struct disk *disk, bool by_name,
                                    size_t *n_r, struct xlsnap_error *broken)
{
    const struct json *found = NULL;

    *n_r = 0;
    for (size_t i = 0; i < json_array_len(blocks); i++) {
        const struct json *entry = json_array_at(blocks, i);

        if (json_get_string(json_get(entry, "inserted"), "node-name") &&
            (by_name ? qemu_entry_is_named(entry, disk)
                     : qemu_entry_is_device(op, entry, disk, broken))) {
            found = json_get(entry, "inserted");
            ++*n_r;
        }
    }
    return *n_r == 1 ? found : NULL;
}

const struct json *qemu_find_node(struct op *op, const struct json *blocks,
                                  const struct disk *disk,
                                  struct xlsnap_error *err)
{
    struct xlsnap_error broken = { 0 };
    size_t n;
    const struct json *found = qemu_pick(op, blocks, disk, true, &n, &broken);

    if (!n)
        found = qemu_pick(op, blocks, disk, false, &n, &broken);
    if (broken.code) {
        *err = broken;
        found = NULL;
    } else if (!found) {
        xlsnap_fail(err, XLSNAP_REFUSED,
                    n ? "disk '%s': QEMU has '%s' open more than once"
                      : "disk '%s': QEMU does not serve '%s'",
                    disk->vdev, disk->source);
    }
    return found;
}

int qemu_check_opened(const struct op *op, const struct disk *disk,
                      struct xlsnap_error *err)
{
    int n = file_opened_in(&disk->id, op->dom.qemu_pid);

    if (n == 0)
        return xlsnap_fail(err, XLSNAP_REFUSED,
                           "disk '%s': '%s' is not the file that QEMU (pid "
                           "%d) has open; was it replaced?",
                           disk->vdev, disk->source, (int)op->dom.qemu_pid);
    if (n > 1)
        return xlsnap_fail(err, XLSNAP_REFUSED,
                           "disk '%s': QEMU (pid %d) has '%s' open more than "
                           "once: below another disk, or for something that "
                           "somebody has told it to do",
                           disk->vdev, (int)op->dom.qemu_pid, disk->source);
    return 0;
}

bool qemu_has_our_jobs(struct op *op)
{
    struct xlsnap_error ignored = { 0 };
    struct json *reply = NULL;
    bool found = false;

    qemu_session_end(op);
    if (!qemu_session(op, &ignored) &&
        !qmp_command(op->qmp, "query-jobs", NULL, QMP_TIMEOUT_MS, &reply,
                     &ignored))
        for (size_t i = 0; i < json_array_len(qmp_result(reply)); i++) {
            const char *id =
                json_get_string(json_array_at(qmp_result(reply), i), "id");

            found |= id && !strncmp(id, QEMU_JOB, strlen(QEMU_JOB));
        }
    json_free(reply);
    qemu_session_end(op);
    return found;
}

/* Is this entry of query-block a drive of its own device, written to by QEMU? */
static bool qemu_is_emulated(const struct json *entry)
{
    const char *device = json_get_string(entry, "device");
    const struct json *inserted = json_get(entry, "inserted");

    return device && *device && inserted &&
           !json_get_bool(inserted, "ro", false);
}

static int qemu_refuse_emulated(const struct op *op, const struct json *entry,
                                struct xlsnap_error *err)
{
    const char *device = json_get_string(entry, "device");
    const char *file = json_get_string(json_get(entry, "inserted"), "file");
    struct xlsnap_error ignored = { 0 };
    const struct disk *disk = NULL;
    struct file_id id;

    if (file && !file_id(file, &id, &ignored))
        disk = disks_find_id(op, &id);
    if (!disk)
        return xlsnap_fail(err, XLSNAP_REFUSED,
                           "QEMU has the emulated drive '%s' ('%s'), which "
                           "would not be in the snapshot",
                           device, file ? file : "");
    return xlsnap_fail(err, XLSNAP_REFUSED,
                       "disk '%s': the guest has it as the emulated disk '%s' "
                       "still; it has no PV drivers, or they have not taken "
                       "over yet",
                       disk->vdev, device);
}

static int qemu_check_runs(struct op *op, struct xlsnap_error *err)
{
    struct json *reply = NULL;
    int rc = qemu_session(op, err);
    const char *status;

    if (!rc)
        rc = qmp_command(op->qmp, "query-status", NULL, QMP_TIMEOUT_MS, &reply,
                         err);
    status = json_get_string(qmp_result(reply), "status");
    if (!rc && (!status || strcmp(status, "running")))
        rc = xlsnap_fail(err, XLSNAP_FAILED,
                         "QEMU does not run, but is in state '%s'",
                         status ? status : "");
    json_free(reply);
    return rc;
}

int qemu_check_unplugged(struct op *op, struct xlsnap_error *err)
{
    struct json *reply = NULL;
    int rc = qemu_check_runs(op, err);

    if (!rc)
        rc = qemu_query_block(op, &reply, err);
    for (size_t i = 0; !rc && i < json_array_len(qmp_result(reply)); i++)
        if (qemu_is_emulated(json_array_at(qmp_result(reply), i)))
            rc = qemu_refuse_emulated(op, json_array_at(qmp_result(reply), i),
                                      err);
    json_free(reply);
    qemu_session_end(op);
    if (rc)
        err->code = XLSNAP_REFUSED; /* untouched, whatever it is */
    return rc ? -err->code : 0;
}

int qemu_activate(struct op *op, struct xlsnap_error *err)
{
    int rc = qemu_session(op, err);

    if (!rc)
        rc = qmp_command(op->qmp, "cont", NULL, QEMU_TRANSACTION_TIMEOUT_MS,
                         NULL, err);
    /* From some states cont does nothing, and says that all is well. */
    return rc ? rc : qemu_check_runs(op, err);
}

bool qemu_node_has_tag(const struct json *inserted, const char *tag)
{
    const struct json *list = json_path(inserted, "image", "snapshots", NULL);

    for (size_t i = 0; i < json_array_len(list); i++) {
        const char *name = json_get_string(json_array_at(list, i), "name");

        if (name && !strcmp(name, tag))
            return true;
    }
    return false;
}

/* Operations that all disks together have finished. */
static int qemu_count_operations(struct op *op, int64_t *count_r,
                                 struct xlsnap_error *err)
{
    static const char *const counters[] = { "rd_operations", "wr_operations",
                                            "flush_operations",
                                            "unmap_operations" };
    struct json *reply = NULL;
    const struct json *list;
    int rc = qmp_command(op->qmp, "query-blockstats", NULL, QMP_TIMEOUT_MS,
                         &reply, err);

    *count_r = 0;
    list = rc ? NULL : qmp_result(reply);
    for (size_t i = 0; i < json_array_len(list); i++)
        for (size_t c = 0; c < ARRAY_SIZE(counters); c++)
            *count_r += json_get_int(json_get(json_array_at(list, i), "stats"),
                                     counters[c], 0);
    json_free(reply);
    return rc;
}

/*
 * A transaction, also one of nothing, first drains all disks (qmp_transaction
 * in QEMU's blockdev.c: bdrv_drain_all).  While it drains QEMU does not look
 * at the rings; requests it then finds there are drained by the next one.
 */
int qemu_drain(struct op *op, struct xlsnap_error *err)
{
    int64_t before = -1, now = -2, deadline = now_ms() + DRAIN_MS;
    int rc = qemu_session(op, err);

    while (before != now && !rc && now_ms() < deadline) {
        before = now;
        rc = qmp_command(op->qmp, "transaction", "{\"actions\": []}",
                         QEMU_TRANSACTION_TIMEOUT_MS, NULL, err);
        if (!rc)
            rc = qemu_count_operations(op, &now, err);
    }
    if (!rc && before != now)
        rc = xlsnap_fail(err, XLSNAP_FAILED,
                         "QEMU does not come to rest although the guest is "
                         "suspended");
    return rc;
}

int qemu_flush_early(const char *path, struct xlsnap_error *err)
{
    cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd < 0 || fdatasync(fd))
        return xlsnap_fail_errno(err, XLSNAP_FAILED, errno, "cannot flush '%s'",
                                 path);
    return 0;
}

/* ---- through qemu-img ---- */

const char *qemu_format(libxl_disk_format format)
{
    return format == LIBXL_DISK_FORMAT_VHD
               ? "vpc"
               : libxl_disk_format_to_string(format);
}

static void img_put_file(struct json_writer *w, const char *path)
{
    struct file_id id = { 0 };
    struct xlsnap_error ignored = { 0 };

    file_id(path, &id, &ignored);
    json_open_object(w, "file");
    json_put_string(w, "driver", id.block ? "host_device" : "file");
    json_put_string(w, "filename", path);
    json_close_object(w);
}

static char *img_arg_finish(struct json_writer *w)
{
    cleanup_free char *text = NULL;

    json_close_object(w);
    text = json_writer_finish(w);
    return xasprintf("json:%s", text);
}

static struct json_writer *img_arg_begin(const char *path, const char *format)
{
    struct json_writer *w = json_writer_new(false);

    json_open_object(w, NULL);
    json_put_string(w, "driver", format);
    img_put_file(w, path);
    return w;
}

char *qemu_img_arg(const char *path, const char *format)
{
    return img_arg_finish(img_arg_begin(path, format));
}

char *qemu_img_arg_on(const char *path, const char *base,
                      const char *base_format)
{
    struct json_writer *w = img_arg_begin(path, "qcow2");

    json_open_object(w, "backing");
    json_put_string(w, "driver", base_format);
    img_put_file(w, base);
    json_close_object(w);
    return img_arg_finish(w);
}

/* Without what is below it. */
static char *qemu_img_arg_alone(const char *path)
{
    struct json_writer *w = img_arg_begin(path, "qcow2");

    json_put_string(w, "backing", NULL);
    return img_arg_finish(w);
}

static int check_backing(const struct json *image, struct xlsnap_error *err)
{
    const char *backing = json_get_string(image, "backing-filename");
    const char *name = json_get_string(image, "filename");

    if (!backing || json_get_string(image, "backing-filename-format"))
        return 0;
    return xlsnap_fail(
        err, XLSNAP_REFUSED,
        "'%s' does not say which format its backing file '%s' "
        "has, so it would be guessed from what a guest may have "
        "written there; shut the domain down and say it by 'qemu-img "
        "rebase -u -F FORMAT -b FILE IMAGE'",
        name ? name : "the image", backing);
}

int qemu_check_backing_chain(const struct json *image, struct xlsnap_error *err)
{
    int rc = 0;

    for (; image && !rc; image = json_get(image, "backing-image"))
        rc = check_backing(image, err);
    return rc;
}

/* Of this image alone: its backing file is not opened. */
static int img_info(const char *path, const char *format, struct json **root_r,
                    struct xlsnap_error *err)
{
    cleanup_free char *image = qemu_img_arg(path, format);
    cleanup_free char *text = NULL;
    const char *argv[] = { "qemu-img",      "info", "-U",
                           "--output=json", image,  NULL };
    int rc = run_output(argv, RUN_TIMEOUT_MS, &text, err);

    return rc ? rc
              : json_parse(text, strlen(text), "qemu-img info", root_r, err);
}

/* What a protocol is for (nbd:, json:...) is left to QEMU, and all that is below. */
static int img_prove_protocol(const char *name, struct xlsnap_error *err)
{
    const char *argv[] = { "qemu-img",        "info", "-U", "--output=json",
                           "--backing-chain", name,   NULL };

    return run_ok(argv, RUN_TIMEOUT_MS, err);
}

static int img_check_below(const struct json *image, struct xlsnap_error *err)
{
    struct json *root = NULL;
    int rc = 0;

    for (int depth = 0; !rc; depth++) {
        const char *base = json_get_string(image, "full-backing-filename");
        const char *format = json_get_string(image, "backing-filename-format");
        struct json *below = NULL;

        rc = check_backing(image, err);
        if (!rc && base && base[strcspn(base, ":/")] == ':')
            rc = img_prove_protocol(base, err);
        if (rc || !base || base[strcspn(base, ":/")] == ':')
            break;
        /* What was once taken for a format. */
        if (!strcmp(format, "file") || !strcmp(format, "host_device"))
            format = "raw";
        if (depth == CHAIN_MAX)
            rc = xlsnap_fail(err, XLSNAP_REFUSED,
                             "more than %d images are below each other, down "
                             "to '%s'",
                             CHAIN_MAX, base);
        if (!rc)
            rc = img_info(base, format, &below, err);
        json_free(root);
        image = root = below;
    }
    json_free(root);
    return rc;
}

int qemu_img_info(const char *path, const char *format, struct json **root_r,
                  struct xlsnap_error *err)
{
    int rc = img_info(path, format, root_r, err);

    if (!rc)
        rc = img_check_below(*root_r, err);
    if (rc) {
        json_free(*root_r);
        *root_r = NULL;
    }
    return rc;
}

const char *qemu_img_find_id(const struct json *image, const char *tag,
                             int *count_r)
{
    const struct json *list = json_get(image, "snapshots");
    const char *id = NULL;

    *count_r = 0;
    for (size_t i = 0; i < json_array_len(list); i++) {
        const struct json *s = json_array_at(list, i);
        const char *name = json_get_string(s, "name");

        if (!name || strcmp(name, tag))
            continue;
        id = json_get_string(s, "id");
        ++*count_r;
    }
    return *count_r == 1 ? id : NULL;
}

int qemu_img_snapshot(const char *path, const char *action, const char *which,
                      struct xlsnap_error *err)
{
    cleanup_free char *image = qemu_img_arg(path, "qcow2");
    const char *argv[] = { "qemu-img", "snapshot", "-q", action,
                           which,      image,      NULL };

    return run_ok(argv, QEMU_IMG_TIMEOUT_MS, err);
}

int qemu_img_is_empty(const char *path, bool *empty_r, struct xlsnap_error *err)
{
    cleanup_free char *image = qemu_img_arg_alone(path);
    cleanup_free char *text = NULL;
    const char *argv[] = { "qemu-img",      "check", "-U",
                           "--output=json", image,   NULL };
    struct json *root = NULL;
    int status, rc = run_status(argv, QEMU_IMG_TIMEOUT_MS, &status, &text, err);

    if (rc)
        return rc;
    if (status == 1)
        return xlsnap_fail(err, XLSNAP_FAILED,
                           "'%s' cannot be read, so nobody knows whether the "
                           "guest has written to it",
                           path);
    rc = json_parse(text, strlen(text), "qemu-img check", &root, err);
    *empty_r = !rc && !json_get_int(root, "allocated-clusters", 0);
    json_free(root);
    return rc;
}

int qemu_img_sync(const char *path, struct xlsnap_error *err)
{
    cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd < 0 || fsync(fd))
        return xlsnap_fail_errno(err, XLSNAP_FAILED, errno,
                                 "cannot write '%s' to disk", path);
    return 0;
}
