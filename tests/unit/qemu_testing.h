/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the tests of the qemu driver share: an operation on images in a
 * directory of its own, made and looked at by the real qemu-img and qemu-io.
 * No domain runs (op.dom.domid is DOMAIN_NONE), and no QEMU.
 */
#ifndef QEMU_TESTING_H
#define QEMU_TESTING_H

#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <sys/stat.h>
#include <cmocka.h>

#include "disk-qemu.h"
#include "run.h"
#include "util.h"

#define MAX_DISKS 2
#define TOKEN "0123456789abcdef"
#define UUID "11111111-2222-3333-4444-555555555555"
#define IMAGE_SIZE (1 << 20)

static char dir[] = "/tmp/qemu_test.XXXXXX";
static char logged[4096]; /* messages, a line each */
static char state_dir[] = "state";

static inline void keep_message(xentoollog_logger *l, xentoollog_level level,
                                int errnum, const char *context,
                                const char *format, va_list ap)
{
    size_t len = strlen(logged);

    vsnprintf(logged + len, sizeof(logged) - len, format, ap);
    strncat(logged, "\n", sizeof(logged) - strlen(logged) - 1);
}

static inline void no_progress(xentoollog_logger *l, const char *context,
                               const char *doing, int percent,
                               unsigned long done, unsigned long total)
{
}

static inline void no_destroy(xentoollog_logger *l)
{
}

static xentoollog_logger logger = { keep_message, no_progress, no_destroy };
static struct xlsnap xs = { .logger = &logger,
                            .cancel_fd = -1,
                            .state_dir = state_dir };
/* Snapshot "s1" of the disks that a test uses. */
static struct op op;
static struct disk *list[MAX_DISKS];
static struct disk_group group = { .driver = &disk_qemu, .disks = list };

static inline int remove_one(const char *path, const struct stat *st, int type,
                             struct FTW *ftw)
{
    return remove(path);
}

static inline int setup(void **state)
{
    struct pending *p = &op.pending;

    strcpy(dir + strlen(dir) - 6, "XXXXXX");
    logged[0] = '\0';
    op_init(&op, &xs);
    op.snap.domain = xstrdup("web1");
    op.snap.name = xstrdup("s1");
    op.snap.memory = xstrdup("/memory.save");
    op.config_path = xstrdup("/snapshot.cfg");
    op.disks = xcalloc(MAX_DISKS, sizeof(*op.disks));
    op.transacted = true; /* as in a recovery */
    group.n = 0;
    p->operation = xstrdup("create");
    p->domain = xstrdup("web1");
    p->uuid = xstrdup(UUID);
    p->name = xstrdup("s1");
    p->config_path = xstrdup("/snapshot.cfg");
    p->memory = xstrdup("/memory.save");
    p->memory_tmp = xstrdup("/memory.save.new");
    p->token = xstrdup(TOKEN);
    p->discarded = xstrdup("discarded-T");
    p->domid = 7; /* ran before, and is gone */
    p->restored = DOMAIN_NONE;
    return mkdtemp(dir) && !chdir(dir) ? 0 : -1;
}

static inline int teardown(void **state)
{
    op_clear(&op);
    return chdir("/") || nftw(dir, remove_one, 9, FTW_DEPTH | FTW_PHYS);
}

/* ---- disks ---- */

/* The next disk, xvda, xvdb, is this file, as disk-list.c would fill it in. */
static inline struct disk *use(const char *source)
{
    struct xlsnap_error err = { 0 };
    struct disk *disk = &op.disks[op.n_disks];

    assert_true(op.n_disks < MAX_DISKS);
    disk->vdev = xasprintf("xvd%c", (int)('a' + op.n_disks));
    disk->source = xstrdup(source);
    disk->path = realpath(source, NULL);
    disk->method = XLSNAP_METHOD_INTERNAL;
    disk->format = LIBXL_DISK_FORMAT_QCOW2;
    disk->backend = LIBXL_DISK_BACKEND_QDISK;
    list[op.n_disks++] = disk;
    group.n = op.n_disks;
    if (!disk->path || file_id(source, &disk->id, &err))
        fail_msg("%s: %s", source, err.msg);
    return disk;
}

