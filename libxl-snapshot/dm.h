/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Device mapper: what the kernel says of a mapped device, by ioctl on
 * /dev/mapper/control (linux/dm-ioctl.h).  Cheap enough to be polled, and
 * needs no program, so that it works while LVM does not.
 */
#ifndef XLSNAP_DM_H
#define XLSNAP_DM_H

#include <sys/types.h>

#include "error.h"

struct dm_info {
    char name[128];
    char uuid[129]; /* of LVM's: "LVM-", VG's and LV's; then "-LAYER", maybe */
    unsigned open;  /* how many have it open, the kernel's users included */
    bool suspended;
    bool waiting; /* a new table is loaded, and takes effect at a resume */
};

/*
 * -XLSNAP_FAILED; errnum is ENXIO when there is no such mapped device, another
 * kind of device included.
 */
int dm_look(dev_t dev, struct dm_info *info_r, struct xlsnap_error *err);
/*
 * The type and the parameters of the device's only target, in a line to be
 * freed: "snapshot 253:7 253:8 P 8".  A device of several targets is an error.
 */
int dm_table(dev_t dev, char **line_r, struct xlsnap_error *err);
/* The same of its status: "snapshot 96/32768 16". */
int dm_status(dev_t dev, char **line_r, struct xlsnap_error *err);
/*
 * Lets a suspended device go on, with the table that it ran with: one that
 * waits to take its place is dropped.  Nothing if it is not suspended.
 */
int dm_resume(dev_t dev, struct xlsnap_error *err);
/*
 * Of a logical volume's device: which devices are suspended that a request to it
 * may have to pass: it, its -real if it is the origin of snapshots, these, and
 * what is below all of them in the VG (an LVM command suspends all of that to
 * add a snapshot).  In the order in which to resume them, in an array to be
 * freed.
 */
size_t dm_suspended_tree(dev_t dev, dev_t **list_r);
/*
 * What an LVM command that was killed while it made the device the origin of a
 * snapshot may have left of that: a table that waits, and the device UUID-real
 * which nothing uses.  Only while no command is at work: a living one has them,
 * too.
 */
bool dm_has_leftovers(dev_t dev);
int dm_drop_leftovers(dev_t dev, struct xlsnap_error *err);

#endif
