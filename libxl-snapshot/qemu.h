/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Disk images, through the QEMU that serves them (QMP) and, when none does,
 * through qemu-img.
 *
 * PV disks have no device name in QEMU; Xen's block backend names the node at
 * the top of a disk VDEV-DRIVER (xen_block_drive_create in QEMU's
 * hw/block/xen-block.c), and so do we for overlays: VDEV-... finds it.  Only an
 * image that QEMU opened as the backing file of another one, which has since
 * been merged into it, has a name of QEMU's making; then its device is asked.
 * Tags are resolved to IDs and must be unique: qemu-img takes an argument for
 * an ID first, and allows a tag twice.
 */
#ifndef XLSNAP_QEMU_H
#define XLSNAP_QEMU_H

#include "json.h"
#include "op.h"
#include "qmp.h"

#define QEMU_TRANSACTION_TIMEOUT_MS 60000

/*
 * The session of op with the domain's QEMU, op->qmp, made when there is none.
 * Its socket serves one client at a time, so there is never a second one.
 */
int qemu_session(struct op *op, struct xlsnap_error *err);
/* The same; a QEMU that flushes answers only when it is done. */
int qemu_session_within(struct op *op, int timeout_ms,
                        struct xlsnap_error *err);
/* Ends it; it may be dead, and the next qemu_session makes a new one. */
void qemu_session_end(struct op *op);
/* query-block on that session. */
int qemu_query_block(struct op *op, struct json **reply_r,
                     struct xlsnap_error *err);
/*
 * The "inserted" object of the disk in the result of query-block; NULL
 * (-XLSNAP_REFUSED in err) if QEMU has no, or more than one, such node, or
 * (-XLSNAP_FAILED, errnum) if it does not answer.
 */
const struct json *qemu_find_node(struct op *op, const struct json *blocks,
                                  const struct disk *disk,
                                  struct xlsnap_error *err);
/*
 * -XLSNAP_REFUSED unless QEMU has opened the disk's file, once: of a second node,
 * which Xen's QEMU does not lock out, nobody knows what it keeps in mind.
 */
int qemu_check_opened(const struct op *op, const struct disk *disk,
                      struct xlsnap_error *err);
/*
 * An HVM guest has each disk twice, emulated until its PV drivers take over, and
 * two nodes of QEMU's then have the image open, of which each knows nothing of
 * what the other writes.  -XLSNAP_REFUSED if an emulated one is there still.
 */
int qemu_check_unplugged(struct op *op, struct xlsnap_error *err);
/*
 * After a live save of an HVM guest QEMU stands still and has given its images
 * up, as if it had migrated (qmp_xen_save_devices_state in QEMU's
 * migration/savevm.c).  This takes them back; Xen still holds the vCPUs.
 */
int qemu_activate(struct op *op, struct xlsnap_error *err);
/* Is there a job whose id begins with QEMU_JOB? */
#define QEMU_JOB "xl-snapshot-"
bool qemu_has_our_jobs(struct op *op);
/* Does the image of such an entry hold a snapshot of that tag? */
bool qemu_node_has_tag(const struct json *inserted, const char *tag);
/*
 * While the guest stands still: waits until QEMU has carried out every request
 * that it had of the guest, and nothing of it is left but in the image files'
 * page cache.  Harmless when QEMU serves no disk.
 */
int qemu_drain(struct op *op, struct xlsnap_error *err);
/* fdatasync of the file, before the pause: else the guest waits for it. */
int qemu_flush_early(const char *path, struct xlsnap_error *err);

/* The driver of QEMU's block layer for a format: "vpc" for vhd. */
const char *qemu_format(libxl_disk_format format);
/*
 * An image as qemu-img's json: pseudo-protocol: the format is said, not
 * guessed, and no character of the path means anything.  To be freed.
 */
char *qemu_img_arg(const char *path, const char *format);
/* An overlay, with this as its base whatever its header says. */
char *qemu_img_arg_on(const char *path, const char *base,
                      const char *base_format);
/*
 * QEMU guesses a format that the header does not have, from the first bytes; in a raw
 * base a guest may have written a header of qcow2 there, with any file of the host as
 * the next base.  -XLSNAP_REFUSED.  `image` is of QMP's type ImageInfo.
 */
int qemu_check_backing_chain(const struct json *image,
                             struct xlsnap_error *err);
/*
 * `qemu-img info` of the image: *root_r, to be freed.  Each image below it must be
 * sound, too, and its format said.
 */
int qemu_img_info(const char *path, const char *format, struct json **root_r,
                  struct xlsnap_error *err);
/* In that: the ID of the only snapshot of that tag; *count_r: how many are. */
const char *qemu_img_find_id(const struct json *image, const char *tag,
                             int *count_r);
/* `qemu-img snapshot ACTION WHICH`; nobody may have the image open. */
int qemu_img_snapshot(const char *path, const char *action, const char *which,
                      struct xlsnap_error *err);
/* Does a qcow2 image have no cluster of its own?  Nobody may write to it. */
int qemu_img_is_empty(const char *path, bool *empty_r,
                      struct xlsnap_error *err);
/* fsync of the image. */
int qemu_img_sync(const char *path, struct xlsnap_error *err);

#endif
