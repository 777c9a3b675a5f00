/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Control groups.  What outlives the command, the monitor and after a revert the
 * domain's QEMU, must not stay in the caller's: systemd ends all that is in the
 * group of a unit when the unit ends (systemd.kill(5), KillMode=), a nightly
 * timer's, say.  It goes where the domain's processes are already.
 */
#ifndef XLSNAP_CGROUP_H
#define XLSNAP_CGROUP_H

#include <stdbool.h>
#include <sys/types.h>

/*
 * The group of a process in the unified hierarchy, "/system.slice/a.service"
 * (cgroups(7)); NULL: it is gone, or there is none.  To be freed.
 */
char *cgroup_of(pid_t pid);
/* Are there other processes in the group than that one? */
bool cgroup_has_others(const char *group, pid_t pid);
/*
 * A group of our own at the top, where systemd leaves alone what it has not made,
 * for what belongs to a domain without QEMU or a known monitor.  Its monitor's group will not do:
 * systemd may take that process for the main one of its unit, and end the unit,
 * with all that is in it, when the monitor ends.
 */
#define CGROUP_OWN "/xl-snapshot"
/*
 * Moves this process there; makes CGROUP_OWN if need be.  0 or -1 with errno; 0 also
 * if it is there, or if the unified hierarchy is not in its place.
 */
int cgroup_enter(const char *group);

#endif
