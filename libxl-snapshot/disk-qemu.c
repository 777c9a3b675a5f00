/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Images that QEMU serves (qdisk): internal snapshots, external ones under a
 * stable path, overlays.  All disks of a domain go in one QMP transaction: QEMU
 * drains them together and makes all or none (qapi/transaction.json and
 * block-core.json).  What is of one method is in disk-qemu-internal.c and
 * disk-qemu-chain.c.
 *
 * QEMU must have the very inode open that the disk's path names: qemu-img and
 * we would otherwise look at another file than the guest writes.
 */
#include "disk-qemu.h"

#include <signal.h>

#include "steps.h"
#include "util.h"

static const struct qemu_method *const methods[] = {
    &qemu_internal,
    &qemu_external,
    &qemu_overlay,
};

static const struct qemu_method *qemu_method(enum xlsnap_method method)
{
    for (size_t i = 0; i < ARRAY_SIZE(methods); i++)
        if (methods[i]->method == method)
            return methods[i];
    return NULL;
}

static const struct qemu_method *method_of(const struct disk *disk)
{
    return qemu_method(disk->method);
}

static bool qemu_takes(const struct disk *disk, enum xlsnap_method method)
{
    const struct qemu_method *m = qemu_method(method);

    return m && disk->backend == LIBXL_DISK_BACKEND_QDISK && m->takes(disk);
}

static bool qemu_moves(const struct disk *disk)
{
    return disk->method != XLSNAP_METHOD_INTERNAL;
}

/* ---- create ---- */

static int qemu_check_disk(struct op *op, struct disk *disk,
                           const struct json *blocks, struct xlsnap_error *err)
{
    const struct json *entry = qemu_find_node(op, blocks, disk, err);

    if (!entry)
        return -err->code;
    if (!json_get_string(entry, "drv") ||
        strcmp(json_get_string(entry, "drv"), qemu_format(disk->format)))
        return xlsnap_fail(err, XLSNAP_REFUSED,
                           "disk '%s': QEMU does not serve '%s' as %s",
                           disk->vdev, disk->source, qemu_format(disk->format));
    if (qemu_check_opened(op, disk, err))
        return -err->code;
    if (qemu_check_backing_chain(json_get(entry, "image"), err))
        return xlsnap_prefix(err, "disk '%s'", disk->vdev);
    disk->node = xstrdup(json_get_string(entry, "node-name"));
    return method_of(disk)->check(op, disk, entry, err);
}

static int qemu_check(struct op *op, struct disk_group *group,
                      struct xlsnap_error *err)
{
    struct json *reply = NULL;
    int rc = qemu_query_block(op, &reply, err);

    for (size_t i = 0; i < group->n && !rc; i++)
        rc = qemu_check_disk(op, group->disks[i], qmp_result(reply), err);
    if (rc && err->code == XLSNAP_FAILED)
        err->code = XLSNAP_REFUSED; /* QEMU does not answer: untouched */
    json_free(reply);
    qemu_session_end(op);
    return rc ? -err->code : 0;
}

/* The session is made before the pause. */
static int qemu_prepare(struct op *op, struct disk_group *group,
                        struct xlsnap_error *err)
{
    int rc = 0;

    for (size_t i = 0; i < group->n && !rc; i++) {
        struct disk *disk = group->disks[i];

        if (method_of(disk)->prepare) {
            group->touched = true;
            rc = method_of(disk)->prepare(op, disk, err);
        }
        if (!rc)
            rc = qemu_flush_early(disk->path, err);
        if (!rc)
            rc = steps_disk_done(op, "disk-prepare", disk, err);
    }
    return rc ? rc : qemu_session(op, err);
}

static char *qemu_transaction(const struct op *op,
                              const struct disk_group *group)
{
    struct json_writer *w = json_writer_new(false);

    json_open_object(w, NULL);
    json_open_array(w, "actions");
    for (size_t i = 0; i < group->n; i++) {
        json_open_object(w, NULL);
        method_of(group->disks[i])->action(op, group->disks[i], w);
        json_close_object(w);
    }
    json_close_array(w);
    json_close_object(w);
    return json_writer_finish(w);
}

static int qemu_create(struct op *op, struct disk_group *group,
                       struct xlsnap_error *err)
{
    cleanup_free char *arguments = qemu_transaction(op, group);
    int rc = 0;

    group->touched = true;
    for (size_t i = 0; i < group->n && !rc; i++) {
        if (method_of(group->disks[i])->begin)
            rc = method_of(group->disks[i])->begin(op, group->disks[i], err);
        if (!rc)
            rc = steps_disk_done(op, "disk-create", group->disks[i], err);
    }
    if (rc)
        return rc;
    op->transacted = true;
    rc = qmp_command(op->qmp, "transaction", arguments,
                     QEMU_TRANSACTION_TIMEOUT_MS, NULL, err);
    /* An error reply: none of it was done (QEMU, qapi/transaction.json). */
    if (rc && !err->errnum)
        op->transacted = false;
    return rc;
}

/* The names that were changed, durable: one fsync for each directory. */
static int qemu_sync_names(const struct disk_group *group,
                           struct xlsnap_error *err)
{
    int rc = 0;

    for (size_t i = 0; i < group->n && !rc; i++) {
        const struct disk *disk = group->disks[i];
        bool synced = disk->method != XLSNAP_METHOD_EXTERNAL;

        for (size_t j = 0; j < i && !synced; j++)
            synced = group->disks[j]->method == XLSNAP_METHOD_EXTERNAL &&
                     file_same_dir(group->disks[j]->path, disk->path);
        if (!synced)
            rc = file_fsync_dir_of(disk->path, err);
    }
    return rc;
}

