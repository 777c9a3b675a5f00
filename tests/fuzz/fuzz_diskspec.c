/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Fuzz target: a DISKSPEC.
 *
 * Any string is either refused with a message of one line, or is a disk that
 * diskspec_format can write and that is read back the same; its vdev is one.
 */
#include "fuzzing.h"

#include "diskspec.h"
#include "util.h"

static void check_same(const char *a, const char *b)
{
    if (!a != !b || (a && strcmp(a, b)))
        abort();
}

static void check_round_trip(const struct xlsnap_disk *disk)
{
    cleanup_free char *text = diskspec_format(disk);
    struct xlsnap_error err = { 0 };
    struct xlsnap_snapshot snap;
    struct xlsnap_disk *again;

    xlsnap_snapshot_init(&snap);
    again = xlsnap_snapshot_add_disk(&snap);
    if (diskspec_parse(text, again, &err))
        abort();
    if (disk->method != again->method || disk->size != again->size ||
        disk->size_percent != again->size_percent)
        abort();
    check_same(disk->vdev, again->vdev);
    check_same(disk->format, again->format);
    check_same(disk->target, again->target);
    check_same(disk->source, again->source);
    check_same(disk->source_format, again->source_format);
    if (!disk->vdev || diskspec_vdev_number(disk->vdev) < 0)
        abort();
    xlsnap_snapshot_clear(&snap);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    cleanup_free char *spec = xcalloc(size + 1, 1);
    struct xlsnap_error err = { 0 };
    struct xlsnap_snapshot snap;
    struct xlsnap_disk *disk;
    int rc;

    memcpy(spec, data, size);
    xlsnap_snapshot_init(&snap);
    disk = xlsnap_snapshot_add_disk(&snap);
    rc = diskspec_parse(spec, disk, &err);
    if (rc)
        check_refusal(rc, &err, XLSNAP_INVALID);
    else
        check_round_trip(disk);
    xlsnap_snapshot_clear(&snap);
    return 0;
}
