/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Going back to a thin snapshot: a new snapshot of it, under a name of this
 * operation, then two renames, and the old volume is removed (or kept).  Which
 * of them is done is seen from the names and our tag.
 */
#include "disk-lvm.h"

#include "util.h"

#define NODE_WAIT_MS 8000             /* for udev, twice */
#define THIN_NAME "xl-snapshot.%s.%s" /* token, vdev */
#define THIN_NO_TOKEN "0123456789abcdef"

/* Names that only this operation knows. */
static char *thin_name(const struct lvm_back *b, const char *suffix)
{
    return xasprintf(THIN_NAME "%s", b->op->pending.token, b->disk->vdev,
                     suffix);
}

static int thin_prove_live(const struct lvm_back *b, struct xlsnap_error *err)
{
    const struct lvm_lv *live = b->live;
    cleanup_free char *by_name = lvm_name_of_path(b->disk->source, b->vg.name);

    if (!by_name || strcmp(by_name, b->live_name))
        return xlsnap_fail(err, XLSNAP_REFUSED,
                           "'%s' does not follow the name '%s'",
                           b->disk->source, b->live_arg);
    if (!live)
        return 0; /* a revert that was cut off between two renames */
    if (!lvm_is_thin(live) || strcmp(live->pool, b->target->pool) ||
        live->size != b->target->size)
        return xlsnap_fail(err, XLSNAP_REFUSED,
                           "'%s' and the snapshot '%s' are not of one thin "
                           "pool and of one size",
                           b->live_arg, b->target_arg);
    if (live->merging || lvm_has_word(live->role, "thickorigin"))
        return xlsnap_fail(err, XLSNAP_REFUSED,
                           "'%s' has thick snapshots, or one is being merged "
                           "into it: they would be lost",
                           b->live_arg);
    if (!live->writable || live->fixed_minor)
        return xlsnap_fail(err, XLSNAP_REFUSED, "'%s' %s", b->live_arg,
                           live->writable ? "has a fixed device number, which "
                                            "no other volume can take over"
                                          : "is read-only");
    return 0;
}

static bool lvm_is_ours(const struct lvm_lv *lv)
{
    size_t len = strlen(LVM_TAG_PREFIX);

    for (const char *p = lv->tags; *p; p += *p == ',') {
        if (!strncmp(p, LVM_TAG_PREFIX, len))
            return true;
        p += strcspn(p, ",");
    }
    return false;
}

/* Its origin may have been replaced since, by reverts. */
static int thin_prove_target(const struct lvm_back *b, struct xlsnap_error *err)
{
    if (!lvm_is_ours(b->target) && strcmp(b->target->origin, b->live_name))
        return xlsnap_fail(err, XLSNAP_REFUSED,
                           "'%s' is neither a snapshot of '%s' nor one that "
                           "xl-snapshot has made",
                           b->target_arg, b->live_arg);
    if (b->target->merging)
        return xlsnap_fail(err, XLSNAP_REFUSED, "'%s' is being merged",
                           b->target_arg);
    return lvm_check_pool(&b->vg, b->target->pool, err);
}

/* What the new volume takes over of the old one, as options of lvcreate. */
struct thin_options {
    const char *argv[160];
    size_t n;
    char *owned[64];
    size_t n_owned;
};

static void thin_add(struct thin_options *o, const char *word)
{
    if (o->n + 1 >= ARRAY_SIZE(o->argv))
        abort();
    o->argv[o->n++] = word;
}

static void thin_add_owned(struct thin_options *o, char *word)
{
    o->owned[o->n_owned++] = word;
    thin_add(o, word);
}

/* The admin's tags, some 60 at most; ours stay behind. */
static void thin_add_tags(struct thin_options *o, const char *tags)
{
    while (*tags) {
        size_t n = strcspn(tags, ",");

        if (n && strncmp(tags, LVM_TAG_PREFIX, strlen(LVM_TAG_PREFIX)) &&
            o->n_owned + 4 < ARRAY_SIZE(o->owned)) {
            thin_add(o, "--addtag");
            thin_add_owned(o, xasprintf("%.*s", (int)n, tags));
        }
        tags += n + (tags[n] == ',');
    }
}

/* LVM says bytes and takes sectors. */
static void thin_add_read_ahead(struct thin_options *o, const char *text)
{
    char *end;
    unsigned long long bytes = strtoull(text, &end, 10);

    if (!*text || *end)
        return; /* "auto", as by default */
    thin_add(o, "-r");
    thin_add_owned(o, xasprintf("%llu", bytes / 512));
}

