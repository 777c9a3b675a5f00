/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * pending.c: records in a state directory of its own, with a handle made by
 * hand.  fsync of a directory can be made to fail here.
 */
#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <cmocka.h>

#include "op.h"
#include "util.h"

#define UUID "11111111-2222-3333-4444-555555555555"
#define OTHER_UUID "99999999-2222-3333-4444-555555555555"
#define RECORD "state/pending/" UUID ".json"

static char dir[] = "/tmp/pending_test.XXXXXX";
static char state_dir[] = "state"; /* in dir, not there at first */
static struct xlsnap xs = { .state_dir = state_dir };
static bool dir_fsync_fails;

int fsync(int fd)
{
    struct stat st;

    fstat(fd, &st);
    if (dir_fsync_fails && S_ISDIR(st.st_mode)) {
        errno = EIO;
        return -1;
    }
    return syscall(SYS_fsync, fd);
}

static int remove_one(const char *path, const struct stat *st, int type,
                      struct FTW *ftw)
{
    return remove(path);
}

static int setup(void **state)
{
    strcpy(dir + strlen(dir) - 6, "XXXXXX");
    dir_fsync_fails = false;
    return mkdtemp(dir) && !chdir(dir) ? 0 : -1;
}

static int teardown(void **state)
{
    return chdir("/") || nftw(dir, remove_one, 9, FTW_DEPTH | FTW_PHYS);
}

/* A record with every field set, two disks. */
static void make(struct pending *p)
{
    memset(p, 0, sizeof(*p));
    p->operation = xstrdup("revert");
    p->domain = xstrdup("web 1 \"x\" \xc3\xa4");
    p->uuid = xstrdup(UUID);
    p->name = xstrdup("before-upgrade");
    p->config_path = xstrdup("/snap/a b/snapshot.cfg");
    p->memory = xstrdup("/snap/m\n.save");
    p->memory_tmp = xstrdup("/snap/m.save.new-1");
    p->made_dir = xstrdup("/snap");
    p->no_return = p->monitor = p->paused = true;
    p->discarded = xstrdup("discarded-1");
    p->domid = 7;
    p->restored = 32751;
    p->disks = xcalloc(2, sizeof(*p->disks));
    p->ids = xcalloc(2, sizeof(*p->ids));
    p->n_disks = 2;
    p->disks[0] = (struct xlsnap_disk){ .vdev = xstrdup("xvda"),
                                        .method = XLSNAP_METHOD_INTERNAL,
                                        .format = xstrdup("qcow2"),
                                        .source = xstrdup("/img/a,b.qcow2") };
    p->ids[0] = (struct file_id){ .dev = 0xfd00, .ino = UINT64_MAX };
    p->disks[1] = (struct xlsnap_disk){ .vdev = xstrdup("xvdb"),
                                        .method = XLSNAP_METHOD_EXTERNAL,
                                        .format = xstrdup("raw"),
                                        .target = xstrdup("/img/b.cow"),
                                        .source = xstrdup("/dev/vg/b") };
    p->ids[1] = (struct file_id){ .ino = 0x700, .block = true };
}

/* A short one. */
static void make_small(struct pending *p, const char *uuid, const char *domain)
{
    make(p);
    free(p->uuid);
    free(p->domain);
    p->uuid = xstrdup(uuid);
    p->domain = xstrdup(domain);
}

static void write_record(struct pending *p)
{
    struct xlsnap_error err = { 0 };

    if (pending_write(&xs, p, &err))
        fail_msg("%s", err.msg);
}

static void write_small(const char *uuid, const char *domain)
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

static bool found_one(const struct pending *p, void *user)
{
    struct found *found = user;

    pending_clear(&found->p);
    pending_copy(&found->p, p);
    return ++found->n != found->stop_at;
}

static void read_records(struct found *found)
{
    struct xlsnap_error err = { 0 };

    if (pending_each(&xs, found_one, found, &err))
        fail_msg("%s", err.msg);
}

static int count_records(void)
{
    struct found found = { 0 };

    read_records(&found);
    pending_clear(&found.p);
    return found.n;
}

static void put(const char *path, const char *text)
{
    FILE *f = fopen(path, "w");

    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
}

