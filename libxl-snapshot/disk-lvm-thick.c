/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Going back to a thick snapshot: the chunks that its copy-on-write store names
 * are copied back from the snapshot into the origin.  They have their place in
 * the store already, so the snapshot needs no more room for it, and doing it
 * twice does no harm.  Other snapshots of the same origin do grow by it, as by
 * any write.
 */
#include "disk-lvm.h"

#include <fcntl.h>
#include <sys/sysmacros.h>

#include "cow.h"
#include "dm.h"
#include "steps.h"
#include "util.h"

#define TABLE_WAIT_MS 5000
#define PROGRESS_MS 2000
#define FILL_NOTICE 80        /* % of the store */
#define FILL_MAX 98           /* %, of one that may overflow */
#define KEEP_SLACK (16 << 20) /* what the guest may write until its end */

/* A thick snapshot's devices and how full its store is. */
struct thick {
    struct cow cow;
    uint64_t used, total, metadata; /* bytes */
};

/* Is it the device's own number that its name has?  dm-N is minor N. */
static int device_open(dev_t dev, int flags, struct xlsnap_error *err)
{
    cleanup_free char *path = xasprintf("/dev/dm-%u", minor(dev));
    int fd = open(path, flags | O_DIRECT | O_CLOEXEC);
    struct stat st;

    if (fd >= 0 && !fstat(fd, &st)) {
        if (st.st_rdev == dev)
            return fd;
        errno = ENXIO;
    }
    xlsnap_fail_errno(err, XLSNAP_FAILED, errno, "cannot open '%s'", path);
    if (fd >= 0)
        close(fd);
    return -1;
}

/* ---- thick: how full ---- */

/* "snapshot 96/32768 16" in sectors, or words that it is lost. */
static int thick_status(dev_t dev, struct thick *t, struct xlsnap_error *err)
{
    cleanup_free char *line = NULL;
    int rc = dm_status(dev, &line, err);

    if (rc)
        return rc;
    if (sscanf(line, "snapshot %" SCNu64 "/%" SCNu64 " %" SCNu64, &t->used,
               &t->total, &t->metadata) != 3)
        return xlsnap_fail(err, XLSNAP_REFUSED,
                           "it has overflowed or was damaged, and is lost (the "
                           "kernel says '%s')",
                           line);
    t->used *= 512;
    t->total *= 512;
    t->metadata *= 512;
    return 0;
}

/*
 * The device of its store and that of what is below the origin:
 * "snapshot 253:7 253:8 P 8".
 */
static int thick_devices(dev_t dev, dev_t *real_r, dev_t *store_r,
                         struct xlsnap_error *err)
{
    unsigned real_major, real_minor, store_major, store_minor;
    cleanup_free char *line = NULL;
    char kind;
    int rc = dm_table(dev, &line, err);

    if (rc)
        return rc;
    if (sscanf(line, "snapshot %u:%u %u:%u %c", &real_major, &real_minor,
               &store_major, &store_minor, &kind) != 5 ||
        kind != 'P')
        return xlsnap_fail(err, XLSNAP_REFUSED,
                           "it is no persistent snapshot (the kernel says "
                           "'%s')",
                           line);
    *real_r = makedev(real_major, real_minor);
    *store_r = makedev(store_major, store_minor);
    return 0;
}

/* Does the kernel, too, have it as a snapshot of this origin?  "snapshot-origin
 * 253:7". */
static int thick_check_origin(dev_t origin, dev_t real,
                              struct xlsnap_error *err)
{
    unsigned big, small;
    cleanup_free char *line = NULL;
    int rc = dm_table(origin, &line, err);

    if (rc)
        return rc;
    if (sscanf(line, "snapshot-origin %u:%u", &big, &small) == 2 &&
        makedev(big, small) == real)
        return 0;
    return xlsnap_fail(err, XLSNAP_REFUSED,
                       "the kernel does not have it as a snapshot of the "
                       "disk's volume ('%s'), though LVM does",
                       line);
}

/* How full it is, and its table. */
static int thick_read(const struct lvm_lv *lv, const struct lvm_lv *origin,
                      struct thick *t, struct xlsnap_error *err)
{
    cleanup_close int fd = -1;
    dev_t real = 0, store = 0;
    int rc;

