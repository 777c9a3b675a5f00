/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Going back to an external snapshot or below an overlay: a fresh, empty
 * overlay on the frozen file takes the name of the active one.  The frozen file
 * is never written, so this can be done any number of times.
 */
#include "disk-qemu-chain.h"
#include "util.h"

/*
 * A file that carries internal snapshots is never dropped: a revert to one of
 * them needs it.  Nor is one that cannot be read.
 */
static bool active_is_precious(const struct op *op, const struct disk *disk)
{
    struct xlsnap_error ignored = { 0 };
    struct json *root = NULL;
    bool precious = true;

    if (!disk->id.ino)
        return false;
    /* Of a domain that did not run nobody has proved that no later snapshot
     * has frozen this overlay. */
    if (!chain_is_external(disk) && op->pending.domid == DOMAIN_NONE)
        return true;
    if (!qemu_img_info(disk->path, "qcow2", &root, &ignored))
        precious = json_array_len(json_get(root, "snapshots"));
    json_free(root);
    return precious;
}

static int prove_image(struct disk *disk, const char *frozen,
                       struct xlsnap_error *err)
{
    struct json *root = NULL;
    int rc = qemu_img_info(frozen, qemu_format(disk->format), &root, err);

    if (!rc) {
        const struct json *data =
            json_path(root, "format-specific", "data", NULL);

        disk->virtual_size = json_get_int(root, "virtual-size", 0);
        if (!disk->virtual_size)
            rc = xlsnap_fail(err, XLSNAP_REFUSED, "'%s' is empty", frozen);
        else if (json_get_bool(data, "corrupt", false))
            rc = xlsnap_fail(err, XLSNAP_REFUSED,
                             "'%s' is marked as corrupt (see 'qemu-img "
                             "check')",
                             frozen);
    }
    json_free(root);
    return rc;
}

/* The name under which --keep keeps the old must be free. */
static int prove_discarded(const struct op *op, const struct disk *disk,
                           struct xlsnap_error *err)
{
    cleanup_free char *name =
        op->pending.discarded ? disk_kept_name(op, disk) : NULL;

    /* In a recovery it is what an earlier try has kept. */
    if (name && !op->pending.file && chain_name_exists(name))
        return xlsnap_fail(err, XLSNAP_REFUSED, "'%s' exists already", name);
    return 0;
}

int chain_prove(struct op *op, struct disk *disk, struct xlsnap_error *err)
{
    const char *frozen = chain_frozen(disk);
    struct file_id id;
    int rc;

    if (!disk->target)
        return xlsnap_fail(err, XLSNAP_INVALID, "it has no target");
    rc = file_id(frozen, &id, err);
    if (!rc && file_id_equal(&id, &disk->id))
        return xlsnap_fail(err, XLSNAP_REFUSED,
                           "'%s' and '%s' are the same file: the frozen one "
                           "is in use as the disk",
                           disk->path, frozen);
    if (!rc)
        rc = chain_check_place(disk, disk->path, err);
    if (!rc)
        rc = prove_discarded(op, disk, err);
    if (!rc)
        /* Our own QEMU has it open for writing still, and does not write:
         * disk-qemu-chain.c. */
        rc = disk_check_frozen(frozen, op->dom.qemu_pid, err);
    return rc ? rc : prove_image(disk, frozen, err);
}

/* A fresh overlay on the frozen file takes the name of the active one. */
int chain_revert(struct op *op, struct disk *disk, struct xlsnap_error *err)
{
    cleanup_free char *tmp = disk_temporary(op, disk);
    cleanup_free char *frozen = chain_is_external(disk)
                                    ? xstrdup(disk->target)
                                    : realpath(disk->source, NULL);
    const char *like = frozen;
    struct file_id made;
    int rc = chain_prove(op, disk, err);

    if (!rc && !frozen)
        rc = xlsnap_fail_errno(err, XLSNAP_FAILED, errno, "'%s'", disk->source);
    if (!rc && chain_name_exists(disk->path) &&
        (op->pending.keep || active_is_precious(op, disk)))
        rc = disk_keep(op, disk, err);
    if (chain_name_exists(disk->path))
        like = disk->path;
    /* A qemu-img of a run that was cut off may have that file open still. */
    if (!rc)
        rc = file_unlink(tmp, err);
    if (!rc)
        rc = chain_make_overlay(disk, tmp, frozen, like, &made, err);
    if (!rc && rename(tmp, disk->path))
        rc = xlsnap_fail_errno(err, XLSNAP_FAILED, errno,
                               "cannot rename '%s' to '%s'", tmp, disk->path);
    return rc ? rc : file_fsync_dir_of(disk->path, err);
}
