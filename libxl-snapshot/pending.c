/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The record of an operation under way: see pending.h. */
#include "pending.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "json.h"
#include "op.h"
#include "snapshot.h"
#include "util.h"

#define RECORD_FORMAT 7
#define RECORD_MAX (1 << 20)
#define READ_TRIES 100
#define RECORD_ROOM 8192 /* bytes that it may become longer */

static void record_put_id(struct json_writer *w, const char *name,
                          const struct file_id *id)
{
    json_open_object(w, name);
    json_put_int(w, "dev", id->dev);
    json_put_int(w, "ino", id->ino);
    json_put_bool(w, "block", id->block);
    json_close_object(w);
}

static void record_put_disk(struct json_writer *w, const struct pending_disk *p)
{
    const struct xlsnap_disk *disk = &p->spec;

    json_open_object(w, NULL);
    json_put_string(w, "vdev", disk->vdev);
    json_put_string(w, "method", xlsnap_method_name(disk->method));
    json_put_string(w, "format", disk->format);
    json_put_string(w, "source", disk->source);
    json_put_string(w, "source_format", disk->source_format);
    json_put_string(w, "target", disk->target);
    record_put_id(w, "id", &p->id);
    record_put_id(w, "made", &p->made);
    json_put_string(w, "node", p->node);
    json_put_int(w, "place", p->place);
    json_put_bool(w, "merging", p->merging);
    json_put_bool(w, "merged", p->merged);
    json_put_int(w, "left_ino", p->left.ino);
    json_put_int(w, "left_written", p->left.written);
    json_close_object(w);
}

static char *record_text(const struct pending *p)
{
    struct json_writer *w = json_writer_new(true);

    json_open_object(w, NULL);
    json_put_int(w, "format", RECORD_FORMAT);
    json_put_string(w, "operation", p->operation);
    json_put_string(w, "domain", p->domain);
    json_put_string(w, "uuid", p->uuid);
    json_put_string(w, "name", p->name);
    json_put_string(w, "config_path", p->config_path);
    json_put_string(w, "memory", p->memory);
    json_put_string(w, "memory_tmp", p->memory_tmp);
    record_put_id(w, "memory_id", &p->memory_id);
    json_put_string(w, "token", p->token);
    json_put_int(w, "memory_place", p->memory_place);
    json_put_int(w, "dir_ino", p->dir_ino);
    json_put_string(w, "made_dir", p->made_dir);
    json_put_bool(w, "looking", p->looking);
    json_put_bool(w, "no_return", p->no_return);
    json_put_bool(w, "live", p->live);
    json_put_bool(w, "settled", p->settled);
    json_put_string(w, "monitor", p->monitor);
    json_put_bool(w, "paused", p->paused);
    json_put_bool(w, "force", p->force);
    json_put_bool(w, "keep", p->keep);
    json_put_string(w, "discarded", p->discarded);
    json_put_string(w, "boot_id", p->boot_id);
    json_put_int(w, "domid", p->domid);
    json_put_int(w, "restored", p->restored);
    json_put_bool(w, "released", p->released);
    json_open_array(w, "disks");
    for (size_t i = 0; i < p->n_disks; i++)
        record_put_disk(w, &p->disks[i]);
    json_close_array(w);
    json_close_object(w);
    return json_writer_finish(w);
}

static char *pending_dir(struct xlsnap *xs)
{
    return xasprintf("%s/pending", xs->state_dir);
}

static char *pending_file(struct xlsnap *xs, const char *uuid)
{
    cleanup_free char *dir = pending_dir(xs);

    return xasprintf("%s/%s.json", dir, uuid);
}

/* The kernel's random name for this boot of the host; to be freed. */
static char *host_boot_id(void)
{
    cleanup_close int fd =
        open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
    char id[64];
    ssize_t n = fd < 0 ? -1 : read(fd, id, sizeof(id) - 1);

    id[n > 0 ? n : 0] = 0;
    id[strcspn(id, "\n")] = 0;
    return xstrdup(id);
}

bool pending_is_file(const struct pending *p, const char *path,
                     const struct file_id *id)
{
    struct xlsnap_error ignored = { 0 };
    struct file_id now;

    if (file_id(path, &now, &ignored))
        return false;
    if (pending_same_boot(p))
        return file_id_equal(&now, id);
    return now.block == id->block && (id->block || now.ino == id->ino);
}

