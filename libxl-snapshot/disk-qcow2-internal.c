/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Internal snapshots of qcow2 images that QEMU serves (qdisk).
 *
 * Create: one QMP transaction of blockdev-snapshot-internal-sync over all
 * disks: QEMU drains them together and makes all or none (qapi/transaction.json
 * and block-core.json).  The snapshot is a tag in the image itself.
 * Revert: `qemu-img snapshot -a ID` once nobody has the image open.
 * QEMU must have the very inode open that the disk's path names: qemu-img and
 * we would otherwise look at another file than the guest writes.
 */
#include "qcow2.h"

#include <fcntl.h>

#include "util.h"

#define TRANSACTION_TIMEOUT_MS 60000

static bool qcow2_internal_takes(const struct disk *disk)
{
    return disk->format == LIBXL_DISK_FORMAT_QCOW2 &&
           disk->backend == LIBXL_DISK_BACKEND_QDISK;
}

/* ---- through QEMU, while the domain runs ---- */

static int qcow2_check_disk(struct op *op, struct disk *disk,
                            const struct json *blocks, struct xlsnap_error *err)
{
    const struct json *entry = qcow2_find_entry(blocks, disk, err);

    if (!entry)
        return -err->code;
    if (!file_is_open_in(&disk->id, op->dom.qemu_pid))
        return xlsnap_fail(err, XLSNAP_REFUSED,
                           "disk '%s': '%s' is not the file that QEMU (pid "
                           "%d) has open; was it replaced?",
                           disk->vdev, disk->source, (int)op->dom.qemu_pid);
    if (qcow2_entry_has_tag(entry, op->snap.name))
        return xlsnap_fail(err, XLSNAP_REFUSED,
                           "disk '%s': '%s' has a snapshot named '%s' already",
                           disk->vdev, disk->source, op->snap.name);
    disk->node = xstrdup(json_get_string(entry, "node-name"));
    return 0;
}

static int qcow2_internal_check(struct op *op, struct disk_group *group,
                                struct xlsnap_error *err)
{
    struct json *reply = NULL;
    struct qmp *qmp = NULL;
    int rc = qcow2_connect(op, &qmp, err);

    if (!rc)
        rc = qmp_command(qmp, "query-block", NULL, QMP_TIMEOUT_MS, &reply, err);
    for (size_t i = 0; i < group->n && !rc; i++)
        rc = qcow2_check_disk(op, group->disks[i], qmp_result(reply), err);
    if (rc && err->code == XLSNAP_FAILED)
        err->code = XLSNAP_REFUSED; /* QEMU does not answer: untouched */
    json_free(reply);
    qmp_close(qmp);
    return rc ? -err->code : 0;
}

/*
 * The connection is made before the pause, and what the host has cached of the
 * images goes to disk: the transaction flushes them, with the guest waiting.
 */
static int qcow2_internal_prepare(struct op *op, struct disk_group *group,
                                  struct xlsnap_error *err)
{
    for (size_t i = 0; i < group->n; i++) {
        cleanup_close int fd =
            open(group->disks[i]->path, O_RDONLY | O_CLOEXEC);

        if (fd < 0 || fdatasync(fd))
            return xlsnap_fail_errno(err, XLSNAP_FAILED, errno,
                                     "cannot flush '%s'",
                                     group->disks[i]->path);
    }
    return qcow2_connect(op, (struct qmp **)&group->state, err);
}

static char *qcow2_transaction(const struct op *op,
                               const struct disk_group *group)
{
    struct json_writer *w = json_writer_new(false);

    json_open_object(w, NULL);
    json_open_array(w, "actions");
    for (size_t i = 0; i < group->n; i++) {
        json_open_object(w, NULL);
        json_put_string(w, "type", "blockdev-snapshot-internal-sync");
        json_open_object(w, "data");
        json_put_string(w, "device", group->disks[i]->node);
        json_put_string(w, "name", op->snap.name);
        json_close_object(w);
        json_close_object(w);
    }
    json_close_array(w);
    json_close_object(w);
    return json_writer_finish(w);
}

