/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Device mapper by ioctl: see dm.h. */
#include "dm.h"

#include <fcntl.h>
#include <linux/dm-ioctl.h>
#include <sys/ioctl.h>
#include <sys/sysmacros.h>

#include "util.h"

#define DM_CONTROL "/dev/mapper/control"
#define DM_BUFFER 65536 /* a target's line is a few hundred bytes */

/* Everything of one ioctl: the kernel writes its answer over the question. */
static struct dm_ioctl *dm_new(dev_t dev, uint32_t flags)
{
    struct dm_ioctl *io = xcalloc(1, DM_BUFFER);

    io->version[0] = DM_VERSION_MAJOR;
    io->data_size = DM_BUFFER;
    io->data_start = sizeof(*io);
    io->dev = dev;
    io->flags = flags;
    return io;
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
