/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the files of external snapshots and overlays share: disk-qemu-chain.c
 * makes them, disk-qemu-chain-undo.c undoes that, disk-qemu-commit.c merges an
 * overlay into its base for the undo, disk-qemu-chain-revert.c goes back.
 */
#ifndef XLSNAP_DISK_QEMU_CHAIN_H
#define XLSNAP_DISK_QEMU_CHAIN_H

#include "disk-qemu.h"

/* External: the disk's name stays.  Else an overlay, libvirt's external. */
bool chain_is_external(const struct disk *disk);
/* The name of the frozen file. */
const char *chain_frozen(const struct disk *disk);
/* Is the file of that name this one? */
bool chain_name_is(const char *path, const struct file_id *id);
bool chain_name_exists(const char *path);
/* The overlay's name while it is made, and an external one's until the switch. */
char *chain_temporary(const struct op *op, const struct disk *disk);
/* Does QEMU write to our overlay? */
bool chain_switched(const struct op *op, const struct disk *disk);
/* Refuses if no overlay can be made in the directory of that file. */
int chain_check_place(const struct disk *disk, const char *active,
                      struct xlsnap_error *err);
/*
 * Makes an empty overlay on `base` at `file`, which is new, durable, with owner, mode
 * and attributes of the file `like`.
 */
int chain_make_overlay(const struct disk *disk, const char *file,
                       const char *base, const char *like,
                       struct file_id *made_r, struct xlsnap_error *err);

/* ---- disk-qemu-chain-undo.c ---- */

/* Sets disk->merged in the record, too; if that fails, nowhere. */
int chain_note_merged(struct op *op, struct disk *disk, bool merged,
                      struct xlsnap_error *err);

qemu_disk_fn chain_external_rescue, chain_overlay_rescue, chain_remove_live;
qemu_disk_fn chain_external_remove_offline, chain_overlay_remove_offline;

/* ---- disk-qemu-commit.c ---- */

/*
 * Merges the overlay, which QEMU writes to, into its base while the guest
 * runs, and gives the base the disk's name back.
 */
int chain_commit_live(struct op *op, struct disk *disk,
                      struct xlsnap_error *err);
/*
 * Ends a job that a killed tool has left, in whatever status: the guest's I/O
 * may be waiting for it.  The disk's names decide which way.
 */
int chain_commit_end(struct op *op, struct disk *disk,
                     struct xlsnap_error *err);
/* The same merge by qemu-img, while nobody has the files open; only if the
 * overlay is based on what the disk was. */
int chain_commit_offline(const struct disk *disk, const char *overlay,
                         struct xlsnap_error *err);

/* ---- disk-qemu-chain-revert.c ---- */

qemu_disk_fn chain_prove, chain_revert;

#endif
