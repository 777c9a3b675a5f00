/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The description of a snapshot and its small rules: what a name may be, what
 * the methods are called.  Memory only; it opens no file and asks no domain.
 * snapshot.cfg, libvirt's XML and the command line all end up in this
 * structure (cfg/, domainsnapshot.c).
 */
#include "snapshot.h"

#include "error.h"
#include "util.h"

#define NAME_MAX_LEN 64
#define LETTERS "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
#define DIGITS "0123456789"

static const char *const method_names[] = {
    [XLSNAP_METHOD_DEFAULT] = "",
    [XLSNAP_METHOD_INTERNAL] = "internal",
    [XLSNAP_METHOD_EXTERNAL] = "external",
    [XLSNAP_METHOD_OVERLAY] = "overlay",
    [XLSNAP_METHOD_NO] = "no",
};

void xlsnap_snapshot_init(struct xlsnap_snapshot *snap)
{
    memset(snap, 0, sizeof(*snap));
    snap->live = -1;
    snap->compress = -1;
}

void snapshot_clear_disk(struct xlsnap_disk *disk)
{
    free(disk->vdev);
    free(disk->format);
    free(disk->target);
    free(disk->source);
    free(disk->source_format);
    free(disk->options);
}

void xlsnap_snapshot_clear(struct xlsnap_snapshot *snap)
{
    size_t i;

    for (i = 0; i < snap->n_disks; i++)
        snapshot_clear_disk(&snap->disks[i]);
    free(snap->disks);
    free(snap->domain);
    free(snap->name);
    free(snap->description);
    free(snap->path);
    free(snap->memory);
    free(snap->uuid);
    free(snap->memory_digest);
    xlsnap_snapshot_init(snap);
}

void snapshot_copy_disk(struct xlsnap_disk *dst, const struct xlsnap_disk *src)
{
    *dst = *src;
    dst->vdev = xstrdup(src->vdev);
    dst->format = xstrdup(src->format);
    dst->target = xstrdup(src->target);
    dst->source = xstrdup(src->source);
    dst->source_format = xstrdup(src->source_format);
    dst->options = xstrdup(src->options);
}

void xlsnap_snapshot_copy(struct xlsnap_snapshot *dst,
                          const struct xlsnap_snapshot *src)
{
    size_t i;

    *dst = *src; /* the numbers */
    dst->domain = xstrdup(src->domain);
    dst->name = xstrdup(src->name);
    dst->description = xstrdup(src->description);
    dst->path = xstrdup(src->path);
    dst->memory = xstrdup(src->memory);
    dst->uuid = xstrdup(src->uuid);
    dst->memory_digest = xstrdup(src->memory_digest);
    dst->disks = NULL;
    dst->n_disks = 0;
    for (i = 0; i < src->n_disks; i++)
        snapshot_copy_disk(xlsnap_snapshot_add_disk(dst), &src->disks[i]);
}

struct xlsnap_disk *xlsnap_snapshot_add_disk(struct xlsnap_snapshot *snap)
{
    struct xlsnap_disk *disk;

    snap->disks =
        xrealloc(snap->disks, snap->n_disks + 1, sizeof(*snap->disks));
    disk = &snap->disks[snap->n_disks++];
    memset(disk, 0, sizeof(*disk));
    return disk;
}

struct xlsnap_disk *xlsnap_snapshot_find_disk(
    const struct xlsnap_snapshot *snap, const char *vdev)
{
    size_t i;

    for (i = 0; i < snap->n_disks; i++)
        if (snap->disks[i].vdev && !strcmp(snap->disks[i].vdev, vdev))
            return &snap->disks[i];
    return NULL;
}

int xlsnap_name_check(const char *name, struct xlsnap_error *err)
{
    size_t len = name ? strlen(name) : 0;

    if (len == 0)
        return xlsnap_fail(err, XLSNAP_INVALID, "the snapshot's name is empty");
    if (len > NAME_MAX_LEN)
        return xlsnap_fail(err, XLSNAP_INVALID,
                           "snapshot name '%s' is longer than %d characters",
                           name, NAME_MAX_LEN);
    if (name[0] == '-' || name[0] == '.')
        return xlsnap_fail(err, XLSNAP_INVALID,
                           "snapshot name '%s' starts with '%c'", name,
                           name[0]);
    if (strspn(name, LETTERS DIGITS "_.+-") != len)
        return xlsnap_fail(err, XLSNAP_INVALID,
                           "snapshot name '%s' has other characters than "
                           "letters, digits and _ . + -",
                           name);
    if (strspn(name, DIGITS) == len)
        return xlsnap_fail(err, XLSNAP_INVALID,
                           "snapshot name '%s' is a mere number, which "
                           "qemu-img takes for an ID",
                           name);
    return 0;
}

char *xlsnap_disk_config(const struct xlsnap_disk *disk)
{
    if (disk->method != XLSNAP_METHOD_OVERLAY)
        return NULL;
    /* target= takes the rest of the string, whatever is in it. */
    return xasprintf("format=qcow2, vdev=%s, access=rw%s, target=%s",
                     disk->vdev, disk->options ? disk->options : "",
                     disk->target);
}

const char *xlsnap_method_name(enum xlsnap_method method)
{
    return (size_t)method < ARRAY_SIZE(method_names) ? method_names[method]
                                                     : "";
}

int xlsnap_method_parse(const char *word, enum xlsnap_method *method_r)
{
    size_t i;

    for (i = XLSNAP_METHOD_INTERNAL; i < ARRAY_SIZE(method_names); i++)
        if (!strcmp(word, method_names[i])) {
            *method_r = i;
            return 0;
        }
    return -1;
}

void xlsnap_report_clear(struct xlsnap_report *report)
{
    size_t i;

    xlsnap_snapshot_clear(&report->snapshot);
    free(report->config_path);
    free(report->discarded);
    for (i = 0; i < report->n_steps; i++)
        free(report->steps[i]);
    free(report->steps);
    memset(report, 0, sizeof(*report));
    xlsnap_snapshot_init(&report->snapshot);
}
