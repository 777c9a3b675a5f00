/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the tests of disk-qemu-chain.c share: images, and how far a snapshot of
 * one has come.  What QEMU does in a create, switching from the disk's file to
 * the overlay, is done to the files here.
 */
#ifndef CHAIN_TESTING_H
#define CHAIN_TESTING_H

#include "qemu_testing.h"

#define TMP_A ".xl-snapshot." TOKEN ".xvda"
#define TMP_B ".xl-snapshot." TOKEN ".xvdb"

/* What was in the image before, and what the guest wrote after the switch. */
#define BEFORE "0x11"
#define AFTER "0x22"
#define WRITTEN_KIB 64

static inline void make_full_image(const char *file)
{
    make_image(file);
    fill(file, BEFORE);
}

/*
 * The next disk of the operation, to be snapshotted to `target`.  Names are
 * those in the directory of the tests.
 */
static inline struct disk *use_for(enum xlsnap_method method,
                                   const char *source, const char *target)
{
    cleanup_free char *path = in_dir(source);
    struct disk *disk = use(path);
    struct xlsnap_disk *s = xlsnap_snapshot_add_disk(&op.snap);

    disk->method = method;
    disk->target = in_dir(target);
    disk->virtual_size = IMAGE_SIZE;
    s->vdev = xstrdup(disk->vdev);
    s->source = xstrdup(disk->source);
    s->target = xstrdup(disk->target);
    s->method = method;
    s->format = xstrdup("qcow2");
    return disk;
}

static inline const struct qemu_method *method_of(const struct disk *disk)
{
    return disk->method == XLSNAP_METHOD_EXTERNAL ? &qemu_external
                                                  : &qemu_overlay;
}

/* How the disk's overlay is called before it gets its name; to be freed. */
static inline char *tmp_of(const struct disk *disk)
{
    return disk_temporary(&op, disk);
}

static inline void prepare(struct disk *disk)
{
    struct xlsnap_error err = { 0 };

    if (!op.pending.disks)
        pending_set_disks(&op.pending, &op);
    if (method_of(disk)->prepare(&op, disk, &err))
        fail_msg("%s", err.msg);
}

/* The guest is switched to the overlay, under the name that it has then. */
static inline void switch_over(struct disk *disk)
{
    struct xlsnap_error err = { 0 };

    /* An overlay's beginning is libxl's. */
    if (disk->method == XLSNAP_METHOD_EXTERNAL &&
        method_of(disk)->begin(&op, disk, &err))
        fail_msg("%s", err.msg);
}

static inline void guest_writes(const char *overlay)
{
    fill_part(overlay, AFTER, 0, WRITTEN_KIB);
}

/* All of a create; only the guest has not written yet. */
static inline void create(struct disk *disk)
{
    prepare(disk);
    switch_over(disk);
    if (disk->method == XLSNAP_METHOD_EXTERNAL) {
        cleanup_free char *tmp = tmp_of(disk);

        assert_int_equal(rename(tmp, disk->path), 0);
    }
}

/* Is all of the image as it was before, but what the guest has written? */
static inline void assert_data(const char *file, const char *format,
                               const char *first)
{
    assert_part(file, format, first, 0, WRITTEN_KIB);
    assert_part(file, format, BEFORE, WRITTEN_KIB,
                (IMAGE_SIZE >> 10) - WRITTEN_KIB);
}

/* ---- revert ---- */

/* As in a process of its own: the disks are what snapshot.cfg says of them. */
static inline void load_snapshot(void)
{
    struct xlsnap_error err = { 0 };

    disks_clear(&op);
    if (disks_from_snapshot(&op, &err))
        fail_msg("%s", err.msg);
}

static inline void revert(void)
{
    struct xlsnap_error err = { 0 };

    load_snapshot();
    if (disks_prove(&op, &err) ||
        op.groups[0].driver->revert(&op, &op.groups[0], &err))
        fail_msg("%s", err.msg);
}

/* Refused, and nothing changed in the directory. */
static inline void assert_not_proved(const char *files, const char *message)
{
    struct xlsnap_error err = { 0 }, again = { 0 };

    load_snapshot();
    assert_int_equal(disks_prove(&op, &err), -XLSNAP_REFUSED);
    assert_int_equal(err.code, XLSNAP_REFUSED);
    if (!strstr(err.msg, message))
        assert_string_equal(err.msg, message);
    assert_int_not_equal(
        op.groups[0].driver->revert(&op, &op.groups[0], &again), 0);
    assert_files(".", files);
}

#endif
