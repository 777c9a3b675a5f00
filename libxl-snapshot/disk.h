/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The disks of an operation, and the drivers that know one kind of backend
 * each.  A driver is called once per group of disks, all of its disks of the
 * domain, because a QMP transaction is all or nothing.
 *
 * To add a driver: a file disk-NAME.c with a const struct disk_driver, a line
 * in the table of disk.c, tests in tests/xen.
 */
#ifndef XLSNAP_DISK_H
#define XLSNAP_DISK_H

#include <libxl.h>

#include "file.h"

struct op;

struct disk {
    char *vdev;
    char *source; /* the path as the domain's config has it */
    /*
     * The file that the guest writes to, symlinks resolved, and what it is.
     * In recovery: what it was when the record was written; ino 0: not known,
     * as when a revert finds nothing under that name.
     */
    char *path;
    struct file_id id;
    libxl_disk_format format;              /* of the file at source */
    libxl_disk_backend backend;            /* that serves it at run time */
    bool direct_io_safe, discard, trusted; /* as the domain's config says */
    enum xlsnap_method method;
    /* Where an external snapshot goes.  As asked for, or NULL, until the
     * driver's check has made it what snapshot.cfg shall say. */
    char *target;
    uint64_t size; /* LVM: bytes of the store, 0: default; a copy: its length */
    unsigned size_percent; /* LVM: the same as % of the origin; 0: not given */
    /*
     * What prepare or create has made and recovery could not tell by its name
     * alone; drivers set it, the record keeps it.  ino 0: nothing yet.
     */
    struct file_id made;
    /* The undo has begun to merge what was made into what is below it; and it
     * has done so.  The same goes for these. */
    bool merging, merged;
    uint64_t virtual_size; /* bytes the guest sees; owned by the driver */
    /* In recovery: its file is out of reach; what one sees of it is not so. */
    bool unknown;
    char *node; /* QEMU's block node before; owned by the qemu driver */
    char *tag;  /* qcow2 ID of the snapshot; owned by the qemu driver */
};

struct disk_group {
    const struct disk_driver *driver;
    struct disk **disks;
    size_t n;
    void *state; /* the driver's own, from prepare to create */
    /*
     * Something of a snapshot may have been made, and ->remove must look.
     * Set by the driver before it makes anything; by recover always.
     */
    bool touched;
};

typedef int disk_fn(struct op *op, struct disk_group *group,
                    struct xlsnap_error *err);

struct disk_driver {
    const char *name; /* in messages of debugging */
    const char *what; /* for people: "LVM snapshot" */
    /* Can it snapshot this disk by that method?  Looks only at struct disk. */
    bool (*takes)(const struct disk *disk, enum xlsnap_method method);
    /*
     * Does a snapshot or a revert put another file (or LV) under the disk's
     * name?  Then recovery must not expect the old one there.
     */
    bool (*moves)(const struct disk *disk);
    /* size= may be given: ->check takes, refuses or ignores it.  Of others it is
     * refused. */
    bool sized;
    /* Does what serves it write to it when it opens it, whatever the guest does? */
    bool opening_writes;

    /* ---- create ---- */
    /* Everything that can fail, read only; -XLSNAP_REFUSED.  Fills in
     * disk->target. */
    disk_fn *check;
    /* Before the pause: what can be made or opened then.  May be NULL. */
    disk_fn *prepare;
    /* In the pause: the snapshot.  On failure, all or part may be there. */
    disk_fn *create;
    /* In the pause, after all disks' create: what the guest depends on when it
     * goes on, names and configuration, durably.  May be NULL. */
    disk_fn *settle;
    /*
     * The operation failed or was killed, and the guest is about to go on:
     * make that safe, whether ->create was done or not.  Called before the
     * guest is woken, by the tool, the guard or recover, and once more when it
     * runs, for what may take long; looks, repeats.
     * Never undoes a snapshot.  NULL: nothing needed.
     */
    disk_fn *rescue;
    /*
     * Undo of prepare, create and settle if ->touched, also in recovery after
     * a crash, with or without the domain running (without: nobody has the
     * disks open): looks what is there, removes it, succeeds if nothing was.
     */
    disk_fn *remove;
    /* After the resume: the snapshot must be on disk; NULL: it is. */
    disk_fn *sync;
    /*
     * For an admin who reads snapshot.cfg and wants to delete: which file (or
     * LV) of this snapshot needs which.  NULL: none needs another.  The file
     * that needs, in *needy_r, and the one it needs; both are the disk's.
     */
    const char *(*needs)(const struct disk_group *group,
                         const struct disk *disk, const char **needy_r);
    /* Frees ->state, touches nothing; also called after success.  May be
     * NULL. */
    void (*release)(struct disk_group *group);

    /* ---- revert ---- */
    /* The snapshot is there, whole, and can be gone back to; read only. */
    disk_fn *prove;
    /*
     * The domain stands still, to be destroyed: what it has written since
     * ->prove may have spoilt the snapshot; read only.  NULL: nothing can.
     */
    disk_fn *prove_last;
    /* Refuses while something else than a process (which disk-users.c sees)
     * has a disk open: the kernel, say.  NULL: nothing can. */
    disk_fn *unused;
    /* Nobody uses the disk now: go back.  Idempotent. */
    disk_fn *revert;
};

/* In the order in which they are called in the pause. */
extern const struct disk_driver disk_lvm;
extern const struct disk_driver disk_vhd;
extern const struct disk_driver disk_copy;
extern const struct disk_driver disk_qemu; /* last: disk-qemu.c */