/* `lvs` of the one field that older versions do not know. */
static bool thin_is_autoactivated(const struct lvm_back *b)
{
    const char *argv[] = { "lvs",       "--noheadings",
                           "-o",        "lv_autoactivation",
                           b->live_arg, NULL };
    cleanup_free char *text = NULL;
    struct xlsnap_error ignored = { 0 };

    return lvm_output(argv, "report/binary_values_as_numeric=1", LVM_TIMEOUT_MS,
                      &text, &ignored) ||
           !strchr(text, '0');
}

/* lvcreate of the volume that goes back; b->live may be NULL. */
static int thin_create(const struct lvm_back *b, const char *name, bool test,
                       struct xlsnap_error *err)
{
    const struct lvm_lv *live = b->live;
    struct thin_options o = { .n = 0 };
    static const char *const first[] = { "lvcreate", "-y", "-s", "-prw", "-n" };
    int rc;

    for (size_t i = 0; i < ARRAY_SIZE(first); i++)
        thin_add(&o, first[i]);
    thin_add(&o, name);
    thin_add(&o, live && live->skips_activation ? "-ky" : "-kn");
    if (test) {
        thin_add(&o, "--test");
    } else {
        thin_add(&o, "--addtag");
        thin_add_owned(&o, lvm_tag(b->op));
    }
    if (live) {
        thin_add_tags(&o, live->tags);
        thin_add_read_ahead(&o, live->read_ahead);
    }
    thin_add(&o, b->target_arg);
    rc = lvm_run(o.argv, "", LVM_TIMEOUT_MS, err);
    for (size_t i = 0; i < o.n_owned; i++)
        free(o.owned[i]);
    return rc;
}

int lvm_thin_check_names(const char *vg, const struct disk *disk,
                         struct xlsnap_error *err)
{
    cleanup_free char *name =
        xasprintf(THIN_NAME ".old", THIN_NO_TOKEN, disk->vdev);
    const char *why = lvm_name_problem(vg, name);

    return why ? xlsnap_fail(err, XLSNAP_REFUSED,
                             "a revert would need a volume '%s/%s', but its "
                             "name cannot be: %s",
                             vg, name, why)
               : 0;
}

int lvm_thin_prove(const struct lvm_back *b, struct xlsnap_error *err)
{
    cleanup_free char *name =
        xasprintf(THIN_NAME, THIN_NO_TOKEN, b->disk->vdev);
    int rc = thin_prove_live(b, err);

    if (!rc)
        rc = thin_prove_target(b, err);
    if (!rc)
        rc = lvm_thin_check_names(b->vg.name, b->disk, err);
    return rc ? rc : thin_create(b, name, true, err);
}

static int thin_rename(const struct lvm_back *b, const char *from,
                       const char *to, struct xlsnap_error *err)
{
    const char *argv[] = { "lvrename", b->vg.name, from, to, NULL };

    return lvm_run(argv, "", LVM_TIMEOUT_MS, err);
}

/* lvcreate takes no such option for snapshots. */
static int thin_set_autoactivation(const struct lvm_back *b, const char *name,
                                   struct xlsnap_error *err)
{
    cleanup_free char *arg = xasprintf("%s/%s", b->vg.name, name);
    const char *argv[] = { "lvchange", "--setautoactivation", "n", arg, NULL };

    return thin_is_autoactivated(b) ? 0
                                    : lvm_run(argv, "", LVM_TIMEOUT_MS, err);
}

/*
 * A fresh volume in the place of the live one, which gets the name `old`; NULL:
 * which goes.  It is renamed when it is not active: an active one is suspended
 * for it, with its whole pool.  The fresh one is active, unless the live one
 * skips activation, so that /dev/VG stays, in which a recovery looks for the
 * disk.
 */
static int thin_replace(const struct lvm_back *b, const char *fresh,
                        const char *old, struct xlsnap_error *err)
{
    const char *off[] = { "lvchange", "-an", b->live_arg, NULL };
    int rc = 0;

    /* One that an earlier try has made may not be whole. */
    if (b->live && lvm_find(&b->vg, fresh))
        rc = lvm_back_remove(b, fresh, err);
    if (!rc && (b->live || !lvm_find(&b->vg, fresh)))
        rc = thin_create(b, fresh, false, err);
    if (!rc && b->live)
        rc = thin_set_autoactivation(b, fresh, err);
    if (!rc && b->live)
        rc = lvm_run(off, "", LVM_TIMEOUT_MS, err);
    if (!rc && b->live)
        rc = old ? thin_rename(b, b->live_name, old, err)
                 : lvm_back_remove(b, b->live_name, err);
    return rc ? rc : thin_rename(b, fresh, b->live_name, err);
}

