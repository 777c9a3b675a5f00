/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Fuzz target: a DISKSPEC.
 *
 * Any string is either refused with a message of one line, or is a disk that
 * diskspec_format can write and that is read back the same; its vdev is one.
 */
#include "diskspec.h"
#include "util.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void disk_clear(struct xlsnap_disk *disk)
{
    free(disk->vdev);
    free(disk->format);
    free(disk->target);
    free(disk->source);
    free(disk->source_format);
    free(disk->options);
}

static void check_refusal(int rc, const struct xlsnap_error *err)
{
    if (rc != -XLSNAP_INVALID || err->code != XLSNAP_INVALID || !err->msg[0])
        abort();
    for (const char *s = err->msg; *s; s++)
        if ((unsigned char)*s < ' ' || *s == 127)
            abort();
}

static void check_same(const char *a, const char *b)
{
    if (!a != !b || (a && strcmp(a, b)))
        abort();
}

static void check_round_trip(const struct xlsnap_disk *disk)
{
    cleanup_free char *text = diskspec_format(disk);
    struct xlsnap_error err = { 0 };
    struct xlsnap_disk again = { 0 };

    if (diskspec_parse(text, &again, &err))
        abort();
    if (disk->method != again.method || disk->size != again.size ||
        disk->size_percent != again.size_percent)
        abort();
    check_same(disk->vdev, again.vdev);
    check_same(disk->format, again.format);
    check_same(disk->target, again.target);
    check_same(disk->source, again.source);
    check_same(disk->source_format, again.source_format);
    if (!disk->vdev || diskspec_vdev_number(disk->vdev) < 0)
        abort();
    disk_clear(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    cleanup_free char *spec = xcalloc(size + 1, 1);
    struct xlsnap_error err = { 0 };
    struct xlsnap_disk disk = { 0 };
    int rc;

    memcpy(spec, data, size);
    rc = diskspec_parse(spec, &disk, &err);
    if (rc)
        check_refusal(rc, &err);
    else
        check_round_trip(&disk);
    disk_clear(&disk);
    return 0;
}
