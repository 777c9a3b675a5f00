/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Who uses the disks of an operation: domains, processes, loop devices.  Files
 * are known by what they are, not by name.
 */
#include <dirent.h>
#include <fcntl.h>
#include <linux/loop.h>
#include <sys/ioctl.h>
#include <sys/sysmacros.h>

#include "disk.h"
#include "op.h"
#include "run.h"
#include "tapdisk.h"
#include "util.h"

#define UNUSED_TIMEOUT_MS 60000
#define OTHERS_MS 2000 /* for the name of another domain's disk */
#define CLOSED_TIMEOUT_MS 5000

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
        /* Ours has answered; one that does not is not ours. */
        if (path && *path && !file_id_within(path, OTHERS_MS, &id, &ignored))
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

    if (!list)
        return xlsnap_fail(err, XLSNAP_FAILED,
                           "libxl cannot list the domains that may use a disk");
    for (int i = 0; i < n && !rc; i++) {
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
    libxl_dominfo_list_free(list, n);
    return rc;
}

/* The process that serves the disk to its own domain. */
static pid_t disk_server(const struct disk *disk, pid_t qemu)
{
    return disk->backend == LIBXL_DISK_BACKEND_TAP ? tapdisk_pid(disk->source)
                                                   : qemu;
}

static bool name_is(const char *name, const struct file_id *wanted)
{
    struct xlsnap_error ignored = { 0 };
    struct file_id id;

    return !file_id(name, &id, &ignored) && file_id_equal(&id, wanted);
}

/* Of what we have made: once it is gone its number may be another file's. */
static bool made_is_there(const struct op *op, const struct disk *disk)
{
    cleanup_free char *beside = NULL, *beside_target = NULL;

    if (!disk->made.ino || !disk->path || !disk->target)
        return false;
    beside = disk_temporary(op, disk);
    beside_target = disk_temporary_beside(op, disk, disk->target);
    return name_is(disk->path, &disk->made) ||
           name_is(disk->target, &disk->made) || name_is(beside, &disk->made) ||
           name_is(beside_target, &disk->made);
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
            (made_is_there(op, disk) && file_users(&disk->made, server, &pid)))
            return xlsnap_fail(err, XLSNAP_REFUSED,
                               "disk '%s' ('%s') is open in process %d",
                               disk->vdev, disk->source, (int)pid);
    }
    return 0;
}

static int check_closed(const struct op *op, struct xlsnap_error *err)
{
    for (size_t i = 0; i < op->n_disks; i++) {
        const struct disk *disk = &op->disks[i];
        pid_t pid = 0;

        if ((disk->id.ino && file_writers(&disk->id, 0, &pid)) ||
            (made_is_there(op, disk) && file_writers(&disk->made, 0, &pid)))
            return xlsnap_fail(err, XLSNAP_FAILED,
                               "disk '%s' ('%s') has been opened by process %d",
                               disk->vdev, disk->source, (int)pid);
    }
    return 0;
}

int disks_check_closed(struct op *op, struct xlsnap_error *err)
{
    int64_t deadline = now_ms() + CLOSED_TIMEOUT_MS;
    struct xlsnap_error current = { 0 };

    while (check_closed(op, &current) && now_ms() < deadline) {
        memset(&current, 0, sizeof(current));
        usleep(50000);
    }
    *err = current;
    return -err->code;
}

/* Asks the loop driver, which asks the server of the file system. */
static bool loop_ask(const char *name, struct file_id *id_r)
{
    cleanup_free char *path = xasprintf("/dev/%s", name);
    cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct loop_info64 info;

    if (fd < 0 || ioctl(fd, LOOP_GET_STATUS64, &info))
        return false;
    *id_r = (struct file_id){ .dev = info.lo_device, .ino = info.lo_inode };
    return true;
}

/* The file behind the loop device ("loop3"); not if there is none, nor if its file
 * system does not answer: ours does.  So another process asks. */
static bool loop_file(const char *name, struct file_id *id_r)
{
    cleanup_free char *attribute =
        xasprintf("/sys/block/%s/loop/backing_file", name);
    cleanup_free char *path = xasprintf("/dev/%s", name), *out = NULL;
    const char *argv[] = { "losetup", "-nO", "BACK-INO,BACK-MAJ:MIN", path,
                           NULL };
    struct xlsnap_error err = { 0 };
    unsigned long long ino;
    unsigned int major, minor;

    if (access(attribute, F_OK))
        return false;
    if (run_output(argv, OTHERS_MS, &out, &err))
        return err.errnum != ETIMEDOUT && loop_ask(name, id_r);
    if (sscanf(out, "%llu %u:%u", &ino, &major, &minor) != 3)
        return loop_ask(name, id_r);
    *id_r = (struct file_id){ .dev = makedev(major, minor), .ino = ino };
    return true;
}

