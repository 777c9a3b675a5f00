/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The record of an operation under way: a JSON file, durable before the first
 * change and removed after the last, from which recover learns what a killed
 * run or a host crash has left.  One per domain,
 * STATE_DIR/pending/UUID.json; while it is there, every other changing command
 * on the domain or its disks refuses.  Beside it is UUID.spare, of the same size: what
 * changes is written there, and the two are exchanged, so that a record that has been
 * written once does not want for space (but where a file system never writes in place,
 * as btrfs).
 *
 * It says what was to be made, not how far things came: recover decides by
 * looking.  What is not to be seen in the system stands in the record: whether
 * a revert has passed its point of no return, what the caller wanted at the end
 * (paused, a monitor), which file is which.
 */
#ifndef XLSNAP_PENDING_H
#define XLSNAP_PENDING_H

#include "file.h"
#include "domain.h"

struct op;

struct pending_disk {
    struct xlsnap_disk spec;
    struct file_id id;   /* before the operation */
    struct file_id made; /* what was made for it; ino 0: nothing yet */
    char *node;          /* QEMU's block node before, or NULL */
    uint64_t place;      /* inode of the directory of a target that is a file */
    bool merging, merged; /* as in struct disk */
    /* revert, from the destroy on: as we have left it; not known while the disk
     * is being taken back. */
    struct file_stamp left;
};

struct pending {
    char *file;      /* path of the record; NULL: not written */
    char *operation; /* "create" or "revert" */
    char *domain;    /* name */
    char *uuid;
    char *name;               /* of the snapshot */
    char *config_path;        /* snapshot.cfg */
    char *memory;             /* final path of the memory image */
    char *memory_tmp;         /* where it is written (create) */
    struct file_id memory_id; /* of the image (create); ino 0: not made yet */
    char *token; /* 16 hex digits, in names that only this run knows */
    uint64_t memory_place; /* inode of the image's directory; 0: made by us */
    uint64_t dir_ino; /* inode of the directory that was there to hold it */
    char *made_dir;   /* topmost directory made for it (create), or NULL */
    bool looking;     /* revert: we may have paused the domain, to look */
    bool no_return;   /* revert: the domain may be destroyed */
    bool live;        /* create: --live */
    bool settled;     /* create: the guest runs and will not suspend any more */
    char *monitor;    /* at the end the domain shall have one: monitor_keep */
    bool paused;      /* at the end the domain shall be paused */
    bool force;       /* revert: -f was given */
    bool keep;        /* revert: keep what is given up... */
    char *discarded;  /* ...with this in its name */
    char *boot_id;    /* of the host; domids mean nothing after its reboot */
    uint32_t domid;   /* of the domain before; DOMAIN_NONE: none ran */
    uint32_t restored; /* revert: of the domain after; DOMAIN_NONE: not yet */
    bool released;     /* revert: done; that domain may have run, and ended */
    struct pending_disk *disks; /* those that take part */
    size_t n_disks;
};

/* Writes (or replaces) the record; sets ->file. */
int pending_write(struct xlsnap *xs, struct pending *p,
                  struct xlsnap_error *err);
int pending_drop(struct pending *p, struct xlsnap_error *err);
/*
 * Calls `found` for each record (its return value: go on?).  A record that
 * cannot be read is -XLSNAP_FAILED: nobody may guess what it said.
 */
int pending_each(struct xlsnap *xs,
                 bool (*found)(const struct pending *p, void *user), void *user,
                 struct xlsnap_error *err);
/* The record under this uuid; none: no ->file. */
int pending_find(struct xlsnap *xs, const char *uuid, struct pending *p,
                 struct xlsnap_error *err);
/*
 * -XLSNAP_REFUSED, naming the cure, if a record concerns this domain (by uuid
 * or name; either may be NULL) or one of op's disks.
 */
int pending_refuse(struct op *op, const char *name, const char *uuid,
                   struct xlsnap_error *err);
/*
 * Is the file at `path` the one of this identity?  After a reboot of the host
 * device numbers may be others: then the inode number alone decides, and for
 * block devices nothing but the path.
 */
bool pending_is_file(const struct pending *p, const char *path,
                     const struct file_id *id);
/* Inode of the directory that a file is in, or 0: a file system that is not
 * mounted shows another one in its place. */
uint64_t pending_place(const char *path);
/*
 * The command that finishes or undoes it, or with `abandon` drops the record, as
 * one types it: the domain's name quoted for the shell where it must be, and by -d
 * if it would be taken for a file.  To be freed.
 */
char *pending_cure(const char *domain, bool abandon);
/* Is this still the boot of the host in which the record was written? */
bool pending_same_boot(const struct pending *p);
/* Fills ->disks from those of op that take part. */
void pending_set_disks(struct pending *p, const struct op *op);
/* Brings up to date what the drivers change of op's disks. */
void pending_update_disks(struct pending *p, const struct op *op);
void pending_copy(struct pending *dst, const struct pending *src);
void pending_clear(struct pending *p);

#endif
