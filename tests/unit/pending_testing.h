/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the tests of pending.c share: records in a state directory of its own,
 * with a handle made by hand.
 */
#ifndef PENDING_TESTING_H
#define PENDING_TESTING_H

#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <sys/stat.h>
#include <cmocka.h>

#include "op.h"
#include "util.h"

#define UUID "11111111-2222-3333-4444-555555555555"
#define OTHER_UUID "99999999-2222-3333-4444-555555555555"
#define RECORD "state/pending/" UUID ".json"
#define SPARE "state/pending/" UUID ".spare"
#define NO_RECORD                                                \
    "'" RECORD "' is no pending record of this version; remove " \
    "it when you know what it was of"

static char dir[] = "/tmp/pending_test.XXXXXX";
static char state_dir[] = "state"; /* in dir, not there at first */
static struct xlsnap xs = { .state_dir = state_dir };

static inline int remove_one(const char *path, const struct stat *st, int type,
                             struct FTW *ftw)
{
    return remove(path);
}

static inline int setup(void **state)
{
    strcpy(dir + strlen(dir) - 6, "XXXXXX");
    return mkdtemp(dir) && !chdir(dir) ? 0 : -1;
}

static inline int teardown(void **state)
{
    return chdir("/") || nftw(dir, remove_one, 9, FTW_DEPTH | FTW_PHYS);
}

/* A record with every field set, two disks. */
static inline void make(struct pending *p)
{
    memset(p, 0, sizeof(*p));
    p->operation = xstrdup("revert");
    p->domain = xstrdup("web 1 \"x\" \xc3\xa4");
    p->uuid = xstrdup(UUID);
    p->name = xstrdup("before-upgrade");
    p->config_path = xstrdup("/snap/a b/snapshot.cfg");
    p->memory = xstrdup("/snap/m\n.save");
    p->memory_tmp = xstrdup("/snap/m.save.new-1");
    p->memory_id = (struct file_id){ .dev = 0xfd00, .ino = 4713 };
    p->token = xstrdup("0123456789abcdef");
    p->dir_ino = 4711;
    p->made_dir = xstrdup("/snap");
    p->monitor = xstrdup("yes");
    p->no_return = p->paused = p->force = p->keep = true;
    p->discarded = xstrdup("discarded-1");
    p->domid = 7;
    p->restored = 32751;
    p->disks = xcalloc(2, sizeof(*p->disks));
    p->n_disks = 2;
    p->disks[0].spec =
        (struct xlsnap_disk){ .vdev = xstrdup("xvda"),
                              .method = XLSNAP_METHOD_INTERNAL,
                              .format = xstrdup("qcow2"),
                              .source = xstrdup("/img/a,b.qcow2") };
    p->disks[0].id = (struct file_id){ .dev = 0xfd00, .ino = UINT64_MAX };
    p->disks[0].node = xstrdup("xvda-qcow2");
    p->disks[0].left =
        (struct file_stamp){ .ino = 17, .written = 1795323060123456789 };
    p->disks[1].spec = (struct xlsnap_disk){ .vdev = xstrdup("xvdb"),
                                             .method = XLSNAP_METHOD_OVERLAY,
                                             .format = xstrdup("qcow2"),
                                             .target = xstrdup("/img/b.cow"),
                                             .source = xstrdup("/dev/vg/b"),
                                             .source_format = xstrdup("raw") };
    p->disks[1].id = (struct file_id){ .ino = 0x700, .block = true };
    p->disks[1].made = (struct file_id){ .dev = 0xfd01, .ino = 4712 };
}

/* A short one. */
static inline void make_small(struct pending *p, const char *uuid,
                              const char *domain)
{
    make(p);
    free(p->uuid);
    free(p->domain);
    p->uuid = xstrdup(uuid);
    p->domain = xstrdup(domain);
}

static inline void write_record(struct pending *p)
{
    struct xlsnap_error err = { 0 };

    if (pending_write(&xs, p, &err))
        fail_msg("%s", err.msg);
}

static inline void write_small(const char *uuid, const char *domain)
{
    struct pending p;

    make_small(&p, uuid, domain);
    write_record(&p);
    pending_clear(&p);
}

struct found {
    struct pending p; /* the last one */
    int n, stop_at;
};

static inline bool found_one(const struct pending *p, void *user)
{
    struct found *found = user;

    pending_clear(&found->p);
    pending_copy(&found->p, p);
    return ++found->n != found->stop_at;
}

static inline void read_records(struct found *found)
{
    struct xlsnap_error err = { 0 };

    if (pending_each(&xs, found_one, found, &err))
        fail_msg("%s", err.msg);
}

static inline int count_records(void)
{
    struct found found = { 0 };

    read_records(&found);
    pending_clear(&found.p);
    return found.n;
}

static inline void put(const char *path, const char *text)
{
    FILE *f = fopen(path, "w");

    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
}

/* Not inline: gcc 12 would take what is got for a pointer to the stack. */
__attribute__((noinline, unused)) static char *get(const char *path)
{
    struct xlsnap_error err = { 0 };
    char *text = NULL;

    if (file_read(path, 1 << 20, &text, NULL, &err))
        fail_msg("%s", err.msg);
    return text;
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

#endif
