/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The checks of a create: everything that can be found out without changing
 * anything.  Reads, takes locks, never writes.
 */
#include "create.h"

#include <libgen.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include "cfg.h"
#include "monitor.h"
#include "paths.h"
#include "qemu.h"
#include "util.h"

#define LIVE_SPACE_FACTOR 2 /* pre-copy writes dirtied pages again */
#define SPACE_MARGIN (16 << 20)

static char *create_default_name(void)
{
    char name[32];
    time_t now = time(NULL);
    struct tm tm;

    gmtime_r(&now, &tm);
    strftime(name, sizeof(name), "%Y%m%dT%H%M%SZ", &tm);
    return xstrdup(name);
}

/* The request, completed: what snapshot.cfg will say. */
static int create_fill(struct op *op, struct xlsnap_error *err)
{
    struct xlsnap_snapshot *s = &op->snap;
    int rc;

    if (!s->name)
        s->name = create_default_name();
    rc = xlsnap_name_check(s->name, err);
    if (rc)
        return rc;
    free(s->domain);
    s->domain = xstrdup(op->dom.name);
    free(s->uuid);
    s->uuid = xstrdup(op->dom.uuid);
    s->creation_time = time(NULL);
    s->live = s->live == 1;
    if (s->compress < 0)
        s->compress = XLSNAP_COMPRESS_NONE;
    if (s->compress != XLSNAP_COMPRESS_NONE)
        return xlsnap_fail(err, XLSNAP_REFUSED,
                           "compress=zstd is not supported by this version");
    op->live = s->live;
    rc = op->live ? domain_check_live(op->xs, &op->dom, err) : 0;
    if (rc)
        return rc;
    rc = paths_fill(op->xs, s, err);
    op->config_path = rc ? NULL : paths_config(s);
    return rc;
}

/* Finds the domain and makes it ours for this run. */
static int create_find(struct op *op, const char *which,
                       struct xlsnap_error *err)
{
    int rc;

    if (!which)
        return xlsnap_fail(err, XLSNAP_INVALID, "no domain was given");
    rc = domain_find(op->xs, which, &op->dom, err);
    if (!rc)
        rc = op_lock_domain(op, op->dom.name, op->dom.uuid, err);
    if (!rc && domain_refresh(op->xs, &op->dom) != DOMAIN_THERE)
        rc = xlsnap_fail(err, XLSNAP_REFUSED, "domain '%s' has just ended",
                         op->dom.name);
    if (!rc)
        rc = pending_refuse(op, op->dom.name, op->dom.uuid, err);
    /* Domain 0 has no configuration to load, so it is refused before. */
    if (!rc && op->dom.domid == 0)
        rc = domain_check_create(op->xs, &op->dom, op->force, err);
    if (!rc) {
        op->outline = domain_outline(op->dom.domid);
        rc = domain_load_config(op->xs, &op->dom, err);
    }
    return rc ? rc : domain_check_create(op->xs, &op->dom, op->force, err);
}

static int create_check_absent(const char *file, struct xlsnap_error *err)
{
    struct stat st;

    if (!lstat(file, &st))
        return xlsnap_fail(err, XLSNAP_REFUSED,
                           "'%s' exists already, and nothing is ever "
                           "overwritten",
                           file);
    if (errno != ENOENT)
        return xlsnap_fail_errno(err, XLSNAP_REFUSED, errno,
                                 "cannot look at '%s'", file);
    return 0;
}

/* A directory that is there must be fit to be used, or to be built upon. */
static int create_check_dir(const char *path, struct xlsnap_error *err)
{
    cleanup_free char *dir = paths_existing(path);
    struct stat st;

    if (stat(dir, &st) || !S_ISDIR(st.st_mode))
        return xlsnap_fail(err, XLSNAP_REFUSED, "'%s' is not a directory", dir);
    if (!strcmp(dir, path) &&
        (st.st_uid != geteuid() || (st.st_mode & (S_IWGRP | S_IWOTH))))
        return xlsnap_fail(err, XLSNAP_REFUSED,
                           "directory '%s' belongs to or can be written by "
                           "others; a memory image holds secrets",
                           path);
    if (access(dir, W_OK | X_OK))
        return xlsnap_fail_errno(err, XLSNAP_REFUSED, errno,
                                 "cannot write to directory '%s'", dir);
    return file_check_trusted(path, err);
}

static int create_check_space(struct op *op, struct xlsnap_error *err)
{
    cleanup_free char *dir = paths_existing(op->snap.memory);
    uint64_t need = op->dom.info.current_memkb * 1024;
    uint64_t have;
    struct statvfs vfs;

    if (op->live)
        need *= LIVE_SPACE_FACTOR;
    need += SPACE_MARGIN;
    if (statvfs(dir, &vfs))
        return xlsnap_fail_errno(err, XLSNAP_REFUSED, errno,
                                 "cannot look at '%s'", dir);
    have = (uint64_t)vfs.f_bavail * vfs.f_frsize;
    if (have >= need)
        return 0;
    return xlsnap_fail(err, XLSNAP_REFUSED,
                       "the memory image may need %llu MiB, but '%s' has "
                       "only %llu MiB free",
                       (unsigned long long)(need >> 20), dir,
                       (unsigned long long)(have >> 20));
}

