/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Who uses the disks of an operation: domains, processes, loop devices.  Files
 * are known by what they are, not by name.
 */
#include <dirent.h>
#include <fcntl.h>
#include <linux/loop.h>
#include <sys/ioctl.h>

#include "disk.h"
#include "op.h"
#include "tapdisk.h"
#include "util.h"

#define UNUSED_TIMEOUT_MS 60000

/* Does this domain have one of our disks?  Its vdev there, or NULL. */
static const struct disk *disks_used_by(struct op *op, uint32_t domid)
{
    const struct disk *used = NULL;
    int n = 0;
    libxl_device_disk *list = libxl_device_disk_list(op->xs->ctx, domid, &n);

    for (int i = 0; list && i < n && !used; i++) {
        struct xlsnap_error ignored = { 0 };
        const char *path = list[i].pdev_path;
        struct file_id id;

        /* libxl has cut "vhd:" off, as far as it is known. */
        if (tapdisk_file(path))
            path = tapdisk_file(path);
        if (path && *path && !file_id(path, &id, &ignored))
            used = disks_find_id(op, &id);
    }
    if (list)
        libxl_device_disk_list_free(list, n);
    return used;
}

static int disks_check_domains(struct op *op, const uint32_t *own,
                               struct xlsnap_error *err)
{
    int n = 0, rc = 0;
    libxl_dominfo *list = libxl_list_domain(op->xs->ctx, &n);

    for (int i = 0; list && i < n && !rc; i++) {
        const struct disk *used;
        cleanup_free char *name = NULL;

        if (!list[i].domid || (own && list[i].domid == *own))
            continue;
        used = disks_used_by(op, list[i].domid);
        if (!used)
            continue;
        name = libxl_domid_to_name(op->xs->ctx, list[i].domid);
        rc = xlsnap_fail(err, XLSNAP_REFUSED,
                         "disk '%s' ('%s') is in use by domain '%s'",
                         used->vdev, used->source, name ? name : "?");
    }
    if (list)
        libxl_dominfo_list_free(list, n);
    return rc;
}

/* The process that serves the disk to its own domain. */
static pid_t disk_server(const struct disk *disk, pid_t qemu)
{
    return disk->backend == LIBXL_DISK_BACKEND_TAP ? tapdisk_pid(disk->source)
                                                   : qemu;
}

/* `own`: that domain runs, and its servers are no strangers. */
static int disks_check_processes(struct op *op, pid_t except, bool own,
                                 struct xlsnap_error *err)
{
    for (size_t i = 0; i < op->n_disks; i++) {
        const struct disk *disk = &op->disks[i];
        pid_t server = own ? disk_server(disk, except) : except;
        pid_t pid = 0;

        if ((disk->id.ino && file_users(&disk->id, server, &pid)) ||
            (disk->made.ino && file_users(&disk->made, server, &pid)))
            return xlsnap_fail(err, XLSNAP_REFUSED,
                               "disk '%s' ('%s') is open in process %d",
                               disk->vdev, disk->source, (int)pid);
    }
    return 0;
}

/* Is it the file behind this loop device ("loop3")?  May that be written to?
 */
static bool loop_has(const char *name, const struct file_id *id,
                     bool *writable_r)
{
    cleanup_free char *path = xasprintf("/dev/%s", name);
    cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct loop_info64 info;

    if (fd < 0 || ioctl(fd, LOOP_GET_STATUS64, &info) || id->block ||
        info.lo_inode != id->ino || info.lo_device != id->dev)
        return false;
    *writable_r = !(info.lo_flags & LO_FLAGS_READ_ONLY);
    return true;
}

/* Is it the one through which blkback serves the disk to its own domain? */
static bool loop_serves(const struct op *op, const char *name,
                        const struct disk *disk)
{
    cleanup_free char *loop = domain_disk_backend_read(
        op->xs, op->dom.domid, disk->vdev, "physical-device-path");

    return loop && !strncmp(loop, "/dev/", 5) && !strcmp(loop + 5, name);
}