static bool loop_is_writable(const char *name)
{
    cleanup_free char *attribute = xasprintf("/sys/block/%s/ro", name);
    cleanup_free char *read_only = NULL;
    struct xlsnap_error ignored = { 0 };

    return file_read(attribute, 4096, &read_only, NULL, &ignored) ||
           read_only[0] != '1';
}

/* Is it the one through which blkback serves the disk to its own domain?  What
 * devices a tapdisk makes for itself is its own affair. */
static bool loop_serves(const struct op *op, const char *name,
                        const struct disk *disk)
{
    cleanup_free char *loop = domain_disk_backend_read(
        op->xs, op->dom.domid, disk->vdev, "physical-device-path");

    return disk->backend == LIBXL_DISK_BACKEND_TAP ||
           (loop && !strncmp(loop, "/dev/", 5) && !strcmp(loop + 5, name));
}

/* `own`: not the one of the domain itself, which runs.  `readers`: also those
 * that are only read. */
static int disks_check_loop(struct op *op, const char *name, bool own,
                            bool readers, struct xlsnap_error *err)
{
    struct file_id file;

    if (!loop_file(name, &file))
        return 0;
    for (size_t i = 0; i < op->n_disks; i++) {
        const struct disk *disk = &op->disks[i];

        if (!disk->id.ino || !file_id_equal(&disk->id, &file) ||
            (!readers && !loop_is_writable(name)) ||
            (own && loop_serves(op, name, disk)))
            continue;
        return xlsnap_fail(err, XLSNAP_REFUSED,
                           "disk '%s' ('%s') is in use as /dev/%s", disk->vdev,
                           disk->source, name);
    }
    return 0;
}

static int disks_check_loops(struct op *op, bool own, bool readers,
                             struct xlsnap_error *err)
{
    DIR *dir = opendir("/sys/block");
    struct dirent *e;
    int rc = 0;

    if (!dir)
        return xlsnap_fail_errno(err, XLSNAP_REFUSED, errno,
                                 "cannot read /sys/block");
    while (!rc && (e = readdir(dir)))
        if (!strncmp(e->d_name, "loop", 4))
            rc = disks_check_loop(op, e->d_name, own, readers, err);
    closedir(dir);
    return rc;
}

/* A block device on top of this one ("dm-3"), to be freed, or NULL. */
static char *block_holder(dev_t dev)
{
    cleanup_free char *path =
        xasprintf("/sys/dev/block/%u:%u/holders", major(dev), minor(dev));
    DIR *dir = opendir(path);
    struct dirent *e;
    char *name = NULL;

    while (dir && !name && (e = readdir(dir)))
        if (e->d_name[0] != '.')
            name = xstrdup(e->d_name);
    if (dir)
        closedir(dir);
    return name;
}

static bool block_is_mounted(dev_t dev)
{
    FILE *f = fopen("/proc/self/mountinfo", "re");
    unsigned int maj, min;
    bool mounted = false;
    char *line = NULL;
    size_t size = 0;

    while (f && !mounted && getline(&line, &size, f) > 0)
        mounted = sscanf(line, "%*u %*u %u:%u ", &maj, &min) == 2 &&
                  makedev(maj, min) == dev;
    free(line);
    if (f)
        fclose(f);
    return mounted;
}

/* Block devices that dom0 uses itself, beside the guest. */
static int disks_check_blocks(struct op *op, struct xlsnap_error *err)
{
    for (size_t i = 0; i < op->n_disks; i++) {
        const struct disk *disk = &op->disks[i];
        cleanup_free char *holder =
            disk->id.block ? block_holder(disk->id.ino) : NULL;

        if (holder)
            return xlsnap_fail(err, XLSNAP_REFUSED,
                               "disk '%s' ('%s') is in use by device %s",
                               disk->vdev, disk->source, holder);
        if (disk->id.block && block_is_mounted(disk->id.ino))
            return xlsnap_fail(err, XLSNAP_REFUSED,
                               "disk '%s' ('%s') is mounted in dom0",
                               disk->vdev, disk->source);
    }
    return 0;
}

