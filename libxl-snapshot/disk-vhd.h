/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* VHD images that tapdisk serves: what the files of this driver share. */
#ifndef XLSNAP_DISK_VHD_H
#define XLSNAP_DISK_VHD_H

#include "disk.h"
#include "tapdisk.h"

/* Chains get slow, and XenServer ends them here, too. */
#define VHD_DEPTH_MAX 30
#define LEFT_BEHIND_MS 600000 /* for a program of a killed run to end */

/* Is the file of that name this one? */
bool vhd_name_is(const char *path, const struct file_id *id);
bool vhd_name_exists(const char *path);
/* Another name for the same file, durably. */
int vhd_link(const char *from, const char *to, struct xlsnap_error *err);
/* The new name replaces what has it, durably. */
int vhd_rename(const char *from, const char *to, struct xlsnap_error *err);
/* A new child gets `like`'s owner and mode, and is on disk then. */
int vhd_settle_child(const char *child, const char *like,
                     struct xlsnap_error *err);
/* TARGET must be in the disk's directory, where images can be made. */
int vhd_check_place(const struct disk *disk, struct xlsnap_error *err);
/* Room for a child of the size of `like`, beside it. */
int vhd_check_space(const struct disk *disk, const char *like,
                    struct xlsnap_error *err);

/* disk-vhd-undo.c */
disk_fn vhd_rescue;
disk_fn vhd_remove;
/* disk-vhd-revert.c */
disk_fn vhd_prove;
disk_fn vhd_unused;
disk_fn vhd_revert;

#endif