/* Absolute, with the directory of the tests before it; to be freed. */
static inline char *in_dir(const char *name)
{
    return xasprintf("%s/%s", dir, name);
}

/* ---- programs ---- */

static inline void run(const char *const argv[])
{
    struct xlsnap_error err = { 0 };

    if (run_ok(argv, RUN_TIMEOUT_MS, &err))
        fail_msg("%s", err.msg);
}
#define RUN(...) run((const char *const[]){ __VA_ARGS__, NULL })

static inline void make_image(const char *file)
{
    RUN("qemu-img", "create", "-q", "-f", "qcow2", file, "1M");
}

/* A part of the image is filled with that byte, in KiB. */
static inline void fill_part(const char *file, const char *pattern, int from,
                             int len)
{
    cleanup_free char *arg = qemu_img_arg(file, "qcow2");
    cleanup_free char *cmd =
        xasprintf("write -q -P %s %dk %dk", pattern, from, len);

    RUN("qemu-io", "-c", cmd, arg);
}

static inline void assert_part(const char *file, const char *format,
                               const char *pattern, int from, int len)
{
    cleanup_free char *arg = qemu_img_arg(file, format);
    cleanup_free char *cmd =
        xasprintf("read -q -P %s %dk %dk", pattern, from, len);

    RUN("qemu-io", "-r", "-c", cmd, arg);
}

static inline void fill(const char *file, const char *pattern)
{
    fill_part(file, pattern, 0, IMAGE_SIZE >> 10);
}

static inline void assert_filled(const char *file, const char *pattern)
{
    assert_part(file, "qcow2", pattern, 0, IMAGE_SIZE >> 10);
}

static inline void tag(const char *file, const char *name)
{
    RUN("qemu-img", "snapshot", "-q", "-c", name, file);
}

/* `qemu-img info` of the image; *root_r is to be freed. */
static inline const struct json *image_info(const char *file,
                                            struct json **root_r)
{
    struct xlsnap_error err = { 0 };

    if (qemu_img_info(file, "qcow2", root_r, &err))
        fail_msg("%s", err.msg);
    return *root_r;
}

/* How many snapshots of that tag has the image? */
static inline int count_tags(const char *file, const char *name)
{
    struct json *root;
    int count;

    qemu_img_find_id(image_info(file, &root), name, &count);
    json_free(root);
    return count;
}

static inline struct json *parse(const char *text)
{
    struct xlsnap_error err = { 0 };
    struct json *root;

    if (json_parse(text, strlen(text), "test", &root, &err))
        fail_msg("%s", err.msg);
    return root;
}

/* ---- files ---- */

static inline void put(const char *file, const char *text)
{
    FILE *f = fopen(file, "w");

    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
}

static inline struct file_id id_of(const char *file)
{
    struct xlsnap_error err = { 0 };
    struct file_id id;

    if (file_id(file, &id, &err))
        fail_msg("%s", err.msg);
    return id;
}

static inline void assert_is(const char *file, const struct file_id *id)
{
    struct file_id found = id_of(file);

    if (!file_id_equal(&found, id))
        fail_msg("'%s' is another file", file);
}

/* All that is in the directory but the records, by name, between blanks. */
static inline void assert_files(const char *where, const char *expected)
{
    struct dirent **names;
    char found[1024] = "";
    int n = scandir(where, &names, NULL, alphasort);

    assert_true(n >= 0);
    for (int i = 0; i < n; i++) {
        const char *name = names[i]->d_name;

        if (strcmp(name, ".") && strcmp(name, "..") && strcmp(name, state_dir))
            snprintf(found + strlen(found), sizeof(found) - strlen(found),
                     "%s%s", *found ? " " : "", name);
        free(names[i]);
    }
    free(names);
    assert_string_equal(found, expected);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

#endif