static char *get(const char *path)
{
    struct xlsnap_error err = { 0 };
    char *text;

    if (file_read(path, 1 << 20, &text, NULL, &err))
        fail_msg("%s", err.msg);
    return text;
}

/* ---- writing ---- */

static void assert_same_string(const char *a, const char *b)
{
    assert_int_equal(!a, !b);
    if (a)
        assert_string_equal(a, b);
}

static void assert_same_disk(const struct pending *a, const struct pending *b,
                             size_t i)
{
    assert_string_equal(a->disks[i].vdev, b->disks[i].vdev);
    assert_string_equal(a->disks[i].format, b->disks[i].format);
    assert_string_equal(a->disks[i].source, b->disks[i].source);
    assert_same_string(a->disks[i].target, b->disks[i].target);
    assert_int_equal(a->disks[i].method, b->disks[i].method);
    assert_true(file_id_equal(&a->ids[i], &b->ids[i]));
}

static void assert_same(const struct pending *a, const struct pending *b)
{
    assert_string_equal(a->file, b->file);
    assert_string_equal(a->operation, b->operation);
    assert_string_equal(a->domain, b->domain);
    assert_string_equal(a->uuid, b->uuid);
    assert_string_equal(a->name, b->name);
    assert_string_equal(a->config_path, b->config_path);
    assert_string_equal(a->memory, b->memory);
    assert_same_string(a->memory_tmp, b->memory_tmp);
    assert_same_string(a->made_dir, b->made_dir);
    assert_same_string(a->discarded, b->discarded);
    assert_same_string(a->boot_id, b->boot_id);
    assert_int_equal(a->no_return, b->no_return);
    assert_int_equal(a->monitor, b->monitor);
    assert_int_equal(a->paused, b->paused);
    assert_int_equal(a->domid, b->domid);
    assert_int_equal(a->restored, b->restored);
    assert_int_equal(a->n_disks, b->n_disks);
    for (size_t i = 0; i < a->n_disks; i++)
        assert_same_disk(a, b, i);
}

static void a_record_is_read_back_the_same(void **state)
{
    struct found found = { 0 };
    struct pending p;

    make(&p);
    write_record(&p);
    assert_string_equal(p.file, RECORD);
    read_records(&found);
    assert_int_equal(found.n, 1);
    assert_same(&found.p, &p);
    pending_clear(&found.p);
    pending_clear(&p);
}

static void what_may_be_missing_is_read_back_missing(void **state)
{
    struct found found = { 0 };
    struct pending p = { .domid = DOMAIN_NONE, .restored = DOMAIN_NONE };

    p.operation = xstrdup("revert");
    p.domain = xstrdup("web1");
    p.uuid = xstrdup(UUID);
    p.name = xstrdup("s");
    p.config_path = xstrdup("/c");
    p.memory = xstrdup("/m");
    write_record(&p);
    read_records(&found);
    assert_int_equal(found.n, 1);
    assert_same(&found.p, &p);
    assert_int_equal(found.p.domid, DOMAIN_NONE);
    pending_clear(&found.p);
    pending_clear(&p);
}

static void a_record_is_replaced(void **state)
{
    struct found found = { 0 };
    struct pending p;

    make(&p);
    write_record(&p);
    p.restored = 8;
    p.paused = false;
    write_record(&p);
    read_records(&found);
    assert_int_equal(found.n, 1);
    assert_same(&found.p, &p);
    pending_clear(&found.p);
    pending_clear(&p);
}

static void a_record_knows_the_boot_it_was_written_in(void **state)
{
    struct found found = { 0 };
    struct pending p;

    make(&p);
    assert_false(pending_same_boot(&p)); /* not written */
    write_record(&p);
    read_records(&found);
    assert_true(pending_same_boot(&found.p));
    found.p.boot_id[0] ^= 1;
    assert_false(pending_same_boot(&found.p));
    found.p.boot_id[0] = '\0'; /* of a host without one */
    assert_false(pending_same_boot(&found.p));
    pending_clear(&found.p);
    pending_clear(&p);
}

