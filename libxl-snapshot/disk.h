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
    char *path;   /* the same, symlinks resolved */
    struct file_id id;
    libxl_disk_format format;
    libxl_disk_backend backend; /* that serves it at run time */
    enum xlsnap_method method;
    char *target;
    char *node; /* QEMU's block node; owned by the qcow2 drivers */
    char *tag;  /* qcow2 ID of the snapshot; owned by the qcow2 drivers */
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
    const char *name; /* in step names, the record and messages */
    const char *what; /* for people: "qcow2 internal snapshot" */
    enum xlsnap_method method;

    /* Can it make a snapshot of this disk, by its method?  Looks only at
     * struct disk. */
    bool (*takes)(const struct disk *disk);

    /* ---- create ---- */
    /* Everything that can fail, read only; -XLSNAP_REFUSED. */
    disk_fn *check;
    /* Before the pause: what can be made or opened then. */
    disk_fn *prepare;
    /* In the pause: the snapshot.  On failure, all or part may be there. */
    disk_fn *create;
    /*
     * Undo of prepare and create if ->touched, also in recovery after a crash,
     * with or without the domain running (without: nobody has the disks open):
     * looks what is there, removes it, succeeds if nothing was.
     */
    disk_fn *remove;
    /* After the resume: the snapshot must be on disk; NULL: it is. */
    disk_fn *sync;
    /* Frees ->state, touches nothing; also called after success. */
    void (*release)(struct disk_group *group);

    /* ---- revert ---- */
    /* The snapshot is there, whole, and can be gone back to; read only. */
    disk_fn *prove;
    /* Nobody uses the disk now: go back.  Idempotent. */
    disk_fn *revert;
};

extern const struct disk_driver disk_qcow2_internal;

/*
 * Fills op->disks and op->snap.disks from the domain's configuration and the
 * request in op->snap, chooses methods and drivers and groups the disks.
 * Refuses a disk that nobody can snapshot, one of the request that the domain
 * has not, and a writable one left out without force.
 */
int disks_from_domain(struct op *op, struct xlsnap_error *err);
/* Fills op->disks from op->snap (a snapshot.cfg) and groups them. */
int disks_from_snapshot(struct op *op, struct xlsnap_error *err);
/* Calls one function of each group's driver, in order, until one fails. */
int disks_check(struct op *op, struct xlsnap_error *err);
int disks_prove(struct op *op, struct xlsnap_error *err);
/* The disk of op that is this file, or NULL. */
struct disk *disks_find_id(const struct op *op, const struct file_id *id);
/*
 * Refuses when a process (other than `except`, 0: none) or a running domain
 * other than `own` (NULL: any) uses one of the disks.
 */
int disks_check_unused(struct op *op, pid_t except, const uint32_t *own,
                       struct xlsnap_error *err);
/* Waits until no process has any of the disks open, bounded. */
int disks_wait_unused(struct op *op, struct xlsnap_error *err);
/*
 * Before ->remove: if the QEMU of op->dom does not serve the disks (any more),
 * waits until nobody has them open and sets op->dom.domid to DOMAIN_NONE.
 * Refuses when somebody else uses one.
 */
int disks_before_remove(struct op *op, struct xlsnap_error *err);
/* "xvda, xvdb", to be freed. */
char *disk_group_names(const struct disk_group *group);
void disks_clear(struct op *op);

#endif