/* The kernel's users, which no process shows. */
static int disks_check_kernel(struct op *op, struct xlsnap_error *err)
{
    int rc = disks_check_loops(op, false, true, err);

    if (!rc)
        rc = disks_check_blocks(op, err);
    for (size_t i = 0; i < op->n_groups && !rc; i++)
        if (op->groups[i].driver->unused)
            rc = op->groups[i].driver->unused(op, &op->groups[i], err);
    return rc;
}

/* Beside what serves the disks to their domain, which runs. */
static int disks_check_kernel_beside(struct op *op, bool readers,
                                     struct xlsnap_error *err)
{
    int rc = disks_check_loops(op, true, readers, err);

    return rc ? rc : disks_check_blocks(op, err);
}

int disks_check_unused(struct op *op, pid_t except, const uint32_t *own,
                       struct xlsnap_error *err)
{
    int rc = disks_check_domains(op, own, err);

    if (!rc)
        rc = disks_check_processes(op, except, own, err);
    if (rc)
        return rc;
    return own ? disks_check_kernel_beside(op, true, err)
               : disks_check_kernel(op, err);
}

static int check_writers_of(const struct op *op, const struct disk *disk,
                            const struct file_id *id, struct xlsnap_error *err)
{
    pid_t server = disk_server(disk, op->dom.qemu_pid), pid = 0;

    if (!id->ino || !file_writers(id, server, &pid))
        return 0;
    return xlsnap_fail(err, XLSNAP_REFUSED,
                       "disk '%s' ('%s') can be written by process %d, too",
                       disk->vdev, disk->source, (int)pid);
}

int disks_check_writers(struct op *op, struct xlsnap_error *err)
{
    int rc = disks_check_domains(op, &op->dom.domid, err);

    for (size_t i = 0; i < op->n_disks && !rc; i++) {
        rc = check_writers_of(op, &op->disks[i], &op->disks[i].id, err);
        if (!rc && made_is_there(op, &op->disks[i]))
            rc = check_writers_of(op, &op->disks[i], &op->disks[i].made, err);
    }
    return rc ? rc : disks_check_kernel_beside(op, false, err);
}

/* A loop device through which it may be written to? */
static int check_frozen_loops(const char *file, const struct file_id *id,
                              struct xlsnap_error *err)
{
    DIR *dir = opendir("/sys/block");
    struct file_id behind;
    struct dirent *e;
    int rc = 0;

    if (!dir)
        return xlsnap_fail_errno(err, XLSNAP_REFUSED, errno,
                                 "cannot read /sys/block");
    while (!rc && (e = readdir(dir)))
        if (!strncmp(e->d_name, "loop", 4) && loop_file(e->d_name, &behind) &&
            file_id_equal(&behind, id) && loop_is_writable(e->d_name))
            rc = xlsnap_fail(err, XLSNAP_REFUSED,
                             "the frozen file '%s' can be written as /dev/%s",
                             file, e->d_name);
    closedir(dir);
    return rc;
}

int disk_check_frozen(const char *file, pid_t except, struct xlsnap_error *err)
{
    struct file_id id;
    pid_t pid = 0;
    int rc = file_id(file, &id, err);

    if (rc)
        return rc;
    if (file_writers(&id, except, &pid))
        return xlsnap_fail(err, XLSNAP_REFUSED,
                           "process %d has the frozen file '%s' open for "
                           "writing",
                           (int)pid, file);
    return check_frozen_loops(file, &id, err);
}

int disks_wait_unused(struct op *op, const uint32_t *own,
                      struct xlsnap_error *err)
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
    /* Nobody may have started it in between. */
    return disks_check_domains(op, own, err);
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
    int64_t deadline = now_ms() + UNUSED_TIMEOUT_MS;
    uint32_t domid = op->dom.domid;
    bool starting = false;

    if (domid == DOMAIN_NONE)
        return disks_wait_unused(op, NULL, err);
    while (!disks_served(op) &&
           (starting = domain_is_starting(op->xs, &op->dom)) &&
           now_ms() < deadline)
        usleep(50000);
    if (disks_served(op))
        return disks_check_writers(op, err);
    if (starting)
        return xlsnap_fail(err, XLSNAP_REFUSED,
                           "domain '%s' is just being started, or has been "
                           "left paused at its start",
                           op->dom.name);
    op->dom.domid = DOMAIN_NONE;
    return disks_wait_unused(op, &domid, err);
}
