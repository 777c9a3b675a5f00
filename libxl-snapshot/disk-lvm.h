/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the files of the lvm driver share.  disk-lvm.c makes snapshots, after
 * disk-lvm-check.c has found nothing against it; disk-lvm-revert.c goes back,
 * disk-lvm-thick.c and disk-lvm-thin.c each with its kind of volume.
 */
#ifndef XLSNAP_DISK_LVM_H
#define XLSNAP_DISK_LVM_H

#include "lvm.h"
#include "op.h"

#define LVM_CHUNK 4096 /* of thick snapshots: LVM's default, and a page */
#define LVM_CHUNK_TEXT "4k"
/* Where a thin pool is too full to have its volumes diverge: 1/100 %. */
#define LVM_POOL_DATA_MAX 9800
#define LVM_POOL_METADATA_MAX 9500

#define LVM_TAG_PREFIX "xl-snapshot."

/* What check has found out of each disk of the group: its ->state. */
struct lvm_disk {
    char *vg, *lv, *target; /* names */
    char *origin_arg;       /* VG/LV */
    char *target_arg;       /* VG/TARGET */
    char *node;             /* of QEMU's, if its caches must be flushed */
    bool thin;
    bool in_qemu; /* it has the LV open, and so the host's page cache is used */
    uint64_t cow; /* bytes of a thick one's store */
};

/* The tag of what this operation makes: "xl-snapshot.TOKEN". */
char *lvm_tag(const struct op *op);
bool lvm_is_thin(const struct lvm_lv *lv);
/* Refuses a pool that is broken, or too full. */
int lvm_check_pool(const struct lvm_vg *vg, const char *pool,
                   struct xlsnap_error *err);
/* Refuses a VG in which nothing can be made. */
int lvm_check_vg(const struct lvm_vg *vg, struct xlsnap_error *err);
/* Bytes of a copy-on-write store that cannot overflow. */
uint64_t lvm_cow_full(uint64_t origin);
/* "12 MiB", to be freed. */
char *lvm_mib(uint64_t bytes);

/*
 * One disk that goes back: what LVM says of it now.  `live` is NULL when there
 * is no volume under the disk's name.
 */
struct lvm_back {
    struct op *op;
    struct disk *disk;
    struct lvm_vg vg;
    const struct lvm_lv *target, *live;
    char *target_name, *live_name;
    char *target_arg, *live_arg; /* VG/NAME */
    /* lvm_prove: bytes for what --keep keeps of this disk, and for that of the
     * disks before it in the same VG. */
    uint64_t *keep, keep_before;
};

typedef int lvm_back_fn(const struct lvm_back *b, struct xlsnap_error *err);

lvm_back_fn lvm_thick_prove, lvm_thick_prove_last, lvm_thick_revert;
lvm_back_fn lvm_thin_prove, lvm_thin_revert;
/* Refuses a disk for which a revert could not name its volumes. */
int lvm_thin_check_names(const char *vg, const struct disk *disk,
                         struct xlsnap_error *err);
/* The name of the LV that --keep leaves. */
char *lvm_keep_name(const struct lvm_back *b);
/* Of an LV in the VG of `b`. */
int lvm_back_remove(const struct lvm_back *b, const char *name,
                    struct xlsnap_error *err);

disk_fn lvm_check;
disk_fn lvm_prove;
disk_fn lvm_prove_last;
disk_fn lvm_revert;

#endif
