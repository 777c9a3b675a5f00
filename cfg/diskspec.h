/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * DISKSPEC: how one disk is described by a string of the config.  Positional,
 * TARGET,FORMAT,VDEV, or KEY=VALUE,... (the first field tells which); see
 * xl-snapshot.cfg(5).  Internal to cfg/.
 */
#ifndef XLSNAP_CFG_DISKSPEC_H
#define XLSNAP_CFG_DISKSPEC_H

#include "error.h"

/* Fills *disk, zeroed before; the caller frees its strings also after a
 * failure.  Messages quote the part of the spec that is wrong. */
int diskspec_parse(const char *spec, struct xlsnap_disk *disk,
                   struct xlsnap_error *err);

/* The KEY=VALUE form, to be freed; diskspec_parse gives *disk again. */
char *diskspec_format(const struct xlsnap_disk *disk);

/*
 * The number of a virtual device, as libxl__device_disk_dev_number of
 * libxl_device.c has it: equal numbers, same device.  -1: no vdev.  Accepts
 * xvdNAME, hdNAME, sdNAME, dNpM and plain numbers, but not the malformed
 * words that slip through libxl's scanf and strtoul (signs, blanks, "xvd").
 */
int diskspec_vdev_number(const char *vdev);

#endif
