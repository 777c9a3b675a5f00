/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * pending.c: records written, found and dropped, and what they refuse.  fsync
 * of a directory can be made to fail here.
 */
#include <sys/syscall.h>

#include "pending_testing.h"

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
    assert_string_equal(a->disks[i].spec.vdev, b->disks[i].spec.vdev);
    assert_string_equal(a->disks[i].spec.format, b->disks[i].spec.format);
    assert_string_equal(a->disks[i].spec.source, b->disks[i].spec.source);
    assert_same_string(a->disks[i].spec.source_format,
                       b->disks[i].spec.source_format);
    assert_same_string(a->disks[i].spec.target, b->disks[i].spec.target);
    assert_int_equal(a->disks[i].spec.method, b->disks[i].spec.method);
    assert_true(file_id_equal(&a->disks[i].id, &b->disks[i].id));
    assert_true(file_id_equal(&a->disks[i].made, &b->disks[i].made));
    assert_int_equal(a->disks[i].left.ino, b->disks[i].left.ino);
    assert_int_equal(a->disks[i].left.written, b->disks[i].left.written);
    assert_same_string(a->disks[i].node, b->disks[i].node);
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
    assert_true(file_id_equal(&a->memory_id, &b->memory_id));
    assert_string_equal(a->token, b->token);
    assert_int_equal(a->dir_ino, b->dir_ino);
    assert_same_string(a->made_dir, b->made_dir);
    assert_same_string(a->discarded, b->discarded);
    assert_same_string(a->boot_id, b->boot_id);
    assert_int_equal(a->no_return, b->no_return);
    assert_int_equal(a->live, b->live);
    assert_int_equal(a->settled, b->settled);
    assert_same_string(a->monitor, b->monitor);
    assert_int_equal(a->paused, b->paused);
    assert_int_equal(a->force, b->force);
    assert_int_equal(a->keep, b->keep);
    assert_int_equal(a->domid, b->domid);
    assert_int_equal(a->looking, b->looking);
    assert_int_equal(a->restored, b->restored);
    assert_int_equal(a->released, b->released);
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
    p.token = xstrdup("0123456789abcdef");
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
    p.looking = true;
    p.released = true;
    p.live = true;
    p.settled = true;
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

/* What is written there nobody would carry out. */
static void a_directory_of_somebody_else_is_refused(void **state)
{
    struct xlsnap_error err = { 0 };
    struct pending p;

    assert_int_equal(mkdir("state", 0700), 0);
    assert_int_equal(chown("state", 4711, 0), 0);
    make(&p);
    assert_int_equal(pending_write(&xs, &p, &err), -XLSNAP_REFUSED);
    assert_non_null(strstr(err.msg, "cannot write the pending record: "));
    assert_non_null(strstr(err.msg, "state' belongs to user 4711, who could"));
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
    assert_int_equal(access(SPARE, F_OK), 0);
    assert_int_equal(pending_drop(&p, &drop), 0);
    assert_int_equal(access(SPARE, F_OK), -1);
    write_record(&p);
    dir_fsync_fails = true;
    assert_int_equal(pending_write(&xs, &p, &err), -XLSNAP_FAILED);
    dir_fsync_fails = false;
    assert_int_equal(access(RECORD, F_OK), 0);
    assert_int_equal(pending_drop(&p, &drop), 0);
    assert_int_equal(access(RECORD, F_OK), -1);
    assert_int_equal(access(SPARE, F_OK), -1);
    assert_int_equal(count_records(), 1);
    pending_clear(&p);
}

static ino_t inode_of(const char *path)
{
    struct stat st;

    assert_int_equal(stat(path, &st), 0);
    return st.st_ino;
}

static void assert_written_as(const struct pending *p)
{
    struct found found = { 0 };

    read_records(&found);
    assert_int_equal(found.n, 1);
    assert_same(&found.p, p);
    pending_clear(&found.p);
}

static void a_change_wants_no_space(void **state)
{
    ino_t record, spare;
    struct pending p;
    struct stat st;
    off_t size;

    make(&p);
    write_record(&p);
    record = inode_of(RECORD);
    spare = inode_of(SPARE);
    assert_int_equal(stat(RECORD, &st), 0);
    size = st.st_size;
    for (int n = 0; n < 3; n++) {
        p.domid = 1000 * n;
        p.disks[0].node[n] = '-';
        write_record(&p);
        assert_int_equal(inode_of(RECORD), n % 2 ? record : spare);
        assert_int_equal(inode_of(SPARE), n % 2 ? spare : record);
        assert_int_equal(stat(SPARE, &st), 0);
        assert_int_equal(st.st_size, size);
        assert_written_as(&p);
    }
    pending_clear(&p);
}

/* Of a run that was killed, or somebody has taken it away. */
static void without_a_spare_file_a_record_is_made_anew(void **state)
{
    struct pending p;

    make(&p);
    write_record(&p);
    p.domid = 8;
    assert_int_equal(unlink(SPARE), 0);
    write_record(&p);
    assert_written_as(&p);
    p.domid = 9;
    assert_int_equal(unlink(SPARE), 0);
    assert_int_equal(symlink("elsewhere", SPARE), 0);
    write_record(&p);
    assert_written_as(&p);
    assert_int_equal(access("state/pending/elsewhere", F_OK), -1);
    assert_int_equal(inode_of(SPARE) != inode_of(RECORD), 1);
    assert_int_equal(truncate(SPARE, 10), 0);
    p.domid = 10;
    write_record(&p);
    assert_written_as(&p);
    pending_clear(&p);
}