bool pending_same_boot(const struct pending *p)
{
    cleanup_free char *id = host_boot_id();

    return p->boot_id && *id && !strcmp(p->boot_id, id);
}

/* To be freed. */
static char *record_spare(const char *file)
{
    return xasprintf("%.*s.spare", (int)(strlen(file) - strlen(".json")), file);
}

/* The text, and spaces up to that size. */
static char *record_padded(const char *text, size_t size)
{
    return xasprintf("%-*s", (int)size, text);
}

/* Writes the spare file, which has its space, and exchanges it for the record. */
static bool record_exchange(const char *file, const char *spare,
                            const char *text)
{
    cleanup_close int fd = open(spare, O_WRONLY | O_CLOEXEC | O_NOFOLLOW);
    struct xlsnap_error ignored = { 0 };
    cleanup_free char *padded = NULL;
    struct stat st;

    if (fd < 0 || fstat(fd, &st) || st.st_size > RECORD_MAX ||
        strlen(text) > (size_t)st.st_size)
        return false;
    padded = record_padded(text, st.st_size);
    return !file_write_all(fd, padded, st.st_size) && !fsync(fd) &&
           !renameat2(AT_FDCWD, spare, AT_FDCWD, file, RENAME_EXCHANGE) &&
           !file_fsync_dir_of(file, &ignored);
}

/* Both anew.  Without a spare file nothing is begun. */
static int record_replace(const char *file, const char *spare, const char *text,
                          bool begun, struct xlsnap_error *err)
{
    size_t size = strlen(text) + RECORD_ROOM;
    cleanup_free char *padded = record_padded(text, size);
    struct xlsnap_error ignored = { 0 };
    int rc = begun ? 0 : file_write_durable(spare, padded, size, true, err);

    if (!rc)
        rc = file_write_durable(file, padded, size, true, err);
    if (!rc && begun)
        file_write_durable(spare, padded, size, true, &ignored);
    return rc;
}

int pending_write(struct xlsnap *xs, struct pending *p,
                  struct xlsnap_error *err)
{
    cleanup_free char *dir = pending_dir(xs), *text = NULL;
    cleanup_free char *file = pending_file(xs, p->uuid);
    cleanup_free char *spare = record_spare(file);
    int rc = file_make_dir(dir, NULL, err);
    bool begun = p->file;

    /* Or nobody would carry out what it says. */
    if (!rc && !begun)
        rc = file_check_trusted(dir, err);
    free(p->boot_id);
    p->boot_id = host_boot_id();
    text = record_text(p);
    /* Before it is written: a failure may leave it in place, to be dropped. */
    free(p->file);
    p->file = xstrdup(file);
    if (!rc && !(begun && record_exchange(file, spare, text)))
        rc = record_replace(file, spare, text, begun, err);
    return rc ? xlsnap_prefix(err, "cannot write the pending record") : 0;
}

int pending_drop(struct pending *p, struct xlsnap_error *err)
{
    cleanup_free char *spare = p->file ? record_spare(p->file) : NULL;
    int rc;

    if (spare)
        unlink(spare); /* alone it would mean nothing */
    rc = p->file ? file_unlink(p->file, err) : 0;
    if (rc)
        return rc;
    free(p->file);
    p->file = NULL;
    return 0;
}

/*
 * Reading: every member that record_text writes must be there and of its type.
 * A default would be a guess, at whether a domain was destroyed, say.
 */
struct record {
    const struct json *v; /* an object */
    bool bad;
};

static char *record_string(struct record *r, const char *name)
{
    const char *value = json_get_string(r->v, name);

    if (!value || !*value)
        r->bad = true;
    return xstrdup(value);
}

static char *record_string_or_null(struct record *r, const char *name)
{
    const char *value = json_get_string(r->v, name);

    if (!value && !json_is_null(json_get(r->v, name)))
        r->bad = true;
    return xstrdup(value);
}

static bool record_bool(struct record *r, const char *name)
{
    bool value = json_get_bool(r->v, name, false);

    if (value != json_get_bool(r->v, name, true))
        r->bad = true;
    return value;
}

static int64_t record_int(struct record *r, const char *name)
{
    int64_t value = json_get_int(r->v, name, 0);

    if (value != json_get_int(r->v, name, 1))
        r->bad = true;
    return value;
}

