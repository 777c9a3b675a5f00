/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Disks that are LVM logical volumes, whoever serves them: external snapshots
 * by LVM.  Going back to them is disk-lvm-revert.c.
 *
 * Thin: a thin snapshot, read-only and not activated by itself.
 * Thick: a read-only snapshot with a copy-on-write store of a fixed size.  The
 * store is made and zeroed before the pause, as a volume of its own; in the
 * pause `lvconvert -s` joins the two, which takes half as long as `lvcreate
 * -s`.  For the same reason nothing waits for udev in the pause, and LVM's
 * backup of its metadata and the monitoring by dmeventd come after it.
 *
 * What is made carries a tag with the operation's token from its first moment:
 * an undo removes nothing without it.
 */
#include "disk-lvm.h"

#include <fcntl.h>
#include <libgen.h>

#include "cow.h"
#include "dm.h"
#include "qemu.h"
#include "run.h"
#include "steps.h"
#include "util.h"

#define OPEN_FOR_A_MOMENT_MS 500
/* In the pause; see above. */
#define PAUSE_CONFIG                                                      \
    "backup/backup=0 backup/archive=0 activation/udev_sync=0 activation/" \
    "monitoring=0"

static bool lvm_takes(const struct disk *disk, enum xlsnap_method method)
{
    return method == XLSNAP_METHOD_EXTERNAL && disk->id.block;
}

/* A thin revert puts another LV under the name; prove looks at all itself. */
static bool lvm_moves(const struct disk *disk)
{
    return true;
}

static void lvm_release(struct disk_group *group)
{
    struct lvm_disk *all = group->state;

    for (size_t i = 0; i < group->n && all; i++) {
        free(all[i].vg);
        free(all[i].lv);
        free(all[i].target);
        free(all[i].origin_arg);
        free(all[i].target_arg);
        free(all[i].node);
    }
    free(all);
    group->state = NULL;
}

/* ---- before the pause ---- */

/* A store that is not zero at its start would be taken for an old one's. */
static int lvm_check_zeroed(const struct disk *disk, struct xlsnap_error *err)
{
    cleanup_close int fd = open(disk->target, O_RDONLY | O_DIRECT | O_CLOEXEC);
    cleanup_free unsigned char *block = NULL;
    void *p = NULL;

    if (posix_memalign(&p, LVM_CHUNK, LVM_CHUNK))
        abort();
    block = p;
    if (fd < 0 || pread(fd, block, LVM_CHUNK, 0) != LVM_CHUNK)
        return xlsnap_fail_errno(err, XLSNAP_FAILED, errno, "cannot read '%s'",
                                 disk->target);
    for (size_t i = 0; i < LVM_CHUNK; i++)
        if (block[i])
            return xlsnap_fail(err, XLSNAP_FAILED,
                               "LVM has not zeroed '%s' as it was told",
                               disk->target);
    return 0;
}

static int lvm_make_store(const struct op *op, const struct disk *disk,
                          const struct lvm_disk *d, struct xlsnap_error *err)
{
    cleanup_free char *tag = lvm_tag(op);
    cleanup_free char *size = xasprintf("%" PRIu64 "b", d->cow);
    const char *create[] = { "lvcreate", "-y",       "--type", "linear", "-ay",
                             "-Zy",      "-Wn",      "-L",     size,     "-n",
                             d->target,  "--addtag", tag,      d->vg,    NULL };
    const char *read_only[] = { "lvchange", "-y", "-pr", d->target_arg, NULL };
    const char *off[] = { "lvchange", "-an", d->target_arg, NULL };
    int rc = lvm_run(create, "", LVM_TIMEOUT_MS, err);

    if (!rc)
        rc = lvm_check_zeroed(disk, err);
    if (!rc)
        rc = lvm_run(read_only, "", LVM_TIMEOUT_MS, err);
    return rc ? rc : lvm_run(off, "", LVM_TIMEOUT_MS, err);
}

/* What QEMU keeps of an image's metadata is written out by a flush only: after
 * a drain alone, 50 clusters that the guest had written were missing (7.2). */