static int qemu_settle(struct op *op, struct disk_group *group,
                       struct xlsnap_error *err)
{
    int rc = 0;

    for (size_t i = 0; i < group->n && !rc; i++) {
        if (method_of(group->disks[i])->settle)
            rc = method_of(group->disks[i])->settle(op, group->disks[i], err);
        if (!rc)
            rc = steps_disk_done(op, "disk-settle", group->disks[i], err);
    }
    return rc ? rc : qemu_sync_names(group, err);
}

/*
 * A transaction that the tool has sent may still be under way when the tool is
 * dead: QEMU carries commands out one after the other, so the answer to
 * another one means that it has ended.
 */
static int qemu_wait_idle(struct op *op, struct xlsnap_error *err)
{
    int rc;

    qemu_session_end(op);
    rc = qemu_session_within(op, QEMU_TRANSACTION_TIMEOUT_MS, err);
    return rc ? rc
              : qmp_command(op->qmp, "query-status", NULL,
                            QEMU_TRANSACTION_TIMEOUT_MS, NULL, err);
}

static bool qemu_needs_rescue(const struct disk_group *group)
{
    for (size_t i = 0; i < group->n; i++)
        if (method_of(group->disks[i])->rescue)
            return group->touched;
    return false;
}

static int qemu_rescue(struct op *op, struct disk_group *group,
                       struct xlsnap_error *err)
{
    struct xlsnap_error one = { 0 };
    int rc;

    if (!qemu_needs_rescue(group) || op->dom.domid == DOMAIN_NONE ||
        op->dom.qemu_pid <= 0)
        return 0;
    rc = op->transacted ? qemu_wait_idle(op, err) : 0;
    /* It may switch yet, and must not find the disk's name then; of an overlay
     * libxl's configuration is right in any case.  Recover looks again. */
    if (rc && !kill(op->dom.qemu_pid, 0))
        return rc;
    /* It is gone, and nobody knows which file it wrote to last: what was made
     * is merged when the domain is gone, too. */
    if (rc) {
        memset(err, 0, sizeof(*err));
        return 0;
    }
    for (size_t i = 0; i < group->n; i++) {
        struct disk *disk = group->disks[i];

        memset(&one, 0, sizeof(one));
        if (disk->unknown || !method_of(disk)->rescue ||
            !method_of(disk)->rescue(op, disk, &one))
            continue;
        *err = one;
        rc = -one.code;
    }
    return rc;
}

/* A session of its own: the one that failed may be dead. */
static int qemu_remove_live(struct op *op, struct disk_group *group,
                            struct xlsnap_error *err)
{
    int rc = qemu_rescue(op, group, err);

    qemu_session_end(op);
    for (size_t i = 0; i < group->n && !rc; i++)
        rc = method_of(group->disks[i])->remove_live(op, group->disks[i], err);
    qemu_session_end(op);
    return rc;
}

static int qemu_remove(struct op *op, struct disk_group *group,
                       struct xlsnap_error *err)
{
    int rc = 0;

    if (op->dom.domid != DOMAIN_NONE)
        return qemu_remove_live(op, group, err);
    for (size_t i = 0; i < group->n && !rc; i++)
        rc = method_of(group->disks[i])
                 ->remove_offline(op, group->disks[i], err);
    return rc;
}

static int qemu_sync(struct op *op, struct disk_group *group,
                     struct xlsnap_error *err)
{
    int rc = 0;

    qemu_session_end(op);
    for (size_t i = 0; i < group->n && !rc; i++)
        rc = method_of(group->disks[i])->sync(op, group->disks[i], err);
    return rc;
}

/* ---- revert ---- */

static int qemu_prove(struct op *op, struct disk_group *group,
                      struct xlsnap_error *err)
{
    for (size_t i = 0; i < group->n; i++) {
        struct disk *disk = group->disks[i];

        if (method_of(disk)->prove(op, disk, err)) {
            err->code = XLSNAP_REFUSED;
            return xlsnap_prefix(err, "disk '%s'", disk->vdev);
        }
    }
    return 0;
}

static int qemu_revert(struct op *op, struct disk_group *group,
                       struct xlsnap_error *err)
{
    int rc = 0;

    for (size_t i = 0; i < group->n && !rc; i++) {
        rc = method_of(group->disks[i])->revert(op, group->disks[i], err);
        if (!rc)
            rc = steps_disk_done(op, "disk-revert", group->disks[i], err);
    }
    return rc;
}

static const char *qemu_needs(const struct disk_group *group,
                              const struct disk *disk, const char **needy_r)
{
    bool external = disk->method == XLSNAP_METHOD_EXTERNAL;

    *needy_r = external ? disk->path : disk->target;
    return disk->method == XLSNAP_METHOD_INTERNAL ? NULL
           : external                             ? disk->target
                                                  : disk->path;
}

const struct disk_driver disk_qemu = {
    .name = "qemu",
    .what = "through QEMU",
    .takes = qemu_takes,
    .moves = qemu_moves,
    .check = qemu_check,
    .prepare = qemu_prepare,
    .create = qemu_create,
    .settle = qemu_settle,
    .rescue = qemu_rescue,
    .remove = qemu_remove,
    .sync = qemu_sync,
    .needs = qemu_needs,
    .prove = qemu_prove,
    .revert = qemu_revert,
};
