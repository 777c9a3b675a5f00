/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * DISKSPEC, read and written.
 *
 * libxlutil's own xlu_disk_parse is of no use here: it refuses every key that
 * is not its own, and its target= swallows the rest of the string.  So this
 * is a grammar of its own, as near to xl's as it can be: fields separated by
 * commas, blanks before a field ignored, a comma within a value doubled.
 * Nothing here looks at the disk: whether it can do what is asked is known to
 * its driver only.
 */
#include "diskspec.h"

#include <ctype.h>
#include <limits.h>

#include "keys.h"
#include "util.h"

#define SIZE_PERCENT_MAX 1000

/* "aa" of xvdaa as a number, base 26 without a zero; *s moves behind it. */
static int vdev_letters(const char **s, int max)
{
    int n = 0;

    for (; **s >= 'a' && **s <= 'z' && n <= max; (*s)++)
        n = n * 26 + (**s - 'a' + 1);
    return n - 1 > max ? -1 : n - 1;
}

/* Decimal without leading zeros; *s moves behind it. */
static int vdev_digits(const char **s, int max)
{
    int n = 0;

    if (!isdigit((unsigned char)**s) ||
        (**s == '0' && isdigit((unsigned char)(*s)[1])))
        return -1;
    for (; isdigit((unsigned char)**s); (*s)++) {
        n = n * 10 + (**s - '0');
        if (n > max)
            return -1;
    }
    return n;
}

/* PREFIX, letters, and a partition's number from 1 on if there is one. */
static bool vdev_match(const char *vdev, const char *prefix, int max_disk,
                       int max_part, int *disk_r, int *part_r)
{
    size_t len = strlen(prefix);
    const char *s = vdev + len;

    if (strncmp(vdev, prefix, len))
        return false;
    *disk_r = vdev_letters(&s, max_disk);
    if (*disk_r < 0 || *s == '0')
        return false;
    *part_r = *s ? vdev_digits(&s, max_part) : 0;
    return *part_r >= 0 && !*s;
}

static bool vdev_match_numbers(const char *vdev, int *disk_r, int *part_r)
{
    const char *s = vdev + 1;

    if (*vdev != 'd')
        return false;
    *disk_r = vdev_digits(&s, (1 << 20) - 1);
    if (*disk_r < 0 || *s++ != 'p')
        return false;
    *part_r = vdev_digits(&s, 255);
    return *part_r >= 0 && !*s;
}

static int vdev_plain_number(const char *vdev)
{
    unsigned long n;
    char *end;

    if (!isdigit((unsigned char)*vdev))
        return -1;
    errno = 0;
    n = strtoul(vdev, &end, 0);
    return errno || *end || n > INT_MAX ? -1 : (int)n;
}

int diskspec_vdev_number(const char *vdev)
{
    int disk, part;

    if (vdev_match_numbers(vdev, &disk, &part) ||
        vdev_match(vdev, "xvd", (1 << 20) - 1, 255, &disk, &part)) {
        if (disk <= 15 && part <= 15)
            return 202 << 8 | disk << 4 | part;
        return 1 << 28 | disk << 8 | part;
    }
    if (vdev_match(vdev, "hd", 3, 63, &disk, &part))
        return (disk < 2 ? 3 : 22) << 8 | (disk & 1) << 6 | part;
    if (vdev_match(vdev, "sd", 15, 15, &disk, &part))
        return 8 << 8 | disk << 4 | part;
    return vdev_plain_number(vdev);
}

/*
 * Setters: NULL, or what the value must be.
 */
static const char *set_vdev(struct xlsnap_disk *disk, const char *value)
{
    if (diskspec_vdev_number(value) < 0)
        return "must be a virtual device such as xvda, hda or sda1";
    disk->vdev = xstrdup(value);
    return NULL;
}

static const char *set_snapshot(struct xlsnap_disk *disk, const char *value)
{
    if (!*value || xlsnap_method_parse(value, &disk->method))
        return "must be internal, external, overlay or no";
    return NULL;
}

static const char *set_format(struct xlsnap_disk *disk, const char *value)
{
    /* libxl_disk_format without "unknown" and "empty" */
    static const char *const formats[] = { "raw", "qcow", "qcow2", "vhd",
                                           "qed" };

    for (size_t i = 0; i < ARRAY_SIZE(formats); i++) {
        if (strcmp(value, formats[i]))
            continue;
        disk->format = xstrdup(value);
        return NULL;
    }
    return "must be raw, qcow, qcow2, vhd or qed";
}