static int lvm_flush_node(struct op *op, const char *node,
                          struct xlsnap_error *err)
{
    struct json_writer *w = json_writer_new(false);
    cleanup_free char *line = xasprintf("qemu-io %s flush", node);
    cleanup_free char *arguments = NULL;
    struct json *reply = NULL;
    const char *said;
    int rc;

    json_open_object(w, NULL);
    json_put_string(w, "command-line", line);
    json_close_object(w);
    arguments = json_writer_finish(w);
    rc = qmp_command(op->qmp, "human-monitor-command", arguments,
                     QEMU_TRANSACTION_TIMEOUT_MS, &reply, err);
    said = rc ? NULL : json_string(qmp_result(reply));
    /* This command says something only when it could not be carried out. */
    if (!rc && (!said || *said))
        rc = xlsnap_fail(err, XLSNAP_FAILED, "QEMU cannot flush '%s': %.*s",
                         node, (int)strcspn(said ? said : "?", "\r\n"),
                         said ? said : "?");
    json_free(reply);
    return rc;
}

static int lvm_flush_disk(struct op *op, const struct disk *disk,
                          const struct lvm_disk *d, struct xlsnap_error *err)
{
    cleanup_close int fd = -1;
    int rc = d->node ? lvm_flush_node(op, d->node, err) : 0;

    if (rc)
        return rc;
    /* Any descriptor of a block device stands for its whole page cache. */
    fd = open(disk->path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fsync(fd))
        return xlsnap_fail_errno(err, XLSNAP_FAILED, errno, "cannot flush '%s'",
                                 disk->source);
    return 0;
}

static bool lvm_any_in_qemu(const struct disk_group *group)
{
    const struct lvm_disk *all = group->state;

    for (size_t i = 0; i < group->n; i++)
        if (all[i].in_qemu)
            return true;
    return false;
}

static int lvm_flush(struct op *op, struct disk_group *group,
                     struct xlsnap_error *err)
{
    const struct lvm_disk *all = group->state;
    int rc = 0;

    for (size_t i = 0; i < group->n && !rc; i++) {
        if (all[i].in_qemu)
            rc = lvm_flush_disk(op, group->disks[i], &all[i], err);
        if (rc)
            xlsnap_prefix(err, "disk '%s'", group->disks[i]->vdev);
    }
    return rc;
}

static int lvm_prepare(struct op *op, struct disk_group *group,
                       struct xlsnap_error *err)
{
    const struct lvm_disk *all = group->state;
    int rc = 0;

    for (size_t i = 0; i < group->n && !rc; i++) {
        if (!all[i].thin) {
            group->touched = true;
            rc = lvm_make_store(op, group->disks[i], &all[i], err);
        }
        if (!rc)
            rc = steps_disk_done(op, "disk-prepare", group->disks[i], err);
        if (rc)
            xlsnap_prefix(err, "disk '%s'", group->disks[i]->vdev);
    }
    if (rc || !lvm_any_in_qemu(group))
        return rc;
    rc = qemu_session(op, err);
    return rc ? rc : lvm_flush(op, group, err);
}

/* ---- in the pause ---- */

static int lvm_snapshot(struct op *op, const struct lvm_disk *d,
                        struct xlsnap_error *err)
{
    cleanup_free char *tag = lvm_tag(op);
    const char *thick[] = { "lvconvert",   "-y",          "-s",
                            "-Zn",         "-c",          LVM_CHUNK_TEXT,
                            d->origin_arg, d->target_arg, NULL };
    const char *thin[] = { "lvcreate", "-y",          "-s", "-pr",
                           "-ky",      "--addtag",    tag,  "-n",
                           d->target,  d->origin_arg, NULL };

    return lvm_run(d->thin ? thin : thick, PAUSE_CONFIG, LVM_TIMEOUT_MS, err);
}

static int lvm_create_disk(struct op *op, const struct disk *disk,
                           const struct lvm_disk *d, struct xlsnap_error *err)
{
    int64_t started = now_ms();
    int rc = lvm_snapshot(op, d, err);

    handle_log(op->xs, XTL_DEBUG, "disk '%s': %s snapshot '%s' took %lld ms",
               disk->vdev, d->thin ? "thin" : "thick", d->target_arg,
               (long long)(now_ms() - started));
    return rc ? xlsnap_prefix(err, "disk '%s'", disk->vdev) : 0;
}

