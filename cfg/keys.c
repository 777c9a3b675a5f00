/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The table of keys: a name and a setter each.
 *
 * A setter gets a value whose kind (string, number, list) the table has
 * checked, says what is wrong with it, or replaces the field.  Two rules bend
 * towards xl: a number may stand in quotes, as libxlutil does not tell them
 * apart in xl.cfg, and `domain` may be a number, as it may be an id.
 */
#include "keys.h"

#include <ctype.h>
#include <limits.h>

#include "cfg.h"
#include "diskspec.h"
#include "file.h"
#include "util.h"

#define DISKS_MAX 1024
#define DESCRIPTION_MAX 4096
#define DOMAIN_MAX 255
#define DIGEST_PREFIX "xxh3-128:"

static void replace(char **field, char *value)
{
    free(*field);
    *field = value;
}

/* Text of one line, as all values but the description are. */
static bool is_one_line(const char *text)
{
    for (; *text; text++)
        if ((unsigned char)*text < ' ' || *text == 127)
            return false;
    return true;
}

const char *cfg_path_fault(const char *text)
{
    if (!*text)
        return "must not be empty";
    if (!is_one_line(text))
        return "must not contain control characters";
    if (strlen(text) >= PATH_MAX)
        return "is too long for a path";
    return NULL;
}

const char *cfg_path(const char *text, bool bare, char **path_r)
{
    const char *why = cfg_path_fault(text);
    char *path;

    if (why)
        return why;
    path = bare && !strchr(text, '/') ? xstrdup(text) : file_absolute(text);
    if (strlen(path) >= PATH_MAX) {
        free(path);
        return "is too long for a path";
    }
    replace(path_r, path);
    return NULL;
}

static const char *set_domain(struct xlsnap_snapshot *snap, const char *text)
{
    if (!*text)
        return "must not be empty";
    if (!is_one_line(text))
        return "must not contain control characters";
    if (strlen(text) > DOMAIN_MAX)
        return "is too long for a domain's name";
    replace(&snap->domain, xstrdup(text));
    return NULL;
}

static const char *set_description(struct xlsnap_snapshot *snap,
                                   const char *text)
{
    if (strlen(text) > DESCRIPTION_MAX)
        return "is longer than 4096 bytes";
    for (const char *s = text; *s; s++)
        if (((unsigned char)*s < ' ' && !strchr("\n\t\r", *s)) || *s == 127)
            return "must not contain control characters other than newline"
                   " and tab";
    replace(&snap->description, xstrdup(text));
    return NULL;
}

static const char *set_path(struct xlsnap_snapshot *snap, const char *text)
{
    return cfg_path(text, false, &snap->path);
}

static const char *set_memory(struct xlsnap_snapshot *snap, const char *text)
{
    return cfg_path(text, false, &snap->memory);
}

static const char *set_type(struct xlsnap_snapshot *snap, const char *text)
{
    enum xlsnap_method type;

    if (!*text || xlsnap_method_parse(text, &type) ||
        (type != XLSNAP_METHOD_INTERNAL && type != XLSNAP_METHOD_EXTERNAL))
        return "must be internal or external";
    snap->type = type;
    return NULL;
}

static const char *set_live(struct xlsnap_snapshot *snap, const char *text)
{
    if ((*text != '0' && *text != '1') || text[1])
        return "must be 0 or 1";
    snap->live = *text - '0';
    return NULL;
}

static const char *set_compress(struct xlsnap_snapshot *snap, const char *text)
{
    if (!strcmp(text, "none"))
        snap->compress = XLSNAP_COMPRESS_NONE;
    else if (!strcmp(text, "zstd"))
        snap->compress = XLSNAP_COMPRESS_ZSTD;
    else
        return "must be none or zstd";
    return NULL;
}

static bool all_hex(const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (!isxdigit((unsigned char)text[i]))
            return false;
    return true;
}

static const char *set_uuid(struct xlsnap_snapshot *snap, const char *text)
{
    static const char form[] = "00000000-0000-0000-0000-000000000000";
    size_t i;

    for (i = 0; form[i]; i++)
        if (form[i] == '-' ? text[i] != '-' : !isxdigit((unsigned char)text[i]))
            break;
    if (form[i] || text[i])
        return "must be a uuid (8-4-4-4-12 hexadecimal digits)";
    replace(&snap->uuid, xstrdup(text));
    return NULL;
}

static const char *set_memory_digest(struct xlsnap_snapshot *snap,
                                     const char *text)
{
    size_t len = strlen(DIGEST_PREFIX);

    if (strncmp(text, DIGEST_PREFIX, len) || strlen(text) != len + 32 ||
        !all_hex(text + len, 32))
        return "must be " DIGEST_PREFIX " and 32 hexadecimal digits";
    replace(&snap->memory_digest, xstrdup(text));
    return NULL;
}