static void records_are_for_root_only(void **state)
{
    mode_t old = umask(0);
    struct stat st;

    write_small(UUID, "web1");
    umask(old);
    assert_int_equal(stat(RECORD, &st), 0);
    assert_int_equal(st.st_mode, S_IFREG | 0600);
    assert_int_equal(stat("state/pending", &st), 0);
    assert_int_equal(st.st_mode, S_IFDIR | 0700);
    assert_int_equal(stat("state", &st), 0);
    assert_int_equal(st.st_mode, S_IFDIR | 0700);
}

static void a_directory_for_others_to_write_is_refused(void **state)
{
    struct xlsnap_error err = { 0 };
    struct pending p;

    assert_int_equal(mkdir("state", 0700), 0);
    assert_int_equal(mkdir("state/pending", 0700), 0);
    assert_int_equal(chmod("state/pending", 0777), 0);
    make(&p);
    assert_int_equal(pending_write(&xs, &p, &err), -XLSNAP_REFUSED);
    assert_non_null(strstr(err.msg, "cannot write the pending record: "));
    assert_non_null(strstr(err.msg, "is writable by others (mode 0777)"));
    assert_int_equal(access(RECORD, F_OK), -1);
    pending_clear(&p);
}

static void a_record_that_may_be_there_is_dropped(void **state)
{
    struct xlsnap_error err = { 0 }, drop = { 0 };
    struct pending p;

    write_small(OTHER_UUID, "other"); /* makes the directories */
    make(&p);
    dir_fsync_fails = true;
    assert_int_equal(pending_write(&xs, &p, &err), -XLSNAP_FAILED);
    assert_int_equal(err.errnum, EIO);
    dir_fsync_fails = false;
    assert_int_equal(access(RECORD, F_OK), 0);
    assert_int_equal(pending_drop(&p, &drop), 0);
    assert_int_equal(access(RECORD, F_OK), -1);
    assert_int_equal(count_records(), 1);
    pending_clear(&p);
}

static void a_dropped_record_is_gone(void **state)
{
    struct xlsnap_error err = { 0 };
    struct pending p;

    make(&p);
    write_record(&p);
    assert_int_equal(pending_drop(&p, &err), 0);
    assert_null(p.file);
    assert_int_equal(access(RECORD, F_OK), -1);
    assert_int_equal(count_records(), 0);
    assert_int_equal(pending_drop(&p, &err), 0); /* again */
    pending_clear(&p);
}

static void a_record_that_was_never_written_is_dropped(void **state)
{
    struct xlsnap_error err = { 0 };
    struct pending p;

    make(&p);
    assert_int_equal(pending_drop(&p, &err), 0);
    pending_clear(&p);
}

static void a_record_that_cannot_be_dropped_is_told(void **state)
{
    struct xlsnap_error err = { 0 };
    struct pending p;

    make(&p);
    write_record(&p);
    dir_fsync_fails = true;
    assert_int_equal(pending_drop(&p, &err), -XLSNAP_FAILED);
    assert_int_equal(err.errnum, EIO);
    assert_string_equal(p.file, RECORD); /* to try again */
    dir_fsync_fails = false;
    err = (struct xlsnap_error){ 0 };
    assert_int_equal(pending_drop(&p, &err), 0);
    pending_clear(&p);
}

/* ---- reading ---- */

static void no_directory_is_no_record(void **state)
{
    assert_int_equal(count_records(), 0);
}

static void a_directory_that_is_none_is_told(void **state)
{
    struct xlsnap_error err = { 0 };
    struct found found = { 0 };

    assert_int_equal(mkdir("state", 0700), 0);
    put("state/pending", "");
    assert_int_equal(pending_each(&xs, found_one, &found, &err),
                     -XLSNAP_FAILED);
    assert_string_equal(err.msg, "cannot read 'state/pending': Not a "
                                 "directory");
    assert_int_equal(found.n, 0);
}

static void all_records_are_found(void **state)
{
    write_small(UUID, "web1");
    write_small(OTHER_UUID, "web2");
    assert_int_equal(count_records(), 2);
}