/* `running`: not the domain's own one, nor those that are only read. */
static int disks_check_loop(struct op *op, const char *name, bool running,
                            struct xlsnap_error *err)
{
    for (size_t i = 0; i < op->n_disks; i++) {
        const struct disk *disk = &op->disks[i];
        bool writable;

        if (!disk->id.ino || !loop_has(name, &disk->id, &writable) ||
            (running && (!writable || loop_serves(op, name, disk))))
            continue;
        return xlsnap_fail(err, XLSNAP_REFUSED,
                           "disk '%s' ('%s') is in use as /dev/%s", disk->vdev,
                           disk->source, name);
    }
    return 0;
}

static int disks_check_loops(struct op *op, bool running,
                             struct xlsnap_error *err)
{
    DIR *dir = opendir("/sys/block");
    struct dirent *e;
    int rc = 0;

    while (dir && !rc && (e = readdir(dir)))
        if (!strncmp(e->d_name, "loop", 4))
            rc = disks_check_loop(op, e->d_name, running, err);
    if (dir)
        closedir(dir);
    return rc;
}

/* The kernel's users, which no process shows. */
static int disks_check_kernel(struct op *op, struct xlsnap_error *err)
{
    int rc = disks_check_loops(op, false, err);

    for (size_t i = 0; i < op->n_groups && !rc; i++)
        if (op->groups[i].driver->unused)
            rc = op->groups[i].driver->unused(op, &op->groups[i], err);
    return rc;
}

int disks_check_unused(struct op *op, pid_t except, const uint32_t *own,
                       struct xlsnap_error *err)
{
    int rc = disks_check_domains(op, own, err);

    if (!rc)
        rc = disks_check_processes(op, except, own, err);
    /* A running domain of ours is such a user. */
    return rc || own ? rc : disks_check_kernel(op, err);
}

int disks_check_writers(struct op *op, struct xlsnap_error *err)
{
    int rc = disks_check_domains(op, &op->dom.domid, err);

    for (size_t i = 0; i < op->n_disks && !rc; i++) {
        const struct disk *disk = &op->disks[i];
        pid_t pid = 0;

        if (file_writers(&disk->id, disk_server(disk, op->dom.qemu_pid), &pid) >
            0)
            rc = xlsnap_fail(err, XLSNAP_REFUSED,
                             "disk '%s' ('%s') can be written by process %d, "
                             "too",
                             disk->vdev, disk->source, (int)pid);
    }
    return rc ? rc : disks_check_loops(op, true, err);
}

int disks_wait_unused(struct op *op, struct xlsnap_error *err)
{
    int64_t deadline = now_ms() + UNUSED_TIMEOUT_MS;
    int rc;

    do {
        struct xlsnap_error current = { 0 };

        rc = disks_check_processes(op, 0, false, &current);
        if (!rc)
            rc = disks_check_kernel(op, &current);
        if (rc && now_ms() >= deadline)
            return xlsnap_fail(err, XLSNAP_FAILED, "%s", current.msg);
        if (rc)
            usleep(50000);
    } while (rc);
    return 0;
}

static bool disks_served(const struct op *op)
{
    for (size_t i = 0; i < op->n_disks; i++) {
        const struct disk *disk = &op->disks[i];

        if (disk->backend != LIBXL_DISK_BACKEND_QDISK)
            continue;
        if (op->dom.qemu_pid <= 0 ||
            (!file_is_open_in(&disk->id, op->dom.qemu_pid) &&
             !(disk->made.ino &&
               file_is_open_in(&disk->made, op->dom.qemu_pid))))
            return false;
    }
    return true;
}

int disks_before_remove(struct op *op, struct xlsnap_error *err)
{
    uint32_t domid = op->dom.domid;
    const uint32_t *own = domid == DOMAIN_NONE ? NULL : &domid;
    int rc;

    if (own && disks_served(op))
        return disks_check_unused(op, op->dom.qemu_pid, own, err);
    op->dom.domid = DOMAIN_NONE;
    rc = disks_wait_unused(op, err);
    return rc ? rc : disks_check_domains(op, own, err);
}