static const char *set_creation_time(struct xlsnap_snapshot *snap,
                                     const char *text)
{
    long long n;
    char *end;

    errno = 0;
    n = strtoll(text, &end, 10);
    if (!isdigit((unsigned char)*text) || errno || *end || n == 0)
        return "must be a number of seconds since 1970";
    snap->creation_time = n;
    return NULL;
}

/* Two disks of one vdev, or with one file for both. */
static int check_disk_is_new(const struct xlsnap_snapshot *snap,
                             const struct xlsnap_disk *disk,
                             struct xlsnap_error *err)
{
    int number = diskspec_vdev_number(disk->vdev);

    for (const struct xlsnap_disk *d = snap->disks; d != disk; d++) {
        if (diskspec_vdev_number(d->vdev) == number)
            return xlsnap_fail(err, XLSNAP_INVALID,
                               "disk '%s' is described twice",
                               cfg_short(disk->vdev).s);
        if (d->target && disk->target && *disk->target == '/' &&
            !strcmp(d->target, disk->target))
            return xlsnap_fail(err, XLSNAP_INVALID,
                               "target '%s' is that of disk '%s' already",
                               cfg_short(disk->target).s, d->vdev);
    }
    return 0;
}

static int add_disk(struct xlsnap_snapshot *snap, const struct cfg_item *item,
                    struct xlsnap_error *err)
{
    struct xlsnap_disk *disk;

    if (item->kind != CFG_STRING)
        return xlsnap_fail(err, XLSNAP_INVALID,
                           "must be a string in quotes, not a %s",
                           item->kind == CFG_LIST ? "list" : "number");
    disk = xlsnap_snapshot_add_disk(snap);
    if (diskspec_parse(item->text, disk, err))
        return -err->code;
    return check_disk_is_new(snap, disk, err);
}

static void swap_disks(struct xlsnap_snapshot *a, struct xlsnap_snapshot *b)
{
    struct xlsnap_disk *disks = a->disks;
    size_t n = a->n_disks;

    a->disks = b->disks;
    a->n_disks = b->n_disks;
    b->disks = disks;
    b->n_disks = n;
}

static int set_disks(const struct cfg_place *at, const struct cfg_stmt *stmt,
                     struct xlsnap_snapshot *snap, struct xlsnap_error *err)
{
    struct xlsnap_snapshot fresh;
    struct cfg_place here = *at;
    int rc = 0;

    if (stmt->n_items == 0)
        return cfg_bad(at, err,
                       "disks: must name one disk at least; leave it out for"
                       " all disks of the domain");
    if (stmt->n_items > DISKS_MAX)
        return cfg_bad(at, err, "disks: has more than %d elements", DISKS_MAX);
    xlsnap_snapshot_init(&fresh);
    for (size_t i = 0; i < stmt->n_items && !rc; i++) {
        rc = add_disk(&fresh, &stmt->items[i], err);
        here.line = stmt->items[i].line;
        if (rc)
            xlsnap_prefix(err, "disks[%zu]", i);
    }
    if (!rc)
        swap_disks(snap, &fresh);
    xlsnap_snapshot_clear(&fresh);
    return rc ? cfg_locate(&here, err) : 0;
}

static int set_name(const struct cfg_place *at, const struct cfg_stmt *stmt,
                    struct xlsnap_snapshot *snap, struct xlsnap_error *err)
{
    if (xlsnap_name_check(stmt->text, err))
        return cfg_locate(at, err);
    replace(&snap->name, xstrdup(stmt->text));
    return 0;
}

static const char *set_format(struct xlsnap_snapshot *snap, const char *text)
{
    char *end;
    unsigned long n = strtoul(text, &end, 10);

    if (!isdigit((unsigned char)*text) || *end || n == 0)
        return "must be a number from 1 on";
    if (n > CFG_FORMAT)
        return "is of a newer xl-snapshot than this one, which knows 1";
    return NULL;
}

