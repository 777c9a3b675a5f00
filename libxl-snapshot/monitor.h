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
 * between destroying and starting it again, or about to end; or it is an
 * "xl create" without a log, or before it has one, of a domain of that name.
 */
pid_t monitor_find_name(const char *name, bool *known_r /* by its log */);
bool monitor_is_ours(pid_t pid); /* not xl's */

/*
 * The processes that may be its monitor, though no log says whose they are: those
 * of "xl create -F", at least as old as the domain's QEMU, and those whose log was
 * cut.  Before Xen 4.20 the one that is it ends at the suspend.
 * "PID:START,..." (START as in proc(5)), to be freed; NULL: there is none.
 */
char *monitor_find_maybe(const struct domain *dom);
/* One of them has ended. */
bool monitor_maybe_ended(const char *maybe);

/*
 * The unit of systemd that stops when the domain's monitor ends, and then ends
 * QEMU with it, or does something to the domain (ExecStop=, Restart=).  NULL: none.
 * To be freed; *monitor_r: the monitor, or what may be it.
 */
char *monitor_unit(const struct domain *dom, pid_t *monitor_r);

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
 * again, whoever has them now.  -XLSNAP_REFUSED if the latter does not end; not with
 * `force` if it is no more than an "xl create" of that name (monitor_find_name).
 */
int monitor_await_domain(struct xlsnap *xs, const char *uuid, const char *name,
                         bool force, struct domain *dom,
                         struct xlsnap_error *err);
/*
 * After a resume; `was`: what there was of a monitor before.  NULL: none, and so
 * it stays.  MONITOR_KNOWN: if it, `old` (0: unknown), has ended, or ends now
 * because it saw the suspend, starts ours; one that lives on is left to do its work.
 * Of monitor_find_maybe: only if one of those has ended, or does so within some
 * seconds.
 */
#define MONITOR_KNOWN "yes"
int monitor_keep(struct xlsnap *xs, const struct domain *dom, pid_t old,
                 const char *was, struct xlsnap_error *err);
/*
 * -XLSNAP_REFUSED if systemd would do something to the domain when it suspends
 * (`suspends`) or is destroyed.
 */
int monitor_check_unit(struct xlsnap *xs, const struct domain *dom,
                       bool suspends, struct xlsnap_error *err);
/* Starts ours and waits until it watches the domain. */
int monitor_start(struct xlsnap *xs, const struct domain *dom,
                  struct xlsnap_error *err);

#endif