static void the_search_ends_when_told(void **state)
{
    struct found found = { .stop_at = 1 };

    write_small(UUID, "web1");
    write_small(OTHER_UUID, "web2");
    read_records(&found);
    assert_int_equal(found.n, 1);
    assert_string_equal(found.p.domain, "web1");
    pending_clear(&found.p);
}

static void other_files_are_no_records(void **state)
{
    write_small(UUID, "web1");
    put("state/pending/.xl-snapshot.AbCdEf", "{");
    put("state/pending/.hidden.json", "{");
    put("state/pending/" OTHER_UUID ".json~", "{");
    put("state/pending/.json", "{");
    put("state/pending/README", "{");
    assert_int_equal(count_records(), 1);
}

/* ---- damaged records ---- */

static void assert_damaged(const char *text, const char *message)
{
    struct xlsnap_error err = { 0 };
    struct found found = { 0 };

    put(RECORD, text);
    assert_int_equal(pending_each(&xs, found_one, &found, &err),
                     -XLSNAP_FAILED);
    if (message)
        assert_string_equal(err.msg, message);
    assert_int_equal(err.code, XLSNAP_FAILED);
    assert_non_null(strstr(err.msg, RECORD)); /* which one */
    assert_int_equal(found.n, 0);
}

#define NO_RECORD                                                \
    "'" RECORD "' is no pending record of this version; remove " \
    "it when you know what it was of"

/* The text of a record with `from` replaced by `to`, to be freed. */
static char *edited(const char *text, const char *from, const char *to)
{
    const char *p = strstr(text, from);

    if (!p)
        fail_msg("no %s in the record", from);
    return xasprintf("%.*s%s%s", (int)(p - text), text, to, p + strlen(from));
}

static void a_record_cut_anywhere_is_told(void **state)
{
    cleanup_free char *text = NULL;

    write_small(UUID, "web1");
    text = get(RECORD);
    for (size_t len = strrchr(text, '}') - text; len--;) {
        text[len] = '\0';
        assert_damaged(text, NULL);
    }
}

static void an_empty_record_is_told(void **state)
{
    write_small(UUID, "web1");
    assert_damaged("", NULL);
    assert_damaged("{}", NO_RECORD);
    assert_damaged("[]", NO_RECORD);
    assert_damaged("null", NO_RECORD);
}

static void a_record_of_another_format_is_told(void **state)
{
    const char *formats[] = { "0", "2", "\"1\"", "1.0", "null", "-1", "true" };
    cleanup_free char *text = NULL;

    write_small(UUID, "web1");
    text = get(RECORD);
    for (size_t i = 0; i < ARRAY_SIZE(formats); i++) {
        cleanup_free char *to = xasprintf("\"format\": %s,", formats[i]);
        cleanup_free char *bad = edited(text, "\"format\": 1,", to);

        assert_damaged(bad, NO_RECORD);
    }
}

/* Each member in turn is given another name. */
static void a_record_that_lacks_a_member_is_told(void **state)
{
    cleanup_free char *text = NULL;
    char *name;
    int n = 0;

    write_small(UUID, "web1");
    text = get(RECORD);
    for (name = strstr(text, "\": "); name; name = strstr(name + 1, "\": ")) {
        name[-1] ^= 1;
        assert_damaged(text, NO_RECORD);
        name[-1] ^= 1;
        n++;
    }
    assert_int_equal(n, 23 + 2 * 9); /* those of pending.c */
    put(RECORD, text);
    assert_int_equal(count_records(), 1);
}