    memset(t, 0, sizeof(*t));
    if (!lv->dev)
        return xlsnap_fail(err, XLSNAP_REFUSED,
                           "it is not active (vgchange -ay)");
    rc = thick_status(lv->dev, t, err);
    if (!rc)
        rc = thick_devices(lv->dev, &real, &store, err);
    if (!rc)
        rc = thick_check_origin(origin->dev, real, err);
    if (rc)
        return rc;
    fd = device_open(store, O_RDONLY, err);
    return fd < 0 ? -err->code
                  : cow_read(fd, t->total, origin->size, &t->cow, err);
}

static void thick_clear(struct thick *t)
{
    cow_clear(&t->cow);
}

static uint64_t thick_changed(const struct thick *t)
{
    return (uint64_t)t->cow.n * t->cow.chunk_bytes;
}

/* ---- thick: proof ---- */

static int thick_prove_volumes(const struct lvm_back *b,
                               struct xlsnap_error *err)
{
    if (!b->disk->id.ino || !b->live || !b->live->dev)
        return xlsnap_fail(err, XLSNAP_REFUSED,
                           "'%s' does not exist (is volume group '%s' "
                           "active?)",
                           b->disk->source, b->vg.name);
    if (strcmp(b->target->origin, b->live_name))
        return xlsnap_fail(err, XLSNAP_REFUSED, "'%s' is no snapshot of '%s'",
                           b->target_arg, b->live_arg);
    if (b->target->merging || b->live->merging)
        return xlsnap_fail(err, XLSNAP_REFUSED,
                           "a snapshot is being merged into '%s'", b->live_arg);
    if (!b->live->writable)
        return xlsnap_fail(err, XLSNAP_REFUSED, "'%s' is read-only",
                           b->live_arg);
    return 0;
}

/* Until the domain is destroyed it may write on. */
static int thick_prove_fill(const struct lvm_back *b, const struct thick *t,
                            struct xlsnap_error *err)
{
    unsigned percent = t->total ? 100 * t->used / t->total : 100;

    handle_log(b->op->xs, percent < FILL_NOTICE ? XTL_VERBOSE : XTL_NOTICE,
               "disk '%s': snapshot '%s' has used %u %% of its space",
               b->disk->vdev, b->target_arg, percent);
    if (percent < FILL_MAX || b->op->force ||
        t->total >= lvm_cow_full(b->live->size))
        return 0;
    return xlsnap_fail(err, XLSNAP_REFUSED,
                       "the snapshot '%s' is about to overflow: %u %% of its "
                       "space are used (lvextend it; --force permits to try)",
                       b->target_arg, percent);
}

/* What going back writes grows this other snapshot of the same origin. */
static int thick_prove_other(const struct lvm_back *b, const struct thick *t,
                             const struct lvm_lv *other,
                             struct xlsnap_error *err)
{
    cleanup_free char *need_text = NULL, *have_text = NULL;
    struct thick o = { .used = 0 };
    struct xlsnap_error unreadable = { 0 };
    uint64_t growth, need, have;

    /* One that is lost already cannot be hurt. */
    if (other->invalid || thick_read(other, b->live, &o, &unreadable)) {
        thick_clear(&o);
        if (unreadable.code != XLSNAP_FAILED)
            return 0;
        *err = unreadable;
        return xlsnap_prefix(err,
                             "'%s/%s', another snapshot of the same volume",
                             b->vg.name, other->name);
    }
    growth = cow_growth(&t->cow, &o.cow);
    need = cow_size(growth, o.cow.chunk_bytes);
    have = o.total > o.used ? o.total - o.used : 0;
    thick_clear(&o);
    if (!growth || need <= have)
        return 0;
    need_text = lvm_mib(need);
    have_text = lvm_mib(have);
    return xlsnap_fail(
        err, XLSNAP_REFUSED,
        "going back would overflow '%s/%s', another snapshot of "
        "the same volume: it needs %s more, and has %s (lvextend "
        "or lvremove it; --force permits to lose it)",
        b->vg.name, other->name, need_text, have_text);
}

static int thick_prove_others(const struct lvm_back *b, const struct thick *t,
                              struct xlsnap_error *err)
{
    int rc = 0;

    for (size_t i = 0; i < b->vg.n && !rc && !b->op->force; i++) {
        const struct lvm_lv *lv = &b->vg.lvs[i];

        if (lv != b->target && !strcmp(lv->origin, b->live_name) &&
            lvm_has_word(lv->role, "thicksnapshot"))
            rc = thick_prove_other(b, t, lv, err);
    }
    return rc;
}