/*
 * Fills op->disks and op->snap.disks from the domain's configuration and the
 * request in op->snap, chooses methods and drivers and groups the disks.
 * Refuses a disk that nobody can snapshot, one of the request that the domain
 * has not, two that are one file, and a writable one left out without force.
 */
int disks_from_domain(struct op *op, struct xlsnap_error *err);
/*
 * Fills op->disks from op->snap (a snapshot.cfg) and groups them.  A disk that
 * cannot be looked at is an error, but the first is told when all have been
 * taken and grouped.
 */
int disks_from_snapshot(struct op *op, struct xlsnap_error *err);
/*
 * In recovery, after disks_from_snapshot: refuses when a disk that stays where
 * it is is no longer the file of op->pending.
 */
int disks_check_record(struct op *op, struct xlsnap_error *err);
/*
 * For the undo of a create: disks_from_snapshot, op->snap being filled from
 * op->pending, and disks_check_record; then ->id and ->made are those of the
 * record, and each group is ->touched: also when it fails for one disk, so that
 * the others can be rescued.
 */
int disks_from_record(struct op *op, struct xlsnap_error *err);
/*
 * For a revert of a domain that does not run: refuses when a disk's file, which
 * would be rewritten, is the base of an overlay: one of a snapshot in
 * SNAPSHOT_DIR/DOMAIN or beside this one, or in the disk's directory.
 */
int disks_check_no_base(const struct op *op, struct xlsnap_error *err);
/* For the record of a revert: the disks of a group (NULL: all) are as we leave
 * them now; or are about to be changed. */
void disks_note_left(struct op *op, const struct disk_group *group);
void disks_forget_left(struct op *op, const struct disk_group *group);
/* Refuses when a disk was written to since it was noted: somebody has started the
 * domain, which does not run now. */
int disks_check_left(const struct op *op, struct xlsnap_error *err);
/* Chooses methods and drivers for op->disks and groups them. */
int disks_group(struct op *op, struct xlsnap_error *err);
/* Copies what the drivers' check has filled in to op->snap. */
void disks_publish(struct op *op);
/* Calls one function of each group's driver, in order, until one fails. */
int disks_check(struct op *op, struct xlsnap_error *err);
int disks_prove(struct op *op, struct xlsnap_error *err);
/* Calls every group's rescue, also after one has failed. */
int disks_rescue(struct op *op, struct xlsnap_error *err);
/* The disk of op that is this file, or NULL. */
struct disk *disks_find_id(const struct op *op, const struct file_id *id);
/*
 * For create: refuses when anything else than what serves the disks to their
 * domain may write to one of them, for what is frozen would go on changing:
 * processes, loop devices, devices on top, mounts, other domains (those that
 * only read, too).  Not seen: domain 0's own block devices, swap, targets of the
 * kernel (LIO), mounts of btrfs.
 */
int disks_check_writers(struct op *op, struct xlsnap_error *err);
/*
 * Refuses when anybody uses one of the disks, if only to read, other than the
 * process `except` (0: none) and the running domain `own` (NULL: none).
 */
int disks_check_unused(struct op *op, pid_t except, const uint32_t *own,
                       struct xlsnap_error *err);
/* Refuses a frozen file that somebody may write to; not `except`, which has it
 * open so and does not (0: none). */
int disk_check_frozen(const char *file, pid_t except, struct xlsnap_error *err);
/* Waits until nobody has any of the disks open, bounded; refuses when a running
 * domain other than `own` (NULL: any) has one. */
int disks_wait_unused(struct op *op, const uint32_t *own,
                      struct xlsnap_error *err);
/* Fails if a process has one of the disks open for writing, and keeps it: for a
 * last look before a name is changed, when nobody had. */
int disks_check_closed(struct op *op, struct xlsnap_error *err);
/*
 * Before ->remove: if the QEMU of op->dom does not serve the disks (any more),
 * waits until nobody has them open and sets op->dom.domid to DOMAIN_NONE.
 * Refuses when somebody else may write to one.
 */
int disks_before_remove(struct op *op, struct xlsnap_error *err);
/*
 * Refuses a target that two disks share, or that is one of the snapshot's own
 * files or a disk; for drivers' check.
 */
int disk_check_target(const struct op *op, const struct disk *disk,
                      struct xlsnap_error *err);
/*
 * A target that is a file: absolute, relative to the disk's own directory;
 * by default beside it, STEM-NAME.EXT.  To be freed.
 */
char *disk_file_target(const struct op *op, const struct disk *disk);
/*
 * Refuses what is no VHD, or a differencing one, whose parent QEMU ignores (its
 * block/vpc.c); at `path` is the open file.  Any other format is fine.
 */
int disk_check_vhd(const struct disk *disk, const char *path, int fd,
                   struct xlsnap_error *err);
/*
 * A name in the directory of `beside` that was never used before and only this
 * operation knows: ".xl-snapshot.TOKEN.VDEV".  To be freed.
 */
char *disk_temporary_beside(const struct op *op, const struct disk *disk,
                            const char *beside);
/* The same in the disk's directory. */
char *disk_temporary(const struct op *op, const struct disk *disk);
/* The file that has what a revert gives up: PATH-discarded-TIME; to be freed. */
char *disk_kept_name(const struct op *op, const struct disk *disk);
/* With --keep: that name is free.  In a recovery an earlier try may have it. */
int disk_prove_keep(const struct op *op, const struct disk *disk,
                    struct xlsnap_error *err);
/* What the disk's path leads to gets that name, too; or, on a file system without
 * hard links, instead. */
int disk_keep(struct op *op, const struct disk *disk, struct xlsnap_error *err);
/* "xvda, xvdb", to be freed. */
char *disk_group_names(const struct disk_group *group);
void disks_clear(struct op *op);

#endif