static int create_check_files(struct op *op, struct xlsnap_error *err)
{
    cleanup_free char *copy = xstrdup(op->snap.memory);
    const char *memory_dir = dirname(copy);
    struct stat st;
    int rc = create_check_dir(op->snap.path, err);

    if (!rc)
        rc = create_check_absent(op->config_path, err);
    if (!rc)
        rc = create_check_absent(op->snap.memory, err);
    if (!rc && !strcmp(op->snap.memory, op->config_path))
        rc = xlsnap_fail(err, XLSNAP_REFUSED,
                         "memory: '%s' is where " SNAPSHOT_CFG " goes",
                         op->snap.memory);
    if (!rc && strcmp(memory_dir, op->snap.path) &&
        (stat(memory_dir, &st) || !S_ISDIR(st.st_mode)))
        rc = xlsnap_fail(err, XLSNAP_REFUSED, "memory: '%s' is not a directory",
                         memory_dir);
    if (!rc && strcmp(memory_dir, op->snap.path))
        rc = create_check_dir(memory_dir, err);
    return rc ? rc : create_check_space(op, err);
}

/*
 * The description must be readable again; a disk's path in the domain's
 * configuration may be anything.
 */
static int create_check_text(const struct op *op, struct xlsnap_error *err)
{
    cleanup_free char *text = cfg_write(&op->snap, NULL);
    struct xlsnap_snapshot again;
    int rc;

    xlsnap_snapshot_init(&again);
    rc = cfg_read_text(SNAPSHOT_CFG, text, strlen(text), &again, NULL, err);
    xlsnap_snapshot_clear(&again);
    if (rc)
        err->code = XLSNAP_REFUSED;
    return rc ? -err->code : 0;
}

/*
 * What "xl config-update" has stored has the disk's old path, and a reboot starts
 * the domain with that (tools/xl/xl_vmcontrol.c, reload_domain_config): it would
 * write to the frozen file.
 */
static int create_check_update(struct op *op, struct xlsnap_error *err)
{
    for (size_t i = 0; i < op->n_disks; i++)
        if (op->disks[i].method == XLSNAP_METHOD_OVERLAY &&
            domain_has_userdata(op->xs, op->dom.domid, "xl"))
            return xlsnap_fail(err, XLSNAP_REFUSED,
                               "disk '%s': no overlay while 'xl "
                               "config-update' has stored what domain '%s' is "
                               "started with next, on the file that is to be "
                               "frozen; reboot it first",
                               op->disks[i].vdev, op->dom.name);
    return 0;
}

/* A restored domain shall run on the overlay, not on what is frozen. */
static void create_set_overlays(struct op *op)
{
    for (size_t i = 0; i < op->n_disks; i++)
        if (op->disks[i].method == XLSNAP_METHOD_OVERLAY)
            domain_set_disk(op->xs, &op->dom, op->disks[i].vdev,
                            op->disks[i].target, LIBXL_DISK_FORMAT_QCOW2);
}

bool create_is_hvm(const struct op *op)
{
    return op->dom.config.b_info.type == LIBXL_DOMAIN_TYPE_HVM;
}

int create_check(struct op *op, const char *which, struct xlsnap_error *err)
{
    int rc = create_find(op, which, err);

    if (!rc)
        rc = create_fill(op, err);
    if (!rc)
        rc = disks_from_domain(op, err);
    if (!rc)
        rc = op_lock_disks(op, err);
    if (!rc)
        rc = pending_refuse(op, NULL, NULL, err);
    if (!rc && create_is_hvm(op))
        rc = qemu_check_unplugged(op, err);
    if (!rc)
        rc = create_check_update(op, err);
    if (!rc)
        rc = disks_check_writers(op, err);
    if (!rc)
        rc = disks_check(op, err);
    if (!rc) {
        disks_publish(op);
        rc = op_lock_files(op, err);
    }
    if (!rc)
        rc = create_check_files(op, err);
    if (!rc)
        rc = create_check_text(op, err);
    if (!rc) {
        create_set_overlays(op);
        op->monitor = monitor_find(op->dom.domid);
        op->pending.monitor =
            op->monitor ? xstrdup(MONITOR_KNOWN) : monitor_find_maybe(&op->dom);
        op->dom.home = monitor_home(&op->dom);
        rc = monitor_check_unit(op->xs, &op->dom, true, err);
    }
    return rc;
}
