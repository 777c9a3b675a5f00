/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * qcow2 images, through the QEMU that serves them (QMP) and, when none does,
 * through qemu-img.
 *
 * PV disks have no device name in QEMU, so a block node is found in
 * query-block by the file behind it.  Tags are resolved to IDs and must be
 * unique: qemu-img takes an argument for an ID first, and allows a tag twice.
 */
#ifndef XLSNAP_QCOW2_H
#define XLSNAP_QCOW2_H

#include "json.h"
#include "op.h"
#include "qmp.h"

/* A session with the domain's QEMU. */
int qcow2_connect(struct op *op, struct qmp **qmp_r, struct xlsnap_error *err);
/*
 * The "inserted" object of the disk in the result of query-block; NULL
 * (-XLSNAP_REFUSED in err) if QEMU has no, or more than one, such node.
 */
const struct json *qcow2_find_entry(const struct json *blocks,
                                    const struct disk *disk,
                                    struct xlsnap_error *err);
/* Does the image of such an entry hold a snapshot of that tag? */
bool qcow2_entry_has_tag(const struct json *inserted, const char *tag);

/*
 * `qemu-img info` of the image and its whole backing chain, which must be
 * sound.  *image_r is the image's own part of *root_r, which is to be freed.
 */
int qcow2_info(const struct disk *disk, struct json **root_r,
               const struct json **image_r, struct xlsnap_error *err);
/* In that: the ID of the only snapshot of that tag; *count_r: how many are. */
const char *qcow2_find_id(const struct json *image, const char *tag,
                          int *count_r);
/* `qemu-img snapshot ACTION WHICH`; nobody may have the image open. */
int qcow2_snapshot_cmd(const struct disk *disk, const char *action,
                       const char *which, struct xlsnap_error *err);
/* fsync of the image. */
int qcow2_sync(const struct disk *disk, struct xlsnap_error *err);

#endif