/* Waits until the disk's path leads to the volume, which is active. */
static int thin_wait_node(const struct lvm_back *b, int timeout_ms,
                          struct xlsnap_error *err)
{
    int64_t deadline = now_ms() + timeout_ms;
    const struct lvm_lv *lv;
    struct lvm_vg vg = { 0 };
    dev_t dev;
    int rc = lvm_look(b->vg.name, &vg, err);

    lv = rc ? NULL : lvm_find(&vg, b->live_name);
    dev = lv ? lv->dev : 0;
    lvm_vg_clear(&vg);
    if (rc)
        return rc;
    while (dev && now_ms() < deadline) {
        struct xlsnap_error ignored = { 0 };
        struct file_id id;

        if (!file_id(b->disk->source, &id, &ignored) && id.block &&
            id.ino == dev) {
            b->disk->id = id;
            return 0;
        }
        usleep(50000);
    }
    return xlsnap_fail(
        err, XLSNAP_FAILED, "'%s' does not lead to the volume '%s'%s",
        b->disk->source, b->live_arg,
        dev ? " (udev has not made it)" : ", which cannot be activated");
}

/* A rename that was cut off may have left the kernel with the old name; then a
 * refresh puts that right. */
static int thin_activate(const struct lvm_back *b, struct xlsnap_error *err)
{
    const char *on[] = { "lvchange", "-ay", "-K", b->live_arg, NULL };
    const char *refresh[] = { "lvchange", "--refresh", b->live_arg, NULL };
    struct xlsnap_error late = { 0 };
    int rc = lvm_run(on, "", LVM_TIMEOUT_MS, err);

    if (rc || !thin_wait_node(b, NODE_WAIT_MS, &late))
        return rc;
    rc = lvm_run(refresh, "", LVM_TIMEOUT_MS, err);
    return rc ? rc : thin_wait_node(b, NODE_WAIT_MS, err);
}

/* Like a snapshot: not active, also after a boot.  Not worth a failure. */
static void thin_put_away(const struct lvm_back *b, const char *name)
{
    cleanup_free char *arg = xasprintf("%s/%s", b->vg.name, name);
    const char *skip[] = { "lvchange", "-ky", arg, NULL };
    const char *off[] = { "lvchange", "-an", arg, NULL };
    struct xlsnap_error err = { 0 };

    if (lvm_run(skip, "", LVM_TIMEOUT_MS, &err) ||
        lvm_run(off, "", LVM_TIMEOUT_MS, &err))
        handle_log(b->op->xs, XTL_WARN, "disk '%s': %s", b->disk->vdev,
                   err.msg);
}

static int thin_dispose(const struct lvm_back *b, const char *old,
                        struct xlsnap_error *err)
{
    struct lvm_vg vg = { 0 };
    int rc = lvm_look(b->vg.name, &vg, err);

    if (!rc && lvm_find(&vg, old)) {
        if (b->op->pending.keep)
            thin_put_away(b, old);
        else
            rc = lvm_back_remove(b, old, err);
    }
    lvm_vg_clear(&vg);
    return rc;
}

/*
 * A live volume with our tag is one that an earlier try has put there, and what
 * was there before has the name `old` or is gone.  Somebody may have written to
 * it since.
 */
int lvm_thin_revert(const struct lvm_back *b, struct xlsnap_error *err)
{
    cleanup_free char *tag = lvm_tag(b->op);
    cleanup_free char *fresh = thin_name(b, "");
    cleanup_free char *old =
        b->op->pending.keep ? lvm_keep_name(b) : thin_name(b, ".old");
    bool again = b->live && lvm_has_word(b->live->tags, tag);
    int rc;

    if (b->live && !again && lvm_find(&b->vg, old))
        return xlsnap_fail(err, XLSNAP_FAILED,
                           "'%s/%s' exists already: what is given up "
                           "cannot be kept under that name",
                           b->vg.name, old);
    rc = thin_replace(b, fresh, again ? NULL : old, err);
    if (!rc)
        rc = thin_activate(b, err);
    return rc ? rc : thin_dispose(b, old, err);
}
