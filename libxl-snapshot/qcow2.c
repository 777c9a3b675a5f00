/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What every driver of qcow2 images needs: finding an image's block node in
 * the domain's QEMU, and asking qemu-img about an image that QEMU does not
 * serve.
 */
#include "qcow2.h"

#include <fcntl.h>
#include <limits.h>

#include "run.h"
#include "util.h"

/* What changes an image is never cut off in the middle. */
#define QEMU_IMG_TIMEOUT_MS INT_MAX

/* ---- through QEMU ---- */

int qcow2_connect(struct op *op, struct qmp **qmp_r, struct xlsnap_error *err)
{
    cleanup_free char *path =
        xasprintf("/var/run/xen/qmp-libxenstat-%" PRIu32, op->dom.domid);

    return qmp_connect(path, QMP_TIMEOUT_MS, qmp_r, err);
}

/* Is this entry of query-block our disk? */
static bool qcow2_entry_is(const struct json *inserted, const struct disk *disk)
{
    const char *drv = json_get_string(inserted, "drv");
    const char *file =
        json_string(json_path(inserted, "image", "filename", NULL));
    struct xlsnap_error ignored = { 0 };
    struct file_id id;

    return drv && !strcmp(drv, "qcow2") && file && file[0] == '/' &&
           !file_id(file, &id, &ignored) && file_id_equal(&id, &disk->id);
}

const struct json *qcow2_find_entry(const struct json *blocks,
                                    const struct disk *disk,
                                    struct xlsnap_error *err)
{
    const struct json *found = NULL;
    size_t n = 0;

    for (size_t i = 0; i < json_array_len(blocks); i++) {
        const struct json *inserted =
            json_get(json_array_at(blocks, i), "inserted");

        if (qcow2_entry_is(inserted, disk)) {
            found = inserted;
            n++;
        }
    }
    if (n == 1 && json_get_string(found, "node-name"))
        return found;
    xlsnap_fail(err, XLSNAP_REFUSED,
                n > 1 ? "disk '%s': QEMU has '%s' open more than once"
                      : "disk '%s': QEMU does not serve '%s' as qcow2",
                disk->vdev, disk->source);
    return NULL;
}

bool qcow2_entry_has_tag(const struct json *inserted, const char *tag)
{
    const struct json *list = json_path(inserted, "image", "snapshots", NULL);

    for (size_t i = 0; i < json_array_len(list); i++) {
        const char *name = json_get_string(json_array_at(list, i), "name");

        if (name && !strcmp(name, tag))
            return true;
    }
    return false;
}

/* ---- through qemu-img ---- */

/*
 * The image as qemu-img's json: pseudo-protocol: the format is said, not
 * guessed, and no character of the path means anything.
 */
static char *qcow2_image_arg(const struct disk *disk)
{
    struct json_writer *w = json_writer_new(false);
    cleanup_free char *text = NULL;

    json_open_object(w, NULL);
    json_put_string(w, "driver", "qcow2");
    json_open_object(w, "file");
    json_put_string(w, "driver", disk->id.block ? "host_device" : "file");
    json_put_string(w, "filename", disk->path);
    json_close_object(w);
    json_close_object(w);
    text = json_writer_finish(w);
    return xasprintf("json:%s", text);
}

/* *image_r: the image's own entry in the chain (root->first). */
int qcow2_info(const struct disk *disk, struct json **root_r,
               const struct json **image_r, struct xlsnap_error *err)
{
    cleanup_free char *image = qcow2_image_arg(disk);
    cleanup_free char *text = NULL;
    const char *argv[] = { "qemu-img",        "info", "-U", "--output=json",
                           "--backing-chain", image,  NULL };
    int rc = run_output(argv, RUN_TIMEOUT_MS, &text, err);

    if (!rc)
        rc = json_parse(text, strlen(text), "qemu-img info", root_r, err);
    if (rc)
        return rc;
    *image_r = json_array_at(json_path(*root_r, NULL), 0);
    return 0;
}

/* The ID of the only snapshot of that tag; NULL if there is none or two. */
const char *qcow2_find_id(const struct json *image, const char *tag, int *count)
{
    const struct json *list = json_get(image, "snapshots");
    const char *id = NULL;

    *count = 0;
    for (size_t i = 0; i < json_array_len(list); i++) {
        const struct json *s = json_array_at(list, i);
        const char *name = json_get_string(s, "name");

        if (!name || strcmp(name, tag))
            continue;
        id = json_get_string(s, "id");
        ++*count;
    }
    return *count == 1 ? id : NULL;
}

int qcow2_snapshot_cmd(const struct disk *disk, const char *action,
                       const char *which, struct xlsnap_error *err)
{
    cleanup_free char *image = qcow2_image_arg(disk);
    const char *argv[] = { "qemu-img", "snapshot", "-q", action,
                           which,      image,      NULL };

    return run_ok(argv, QEMU_IMG_TIMEOUT_MS, err);
}

int qcow2_sync(const struct disk *disk, struct xlsnap_error *err)
{
    cleanup_close int fd = open(disk->path, O_RDONLY | O_CLOEXEC);

    if (fd < 0 || fsync(fd))
        return xlsnap_fail_errno(err, XLSNAP_FAILED, errno,
                                 "cannot write '%s' to disk", disk->path);
    return 0;
}
