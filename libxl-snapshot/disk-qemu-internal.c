/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Internal snapshots of qcow2 images that QEMU serves: a tag in the image
 * itself, made by blockdev-snapshot-internal-sync.  Reverted by `qemu-img
 * snapshot -a ID` once nobody has the image open.
 */
#include "disk-qemu.h"
#include "util.h"

static bool internal_takes(const struct disk *disk)
{
    return disk->format == LIBXL_DISK_FORMAT_QCOW2;
}

/* ---- through QEMU, while the domain runs ---- */

static int internal_check(struct op *op, struct disk *disk,
                          const struct json *inserted, struct xlsnap_error *err)
{
    if (disk->target)
        return xlsnap_fail(err, XLSNAP_REFUSED,
                           "disk '%s': an internal snapshot has no target",
                           disk->vdev);
    if (qemu_node_has_tag(inserted, op->snap.name))
        return xlsnap_fail(err, XLSNAP_REFUSED,
                           "disk '%s': '%s' has a snapshot named '%s' already",
                           disk->vdev, disk->source, op->snap.name);
    return 0;
}

static void internal_action(const struct op *op, const struct disk *disk,
                            struct json_writer *w)
{
    json_put_string(w, "type", "blockdev-snapshot-internal-sync");
    json_open_object(w, "data");
    json_put_string(w, "device", disk->node);
    json_put_string(w, "name", op->snap.name);
    json_close_object(w);
}

static int internal_sync(struct op *op, struct disk *disk,
                         struct xlsnap_error *err)
{
    return qemu_img_sync(disk->path, err);
}

static int internal_delete(struct op *op, const char *node,
                           struct xlsnap_error *err)
{
    struct json_writer *w = json_writer_new(false);
    cleanup_free char *arguments = NULL;

    json_open_object(w, NULL);
    json_put_string(w, "device", node);
    json_put_string(w, "name", op->snap.name);
    json_close_object(w);
    arguments = json_writer_finish(w);
    return qmp_command(op->qmp, "blockdev-snapshot-delete-internal-sync",
                       arguments, QEMU_TRANSACTION_TIMEOUT_MS, NULL, err);
}

static int internal_remove_live(struct op *op, struct disk *disk,
                                struct xlsnap_error *err)
{
    struct json *reply = NULL;
    const struct json *entry;
    int rc;

    /* A tag of that name is somebody else's, who was a moment earlier. */
    if (!op->transacted)
        return 0;
    rc = qemu_query_block(op, &reply, err);
    if (rc)
        return rc;
    entry = qemu_find_node(op, qmp_result(reply), disk, err);
    if (!entry)
        rc = -err->code;
    else if (qemu_node_has_tag(entry, op->snap.name))
        rc = internal_delete(op, json_get_string(entry, "node-name"), err);
    json_free(reply);
    return rc;
}

/* ---- through qemu-img, while nobody has the image open ---- */

static int internal_prove_image(const struct op *op, struct disk *disk,
                                const struct json *image,
                                struct xlsnap_error *err)
{
    const struct json *data = json_path(image, "format-specific", "data", NULL);
    const char *below = json_get_string(image, "backing-filename");
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
    id = qemu_img_find_id(image, op->snap.name, &count);
    if (!id && count)
        return xlsnap_fail(err, XLSNAP_REFUSED,
                           "'%s' has more than one snapshot named '%s'",
                           disk->source, op->snap.name);
    /* An external snapshot since has left it with the frozen file. */
    if (!id && below)
        return xlsnap_fail(err, XLSNAP_REFUSED,
                           "'%s' has no snapshot named '%s'; it may be in what "
                           "is below it, '%s'",
                           disk->source, op->snap.name, below);
    if (!id)
        return xlsnap_fail(err, XLSNAP_REFUSED,
                           "'%s' has no snapshot named '%s'", disk->source,
                           op->snap.name);
    free(disk->tag);
    disk->tag = xstrdup(id);
    return 0;
}

static int internal_prove(struct op *op, struct disk *disk,
                          struct xlsnap_error *err)
{
    struct json *root = NULL;
    int rc = qemu_img_info(disk->path, "qcow2", &root, err);

    if (!rc)
        rc = internal_prove_image(op, disk, root, err);
    json_free(root);
    return rc;
}

/* --keep: the state that is given up stays as a tag, once. */
static int internal_keep(struct op *op, struct disk *disk,
                         struct xlsnap_error *err)
{
    struct json *root = NULL;
    int count = 0, rc = qemu_img_info(disk->path, "qcow2", &root, err);

    if (!rc)
        qemu_img_find_id(root, op->pending.discarded, &count);
    json_free(root);
    if (rc || count)
        return rc;
    return qemu_img_snapshot(disk->path, "-c", op->pending.discarded, err);
}

static int internal_revert(struct op *op, struct disk *disk,
                           struct xlsnap_error *err)
{
    int rc = op->pending.keep ? internal_keep(op, disk, err) : 0;

    if (!rc)
        rc = internal_prove(op, disk, err); /* finds the ID */
    if (!rc)
        rc = qemu_img_snapshot(disk->path, "-a", disk->tag, err);
    return rc ? rc : qemu_img_sync(disk->path, err);
}

static int internal_remove_offline(struct op *op, struct disk *disk,
                                   struct xlsnap_error *err)
{
    struct json *root = NULL;
    int count = 0, rc;

    if (!op->transacted)
        return 0;
    rc = qemu_img_info(disk->path, "qcow2", &root, err);
    if (!rc)
        qemu_img_find_id(root, op->snap.name, &count);
    json_free(root);
    if (rc || !count)
        return rc;
    if (count > 1)
        return xlsnap_fail(err, XLSNAP_FAILED,
                           "'%s' has more than one snapshot named '%s', and "
                           "it cannot be known which is to be deleted",
                           disk->source, op->snap.name);
    /* Unlike -a, -d takes a tag and, since QEMU 4.0, no ID. */
    rc = qemu_img_snapshot(disk->path, "-d", op->snap.name, err);
    return rc ? rc : qemu_img_sync(disk->path, err);
}

const struct qemu_method qemu_internal = {
    .method = XLSNAP_METHOD_INTERNAL,
    .takes = internal_takes,
    .check = internal_check,
    .action = internal_action,
    .sync = internal_sync,
    .remove_live = internal_remove_live,
    .remove_offline = internal_remove_offline,
    .prove = internal_prove,
    .revert = internal_revert,
};
