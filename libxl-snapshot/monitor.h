/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The domain's monitor: the process that xl leaves behind to carry out
 * on_poweroff, on_reboot, on_crash and so on.  Before Xen 4.20 xl's own exits
 * when it sees its domain suspend (tools/xl/xl_vmcontrol.c,
 * handle_domain_death); without one, a guest that reboots hangs for good.
 */
#ifndef XLSNAP_MONITOR_H
#define XLSNAP_MONITOR_H

#include "domain.h"

/* The descriptor on which the helper says that it watches. */
#define MONITOR_FD 3

/*
 * The pid of the domain's monitor, xl's or ours; 0: none was found.  It is
 * recognised by what both write at the start of their log, which is their
 * standard output: "Waiting for domain NAME (domid N) to die [pid P]".
 */
pid_t monitor_find(uint32_t domid);
/*
 * The same by the domain's name: found while no such domain exists, it is
 * between destroying and starting it again, or about to end.
 */
pid_t monitor_find_name(const char *name);
/*
 * The control group for what belongs to the domain: its QEMU's, or CGROUP_OWN, if it
 * has none; or no monitor in the background, for what `xl create -F` is in, a unit,
 * may end when the domain suspends.  NULL: there is no domain.  To be freed.
 */
char *monitor_home(const struct domain *dom);
/*
 * The domain of that uuid, or of that name; dom->domid is DOMAIN_NONE if there is
 * none.  Waits, some seconds, while one has ended and its monitor is about to deal
 * with that, or there is a monitor but no domain: its disks are about to be opened
 * again, whoever has them now.  -XLSNAP_REFUSED if the latter does not end.
 */
int monitor_await_domain(struct xlsnap *xs, const char *uuid, const char *name,
                         struct domain *dom, struct xlsnap_error *err);
/*
 * After a resume: if monitor `old` (0: unknown) has ended, or ends now because
 * it saw the suspend, starts ours; one that lives on is left to do its work.
 */
int monitor_keep(struct xlsnap *xs, const struct domain *dom, pid_t old,
                 struct xlsnap_error *err);
/* Starts ours and waits until it watches the domain. */
int monitor_start(struct xlsnap *xs, const struct domain *dom,
                  struct xlsnap_error *err);

#endif
