/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Device mapper by ioctl: see dm.h. */
#include "dm.h"

#include <fcntl.h>
#include <linux/dm-ioctl.h>
#include <sys/ioctl.h>
#include <sys/sysmacros.h>

#include "util.h"

#define DM_CONTROL "/dev/mapper/control"
#define DM_BUFFER 65536        /* a target's line is a few hundred bytes */
#define DM_LIST_BUFFER 4194304 /* a name for each device */
#define OPEN_FOR_A_MOMENT_MS 2000

/* Everything of one ioctl: the kernel writes its answer over the question. */
static struct dm_ioctl *dm_new_of(size_t size, dev_t dev, uint32_t flags)
{
    struct dm_ioctl *io = xcalloc(1, size);

    io->version[0] = DM_VERSION_MAJOR;
    io->data_size = size;
    io->data_start = sizeof(*io);
    io->dev = dev;
    io->flags = flags;
    return io;
}

static struct dm_ioctl *dm_new(dev_t dev, uint32_t flags)
{
    return dm_new_of(DM_BUFFER, dev, flags);
}

static int dm_call(struct dm_ioctl *io, unsigned long command, const char *what,
                   struct xlsnap_error *err)
{
    cleanup_close int fd = open(DM_CONTROL, O_RDWR | O_CLOEXEC);
    dev_t dev = io->dev;

    if (fd >= 0 && !ioctl(fd, command, io))
        return 0;
    return xlsnap_fail_errno(err, XLSNAP_FAILED, errno,
                             "cannot %s device %u:%u (device mapper)", what,
                             major(dev), minor(dev));
}

int dm_look(dev_t dev, struct dm_info *info_r, struct xlsnap_error *err)
{
    cleanup_free struct dm_ioctl *io = dm_new(dev, 0);
    int rc = dm_call(io, DM_DEV_STATUS, "look at", err);

    memset(info_r, 0, sizeof(*info_r));
    if (rc)
        return rc;
    memcpy(info_r->name, io->name, sizeof(info_r->name) - 1);
    memcpy(info_r->uuid, io->uuid, sizeof(info_r->uuid) - 1);
    info_r->open = io->open_count;
    info_r->suspended = io->flags & DM_SUSPEND_FLAG;
    info_r->waiting = io->flags & DM_INACTIVE_PRESENT_FLAG;
    return 0;
}

static int dm_line(dev_t dev, uint32_t flags, char **line_r,
                   struct xlsnap_error *err)
{
    cleanup_free struct dm_ioctl *io = dm_new(dev, flags | DM_NOFLUSH_FLAG);
    const struct dm_target_spec *spec;
    int rc = dm_call(io, DM_TABLE_STATUS, "look at", err);

    if (rc)
        return rc;
    if (io->target_count != 1 || (io->flags & DM_BUFFER_FULL_FLAG) ||
        io->data_start + sizeof(*spec) >= DM_BUFFER)
        return xlsnap_fail(err, XLSNAP_FAILED,
                           "device '%.127s' (device mapper) has not one "
                           "target, as was expected",
                           io->name);
    spec = (const void *)((const char *)io + io->data_start);
    ((char *)io)[DM_BUFFER - 1] = 0;
    *line_r =
        xasprintf("%.16s %s", spec->target_type, (const char *)(spec + 1));
    return 0;
}

int dm_table(dev_t dev, char **line_r, struct xlsnap_error *err)
{
    return dm_line(dev, DM_STATUS_TABLE_FLAG, line_r, err);
}

int dm_status(dev_t dev, char **line_r, struct xlsnap_error *err)
{
    return dm_line(dev, 0, line_r, err);
}

static int dm_do(dev_t dev, unsigned long command, const char *what,
                 struct xlsnap_error *err)
{
    cleanup_free struct dm_ioctl *io = dm_new(dev, 0);

    return dm_call(io, command, what, err);
}