static int qcow2_internal_create(struct op *op, struct disk_group *group,
                                 struct xlsnap_error *err)
{
    cleanup_free char *arguments = qcow2_transaction(op, group);
    int rc;

    group->touched = true;
    rc = qmp_command(group->state, "transaction", arguments,
                     TRANSACTION_TIMEOUT_MS, NULL, err);
    /* QEMU's own no: none was made.  Else (a time-out) we do not know. */
    if (rc && !err->errnum)
        group->touched = false;
    return rc;
}

static int qcow2_internal_sync(struct op *op, struct disk_group *group,
                               struct xlsnap_error *err)
{
    int rc = 0;

    for (size_t i = 0; i < group->n && !rc; i++)
        rc = qcow2_sync(group->disks[i], err);
    return rc;
}

static void qcow2_internal_release(struct disk_group *group)
{
    qmp_close(group->state);
    group->state = NULL;
}

static int qcow2_delete_live(struct op *op, struct qmp *qmp,
                             const struct disk *disk, const struct json *blocks,
                             struct xlsnap_error *err)
{
    const struct json *entry = qcow2_find_entry(blocks, disk, err);
    struct json_writer *w;
    cleanup_free char *arguments = NULL;

    if (!entry)
        return -err->code;
    if (!qcow2_entry_has_tag(entry, op->snap.name))
        return 0;
    w = json_writer_new(false);
    json_open_object(w, NULL);
    json_put_string(w, "device", json_get_string(entry, "node-name"));
    json_put_string(w, "name", op->snap.name);
    json_close_object(w);
    arguments = json_writer_finish(w);
    return qmp_command(qmp, "blockdev-snapshot-delete-internal-sync", arguments,
                       TRANSACTION_TIMEOUT_MS, NULL, err);
}

/* A session of its own: the one that failed may be dead. */
static int qcow2_remove_live(struct op *op, struct disk_group *group,
                             struct xlsnap_error *err)
{
    struct json *reply = NULL;
    struct qmp *qmp = NULL;
    int rc;

    qcow2_internal_release(group);
    rc = qcow2_connect(op, &qmp, err);
    if (!rc)
        rc = qmp_command(qmp, "query-block", NULL, TRANSACTION_TIMEOUT_MS,
                         &reply, err);
    for (size_t i = 0; i < group->n && !rc; i++)
        rc =
            qcow2_delete_live(op, qmp, group->disks[i], qmp_result(reply), err);
    json_free(reply);
    qmp_close(qmp);
    return rc;
}

/* ---- through qemu-img, while nobody has the image open ---- */

static int qcow2_prove_image(const struct op *op, struct disk *disk,
                             const struct json *image, struct xlsnap_error *err)
{
    const struct json *data = json_path(image, "format-specific", "data", NULL);
    const char *id;
    int count;

    if (json_get_bool(data, "corrupt", false))
        return xlsnap_fail(err, XLSNAP_REFUSED,
                           "'%s' is marked as corrupt (see 'qemu-img check')",
                           disk->source);
    if (json_array_len(json_get(data, "bitmaps")))
        return xlsnap_fail(err, XLSNAP_REFUSED,
                           "'%s' holds persistent dirty bitmaps, and QEMU "
                           "cannot revert such an image (see 'qemu-img "
                           "bitmap --remove')",
                           disk->source);
    id = qcow2_find_id(image, op->snap.name, &count);
    if (!id)
        return xlsnap_fail(err, XLSNAP_REFUSED,
                           count ? "'%s' has more than one snapshot named '%s'"
                                 : "'%s' has no snapshot named '%s'",
                           disk->source, op->snap.name);
    free(disk->tag);
    disk->tag = xstrdup(id);
    return 0;
}