static int lvm_create(struct op *op, struct disk_group *group,
                      struct xlsnap_error *err)
{
    const struct lvm_disk *all = group->state;
    int rc = lvm_any_in_qemu(group) ? qemu_drain(op, err) : 0;

    if (!rc)
        rc = lvm_flush(op, group, err);
    for (size_t i = 0; i < group->n && !rc; i++) {
        group->touched = true;
        rc = lvm_create_disk(op, group->disks[i], &all[i], err);
        if (!rc)
            rc = steps_disk_done(op, "disk-create", group->disks[i], err);
    }
    return rc;
}

/* ---- when it fails ---- */

/* The names of what was to be made, from the record. */
static int lvm_target_names(const struct disk *disk, char **vg_r, char **lv_r,
                            struct xlsnap_error *err)
{
    if (disk->target && lvm_split_path(disk->target, vg_r, lv_r))
        return 0;
    return xlsnap_fail(err, XLSNAP_FAILED,
                       "disk '%s': target '%s' is no /dev/VG/LV", disk->vdev,
                       disk->target ? disk->target : "");
}

/* The recorded number of a device may be another's since. */
static bool lvm_is_in_vg(const struct disk *disk, const char *vg_name)
{
    cleanup_free char *vg = NULL;
    struct xlsnap_error ignored = { 0 };

    return disk->id.ino && !lvm_vg_of_device(disk->id.ino, &vg, &ignored) &&
           !strcmp(vg, vg_name);
}

static bool dev_is_in(dev_t dev, const dev_t *list, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (list[i] == dev)
            return true;
    return false;
}

/*
 * What is suspended and nobody is working on: who works on it has the VG's lock,
 * and is waited for.
 */
static int lvm_rescue_device(const struct disk *disk, const char *vg_name,
                             struct xlsnap_error *err)
{
    cleanup_free dev_t *before = NULL, *suspended = NULL;
    struct xlsnap_error ignored = { 0 };
    struct lvm_vg vg = { 0 };
    size_t n_before, n;
    int rc = 0;

    if (!lvm_is_in_vg(disk, vg_name))
        return 0;
    n_before = dm_suspended_tree(disk->id.ino, &before);
    if (!n_before)
        return 0;
    lvm_look(vg_name, &vg, &ignored); /* waits for the lock, 10 s at most */
    lvm_vg_clear(&vg);
    /* What has only just been suspended is the work of a living one; but of one
     * that does not come to its end the guest's disk needs all. */
    n = dm_suspended_tree(disk->id.ino, &suspended);
    for (size_t i = 0; i < n; i++)
        if (dev_is_in(suspended[i], before, n_before) &&
            dm_resume(suspended[i], err))
            rc = -err->code;
    return rc;
}

static int lvm_rescue_disk(struct op *op, const struct disk *disk, bool waits,
                           struct xlsnap_error *err)
{
    cleanup_free char *vg = NULL, *lv = NULL;
    cleanup_free char *tag = lvm_tag(op);
    cleanup_free char *arg = NULL;
    int rc = lvm_target_names(disk, &vg, &lv, err);

    if (rc)
        return rc;
    arg = xasprintf("%s/%s", vg, lv);
    lvm_wait_commands(arg, tag, LVM_TIMEOUT_MS, !waits);
    rc = lvm_rescue_device(disk, vg, err);
    return rc ? xlsnap_prefix(err, "disk '%s'", disk->vdev) : 0;
}

static int lvm_rescue(struct op *op, struct disk_group *group,
                      struct xlsnap_error *err)
{
    /* The guest, for us: then this is called once more when it runs. */
    enum domain_presence found = domain_refresh(op->xs, &op->dom);
    bool waits = found == DOMAIN_UNKNOWN ||
                 (found == DOMAIN_THERE && domain_is_suspended(&op->dom));
    int rc = 0;

