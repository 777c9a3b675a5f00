/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Within the library: parts of a snapshot's description. */
#ifndef XLSNAP_SNAPSHOT_H
#define XLSNAP_SNAPSHOT_H

#include "libxl-snapshot.h"

/* *dst is overwritten, not freed. */
void snapshot_copy_disk(struct xlsnap_disk *dst, const struct xlsnap_disk *src);
void snapshot_clear_disk(struct xlsnap_disk *disk);

#endif