int dm_resume(dev_t dev, struct xlsnap_error *err)
{
    struct dm_info info;
    int rc = dm_look(dev, &info, err);

    if (rc || !info.suspended)
        return rc;
    rc = dm_do(dev, DM_TABLE_CLEAR, "drop the new table of", err);
    /* DM_DEV_SUSPEND without DM_SUSPEND_FLAG is resume. */
    return rc ? rc : dm_do(dev, DM_DEV_SUSPEND, "resume", err);
}

/* ---- logical volumes ---- */

#define LVM_UUID_LEN \
    (4 + 32 + 32) /* "LVM-", VG's, LV's; a layer's name after */

struct dm_lv {
    dev_t dev;
    struct dm_info info;
    uint64_t *deps; /* what the table that it runs with uses */
    size_t n_deps;
    bool related, listed;
};

static bool dm_same_lv(const struct dm_info *a, const struct dm_info *b)
{
    return !strncmp(a->uuid, b->uuid, LVM_UUID_LEN);
}

static bool dm_is_layer(const struct dm_info *info, const char *name)
{
    return strlen(info->uuid) > LVM_UUID_LEN &&
           !strcmp(info->uuid + LVM_UUID_LEN, name);
}

/* An array to be freed; NULL: none, or not to be had. */
static uint64_t *dm_get_deps(dev_t dev, size_t *n_r)
{
    cleanup_free struct dm_ioctl *io = dm_new(dev, 0);
    const struct dm_target_deps *deps;
    struct xlsnap_error ignored = { 0 };
    uint64_t *copy;

    *n_r = 0;
    if (dm_call(io, DM_TABLE_DEPS, "look at", &ignored) ||
        (io->flags & DM_BUFFER_FULL_FLAG))
        return NULL;
    deps = (const void *)((const char *)io + io->data_start);
    *n_r = deps->count;
    copy = xcalloc(deps->count + 1, sizeof(*copy));
    memcpy(copy, deps->dev, deps->count * sizeof(*copy));
    return copy;
}

static bool dm_uses(const struct dm_lv *lv, dev_t on)
{
    for (size_t i = 0; i < lv->n_deps; i++)
        if (lv->deps[i] == on)
            return true;
    return false;
}

static void dm_free_lvs(struct dm_lv *all, size_t n)
{
    for (size_t i = 0; i < n; i++)
        free(all[i].deps);
    free(all);
}

/* All devices of the VG that this one is of. */
static struct dm_lv *dm_list_vg(const struct dm_info *of, size_t *n_r)
{
    cleanup_free struct dm_ioctl *io = dm_new_of(DM_LIST_BUFFER, 0, 0);
    const struct dm_name_list *entry;
    struct xlsnap_error ignored = { 0 };
    struct dm_lv *all = NULL;
    size_t n = 0, at;

    *n_r = 0;
    if (dm_call(io, DM_LIST_DEVICES, "list", &ignored) ||
        (io->flags & DM_BUFFER_FULL_FLAG))
        return NULL;
    for (at = io->data_start; at + sizeof(*entry) < io->data_size;
         at += entry->next) {
        entry = (const void *)((const char *)io + at);
        if (entry->dev) {
            all = xrealloc(all, n + 1, sizeof(*all));
            all[n] = (struct dm_lv){ .dev = entry->dev };
            if (!dm_look(entry->dev, &all[n].info, &ignored) &&
                !strncmp(all[n].info.uuid, of->uuid, LVM_UUID_LEN - 32)) {
                all[n].deps = dm_get_deps(entry->dev, &all[n].n_deps);
                n++;
            }
        }
        if (!entry->next)
            break;
    }
    *n_r = n;
    return all;
}

/* It, its layers, what is on its -real, and the layers of these; and all that
 * is below any of them. */
static void dm_relate(struct dm_lv *all, size_t n, const struct dm_info *top)
{
    dev_t real = 0;
    bool more = true;

    for (size_t i = 0; i < n; i++) {
        all[i].related = dm_same_lv(&all[i].info, top);
        if (all[i].related && dm_is_layer(&all[i].info, "-real"))
            real = all[i].dev;
    }
    for (size_t i = 0; i < n && real; i++)
        if (!all[i].related && dm_uses(&all[i], real))
            for (size_t j = 0; j < n; j++)
                all[j].related |= dm_same_lv(&all[j].info, &all[i].info);
    while (more) {
        more = false;
        for (size_t i = 0; i < n; i++)
            for (size_t j = 0; j < n && all[i].related; j++)
                if (!all[j].related && dm_uses(&all[i], all[j].dev))
                    all[j].related = more = true;
    }
}