/* Bytes for a snapshot that takes what going back overwrites. */
static uint64_t keep_size(const struct lvm_back *b, const struct thick *t,
                          uint64_t slack)
{
    uint64_t per = t->cow.chunk_bytes / LVM_CHUNK;
    uint64_t size = cow_size(t->cow.n * (per ? per : 1), LVM_CHUNK) + slack;
    uint64_t full = lvm_cow_full(b->live->size);
    uint64_t extent = b->vg.extent_size;

    return ((size < full ? size : full) + extent - 1) / extent * extent;
}

static int thick_prove_keep(const struct lvm_back *b, const struct thick *t,
                            struct xlsnap_error *err)
{
    uint64_t have = b->vg.extents_free * b->vg.extent_size, need;
    cleanup_free char *need_text = NULL, *have_text = NULL, *name = NULL;

    if (!b->op->pending.keep)
        return 0;
    name = b->op->pending.discarded ? lvm_keep_name(b) : NULL;
    /* In a recovery it may be there already. */
    if (name && lvm_find(&b->vg, name))
        return 0;
    *b->keep = keep_size(b, t, KEEP_SLACK);
    need = b->keep_before + *b->keep;
    if (need <= have)
        return 0;
    need_text = lvm_mib(need);
    have_text = lvm_mib(have);
    return xlsnap_fail(err, XLSNAP_REFUSED,
                       "to keep what is given up needs %s, but volume group "
                       "'%s' has only %s free",
                       need_text, b->vg.name, have_text);
}

/*
 * What a guest has written through QEMU is in the page cache at first, and
 * would fill the stores of snapshots when QEMU closes the volume.
 */
static int thick_flush(const struct lvm_back *b, struct xlsnap_error *err)
{
    cleanup_close int fd = open(b->disk->source, O_RDONLY | O_CLOEXEC);

    return fd >= 0 && !fsync(fd)
               ? 0
               : xlsnap_fail_errno(err, XLSNAP_REFUSED, errno,
                                   "cannot flush '%s'", b->disk->source);
}

/* What the guest writes can change: it is read into *t. */
static int thick_prove_stores(const struct lvm_back *b, struct thick *t,
                              struct xlsnap_error *err)
{
    int rc = thick_flush(b, err);

    if (rc)
        return rc;
    rc = b->target->invalid ? xlsnap_fail(err, XLSNAP_REFUSED,
                                          "it has overflowed, and is "
                                          "lost")
                            : thick_read(b->target, b->live, t, err);
    if (rc)
        xlsnap_prefix(err, "the snapshot '%s'", b->target_arg);
    if (!rc)
        rc = thick_prove_fill(b, t, err);
    return rc ? rc : thick_prove_others(b, t, err);
}

int lvm_thick_prove(const struct lvm_back *b, struct xlsnap_error *err)
{
    struct thick t = { .used = 0 };
    int rc = thick_prove_volumes(b, err);

    if (!rc)
        rc = thick_prove_stores(b, &t, err);
    if (!rc)
        rc = thick_prove_keep(b, &t, err);
    thick_clear(&t);
    return rc;
}

int lvm_thick_prove_last(const struct lvm_back *b, struct xlsnap_error *err)
{
    struct thick t = { .used = 0 };
    int rc = thick_prove_stores(b, &t, err);

    if (!rc)
        rc = thick_prove_keep(b, &t, err);
    thick_clear(&t);
    return rc;
}

/* ---- thick: going back ---- */

struct copying {
    const struct lvm_back *b;
    const char *what;
    int64_t said_ms;
    struct xlsnap_error *err;
};

static void copying_progress(void *user, unsigned percent)
{
    struct copying *c = user;

    if (percent >= 50 &&
        steps_disk_done(c->b->op, "disk-copy", c->b->disk, c->err))
        return;
    if (now_ms() - c->said_ms < PROGRESS_MS)
        return;
    c->said_ms = now_ms();
    handle_log(c->b->op->xs, XTL_PROGRESS, "disk '%s': %s: %u %%",
               c->b->disk->vdev, c->what, percent);
}

/*
 * Nobody writes to the origin now: the table on disk must soon have every chunk
 * that the kernel counts.
 */
static int thick_read_settled(const struct lvm_back *b, struct thick *t,
                              struct xlsnap_error *err)
{
    int64_t deadline = now_ms() + TABLE_WAIT_MS;
    int rc;

