/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The methods of the qemu driver, one disk at a time: what disk-qemu.c calls
 * for each disk of its group, in or around one QMP transaction for all.
 */
#ifndef XLSNAP_DISK_QEMU_H
#define XLSNAP_DISK_QEMU_H

#include "qemu.h"

typedef int qemu_disk_fn(struct op *op, struct disk *disk,
                         struct xlsnap_error *err);

struct qemu_method {
    enum xlsnap_method method;
    bool (*takes)(const struct disk *disk);
    /* Read only; `inserted` is the disk's entry in query-block. */
    int (*check)(struct op *op, struct disk *disk, const struct json *inserted,
                 struct xlsnap_error *err);
    qemu_disk_fn *prepare; /* before the pause; NULL: nothing */
    /* Right before the transaction; NULL: nothing. */
    qemu_disk_fn *begin;
    /* The disk's action in the transaction. */
    void (*action)(const struct op *op, const struct disk *disk,
                   struct json_writer *w);
    /* As in struct disk_driver; NULL: nothing.  The fsync of the directory is
     * the driver's, once for all disks in it. */
    qemu_disk_fn *settle;
    qemu_disk_fn *rescue;         /* the domain runs; NULL: nothing */
    qemu_disk_fn *remove_live;    /* the domain runs, on these disks */
    qemu_disk_fn *remove_offline; /* nobody has them open */
    qemu_disk_fn *sync;
    qemu_disk_fn *prove;
    qemu_disk_fn *revert;
};

extern const struct qemu_method qemu_internal; /* disk-qemu-internal.c */
extern const struct qemu_method qemu_external; /* disk-qemu-chain.c */
extern const struct qemu_method qemu_overlay;  /* disk-qemu-chain.c */

#endif