static void a_record_may_become_longer_than_there_is_room(void **state)
{
    struct pending p;
    char *name;

    make(&p);
    write_record(&p);
    name = xcalloc(20001, 1);
    memset(name, 'x', 20000);
    free(p.name);
    p.name = name;
    write_record(&p);
    assert_written_as(&p);
    write_record(&p);
    assert_written_as(&p);
    pending_clear(&p);
}

static void a_spare_file_without_record_is_replaced(void **state)
{
    struct pending p;

    make(&p);
    write_record(&p);
    assert_int_equal(unlink(RECORD), 0);
    pending_clear(&p);
    make(&p);
    write_record(&p);
    assert_written_as(&p);
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

/* Found in the directory, and then dropped by whoever has made it. */
static void a_record_that_has_just_gone_is_none(void **state)
{
    write_small(OTHER_UUID, "web2");
    assert_int_equal(symlink("gone", RECORD), 0);
    assert_int_equal(count_records(), 1);
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

/* What a snapshot has put under the disk's name, the record knows, too. */
static void a_file_that_was_made_for_a_record_is_refused(void **state)
{
    struct disk disk = { .id = { .dev = 0xfd01, .ino = 4712 } };
    struct op op = { .xs = &xs, .disks = &disk, .n_disks = 1 };

    write_small(UUID, "web1");
    assert_refuses(&op, "other", OTHER_UUID, FIRST("web1"));
}

/* A disk that is missing is not any other that is. */
static void missing_disks_are_not_one(void **state)
{
    struct disk disk = { .source = (char *)"/img/x.qcow2" };
    struct op op = { .xs = &xs, .disks = &disk, .n_disks = 1 };
    struct pending p;

    make_small(&p, UUID, "web1");
    p.disks[0].id = (struct file_id){ 0 };
    write_record(&p);
    pending_clear(&p);
    assert_permits(&op, "other", OTHER_UUID);
}

/* After a reboot of the host numbers mean nothing; the path does. */
static void a_disk_is_refused_by_its_path_after_a_reboot(void **state)
{
    struct disk disk = { .id = { .dev = 0xfd00, .ino = UINT64_MAX },
                         .source = (char *)"/img/x.qcow2" };
    struct op op = { .xs = &xs, .disks = &disk, .n_disks = 1 };
    cleanup_free char *text = NULL, *later = NULL;
    const char *boot;

    write_small(UUID, "web1");
    text = get(RECORD);
    boot = strstr(text, "\"boot_id\": \"") + 12;
    later = xasprintf("%.*s%c%s", (int)(boot - text), text,
                      *boot == '0' ? '1' : '0', boot + 1);
    put(RECORD, later);
    assert_permits(&op, "other", OTHER_UUID);
    disk.source = (char *)"/img/a,b.qcow2";
    disk.id.ino = 1;
    assert_refuses(&op, "other", OTHER_UUID, FIRST("web1"));
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

/* op's only disk, xvdb; xvda takes no part. */
static void make_op(struct op *op, struct disk *disk)
{
    struct xlsnap_disk *s;

    *disk = (struct disk){ .vdev = (char *)"xvdb", .id = { 1, 2, false } };
    *op = (struct op){ .xs = &xs, .disks = disk, .n_disks = 1 };
    xlsnap_snapshot_init(&op->snap);
    xlsnap_snapshot_add_disk(&op->snap)->vdev = xstrdup("xvda");
    s = xlsnap_snapshot_add_disk(&op->snap);
    s->vdev = xstrdup("xvdb");
    s->source = xstrdup("/img/b.raw");
    s->target = xstrdup("/img/t.qcow2");
    s->format = xstrdup("qcow2");
    s->source_format = xstrdup("raw");
    s->method = XLSNAP_METHOD_OVERLAY;
}

static void the_disks_of_an_operation_are_taken_over(void **state)
{
    struct pending p = { 0 };
    struct disk disk;
    struct op op;

    make_op(&op, &disk);
    disk.node = (char *)"xvdb-raw";
    pending_set_disks(&p, &op);
    xlsnap_snapshot_clear(&op.snap);
    assert_int_equal(p.n_disks, 1);
    assert_string_equal(p.disks[0].spec.vdev, "xvdb");
    assert_string_equal(p.disks[0].spec.source, "/img/b.raw");
    assert_string_equal(p.disks[0].spec.target, "/img/t.qcow2");
    assert_string_equal(p.disks[0].spec.format, "qcow2");
    assert_string_equal(p.disks[0].spec.source_format, "raw");
    assert_int_equal(p.disks[0].spec.method, XLSNAP_METHOD_OVERLAY);
    assert_true(file_id_equal(&p.disks[0].id, &disk.id));
    assert_int_equal(p.disks[0].made.ino, 0);
    assert_string_equal(p.disks[0].node, "xvdb-raw");
    pending_clear(&p);
}

/* The disk's file is as before; what was made for it is new. */
static void what_was_made_is_brought_up_to_date(void **state)
{
    struct file_id before = { 1, 2, false };
    struct pending p = { 0 };
    struct disk disk;
    struct op op;

    make_op(&op, &disk);
    pending_set_disks(&p, &op);
    disk.made = (struct file_id){ 1, 3, false };
    disk.id = (struct file_id){ 1, 4, false };
    disk.node = (char *)"xvdb-raw";
    pending_update_disks(&p, &op);
    assert_true(file_id_equal(&p.disks[0].made, &disk.made));
    assert_true(file_id_equal(&p.disks[0].id, &before));
    assert_string_equal(p.disks[0].node, "xvdb-raw");
    pending_update_disks(&p, &op); /* again: under ASan, nothing is lost */
    assert_string_equal(p.disks[0].node, "xvdb-raw");
    xlsnap_snapshot_clear(&op.snap);
    pending_clear(&p);
}

/* For the drivers to look, nothing but the record being left. */
static void the_snapshot_is_filled_from_a_record(void **state)
{
    struct op op;
    const struct xlsnap_snapshot *s = &op.snap;

    op_init(&op, &xs);
    op.snap.name = xstrdup("another");
    make(&op.pending);
    op_fill_snapshot(&op);
    assert_string_equal(s->domain, op.pending.domain);
    assert_string_equal(s->uuid, UUID);
    assert_string_equal(s->name, "before-upgrade");
    assert_string_equal(s->memory, op.pending.memory);
    assert_int_equal(s->n_disks, 2);
    assert_string_equal(s->disks[0].vdev, "xvda");
    assert_int_equal(s->disks[0].method, XLSNAP_METHOD_INTERNAL);
    assert_string_equal(s->disks[1].target, "/img/b.cow");
    assert_string_equal(s->disks[1].source, "/dev/vg/b");
    assert_string_equal(s->disks[1].format, "qcow2");
    assert_string_equal(s->disks[1].source_format, "raw");
    op_clear(&op);
}

static void assert_cure(const char *domain, bool abandon, const char *expected)
{
    cleanup_free char *cure = pending_cure(domain, abandon);

    assert_string_equal(cure, expected);
}

static void the_cure_can_be_typed_as_it_is(void **state)
{
    assert_cure("web1", false, "xl snapshot-recover web1");
    assert_cure("web1", true, "xl snapshot-recover --abandon web1");
    assert_cure("my vm", false, "xl snapshot-recover \"my vm\"");
    assert_cure("a$b`c\"d\\e", false,
                "xl snapshot-recover \"a\\$b\\`c\\\"d\\\\e\"");
    assert_cure("it's", false, "xl snapshot-recover \"it's\"");
    assert_cure("web1.cfg", true, "xl snapshot-recover --abandon -d web1.cfg");
    assert_cure("a/b", false, "xl snapshot-recover -d a/b");
    assert_cure("a=b", false, "xl snapshot-recover -d a=b");
    assert_cure("-v", false, "xl snapshot-recover -d -v");
    assert_cure("", false, "xl snapshot-recover \"\"");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_cure_can_be_typed_as_it_is),
        TEST(a_record_is_read_back_the_same),
        TEST(what_may_be_missing_is_read_back_missing),
        TEST(a_record_is_replaced),
        TEST(a_record_knows_the_boot_it_was_written_in),
        TEST(records_are_for_root_only),
        TEST(a_directory_for_others_to_write_is_refused),
        TEST(a_directory_of_somebody_else_is_refused),
        TEST(a_record_that_may_be_there_is_dropped),
        TEST(a_change_wants_no_space),
        TEST(without_a_spare_file_a_record_is_made_anew),
        TEST(a_record_may_become_longer_than_there_is_room),
        TEST(a_spare_file_without_record_is_replaced),
        TEST(a_dropped_record_is_gone),
        TEST(a_record_that_was_never_written_is_dropped),
        TEST(a_record_that_cannot_be_dropped_is_told),
        TEST(no_directory_is_no_record),
        TEST(a_directory_that_is_none_is_told),
        TEST(a_record_that_has_just_gone_is_none),
        TEST(all_records_are_found),
        TEST(the_search_ends_when_told),
        TEST(other_files_are_no_records),
        TEST(a_domain_is_refused_by_uuid),
        TEST(a_domain_is_refused_by_name),
        TEST(a_disk_of_a_record_is_refused),
        TEST(a_file_that_was_made_for_a_record_is_refused),
        TEST(missing_disks_are_not_one),
        TEST(a_disk_is_refused_by_its_path_after_a_reboot),
        TEST(nothing_pending_refuses_nothing),
        TEST(a_damaged_record_refuses_everything),
        TEST(the_disks_of_an_operation_are_taken_over),
        TEST(what_was_made_is_brought_up_to_date),
        TEST(the_snapshot_is_filled_from_a_record),
    };

    return cmocka_run_group_tests_name("pending", tests, NULL, NULL);
}