    for (;;) {
        rc = thick_read(b->target, b->live, t, err);
        if (rc || t->used - t->metadata == thick_changed(t))
            return rc;
        if (now_ms() >= deadline)
            return xlsnap_fail(
                err, XLSNAP_FAILED,
                "its store names %zu chunks of %" PRIu32
                " bytes, but the kernel counts %" PRIu64 " bytes",
                t->cow.n, t->cow.chunk_bytes, t->used - t->metadata);
        thick_clear(t);
        usleep(100000);
    }
}

/* Copies, sees that it is on disk, and reads it all again. */
static int thick_copy(const struct lvm_back *b, const struct thick *t,
                      struct xlsnap_error *err)
{
    cleanup_close int from = device_open(b->target->dev, O_RDONLY, err);
    cleanup_close int to =
        from < 0 ? -1 : device_open(b->live->dev, O_RDWR | O_EXCL, err);
    uint64_t size = b->live->size;
    struct copying c = { .b = b, .what = "copying back", .err = err };
    cleanup_free char *text = NULL;
    uint64_t written = 0, left = 0;
    int rc;

    if (to < 0)
        return -err->code;
    c.said_ms = now_ms();
    rc = cow_copy(&t->cow, from, to, size, true, &written, copying_progress, &c,
                  err);
    if (!rc && fsync(to))
        rc = xlsnap_fail_errno(err, XLSNAP_FAILED, errno, "cannot flush '%s'",
                               b->live_arg);
    c.what = "reading back";
    if (!rc)
        rc = cow_copy(&t->cow, from, to, size, false, &left, copying_progress,
                      &c, err);
    if (!rc && left)
        rc = xlsnap_fail(err, XLSNAP_FAILED,
                         "%" PRIu64 " bytes of '%s' are not what was written",
                         left, b->live_arg);
    text = lvm_mib(written);
    if (!rc)
        handle_log(b->op->xs, XTL_INFO,
                   "disk '%s': %s copied back from snapshot '%s'",
                   b->disk->vdev, text, b->target_arg);
    return rc;
}

/* Has the kernel this snapshot? */
static bool keep_is_live(const struct lvm_back *b, const struct lvm_lv *lv)
{
    struct xlsnap_error ignored = { 0 };
    cleanup_free char *line = NULL;

    return !strcmp(lv->origin, b->live_name) && lv->dev &&
           !dm_status(lv->dev, &line, &ignored) &&
           !strncmp(line, "snapshot ", 9);
}

/*
 * Before the first chunk is copied, what is there now is kept by one more
 * snapshot.  One that an earlier try has made stays: only it has that state.
 */
static int thick_keep(const struct lvm_back *b, const struct thick *t,
                      struct xlsnap_error *err)
{
    cleanup_free char *name = lvm_keep_name(b), *tag = lvm_tag(b->op);
    cleanup_free char *size =
        xasprintf("%" PRIu64 "b", keep_size(b, t, b->vg.extent_size));
    const char *argv[] = { "lvcreate",     "-y", "-s",        "-pr", "-c",
                           LVM_CHUNK_TEXT, "-L", size,        "-n",  name,
                           "--addtag",     tag,  b->live_arg, NULL };
    const struct lvm_lv *lv = lvm_find(&b->vg, name);
    int rc = 0;

    if (lv && !lvm_has_word(lv->tags, tag))
        return xlsnap_fail(err, XLSNAP_FAILED,
                           "'%s/%s' exists already: what is given up cannot be "
                           "kept under that name",
                           b->vg.name, name);
    if (lv && keep_is_live(b, lv))
        return 0;
    if (lv)
        rc = lvm_back_remove(b, name, err);
    return rc ? rc : lvm_run(argv, "", LVM_TIMEOUT_MS, err);
}

int lvm_thick_revert(const struct lvm_back *b, struct xlsnap_error *err)
{
    struct thick t = { .used = 0 };
    int rc = thick_prove_volumes(b, err);

    if (!rc) {
        rc = thick_read_settled(b, &t, err);
        if (rc)
            xlsnap_prefix(err, "the snapshot '%s'", b->target_arg);
    }
    if (!rc && b->op->pending.keep)
        rc = thick_keep(b, &t, err);
    if (!rc)
        rc = thick_copy(b, &t, err);
    thick_clear(&t);
    return rc;
}