    for (size_t i = 0; i < group->n && group->touched; i++) {
        struct xlsnap_error one = { 0 };

        if (!lvm_rescue_disk(op, group->disks[i], waits, &one))
            continue;
        *err = one;
        rc = -one.code;
    }
    return rc;
}

/*
 * What a killed command has left in the kernel.  That of a living one is not
 * touched: it has the VG's lock until its end, and lvm_look gets that.
 */
static int lvm_tidy(const struct disk *disk, const char *vg_name,
                    struct xlsnap_error *err)
{
    struct lvm_vg vg = { 0 };
    int rc;

    if (!lvm_is_in_vg(disk, vg_name) || !dm_has_leftovers(disk->id.ino))
        return 0;
    rc = lvm_look(vg_name, &vg, err);
    lvm_vg_clear(&vg);
    return rc ? rc : dm_drop_leftovers(disk->id.ino, err);
}

static int lvm_remove_disk(struct op *op, const struct disk *disk,
                           struct xlsnap_error *err)
{
    cleanup_free char *vg_name = NULL, *name = NULL;
    cleanup_free char *tag = lvm_tag(op);
    cleanup_free char *arg = NULL;
    struct lvm_vg vg = { 0 };
    const struct lvm_lv *lv = NULL;
    int rc = lvm_target_names(disk, &vg_name, &name, err);

    if (!rc)
        rc = lvm_look(vg_name, &vg, err);
    if (!rc)
        lv = lvm_find(&vg, name);
    if (lv && lvm_has_word(lv->tags, tag)) {
        const char *argv[] = { "lvremove", "-y", "-f", NULL, NULL };

        argv[3] = arg = xasprintf("%s/%s", vg_name, name);
        rc = lvm_run(argv, "", LVM_REMOVE_TIMEOUT_MS, err);
    }
    lvm_vg_clear(&vg);
    if (!rc)
        rc = lvm_tidy(disk, vg_name, err);
    return rc ? xlsnap_prefix(err, "disk '%s'", disk->vdev) : 0;
}

static int lvm_remove(struct op *op, struct disk_group *group,
                      struct xlsnap_error *err)
{
    int rc = lvm_rescue(op, group, err);
    int before = lvm_set_patience(LVM_LOCK_PATIENT_MS);

    for (size_t i = 0; i < group->n && !rc; i++)
        rc = lvm_remove_disk(op, group->disks[i], err);
    lvm_set_patience(before);
    return rc;
}

/* ---- after the resume ---- */

/* It is what it should be, and has not overflowed meanwhile. */
static int lvm_check_made(const struct disk *disk, const struct lvm_disk *d,
                          struct xlsnap_error *err)
{
    struct lvm_vg vg = { 0 };
    const struct lvm_lv *lv, *origin;
    int rc = lvm_look(d->vg, &vg, err);

    if (rc)
        return rc;
    lv = lvm_find(&vg, d->target);
    origin = lvm_find(&vg, d->lv);
    if (!origin || origin->dev != disk->id.ino)
        rc = xlsnap_fail(err, XLSNAP_FAILED,
                         "'%s' is another volume by now than the disk",
                         d->origin_arg);
    else if (!lv || (d->thin ? !lvm_is_thin(lv) : strcmp(lv->origin, d->lv)))
        rc = xlsnap_fail(err, XLSNAP_FAILED,
                         "LVM has not made '%s' a snapshot of '%s'",
                         d->target_arg, d->origin_arg);
    else if (lv->invalid)
        rc = xlsnap_fail(err, XLSNAP_FAILED,
                         "snapshot '%s' has overflowed already: the guest "
                         "writes more than it has room for (size=)",
                         d->target_arg);
    lvm_vg_clear(&vg);
    return rc;
}

/* Does the host's configuration want snapshots monitored? */
static bool lvm_monitors(void)
{
    const char *argv[] = { "lvmconfig", "--typeconfig", "full",
                           "activation/monitoring", NULL };
    cleanup_free char *text = NULL;
    struct xlsnap_error ignored = { 0 };

    return !lvm_output(argv, "", LVM_TIMEOUT_MS, &text, &ignored) &&
           strstr(text, "monitoring=1");
}

