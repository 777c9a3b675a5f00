/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The record of an operation under way: see pending.h. */
#include "pending.h"

#include <dirent.h>

#include "json.h"
#include "op.h"
#include "util.h"

#define RECORD_FORMAT 1
#define RECORD_MAX (1 << 20)

static void record_put_disk(struct json_writer *w,
                            const struct xlsnap_disk *disk,
                            const struct file_id *id)
{
    json_open_object(w, NULL);
    json_put_string(w, "vdev", disk->vdev);
    json_put_string(w, "method", xlsnap_method_name(disk->method));
    json_put_string(w, "format", disk->format);
    json_put_string(w, "source", disk->source);
    json_put_string(w, "target", disk->target);
    json_put_int(w, "dev", id->dev);
    json_put_int(w, "ino", id->ino);
    json_put_bool(w, "block", id->block);
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
    json_put_string(w, "made_dir", p->made_dir);
    json_put_bool(w, "no_return", p->no_return);
    json_put_bool(w, "monitor", p->monitor);
    json_put_bool(w, "paused", p->paused);
    json_put_string(w, "discarded", p->discarded);
    json_put_int(w, "domid", p->domid);
    json_put_int(w, "restored", p->restored);
    json_open_array(w, "disks");
    for (size_t i = 0; i < p->n_disks; i++)
        record_put_disk(w, &p->disks[i], &p->ids[i]);
    json_close_array(w);
    json_close_object(w);
    return json_writer_finish(w);
}

static char *pending_dir(struct xlsnap *xs)
{
    return xasprintf("%s/pending", xs->state_dir);
}

int pending_write(struct xlsnap *xs, struct pending *p,
                  struct xlsnap_error *err)
{
    cleanup_free char *dir = pending_dir(xs);
    cleanup_free char *text = record_text(p);
    cleanup_free char *file = xasprintf("%s/%s.json", dir, p->uuid);
    int rc = file_make_dir(dir, NULL, err);

    if (!rc)
        rc = file_write_durable(file, text, strlen(text), true, err);
    if (rc)
        return xlsnap_prefix(err, "cannot write the pending record");
    free(p->file);
    p->file = xstrdup(file);
    return 0;
}

int pending_drop(struct pending *p, struct xlsnap_error *err)
{
    int rc = p->file ? file_unlink(p->file, err) : 0;

    if (rc)
        return rc;
    free(p->file);
    p->file = NULL;
    return 0;
}

static char *record_string(const struct json *v, const char *name)
{
    return xstrdup(json_get_string(v, name));
}

static int record_get_disk(struct pending *p, const struct json *v)
{
    struct xlsnap_disk *disk = &p->disks[p->n_disks];
    struct file_id *id = &p->ids[p->n_disks];
    const char *method = json_get_string(v, "method");

    p->n_disks++;
    disk->vdev = record_string(v, "vdev");
    disk->format = record_string(v, "format");
    disk->source = record_string(v, "source");
    disk->target = record_string(v, "target");
    id->dev = json_get_int(v, "dev", 0);
    id->ino = json_get_int(v, "ino", 0);
    id->block = json_get_bool(v, "block", false);
    if (!method || xlsnap_method_parse(method, &disk->method))
        return -1;
    return disk->vdev && disk->format && disk->source && id->ino ? 0 : -1;
}

static int record_get(struct pending *p, const struct json *v)
{
    const struct json *disks = json_get(v, "disks");
    size_t n = json_array_len(disks);

    p->operation = record_string(v, "operation");
    p->domain = record_string(v, "domain");
    p->uuid = record_string(v, "uuid");
    p->name = record_string(v, "name");
    p->config_path = record_string(v, "config_path");
    p->memory = record_string(v, "memory");
    p->memory_tmp = record_string(v, "memory_tmp");
    p->made_dir = record_string(v, "made_dir");
    p->no_return = json_get_bool(v, "no_return", false);
    p->monitor = json_get_bool(v, "monitor", false);
    p->paused = json_get_bool(v, "paused", false);
    p->discarded = record_string(v, "discarded");
    p->domid = json_get_int(v, "domid", DOMAIN_NONE);
    p->restored = json_get_int(v, "restored", DOMAIN_NONE);
    p->disks = xcalloc(n, sizeof(*p->disks));
    p->ids = xcalloc(n, sizeof(*p->ids));
    for (size_t i = 0; i < n; i++)
        if (record_get_disk(p, json_array_at(disks, i)))
            return -1;
    return json_get_int(v, "format", 0) == RECORD_FORMAT && p->operation &&
                   p->domain && p->uuid && p->name && p->config_path &&
                   p->memory
               ? 0
               : -1;
}

