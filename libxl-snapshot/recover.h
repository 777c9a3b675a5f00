/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the guard needs of recover. */
#ifndef XLSNAP_RECOVER_H
#define XLSNAP_RECOVER_H

#include "handle.h"

/*
 * A create of the domain of that uuid was cut off: calls the drivers' rescue
 * (disk.h), by its record.  Failures are logged: the guest is to be woken
 * whatever they are.
 */
void recover_rescue_domain(struct xlsnap *xs, const char *uuid);
/*
 * A revert of that domain was cut off before the destroy, and its guest is about
 * to go on, or (awake) does so: notes that it has not begun, for what the guest
 * does from then on must not be given up.  Failures are logged.
 */
void recover_unbegin_revert(struct xlsnap *xs, const char *uuid, bool awake);

#endif