static void lvm_warn(struct op *op, const struct xlsnap_error *err)
{
    if (err->code)
        handle_log(op->xs, XTL_WARN, "%s", err->msg);
}

static bool lvm_is_first_of_vg(const struct lvm_disk *all, size_t i)
{
    for (size_t j = 0; j < i; j++)
        if (!strcmp(all[j].vg, all[i].vg))
            return false;
    return true;
}

/* What was left out in the pause; a snapshot is a snapshot without it. */
static void lvm_catch_up(struct op *op, const struct disk_group *group)
{
    const struct lvm_disk *all = group->state;
    bool monitors = lvm_monitors();

    for (size_t i = 0; i < group->n; i++) {
        const char *monitor[] = { "lvchange", "--monitor", "y",
                                  all[i].target_arg, NULL };
        const char *backup[] = { "vgcfgbackup", all[i].vg, NULL };
        struct xlsnap_error err = { 0 };

        if (!all[i].thin && monitors)
            lvm_run(monitor, "", LVM_TIMEOUT_MS, &err);
        if (lvm_is_first_of_vg(all, i))
            lvm_run(backup, "", LVM_TIMEOUT_MS, &err);
        lvm_warn(op, &err);
    }
}

static int lvm_sync(struct op *op, struct disk_group *group,
                    struct xlsnap_error *err)
{
    const struct lvm_disk *all = group->state;

    qemu_session_end(op);
    for (size_t i = 0; i < group->n; i++) {
        cleanup_close int fd =
            open(group->disks[i]->path, O_RDONLY | O_CLOEXEC);
        int rc = 0;

        /* The disks' own caches, below all of this. */
        if (fd < 0 || fsync(fd))
            rc = xlsnap_fail_errno(err, XLSNAP_FAILED, errno,
                                   "cannot flush '%s'", all[i].origin_arg);
        if (!rc)
            rc = lvm_check_made(group->disks[i], &all[i], err);
        if (rc)
            return xlsnap_prefix(err, "disk '%s'", group->disks[i]->vdev);
    }
    lvm_catch_up(op, group);
    return 0;
}

/* ---- revert ---- */

/* The kernel's users, blkback among them.  udev opens each device for a moment
 * when somebody has written to it. */
static int lvm_unused(struct op *op, struct disk_group *group,
                      struct xlsnap_error *err)
{
    int64_t deadline = now_ms() + OPEN_FOR_A_MOMENT_MS;

    for (size_t i = 0; i < group->n; i++) {
        const struct disk *disk = group->disks[i];
        struct xlsnap_error ignored = { 0 };
        struct dm_info info;

        while (disk->id.ino && !dm_look(disk->id.ino, &info, &ignored) &&
               info.open) {
            if (now_ms() >= deadline)
                return xlsnap_fail(err, XLSNAP_REFUSED,
                                   "disk '%s' ('%s') is in use: it is mounted, "
                                   "or a domain's, or another device is on it",
                                   disk->vdev, disk->source);
            usleep(20000);
        }
    }
    return 0;
}

/* A thick snapshot has only what was overwritten since, a thin one all. */
static const char *lvm_needs(const struct disk_group *group,
                             const struct disk *disk, const char **needy_r)
{
    const struct lvm_disk *all = group->state;

    for (size_t i = 0; i < group->n; i++)
        if (group->disks[i] == disk && all[i].thin)
            return NULL;
    *needy_r = disk->target;
    return disk->source;
}

const struct disk_driver disk_lvm = {
    .name = "lvm",
    .what = "LVM snapshot",
    .takes = lvm_takes,
    .moves = lvm_moves,
    .sized = true,
    .check = lvm_check,
    .prepare = lvm_prepare,
    .create = lvm_create,
    .rescue = lvm_rescue,
    .remove = lvm_remove,
    .sync = lvm_sync,
    .needs = lvm_needs,
    .release = lvm_release,
    .prove = lvm_prove,
    .prove_last = lvm_prove_last,
    .unused = lvm_unused,
    .revert = lvm_revert,
};