static uint32_t record_domid(struct record *r, const char *name)
{
    int64_t value = record_int(r, name);

    if (value < 0 || value > UINT32_MAX)
        r->bad = true;
    return value;
}

static void record_id(struct record *r, const char *name, struct file_id *id)
{
    struct record of = { .v = json_get(r->v, name) };

    id->dev = record_int(&of, "dev");
    id->ino = record_int(&of, "ino");
    id->block = record_bool(&of, "block");
    r->bad |= of.bad;
}

static bool record_get_disk(struct pending_disk *p, const struct json *v)
{
    struct xlsnap_disk *disk = &p->spec;
    struct record r = { .v = v };
    cleanup_free char *method = record_string(&r, "method");

    if (!method || xlsnap_method_parse(method, &disk->method))
        r.bad = true;
    disk->vdev = record_string(&r, "vdev");
    disk->format = record_string(&r, "format");
    disk->source = record_string(&r, "source");
    disk->source_format = record_string_or_null(&r, "source_format");
    disk->target = record_string_or_null(&r, "target");
    record_id(&r, "id", &p->id);
    record_id(&r, "made", &p->made);
    p->node = record_string_or_null(&r, "node");
    p->place = record_int(&r, "place");
    p->merging = record_bool(&r, "merging");
    p->merged = record_bool(&r, "merged");
    p->left.ino = record_int(&r, "left_ino");
    p->left.written = record_int(&r, "left_written");
    if (r.bad)
        return false;
    /* They become parts of names of files that recovery removes. */
    return !strchr(disk->vdev, '/') && disk->vdev[0] != '.' &&
           (disk->source[0] == '/' || strstr(disk->source, ":/")) &&
           (disk->target || disk->method == XLSNAP_METHOD_INTERNAL);
}

static bool record_get_disks(struct pending *p, const struct json *disks)
{
    size_t n = json_array_len(disks);

    if (!json_is_array(disks))
        return false;
    p->disks = xcalloc(n, sizeof(*p->disks));
    for (p->n_disks = 0; p->n_disks < n; p->n_disks++)
        if (!record_get_disk(&p->disks[p->n_disks],
                             json_array_at(disks, p->n_disks))) {
            p->n_disks++; /* to be freed */
            return false;
        }
    return true;
}

static bool record_token_is_good(const char *token)
{
    return token && strlen(token) == 16 &&
           strspn(token, "0123456789abcdef") == 16;
}

static bool record_get(struct pending *p, const struct json *v)
{
    struct record r = { .v = v };

    if (record_int(&r, "format") != RECORD_FORMAT)
        return false;
    p->operation = record_string(&r, "operation");
    p->domain = record_string(&r, "domain");
    p->uuid = record_string(&r, "uuid");
    p->name = record_string(&r, "name");
    p->config_path = record_string(&r, "config_path");
    p->memory = record_string(&r, "memory");
    p->memory_tmp = record_string_or_null(&r, "memory_tmp");
    record_id(&r, "memory_id", &p->memory_id);
    p->token = record_string(&r, "token");
    p->memory_place = record_int(&r, "memory_place");
    p->dir_ino = record_int(&r, "dir_ino");
    p->made_dir = record_string_or_null(&r, "made_dir");
    p->looking = record_bool(&r, "looking");
    p->no_return = record_bool(&r, "no_return");
    p->live = record_bool(&r, "live");
    p->settled = record_bool(&r, "settled");
    p->monitor = record_string_or_null(&r, "monitor");
    p->paused = record_bool(&r, "paused");
    p->force = record_bool(&r, "force");
    p->keep = record_bool(&r, "keep");
    p->discarded = record_string_or_null(&r, "discarded");
    p->boot_id = record_string_or_null(&r, "boot_id");
    p->domid = record_domid(&r, "domid");
    p->restored = record_domid(&r, "restored");
    p->released = record_bool(&r, "released");
    return record_get_disks(p, json_get(v, "disks")) && !r.bad &&
           p->config_path[0] == '/' && p->memory[0] == '/' &&
           (!p->made_dir || p->made_dir[0] == '/') &&
           (!p->memory_tmp || p->memory_tmp[0] == '/') &&
           record_token_is_good(p->token) &&
           (!p->discarded || !strchr(p->discarded, '/')) &&
           (p->memory_tmp || strcmp(p->operation, "create"));
}