static void a_member_of_another_type_is_told(void **state)
{
    const struct {
        const char *from, *to;
    } edits[] = {
        { "\"operation\": \"revert\"", "\"operation\": 1" },
        { "\"domain\": \"web1\"", "\"domain\": null" },
        { "\"domain\": \"web1\"", "\"domain\": \"\"" },
        { "\"uuid\": \"" UUID "\"", "\"uuid\": {}" },
        { "\"name\": \"before-upgrade\"", "\"name\": []" },
        { "\"no_return\": true", "\"no_return\": \"true\"" },
        { "\"no_return\": true", "\"no_return\": 1" },
        { "\"monitor\": true", "\"monitor\": null" },
        { "\"paused\": true", "\"paused\": 0" },
        { "\"domid\": 7", "\"domid\": \"7\"" },
        { "\"domid\": 7", "\"domid\": 7.5" },
        { "\"domid\": 7", "\"domid\": -1" },
        { "\"domid\": 7", "\"domid\": 4294967296" }, /* 0, cut to 32 bits */
        { "\"restored\": 32751", "\"restored\": 1e3" },
        { "\"disks\": [", "\"disks\": {}, \"more\": [" },
        { "\"vdev\": \"xvda\"", "\"vdev\": 3" },
        { "\"method\": \"internal\"", "\"method\": \"\"" },
        { "\"method\": \"internal\"", "\"method\": \"magic\"" },
        { "\"ino\": 1792", "\"ino\": 0" },
        { "\"dev\": 64768", "\"dev\": \"64768\"" },
        { "\"block\": true", "\"block\": \"true\"" },
    };
    cleanup_free char *text = NULL;

    write_small(UUID, "web1");
    text = get(RECORD);
    for (size_t i = 0; i < ARRAY_SIZE(edits); i++) {
        cleanup_free char *bad = edited(text, edits[i].from, edits[i].to);

        assert_damaged(bad, NO_RECORD);
    }
}

static void a_disk_that_is_no_object_is_told(void **state)
{
    cleanup_free char *text = NULL, *bad = NULL;

    write_small(UUID, "web1");
    text = get(RECORD);
    bad = edited(text, "\"disks\": [", "\"disks\": [5,");
    assert_damaged(bad, NO_RECORD);
}

static void a_huge_record_is_told(void **state)
{
    cleanup_free char *text = xcalloc((1 << 20) + 2, 1);

    write_small(UUID, "web1");
    memset(text, ' ', (1 << 20) + 1);
    assert_damaged(text, "cannot read '" RECORD "': it is larger than 1048576 "
                         "bytes");
}

static void a_record_that_is_no_file_is_told(void **state)
{
    struct xlsnap_error err = { 0 };
    struct found found = { 0 };

    write_small(OTHER_UUID, "web1");
    assert_int_equal(mkdir(RECORD, 0700), 0);
    assert_int_equal(pending_each(&xs, found_one, &found, &err),
                     -XLSNAP_FAILED);
    assert_string_equal(err.msg, "cannot read '" RECORD "': it is a "
                                 "directory");
    pending_clear(&found.p);
}

/* ---- refusing ---- */

#define FIRST(domain)                                                 \
    "an earlier revert of domain '" domain "' was not finished; run " \
    "'xl snapshot-recover " domain "' first"

static void assert_refuses(struct op *op, const char *name, const char *uuid,
                           const char *message)
{
    struct xlsnap_error err = { 0 };

    assert_int_equal(pending_refuse(op, name, uuid, &err), -XLSNAP_REFUSED);
    assert_int_equal(err.code, XLSNAP_REFUSED);
    assert_string_equal(err.msg, message);
}

static void assert_permits(struct op *op, const char *name, const char *uuid)
{
    struct xlsnap_error err = { 0 };

    assert_int_equal(pending_refuse(op, name, uuid, &err), 0);
    assert_int_equal(err.code, 0);
}

static void a_domain_is_refused_by_uuid(void **state)
{
    struct op op = { .xs = &xs };

    write_small("aaaaaaaa-2222-3333-4444-555555555555", "web1");
    assert_refuses(&op, NULL, "aaaaaaaa-2222-3333-4444-555555555555",
                   FIRST("web1"));
    assert_refuses(&op, "renamed", "AAAAAAAA-2222-3333-4444-555555555555",
                   FIRST("web1"));
    assert_permits(&op, NULL, UUID);
}

static void a_domain_is_refused_by_name(void **state)
{
    struct op op = { .xs = &xs };

    write_small(UUID, "web1");
    assert_refuses(&op, "web1", NULL, FIRST("web1"));
    assert_refuses(&op, "web1", OTHER_UUID, FIRST("web1"));
    assert_permits(&op, "WEB1", OTHER_UUID);
    assert_permits(&op, "web", NULL);
}