/* In the order of the alphabet, which is that of messages. */
static const struct key {
    const char *name;
    enum cfg_kind kind;
    bool for_user; /* else only snapshot.cfg has it */
    /* NULL, or why the value is wrong. */
    const char *(*set)(struct xlsnap_snapshot *snap, const char *text);
    /* Instead of `set`, for those that write their messages themselves. */
    int (*set_whole)(const struct cfg_place *at, const struct cfg_stmt *stmt,
                     struct xlsnap_snapshot *snap, struct xlsnap_error *err);
} keys[] = {
    { "compress", CFG_STRING, true, set_compress, NULL },
    { "creation_time", CFG_NUMBER, false, set_creation_time, NULL },
    { "description", CFG_STRING, true, set_description, NULL },
    { "disks", CFG_LIST, true, NULL, set_disks },
    { "domain", CFG_STRING, true, set_domain, NULL },
    { "live", CFG_NUMBER, true, set_live, NULL },
    { "memory", CFG_STRING, true, set_memory, NULL },
    { "memory_digest", CFG_STRING, false, set_memory_digest, NULL },
    { "name", CFG_STRING, true, NULL, set_name },
    { "path", CFG_STRING, true, set_path, NULL },
    { "snapshot_format", CFG_NUMBER, false, set_format, NULL },
    { "type", CFG_STRING, true, set_type, NULL },
    { "uuid", CFG_STRING, false, set_uuid, NULL },
};
_Static_assert(ARRAY_SIZE(keys) <=
                   sizeof(((struct cfg_origin *)0)->line) / sizeof(int),
               "struct cfg_origin has too few lines");

int cfg_key_n(const char *name, size_t len)
{
    /* A second name of one key. */
    if (len == strlen("memory_path") && !memcmp(name, "memory_path", len))
        return cfg_key("memory");
    for (size_t i = 0; i < ARRAY_SIZE(keys); i++)
        if (strlen(keys[i].name) == len && !memcmp(name, keys[i].name, len))
            return i;
    return -1;
}

int cfg_key(const char *name)
{
    return cfg_key_n(name, strlen(name));
}

const char *cfg_key_name(int key)
{
    return keys[key].name;
}

/* How many letters must be changed, put in, left out or swapped. */
static size_t edit_distance(const char *a, size_t a_len, const char *b)
{
    size_t b_len = strlen(b), d[3][32] = { 0 };

    for (size_t j = 0; j <= b_len; j++)
        d[0][j] = j;
    for (size_t i = 1; i <= a_len; i++) {
        size_t *now = d[i % 3], *before = d[(i + 2) % 3];

        now[0] = i;
        for (size_t j = 1; j <= b_len; j++) {
            bool swapped =
                i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
            size_t best = before[j - 1] + (a[i - 1] != b[j - 1]);

            if (before[j] + 1 < best)
                best = before[j] + 1;
            if (now[j - 1] + 1 < best)
                best = now[j - 1] + 1;
            if (swapped && d[(i + 1) % 3][j - 2] + 1 < best)
                best = d[(i + 1) % 3][j - 2] + 1;
            now[j] = best;
        }
    }
    return d[a_len % 3][b_len];
}

/* The key that was probably meant, or NULL. */
static const char *nearest_key(const char *name, size_t len)
{
    const char *nearest = NULL;
    size_t best = 3;

    if (len < 3 || len > 20)
        return NULL;
    for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
        size_t distance = edit_distance(name, len, keys[i].name);

        if (distance < best && distance * 2 < len) {
            best = distance;
            nearest = keys[i].name;
        }
    }
    return nearest;
}

int cfg_unknown_key(const struct cfg_place *at, const char *name, size_t len,
                    struct xlsnap_error *err)
{
    cleanup_free char *word = xasprintf("%.*s", (int)len, name);
    const char *nearest = nearest_key(name, len);
    char known[256] = "";
    size_t used = 0;

    if (nearest)
        return cfg_bad(at, err, "unknown key '%s' (did you mean '%s'?)", word,
                       nearest);
    for (size_t i = 0; i < ARRAY_SIZE(keys); i++)
        if (keys[i].for_user)
            used += snprintf(known + used, sizeof(known) - used, "%s%s",
                             used ? ", " : "", keys[i].name);
    return cfg_bad(at, err, "unknown key '%s' (known: %s)", cfg_short(word).s,
                   known);
}

/* NULL, or what the value must be instead. */
static const char *kind_fault(const struct key *key, enum cfg_kind kind)
{
    if ((key->kind == CFG_LIST) != (kind == CFG_LIST))
        return kind == CFG_LIST ? "must be a single value, not a list"
                                : "must be a list: [ \"...\", ... ]";
    /* A domain may be given by its id. */
    if (key->kind == CFG_STRING && kind == CFG_NUMBER && key->set != set_domain)
        return "must be a string in quotes, not a number";
    return NULL;
}

int cfg_set(int index, const struct cfg_place *at, const struct cfg_stmt *stmt,
            struct xlsnap_snapshot *snap, struct xlsnap_error *err)
{
    const struct key *key = &keys[index];
    const char *why = kind_fault(key, stmt->kind);

    if (why)
        return cfg_bad(at, err, "%s: %s", key->name, why);
    if (key->set_whole)
        return key->set_whole(at, stmt, snap, err);
    why = key->set(snap, stmt->text);
    if (why)
        return cfg_bad(at, err, "%s: '%s': %s", key->name,
                       cfg_short(stmt->text).s, why);
    return 0;
}
