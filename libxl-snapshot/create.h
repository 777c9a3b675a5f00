/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What create.c, the steps of a create, needs of its checks. */
#ifndef XLSNAP_CREATE_H
#define XLSNAP_CREATE_H

#include "op.h"

/*
 * Finds the domain `which` (a name, domid or uuid), locks it and its disks, and
 * completes op->snap, the request, to what snapshot.cfg will say; refuses
 * whatever can be known to fail.  Changes nothing.
 */
int create_check(struct op *op, const char *which, struct xlsnap_error *err);
/* Is it an HVM guest, whose QEMU stands still and is saved with it? */
bool create_is_hvm(const struct op *op);

#endif
