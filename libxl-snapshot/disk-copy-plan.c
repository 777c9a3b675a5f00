/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * How the copies of a group of disks can be made, and whether there is room for
 * them: read only, but for making empty files.
 */
#include "disk-copy.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include "util.h"

#define SPACE_MARGIN (16 << 20)
#define PROGRESS_STEP 10 /* percent */

void copy_release(struct disk_group *group)
{
    struct copy_plan *plans = group->state;

    for (size_t i = 0; plans && i < group->n; i++) {
        free(plans[i].loop);
        free(plans[i].dir);
    }
    free(plans);
    group->state = NULL;
}

struct copy_plan *copy_plans(struct disk_group *group)
{
    copy_release(group);
    group->state = xcalloc(group->n, sizeof(struct copy_plan));
    return group->state;
}

unsigned long long copy_mib(uint64_t bytes)
{
    return (bytes >> 20) + !!(bytes & ((1 << 20) - 1));
}

uint64_t copy_free_in(const char *dir)
{
    struct statvfs vfs;

    return statvfs(dir, &vfs) ? 0 : (uint64_t)vfs.f_bavail * vfs.f_frsize;
}

int copy_plan_fill(struct copy_plan *plan, const char *path, int from,
                   struct xlsnap_error *err)
{
    int64_t bytes = copy_data_bytes(from);
    struct stat st;

    if (bytes < 0)
        return xlsnap_fail_errno(err, XLSNAP_REFUSED, errno,
                                 "cannot find the data in '%s'", path);
    if (stat(plan->dir, &st) || access(plan->dir, W_OK | X_OK))
        return xlsnap_fail_errno(err, XLSNAP_REFUSED, errno,
                                 "cannot write to '%s', where the copy goes",
                                 plan->dir);
    plan->no_reflink = copy_try_reflink(from, plan->dir);
    plan->bytes = bytes;
    plan->dev = st.st_dev;
    return 0;
}

int copy_check_space(const struct disk_group *group, size_t i, uint64_t besides,
                     struct xlsnap_error *err)
{
    const struct copy_plan *plans = group->state;
    uint64_t need = SPACE_MARGIN + besides;
    uint64_t have = copy_free_in(plans[i].dir);

    for (size_t j = 0; j < group->n; j++)
        if (plans[j].no_reflink && plans[j].dev == plans[i].dev)
            need += plans[j].bytes;
    if (need <= have)
        return 0;
    return xlsnap_fail(err, XLSNAP_REFUSED,
                       "disk '%s': a full copy needs %llu MiB in '%s', with "
                       "what else goes there, but only %llu MiB are free",
                       group->disks[i]->vdev, copy_mib(need), plans[i].dir,
                       copy_mib(have));
}

bool copy_go_on(void *user, uint64_t done, uint64_t total)
{
    struct copy_progress *p = user;
    unsigned percent = done < total ? done * 100 / total : 100;

    if (percent >= p->told + PROGRESS_STEP) {
        p->told = percent - percent % PROGRESS_STEP;
        handle_log(p->op->xs, XTL_PROGRESS, "disk '%s': %llu of %llu MiB, %u%%",
                   p->disk->vdev, copy_mib(done), copy_mib(total), percent);
    }
    return !p->cancellable || !handle_cancelled(p->op->xs);
}