static const char *set_target(struct xlsnap_disk *disk, const char *value)
{
    return cfg_path(value, true, &disk->target);
}

static const char *set_source(struct xlsnap_disk *disk, const char *value)
{
    const char *why = cfg_path_fault(value);

    /* Never made absolute: it is what the domain's config says. */
    if (!why)
        disk->source = xstrdup(value);
    return why;
}

static const char *set_source_format(struct xlsnap_disk *disk,
                                     const char *value)
{
    struct xlsnap_disk parsed = { 0 };
    const char *why = set_format(&parsed, value);

    disk->source_format = parsed.format;
    return why;
}

static const char size_syntax[] =
    "must be a number of bytes, with K, M, G or T behind it for 2^10 to 2^40,"
    " or a percentage from 1% to 1000%";

static const char *set_size_percent(struct xlsnap_disk *disk,
                                    unsigned long long n, const char *unit)
{
    if (strcmp(unit, "%") && strcmp(unit, "%ORIGIN"))
        return size_syntax;
    if (n < 1 || n > SIZE_PERCENT_MAX)
        return size_syntax;
    disk->size_percent = n;
    return NULL;
}

static const char *set_size(struct xlsnap_disk *disk, const char *value)
{
    static const char units[] = "KMGT";
    unsigned long long n;
    const char *unit;
    unsigned shift = 0;
    char *end;

    if (!isdigit((unsigned char)*value))
        return size_syntax;
    errno = 0;
    n = strtoull(value, &end, 10);
    if (errno)
        return "is too large";
    if (*end == '%')
        return set_size_percent(disk, n, end);
    if (*end) {
        unit = strchr(units, toupper((unsigned char)*end));
        if (!unit || end[1])
            return size_syntax;
        shift = 10 * (unit - units + 1);
    }
    if (n == 0)
        return "must not be 0";
    if (n > (uint64_t)INT64_MAX >> shift)
        return "is too large";
    disk->size = n << shift;
    return NULL;
}

static const struct spec_key {
    const char *name;
    const char *(*set)(struct xlsnap_disk *disk, const char *value);
} spec_keys[] = {
    { "vdev", set_vdev },
    { "snapshot", set_snapshot },
    { "format", set_format },
    { "size", set_size },
    { "target", set_target },
    { "source", set_source },
    { "source_format", set_source_format },
};

/*
 * Cuts the next field off *s: blanks before it are skipped, with `pairs` a
 * doubled comma stands for one.  *s becomes NULL after the last field.
 */
static char *next_field(const char **s, bool pairs)
{
    const char *p = *s + strspn(*s, " \t");
    char *field = xcalloc(strlen(p) + 1, 1), *out = field;

    for (; *p; p++) {
        if (*p == ',') {
            if (!pairs || p[1] != ',')
                break;
            p++;
        }
        *out++ = *p;
    }
    *s = *p ? p + 1 : NULL;
    return field;
}

static int spec_set_field(struct xlsnap_disk *disk, const char *field,
                          unsigned *seen, struct xlsnap_error *err)
{
    const char *value = strchr(field, '='), *why;
    size_t i, len;

    if (!value)
        return xlsnap_fail(err, XLSNAP_INVALID, "'%s': must be KEY=VALUE",
                           cfg_short(field).s);
    len = value++ - field;
    for (i = 0; i < ARRAY_SIZE(spec_keys); i++)
        if (!strncmp(spec_keys[i].name, field, len) && !spec_keys[i].name[len])
            break;
    if (i == ARRAY_SIZE(spec_keys))
        return xlsnap_fail(err, XLSNAP_INVALID,
                           "'%s': unknown key (known: vdev, snapshot, format,"
                           " size, target)",
                           cfg_short(field).s);
    if (*seen & 1u << i)
        return xlsnap_fail(err, XLSNAP_INVALID, "'%s': '%s' is given twice",
                           cfg_short(field).s, spec_keys[i].name);
    *seen |= 1u << i;
    why = spec_keys[i].set(disk, value);
    if (why)
        return xlsnap_fail(err, XLSNAP_INVALID, "'%s': %s", cfg_short(field).s,
                           why);
    return 0;
}