static int pending_read(const char *file, struct pending *p,
                        struct xlsnap_error *err)
{
    cleanup_free char *text = NULL;
    struct json *root = NULL;
    size_t len;
    int rc = file_read(file, RECORD_MAX, &text, &len, err);

    if (!rc)
        rc = json_parse(text, len, file, &root, err);
    if (rc)
        return rc;
    p->file = xstrdup(file);
    if (record_get(p, root))
        rc = xlsnap_fail(err, XLSNAP_FAILED,
                         "'%s' is no pending record of this version", file);
    json_free(root);
    return rc;
}

static int record_filter(const struct dirent *e)
{
    size_t n = strlen(e->d_name);

    return e->d_name[0] != '.' && n > 5 && !strcmp(e->d_name + n - 5, ".json");
}

int pending_each(struct xlsnap *xs,
                 bool (*found)(const struct pending *p, void *user),
                 void *user, struct xlsnap_error *err)
{
    cleanup_free char *dir = pending_dir(xs);
    struct dirent **list = NULL;
    int n = scandir(dir, &list, record_filter, alphasort), rc = 0;
    bool more = true;

    if (n < 0 && errno != ENOENT)
        return xlsnap_fail_errno(err, XLSNAP_FAILED, errno,
                                 "cannot read '%s'", dir);
    for (int i = 0; i < n; i++) {
        cleanup_free char *file = xasprintf("%s/%s", dir, list[i]->d_name);
        struct pending p = { 0 };

        if (!rc && more)
            rc = pending_read(file, &p, err);
        if (!rc && more)
            more = found(&p, user);
        pending_clear(&p);
        free(list[i]);
    }
    free(list);
    return rc;
}

struct refusal {
    struct op *op;
    const char *name, *uuid;
    struct xlsnap_error *err;
    int rc;
};

static bool refuse_if_ours(const struct pending *p, void *user)
{
    struct refusal *r = user;
    bool ours = (r->uuid && !strcasecmp(p->uuid, r->uuid)) ||
                (r->name && !strcmp(p->domain, r->name));

    for (size_t i = 0; i < p->n_disks && !ours; i++)
        ours = disks_find_id(r->op, &p->ids[i]);
    if (ours)
        r->rc = xlsnap_fail(r->err, XLSNAP_REFUSED,
                            "an earlier %s of domain '%s' was not finished; "
                            "run 'xl snapshot-recover %s' first",
                            p->operation, p->domain, p->domain);
    return !ours;
}

int pending_refuse(struct op *op, const char *name, const char *uuid,
                   struct xlsnap_error *err)
{
    struct refusal r = { .op = op, .name = name, .uuid = uuid, .err = err };
    int rc = pending_each(op->xs, refuse_if_ours, &r, err);

    return rc ? rc : r.rc;
}

static void disk_copy(struct xlsnap_disk *dst, const struct xlsnap_disk *src)
{
    *dst = *src;
    dst->vdev = xstrdup(src->vdev);
    dst->format = xstrdup(src->format);
    dst->target = xstrdup(src->target);
    dst->source = xstrdup(src->source);
}

void pending_set_disks(struct pending *p, const struct op *op)
{
    p->disks = xcalloc(op->n_disks, sizeof(*p->disks));
    p->ids = xcalloc(op->n_disks, sizeof(*p->ids));
    for (size_t i = 0; i < op->n_disks; i++) {
        disk_copy(&p->disks[i], xlsnap_snapshot_find_disk(
                                    &op->snap, op->disks[i].vdev));
        p->ids[i] = op->disks[i].id;
    }
    p->n_disks = op->n_disks;
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
    dst->discarded = xstrdup(src->discarded);
    dst->disks = xcalloc(src->n_disks, sizeof(*dst->disks));
    dst->ids = xcalloc(src->n_disks, sizeof(*dst->ids));
    for (size_t i = 0; i < src->n_disks; i++) {
        disk_copy(&dst->disks[i], &src->disks[i]);
        dst->ids[i] = src->ids[i];
    }
}

void pending_clear(struct pending *p)
{
    for (size_t i = 0; i < p->n_disks; i++) {
        free(p->disks[i].vdev);
        free(p->disks[i].format);
        free(p->disks[i].target);
        free(p->disks[i].source);
    }
    free(p->disks);
    free(p->ids);
    free(p->file);
    free(p->operation);
    free(p->domain);
    free(p->uuid);
    free(p->name);
    free(p->config_path);
    free(p->memory);
    free(p->memory_tmp);
    free(p->made_dir);
    free(p->discarded);
    memset(p, 0, sizeof(*p));
}