static void a_disk_of_a_record_is_refused(void **state)
{
    struct disk disk = { .id = { .dev = 0xfd00, .ino = UINT64_MAX } };
    struct op op = { .xs = &xs, .disks = &disk, .n_disks = 1 };

    write_small(UUID, "web1");
    assert_refuses(&op, NULL, NULL, FIRST("web1"));
    assert_refuses(&op, "other", OTHER_UUID, FIRST("web1"));
    disk.id.block = true;
    assert_permits(&op, "other", OTHER_UUID);
    disk.id = (struct file_id){ .ino = 0x700, .block = true };
    assert_refuses(&op, "other", OTHER_UUID, FIRST("web1"));
    disk.id.ino++;
    assert_permits(&op, "other", OTHER_UUID);
}

static void nothing_pending_refuses_nothing(void **state)
{
    struct op op = { .xs = &xs };

    assert_permits(&op, "web1", UUID);
}

static void a_damaged_record_refuses_everything(void **state)
{
    struct xlsnap_error err = { 0 };
    struct op op = { .xs = &xs };

    write_small(UUID, "web1");
    put(RECORD, "{}");
    assert_int_equal(pending_refuse(&op, "other", OTHER_UUID, &err),
                     -XLSNAP_FAILED);
    assert_string_equal(err.msg, NO_RECORD);
}

/* ---- filling ---- */

static void the_disks_of_an_operation_are_taken_over(void **state)
{
    struct disk disks[] = { { .vdev = (char *)"xvdb", .id = { 1, 2, false } } };
    struct op op = { .xs = &xs, .disks = disks, .n_disks = 1 };
    struct pending p = { 0 };
    struct xlsnap_disk *disk;

    xlsnap_snapshot_init(&op.snap);
    xlsnap_snapshot_add_disk(&op.snap)->vdev = xstrdup("xvda"); /* no part */
    disk = xlsnap_snapshot_add_disk(&op.snap);
    disk->vdev = xstrdup("xvdb");
    disk->source = xstrdup("/img/b.qcow2");
    disk->format = xstrdup("qcow2");
    disk->method = XLSNAP_METHOD_INTERNAL;
    pending_set_disks(&p, &op);
    xlsnap_snapshot_clear(&op.snap);
    assert_int_equal(p.n_disks, 1);
    assert_string_equal(p.disks[0].vdev, "xvdb");
    assert_string_equal(p.disks[0].source, "/img/b.qcow2");
    assert_int_equal(p.disks[0].method, XLSNAP_METHOD_INTERNAL);
    assert_true(file_id_equal(&p.ids[0], &disks[0].id));
    pending_clear(&p);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_record_is_read_back_the_same),
        TEST(what_may_be_missing_is_read_back_missing),
        TEST(a_record_is_replaced),
        TEST(a_record_knows_the_boot_it_was_written_in),
        TEST(records_are_for_root_only),
        TEST(a_directory_for_others_to_write_is_refused),
        TEST(a_record_that_may_be_there_is_dropped),
        TEST(a_dropped_record_is_gone),
        TEST(a_record_that_was_never_written_is_dropped),
        TEST(a_record_that_cannot_be_dropped_is_told),
        TEST(no_directory_is_no_record),
        TEST(a_directory_that_is_none_is_told),
        TEST(all_records_are_found),
        TEST(the_search_ends_when_told),
        TEST(other_files_are_no_records),
        TEST(a_record_cut_anywhere_is_told),
        TEST(an_empty_record_is_told),
        TEST(a_record_of_another_format_is_told),
        TEST(a_record_that_lacks_a_member_is_told),
        TEST(a_member_of_another_type_is_told),
        TEST(a_disk_that_is_no_object_is_told),
        TEST(a_huge_record_is_told),
        TEST(a_record_that_is_no_file_is_told),
        TEST(a_domain_is_refused_by_uuid),
        TEST(a_domain_is_refused_by_name),
        TEST(a_disk_of_a_record_is_refused),
        TEST(nothing_pending_refuses_nothing),
        TEST(a_damaged_record_refuses_everything),
        TEST(the_disks_of_an_operation_are_taken_over),
    };

    return cmocka_run_group_tests_name("pending", tests, NULL, NULL);
}