/* Without ->file: it is not there, or has just been dropped. */
static int pending_read(const char *file, struct pending *p,
                        struct xlsnap_error *err)
{
    cleanup_free char *text = NULL;
    struct json *root = NULL;
    struct file_stamp then;
    size_t len;
    /* What it says is carried out. */
    int rc = file_check_trusted(file, err);

    /* Whoever has its lock may write it meanwhile, and then this very file. */
    for (int n = 0; !rc && n < READ_TRIES; n++) {
        free(text);
        text = NULL;
        then = file_stamp(file);
        rc = file_read(file, RECORD_MAX, &text, &len, err);
        if (!file_was_written(file, &then, true))
            break;
    }
    if (rc && err->errnum == ENOENT) {
        memset(err, 0, sizeof(*err));
        return 0;
    }
    if (!rc)
        rc = json_parse(text, len, file, &root, err);
    if (rc)
        return rc;
    p->file = xstrdup(file);
    if (!record_get(p, root))
        rc = xlsnap_fail(err, XLSNAP_FAILED,
                         "'%s' is no pending record of this version; remove "
                         "it when you know what it was of",
                         file);
    json_free(root);
    return rc;
}

int pending_find(struct xlsnap *xs, const char *uuid, struct pending *p,
                 struct xlsnap_error *err)
{
    cleanup_free char *file = pending_file(xs, uuid);

    memset(p, 0, sizeof(*p));
    return pending_read(file, p, err);
}

static int record_filter(const struct dirent *e)
{
    size_t n = strlen(e->d_name);

    return e->d_name[0] != '.' && n > 5 && !strcmp(e->d_name + n - 5, ".json");
}

int pending_each(struct xlsnap *xs,
                 bool (*found)(const struct pending *p, void *user), void *user,
                 struct xlsnap_error *err)
{
    cleanup_free char *dir = pending_dir(xs);
    struct dirent **list = NULL;
    int n = scandir(dir, &list, record_filter, alphasort), rc = 0;
    bool more = true;

    if (n < 0 && errno != ENOENT)
        return xlsnap_fail_errno(err, XLSNAP_FAILED, errno, "cannot read '%s'",
                                 dir);
    for (int i = 0; i < n; i++) {
        cleanup_free char *file = xasprintf("%s/%s", dir, list[i]->d_name);
        struct pending p = { 0 };

        if (!rc && more)
            rc = pending_read(file, &p, err);
        if (!rc && more && p.file)
            more = found(&p, user);
        pending_clear(&p);
        free(list[i]);
    }
    free(list);
    return rc;
}

/* Would it be taken for a file, an option, KEY=VALUE?  The library knows no command
 * line; request.c does. */
static bool name_needs_option(const char *name)
{
    size_t n = strlen(name);

    return strpbrk(name, "/=") || name[0] == '-' ||
           (n >= 4 &&
            (!strcmp(name + n - 4, ".cfg") || !strcmp(name + n - 4, ".xml")));
}

char *pending_cure(const char *domain, bool abandon)
{
    static const char plain[] =
        "abcdefghijklmnopqrstuvwxyz"
        "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.,:+@%/=-";
    bool quoted = !*domain || domain[strspn(domain, plain)];
    char *text = NULL;
    size_t len = 0;
    FILE *f = open_memstream(&text, &len);

    if (!f)
        abort();
    fprintf(f, "xl snapshot-recover %s%s%s", abandon ? "--abandon " : "",
            name_needs_option(domain) ? "-d " : "", quoted ? "\"" : "");
    for (; *domain; domain++) {
        if (quoted && strchr("\"\\$`", *domain))
            fputc('\\', f);
        fputc(*domain, f);
    }
    if (quoted)
        fputc('"', f);
    if (fclose(f))
        abort();
    return text;
}

struct refusal {
    struct op *op;
    const char *name, *uuid;
    struct xlsnap_error *err;
    int rc;
};

/* Is disk `i` of the record this one, or what was made for it this one? */
static bool record_has_disk(const struct pending *p, size_t i,
                            const struct disk *disk)
{
    if (!pending_same_boot(p))
        return !strcmp(p->disks[i].spec.source, disk->source);
    return disk->id.ino && (file_id_equal(&p->disks[i].id, &disk->id) ||
                            file_id_equal(&p->disks[i].made, &disk->id));
}

