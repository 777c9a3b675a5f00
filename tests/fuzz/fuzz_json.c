/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Fuzz target: JSON of lvs, of qemu-img and QEMU, and of a record.
 *
 * Any bytes are either refused with a message of one line, or have what is taken from
 * them proved: names of LVs that are names, percentages that are some, paths of a
 * record that are absolute.
 */
#include <fcntl.h>
#include <sys/stat.h>

#include "fuzzing.h"

#include "file.h"
#include "json.h"
#include "lvm.h"
#include "pending.h"
#include "qemu.h"
#include "util.h"

/* A name goes into command lines and paths. */
static void check_name(const char *name, bool may_be_empty)
{
    if (strlen(name) > 127 || *name == '-' || strchr(name, '/') ||
        (!*name && !may_be_empty))
        abort();
}

static void try_lvs(const char *text)
{
    struct xlsnap_error err = { 0 };
    struct lvm_vg vg;
    int rc = lvm_parse(text, "vg", &vg, &err);

    if (rc) {
        check_refusal(rc, &err, 0);
        return;
    }
    for (size_t i = 0; i < vg.n; i++) {
        const struct lvm_lv *lv = &vg.lvs[i];

        check_name(lv->name, false);
        check_name(lv->origin, true);
        check_name(lv->pool, true);
        if (lv->data < -1 || lv->data > 100000 || lv->metadata < -1 ||
            lv->metadata > 100000)
            abort();
        if (lvm_find(&vg, lv->name) > lv)
            abort();
        lvm_find_dev(&vg, lv->dev);
        lvm_has_word(lv->tags, "xl-snapshot");
    }
    lvm_vg_clear(&vg);
}

static void try_image(const struct json *image)
{
    struct xlsnap_error err = { 0 };
    const char *id;
    int count, rc = qemu_check_backing_chain(image, &err);

    if (rc)
        check_refusal(rc, &err, XLSNAP_REFUSED);
    id = qemu_img_find_id(image, "gold", &count);
    if ((id && count != 1) ||
        count > (int)json_array_len(json_get(image, "snapshots")))
        abort();
}

/* query-block: the node that serves the disk. */
static void try_blocks(const struct json *blocks)
{
    struct disk disk = { .vdev = (char *)"xvda", .source = (char *)"/a.qcow2" };
    struct xlsnap_error err = { 0 };
    struct op op = { 0 };
    const struct json *entry = qemu_find_node(&op, blocks, &disk, &err);

    if (!entry) {
        check_refusal(-err.code, &err, 0);
        return;
    }
    if (!json_get_string(entry, "node-name"))
        abort();
    qemu_node_has_tag(entry, "gold");
    try_image(json_get(entry, "image"));
}

static void try_qemu(const char *text, size_t size)
{
    struct xlsnap_error err = { 0 };
    struct json *root = NULL;
    int rc = json_parse(text, size, "QEMU", &root, &err);

    if (rc) {
        check_refusal(rc, &err, 0);
        return;
    }
    try_image(root);
    try_blocks(root);
    json_free(root);
}

static char dir[] = "/tmp/fuzz_json.XXXXXX";

static void remove_dir(void)
{
    rmdir(dir);
}

static bool count_record(const struct pending *p, void *user)
{
    if (!p->uuid || !p->name || !p->domain || p->config_path[0] != '/' ||
        p->memory[0] != '/')
        abort();
    ++*(int *)user;
    return true;
}

/* A directory of records with this one. */
static void try_record(const uint8_t *data, size_t size)
{
    static bool made;
    struct xlsnap_error err = { 0 };
    struct xlsnap xs = { .state_dir = dir };
    cleanup_free char *file = NULL, *pending = NULL;
    cleanup_close int fd = -1;
    int n = 0, rc;

    if (!made && (!mkdtemp(dir) || atexit(remove_dir)))
        abort();
    made = true;
    pending = xasprintf("%s/pending", dir);
    mkdir(pending, 0700);
    file = xasprintf("%s/x.json", pending);
    fd = open(file, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0 || file_write_all(fd, data, size))
        abort();
    rc = pending_each(&xs, count_record, &n, &err);
    if (rc)
        check_refusal(rc, &err, 0);
    else if (n != 1)
        abort();
    unlink(file);
    rmdir(pending);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    cleanup_free char *text = xcalloc(size + 1, 1);

    memcpy(text, data, size);
    try_lvs(text);
    try_qemu(text, size);
    try_record(data, size);
    return 0;
}