/* What makes no sense together.  NULL, or why. */
static const char *spec_contradiction(const struct xlsnap_disk *disk)
{
    bool sized = disk->size || disk->size_percent;

    if (!disk->vdev)
        return "vdev= is missing";
    if (disk->target && disk->method == XLSNAP_METHOD_INTERNAL)
        return "an internal snapshot has no target";
    if (disk->target && disk->method == XLSNAP_METHOD_NO)
        return "a disk that takes no part has no target";
    if (!disk->target && disk->method == XLSNAP_METHOD_OVERLAY)
        return "an overlay needs target=, the new file that the guest will "
               "write to";
    if (sized && disk->method != XLSNAP_METHOD_EXTERNAL)
        return "size has a meaning for external snapshots only";
    return NULL;
}

static int spec_parse_pairs(const char *spec, struct xlsnap_disk *disk,
                            struct xlsnap_error *err)
{
    unsigned seen = 0;
    const char *why;

    for (const char *s = spec; s;) {
        cleanup_free char *field = next_field(&s, true);

        if (spec_set_field(disk, field, &seen, err))
            return -err->code;
    }
    if (disk->method == XLSNAP_METHOD_DEFAULT &&
        (disk->target || disk->size || disk->size_percent))
        disk->method = XLSNAP_METHOD_EXTERNAL;
    why = spec_contradiction(disk);
    if (why)
        return xlsnap_fail(err, XLSNAP_INVALID, "'%s': %s", cfg_short(spec).s,
                           why);
    return 0;
}

static int spec_parse_positional(const char *spec, struct xlsnap_disk *disk,
                                 struct xlsnap_error *err)
{
    static const char *const name[] = { "TARGET", "FORMAT", "VDEV" };
    const char *(*const set[])(struct xlsnap_disk *,
                               const char *) = { set_target, set_format,
                                                 set_vdev };
    const char *s = spec, *why = NULL;

    for (size_t i = 0; i < ARRAY_SIZE(set); i++) {
        cleanup_free char *field = s ? next_field(&s, false) : NULL;

        if (!field || (i == 2 && s))
            return xlsnap_fail(err, XLSNAP_INVALID,
                               "'%s': must be TARGET,FORMAT,VDEV or"
                               " vdev=VDEV,KEY=VALUE,...",
                               cfg_short(spec).s);
        if (*field || i == 2)
            why = set[i](disk, field);
        if (why)
            return xlsnap_fail(err, XLSNAP_INVALID, "'%s': %s '%s' %s",
                               cfg_short(spec).s, name[i], cfg_short(field).s,
                               why);
    }
    disk->method =
        disk->target ? XLSNAP_METHOD_EXTERNAL : XLSNAP_METHOD_INTERNAL;
    return 0;
}

int diskspec_parse(const char *spec, struct xlsnap_disk *disk,
                   struct xlsnap_error *err)
{
    /* A positional TARGET has neither comma nor equals sign. */
    if (spec[strcspn(spec, ",=")] == '=')
        return spec_parse_pairs(spec, disk, err);
    return spec_parse_positional(spec, disk, err);
}

static void put_pair(FILE *f, const char *key, const char *value)
{
    if (!value || !*value)
        return;
    fprintf(f, ",%s=", key);
    for (; *value; value++)
        fprintf(f, "%s%c", *value == ',' ? "," : "", *value);
}

static void put_size(FILE *f, const struct xlsnap_disk *disk)
{
    static const char *const units[] = { "", "K", "M", "G", "T" };
    uint64_t n = disk->size;
    size_t i = 0;

    if (disk->size_percent)
        fprintf(f, ",size=%u%%ORIGIN", disk->size_percent);
    if (!n)
        return;
    for (; n % 1024 == 0 && i + 1 < ARRAY_SIZE(units); i++)
        n /= 1024;
    fprintf(f, ",size=%llu%s", (unsigned long long)n, units[i]);
}

char *diskspec_format(const struct xlsnap_disk *disk)
{
    char *text;
    size_t len;
    FILE *f = open_memstream(&text, &len);

    if (!f)
        abort();
    fprintf(f, "vdev=%s", disk->vdev);
    put_pair(f, "snapshot", xlsnap_method_name(disk->method));
    put_pair(f, "format", disk->format);
    put_size(f, disk);
    put_pair(f, "target", disk->target);
    put_pair(f, "source", disk->source);
    put_pair(f, "source_format", disk->source_format);
    if (fclose(f))
        abort();
    return text;
}