static bool refuse_if_ours(const struct pending *p, void *user)
{
    struct refusal *r = user;
    bool ours = (r->uuid && !strcasecmp(p->uuid, r->uuid)) ||
                (r->name && !strcmp(p->domain, r->name));

    for (size_t i = 0; i < p->n_disks && !ours; i++)
        for (size_t j = 0; j < r->op->n_disks && !ours; j++)
            ours = record_has_disk(p, i, &r->op->disks[j]);
    if (ours) {
        cleanup_free char *cure = pending_cure(p->domain, false);

        r->rc = xlsnap_fail(r->err, XLSNAP_REFUSED,
                            "an earlier %s of domain '%s' was not finished; "
                            "run '%s' first",
                            p->operation, p->domain, cure);
    }
    return !ours;
}

int pending_refuse(struct op *op, const char *name, const char *uuid,
                   struct xlsnap_error *err)
{
    struct refusal r = { .op = op, .name = name, .uuid = uuid, .err = err };
    int rc = pending_each(op->xs, refuse_if_ours, &r, err);

    return rc ? rc : r.rc;
}

uint64_t pending_place(const char *path)
{
    cleanup_free char *dir = file_dir_of(path);
    struct xlsnap_error ignored = { 0 };
    struct file_id id;

    return file_id(dir, &id, &ignored) ? 0 : id.ino;
}

/* Volumes are not files: what is in /dev is made anew by each boot. */
static uint64_t disk_place(const struct disk *disk)
{
    return disk->target && disk->target[0] == '/' && !disk->id.block
               ? pending_place(disk->target)
               : 0;
}

void pending_set_disks(struct pending *p, const struct op *op)
{
    p->disks = xcalloc(op->n_disks, sizeof(*p->disks));
    for (size_t i = 0; i < op->n_disks; i++) {
        snapshot_copy_disk(
            &p->disks[i].spec,
            xlsnap_snapshot_find_disk(&op->snap, op->disks[i].vdev));
        p->disks[i].id = op->disks[i].id;
        p->disks[i].place = disk_place(&op->disks[i]);
    }
    p->n_disks = op->n_disks;
    pending_update_disks(p, op);
}

void pending_update_disks(struct pending *p, const struct op *op)
{
    for (size_t i = 0; i < p->n_disks && i < op->n_disks; i++) {
        p->disks[i].made = op->disks[i].made;
        p->disks[i].merging = op->disks[i].merging;
        p->disks[i].merged = op->disks[i].merged;
        free(p->disks[i].node);
        p->disks[i].node = xstrdup(op->disks[i].node);
    }
}

void pending_copy(struct pending *dst, const struct pending *src)
{
    *dst = *src;
    dst->file = xstrdup(src->file);
    dst->operation = xstrdup(src->operation);
    dst->domain = xstrdup(src->domain);
    dst->uuid = xstrdup(src->uuid);
    dst->name = xstrdup(src->name);
    dst->config_path = xstrdup(src->config_path);
    dst->memory = xstrdup(src->memory);
    dst->memory_tmp = xstrdup(src->memory_tmp);
    dst->made_dir = xstrdup(src->made_dir);
    dst->token = xstrdup(src->token);
    dst->monitor = xstrdup(src->monitor);
    dst->discarded = xstrdup(src->discarded);
    dst->boot_id = xstrdup(src->boot_id);
    dst->disks = xcalloc(src->n_disks, sizeof(*dst->disks));
    for (size_t i = 0; i < src->n_disks; i++) {
        dst->disks[i] = src->disks[i];
        snapshot_copy_disk(&dst->disks[i].spec, &src->disks[i].spec);
        dst->disks[i].node = xstrdup(src->disks[i].node);
    }
}

void pending_clear(struct pending *p)
{
    for (size_t i = 0; i < p->n_disks; i++) {
        snapshot_clear_disk(&p->disks[i].spec);
        free(p->disks[i].node);
    }
    free(p->disks);
    free(p->file);
    free(p->operation);
    free(p->domain);
    free(p->uuid);
    free(p->name);
    free(p->config_path);
    free(p->memory);
    free(p->memory_tmp);
    free(p->made_dir);
    free(p->token);
    free(p->monitor);
    free(p->discarded);
    free(p->boot_id);
    memset(p, 0, sizeof(*p));
}