/* The next one to resume: none that it uses is still to be. */
static struct dm_lv *dm_next(struct dm_lv *all, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        bool ready = all[i].related && all[i].info.suspended && !all[i].listed;

        for (size_t j = 0; j < n && ready; j++)
            if (all[j].related && all[j].info.suspended && !all[j].listed &&
                j != i && dm_uses(&all[i], all[j].dev))
                ready = false;
        if (ready)
            return &all[i];
    }
    return NULL;
}

size_t dm_suspended_tree(dev_t dev, dev_t **list_r)
{
    struct xlsnap_error ignored = { 0 };
    struct dm_info top;
    struct dm_lv *all, *next;
    size_t n = 0, found = 0;

    *list_r = NULL;
    if (dm_look(dev, &top, &ignored) || strncmp(top.uuid, "LVM-", 4))
        return 0;
    all = dm_list_vg(&top, &n);
    dm_relate(all, n, &top);
    *list_r = xcalloc(n + 1, sizeof(**list_r));
    while ((next = dm_next(all, n))) {
        next->listed = true;
        (*list_r)[found++] = next->dev;
    }
    /* Without the list of all, there is at least this one. */
    if (!all && top.suspended)
        (*list_r)[found++] = dev;
    dm_free_lvs(all, n);
    return found;
}

/* An ioctl on UUID-real instead of the device itself. */
static struct dm_ioctl *dm_new_real(const struct dm_info *info)
{
    struct dm_ioctl *io = dm_new(0, 0);

    snprintf(io->uuid, sizeof(io->uuid), "%.*s-real", (int)sizeof(io->uuid) - 6,
             info->uuid);
    return io;
}

/* Is there a device UUID-real that the device does not use? */
static bool dm_has_idle_real(dev_t dev, const struct dm_info *info)
{
    cleanup_free struct dm_ioctl *io = dm_new_real(info);
    struct dm_lv lv = { .dev = dev };
    struct xlsnap_error ignored = { 0 };
    bool idle;

    if (strncmp(info->uuid, "LVM-", 4) ||
        dm_call(io, DM_DEV_STATUS, "look at", &ignored))
        return false;
    lv.deps = dm_get_deps(dev, &lv.n_deps);
    idle = lv.deps && !dm_uses(&lv, io->dev);
    free(lv.deps);
    return idle;
}

bool dm_has_leftovers(dev_t dev)
{
    struct xlsnap_error ignored = { 0 };
    struct dm_info info;

    return !dm_look(dev, &info, &ignored) &&
           (info.waiting || dm_has_idle_real(dev, &info));
}

/* udev opens each device for a moment; what is in use stays. */
static int dm_remove_real(const struct dm_info *info, struct xlsnap_error *err)
{
    int64_t deadline = now_ms() + OPEN_FOR_A_MOMENT_MS;

    for (;;) {
        cleanup_free struct dm_ioctl *io = dm_new_real(info);
        struct xlsnap_error one = { 0 };

        if (!dm_call(io, DM_DEV_REMOVE, "remove", &one))
            return 0;
        if (one.errnum != EBUSY || now_ms() >= deadline) {
            *err = one;
            return -err->code;
        }
        usleep(20000);
    }
}

int dm_drop_leftovers(dev_t dev, struct xlsnap_error *err)
{
    struct dm_info info;
    int rc = dm_look(dev, &info, err);

    if (!rc && info.waiting)
        rc = dm_do(dev, DM_TABLE_CLEAR, "drop the new table of", err);
    if (rc || !dm_has_idle_real(dev, &info))
        return rc;
    return dm_remove_real(&info, err);
}
