/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Is a disk's file the base of an overlay?  Of a running domain its configuration
 * tells which file it is on; of one that does not run nobody but the overlays
 * themselves: those of its snapshots, and those beside the disk.
 */
#include "disk.h"

#include <dirent.h>
#include <endian.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "cfg.h"
#include "op.h"
#include "paths.h"
#include "util.h"

#define QCOW2_MAGIC 0x514649fb /* QEMU, docs/interop/qcow2.txt */
#define BACKING_NAME_MAX 1023

/* ---- the domain's snapshots ---- */

/* The overlay that the snapshot of that file has put on the disk, to be freed;
 * NULL: none, or the admin has deleted it. */
static char *snapshot_overlay(const char *config_path, const struct disk *disk)
{
    struct xlsnap_error ignored = { 0 };
    struct xlsnap_snapshot s;
    struct file_id id;
    char *overlay = NULL;

    xlsnap_snapshot_init(&s);
    if (!cfg_read(config_path, &s, NULL, &ignored))
        for (size_t i = 0; i < s.n_disks && !overlay; i++)
            if (s.disks[i].method == XLSNAP_METHOD_OVERLAY &&
                s.disks[i].source && s.disks[i].target &&
                !file_id(s.disks[i].source, &id, &ignored) &&
                file_id_equal(&id, &disk->id) &&
                !access(s.disks[i].target, F_OK))
                overlay = xstrdup(s.disks[i].target);
    xlsnap_snapshot_clear(&s);
    return overlay;
}

/* DIR/NAME/snapshot.cfg */
static char *snapshots_overlay(const char *dir, const struct disk *disk)
{
    DIR *stream = opendir(dir);
    char *overlay = NULL;
    struct dirent *e;

    while (stream && !overlay && (e = readdir(stream))) {
        cleanup_free char *file =
            xasprintf("%s/%s/" SNAPSHOT_CFG, dir, e->d_name);

        if (e->d_name[0] != '.' && !access(file, F_OK))
            overlay = snapshot_overlay(file, disk);
    }
    if (stream)
        closedir(stream);
    return overlay;
}

/* ---- files beside the disk ---- */

/* The name of its base as a qcow2 image has it; false: it has none. */
static bool backing_name(int fd, char name[BACKING_NAME_MAX + 1])
{
    struct {
        uint32_t magic, version;
        uint64_t offset;
        uint32_t size;
    } __attribute__((packed)) head;
    uint32_t size;

    if (pread(fd, &head, sizeof(head), 0) != sizeof(head) ||
        be32toh(head.magic) != QCOW2_MAGIC || !head.offset)
        return false;
    size = be32toh(head.size);
    if (!size || size > BACKING_NAME_MAX ||
        pread(fd, name, size, be64toh(head.offset)) != size)
        return false;
    name[size] = 0;
    return true;
}

/* What looks like a header may be what a guest has written to a raw disk: its name
 * mounts nothing. */
static bool is_on(int dir_fd, const char *file, const struct disk *disk)
{
    cleanup_close int fd =
        openat(dir_fd, file, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOFOLLOW);
    char name[BACKING_NAME_MAX + 1];
    struct file_id id;
    struct stat st;

    if (fd < 0 || !backing_name(fd, name))
        return false;
    if (fstatat(dir_fd, name, &st, AT_NO_AUTOMOUNT))
        return false;
    id = file_id_of(&st);
    return file_id_equal(&id, &disk->id);
}

static char *overlay_beside(const struct disk *disk)
{
    cleanup_free char *dir = file_dir_of(disk->path);
    DIR *stream = opendir(dir);
    char *overlay = NULL;
    struct dirent *e;

    while (stream && !overlay && (e = readdir(stream)))
        if ((e->d_type == DT_REG || e->d_type == DT_UNKNOWN) &&
            is_on(dirfd(stream), e->d_name, disk))
            overlay = xasprintf("%s/%s", dir, e->d_name);
    if (stream)
        closedir(stream);
    return overlay;
}

int disks_check_no_base(const struct op *op, struct xlsnap_error *err)
{
    cleanup_free char *ours =
        xasprintf("%s/%s", op->xs->snapshot_dir, op->snap.domain);
    cleanup_free char *parent = file_dir_of(op->config_path);
    cleanup_free char *theirs = file_dir_of(parent);

    for (size_t i = 0; i < op->n_disks; i++) {
        const struct disk *disk = &op->disks[i];
        cleanup_free char *overlay = NULL;

        /* What it gives up of an overlay a revert keeps then. */
        if (!disk->id.ino || disk->id.block ||
            disk->method == XLSNAP_METHOD_OVERLAY)
            continue;
        overlay = snapshots_overlay(ours, disk);
        if (!overlay)
            overlay = snapshots_overlay(theirs, disk);
        if (!overlay)
            overlay = overlay_beside(disk);
        if (overlay)
            return xlsnap_fail(err, XLSNAP_REFUSED,
                               "disk '%s': '%s' is what '%s' was put upon by a "
                               "later snapshot; going back rewrites it and "
                               "would lose that (--force permits it)",
                               disk->vdev, disk->path, overlay);
    }
    return 0;
}