static int qcow2_prove_disk(struct op *op, struct disk *disk,
                            struct xlsnap_error *err)
{
    struct json *root = NULL;
    const struct json *image;
    int rc = qcow2_info(disk, &root, &image, err);

    if (!rc)
        rc = qcow2_prove_image(op, disk, image, err);
    json_free(root);
    if (rc) {
        err->code = XLSNAP_REFUSED;
        xlsnap_prefix(err, "disk '%s'", disk->vdev);
    }
    return rc ? -err->code : 0;
}

static int qcow2_internal_prove(struct op *op, struct disk_group *group,
                                struct xlsnap_error *err)
{
    int rc = 0;

    for (size_t i = 0; i < group->n && !rc; i++)
        rc = qcow2_prove_disk(op, group->disks[i], err);
    return rc;
}

/* --keep: the state that is given up stays as a tag, once. */
static int qcow2_keep(struct op *op, struct disk *disk,
                      struct xlsnap_error *err)
{
    struct json *root = NULL;
    const struct json *image;
    int count = 0, rc = qcow2_info(disk, &root, &image, err);

    if (!rc)
        qcow2_find_id(image, op->pending.discarded, &count);
    json_free(root);
    if (rc || count)
        return rc;
    return qcow2_snapshot_cmd(disk, "-c", op->pending.discarded, err);
}

static int qcow2_revert_disk(struct op *op, struct disk *disk,
                             struct xlsnap_error *err)
{
    int rc = op->pending.discarded ? qcow2_keep(op, disk, err) : 0;

    if (!rc)
        rc = qcow2_prove_disk(op, disk, err); /* finds the ID */
    if (!rc)
        rc = qcow2_snapshot_cmd(disk, "-a", disk->tag, err);
    if (!rc)
        rc = qcow2_sync(disk, err);
    return rc;
}

static int qcow2_internal_revert(struct op *op, struct disk_group *group,
                                 struct xlsnap_error *err)
{
    int rc = 0;

    for (size_t i = 0; i < group->n && !rc; i++)
        rc = qcow2_revert_disk(op, group->disks[i], err);
    return rc;
}

static int qcow2_remove_offline(struct op *op, struct disk *disk,
                                struct xlsnap_error *err)
{
    struct json *root = NULL;
    const struct json *image;
    int count = 0, rc = qcow2_info(disk, &root, &image, err);

    if (!rc)
        qcow2_find_id(image, op->snap.name, &count);
    json_free(root);
    if (rc || !count)
        return rc;
    if (count > 1)
        return xlsnap_fail(err, XLSNAP_FAILED,
                           "'%s' has more than one snapshot named '%s', and "
                           "it cannot be known which is to be deleted",
                           disk->source, op->snap.name);
    /* Unlike -a, -d takes a tag and, since QEMU 4.0, no ID. */
    rc = qcow2_snapshot_cmd(disk, "-d", op->snap.name, err);
    return rc ? rc : qcow2_sync(disk, err);
}

static int qcow2_internal_remove(struct op *op, struct disk_group *group,
                                 struct xlsnap_error *err)
{
    int rc = 0;

    if (op->dom.domid != DOMAIN_NONE)
        return qcow2_remove_live(op, group, err);
    for (size_t i = 0; i < group->n && !rc; i++)
        rc = qcow2_remove_offline(op, group->disks[i], err);
    return rc;
}

const struct disk_driver disk_qcow2_internal = {
    .name = "qcow2-internal",
    .what = "qcow2 internal snapshot",
    .method = XLSNAP_METHOD_INTERNAL,
    .takes = qcow2_internal_takes,
    .check = qcow2_internal_check,
    .prepare = qcow2_internal_prepare,
    .create = qcow2_internal_create,
    .sync = qcow2_internal_sync,
    .remove = qcow2_internal_remove,
    .release = qcow2_internal_release,
    .prove = qcow2_internal_prove,
    .revert = qcow2_internal_revert,
};
