/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What operations share: setting up, locking, clearing. */
#include "op.h"

#include <xxhash.h>

#include "flusher.h"
#include "qmp.h"
#include "snapshot.h"
#include "util.h"

void op_init(struct op *op, struct xlsnap *xs)
{
    memset(op, 0, sizeof(*op));
    op->xs = xs;
    domain_init(&op->dom);
    op->dom.domid = DOMAIN_NONE;
    xlsnap_snapshot_init(&op->snap);
    op->image.fd = -1;
    start_init(&op->start);
}

void op_clear(struct op *op)
{
    /* First: what else ends here may hang, and one that is to act waits for us. */
    guard_stop(op->guard);
    qmp_close(op->qmp);
    flusher_stop(op->flusher);
    flusher_reap(op->flusher);
    memory_writer_free(op->writer);
    disks_clear(op);
    domain_clear(&op->dom);
    xlsnap_snapshot_clear(&op->snap);
    pending_clear(&op->pending);
    memory_image_close(&op->image);
    start_clear(&op->start);
    free(op->config_path);
    free(op->outline);
    lock_release(op->locks);
}

int op_lock_domain(struct op *op, const char *name, const char *uuid,
                   struct xlsnap_error *err)
{
    cleanup_free char *by_name = xasprintf("name-%s", name);
    cleanup_free char *by_uuid = xasprintf("uuid-%s", uuid);
    cleanup_free char *what = xasprintf("domain '%s'", name);
    const char *keys[] = { by_name, by_uuid };

    for (char *p = by_name; *p; p++)
        if (*p == '/')
            *p = '\\'; /* no name of a file has a slash */
    return lock_take(op->xs->run_dir, keys, ARRAY_SIZE(keys), what, &op->locks,
                     err);
}

int op_lock_disks(struct op *op, struct xlsnap_error *err)
{
    char **keys = xcalloc(op->n_disks, sizeof(*keys));
    cleanup_free char *what =
        xasprintf("a disk of domain '%s'", op->snap.domain);
    int rc;

    for (size_t i = 0; i < op->n_disks; i++)
        keys[i] =
            xasprintf("disk-%llx-%llx", (unsigned long long)op->disks[i].id.dev,
                      (unsigned long long)op->disks[i].id.ino);
    rc = lock_add(op->locks, (const char *const *)keys, op->n_disks, what, err);
    for (size_t i = 0; i < op->n_disks; i++)
        free(keys[i]);
    free(keys);
    return rc;
}

int op_lock_files(struct op *op, struct xlsnap_error *err)
{
    const char *files[] = { op->snap.memory, op->config_path };
    char names[ARRAY_SIZE(files)][32];
    const char *keys[ARRAY_SIZE(files)];

    for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
        /* A bounded number of lock files; two paths on one is very rare. */
        snprintf(names[i], sizeof(names[i]), "file-%04x",
                 (unsigned)(XXH3_64bits(files[i], strlen(files[i])) % 4096));
        keys[i] = names[i];
    }
    return lock_add(op->locks, keys, ARRAY_SIZE(keys), op->snap.path, err);
}

bool op_is_same_domain(const struct op *op)
{
    return op->dom.domid != DOMAIN_NONE && op->dom.domid == op->pending.domid;
}

void op_fill_snapshot(struct op *op)
{
    const struct pending *p = &op->pending;
    struct xlsnap_snapshot *s = &op->snap;

    xlsnap_snapshot_clear(s);
    s->domain = xstrdup(p->domain);
    s->uuid = xstrdup(p->uuid);
    s->name = xstrdup(p->name);
    s->memory = xstrdup(p->memory);
    for (size_t i = 0; i < p->n_disks; i++)
        snapshot_copy_disk(xlsnap_snapshot_add_disk(s), &p->disks[i].spec);
}

int op_record(struct op *op, struct disk_group *group, struct xlsnap_error *err)
{
    return pending_write(op->xs, &op->pending, err);
}

int op_record_drop(struct op *op, struct disk_group *group,
                   struct xlsnap_error *err)
{
    return pending_drop(&op->pending, err);
}
