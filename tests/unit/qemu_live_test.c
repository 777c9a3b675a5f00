/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * qemu.c and disk-copy.c with a real QEMU: what its guest has sent is in a copy.
 * The disk is so slow that it would not be written for a long time.
 */
#include "live_testing.h"

#define SLOW "slow.raw"
#define PATTERN 0x41

/* A disk of one byte in a second, and its device "ds". */
static void add_slow_disk(void)
{
    cleanup_free char *node = xasprintf(
        "{\"driver\": \"throttle\", \"node-name\": \"xvdc-slow\", "
        "\"throttle-group\": \"tg\", \"file\": {\"driver\": \"file\", "
        "\"filename\": \"%s/" SLOW "\", \"locking\": \"off\"}}",
        dir);

    RUN("truncate", "-s", "1M", SLOW);
    tell("object-add",
         "{\"qom-type\": \"throttle-group\", \"id\": \"tg\", "
         "\"limits\": {\"bps-total\": 1}}",
         NULL);
    tell("blockdev-add", node, NULL);
    tell("device_add",
         "{\"driver\": \"virtio-blk-pci\", \"drive\": \"xvdc-slow\", "
         "\"id\": \"ds\"}",
         NULL);
}

/* The first one uses up what the disk may do; the second waits. */
static void write_slowly(void)
{
    qemu_io("ds/virtio-backend", "aio_write -q -P 0x41 0 64k");
    qemu_io("ds/virtio-backend", "aio_write -q -P 0x41 64k 64k");
}

static bool is_written(const char *file, off_t at)
{
    int fd = open(file, O_RDONLY | O_CLOEXEC);
    char byte = 0;

    assert_true(fd >= 0);
    assert_int_equal(pread(fd, &byte, 1, at), 1);
    close(fd);
    return byte == PATTERN;
}

static void what_was_sent_is_written_after_a_drain(void **state)
{
    struct xlsnap_error err = { 0 };

    start_qemu("a.qcow2", NULL);
    add_slow_disk();
    write_slowly();
    assert_false(is_written(SLOW, 64 << 10));
    ok(qemu_drain(&op, &err), &err);
    assert_true(is_written(SLOW, 0));
    assert_true(is_written(SLOW, 64 << 10));
}

static void what_was_sent_is_in_a_copy(void **state)
{
    struct disk_group copies = { .driver = &disk_copy, .disks = list, .n = 1 };
    struct xlsnap_error err = { 0 };
    struct disk *disk;

    start_qemu("a.qcow2", NULL);
    add_slow_disk();
    disk = use_for(XLSNAP_METHOD_EXTERNAL, SLOW, "copy.raw");
    disk->vdev[3] = op.snap.disks[0].vdev[3] = 'c';
    disk->format = LIBXL_DISK_FORMAT_RAW;
    op.force = true;
    ok(disk_copy.check(&op, &copies, &err), &err);
    disks_publish(&op);
    pending_set_disks(&op.pending, &op);
    write_slowly();
    ok(disk_copy.prepare(&op, &copies, &err), &err);
    assert_false(is_written(SLOW, 64 << 10));
    ok(disk_copy.create(&op, &copies, &err), &err);
    ok(disk_copy.sync(&op, &copies, &err), &err);
    assert_true(is_written("copy.raw", 0));
    assert_true(is_written("copy.raw", 64 << 10));
    disk_copy.release(&copies);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        LIVE_TEST(what_was_sent_is_written_after_a_drain),
        LIVE_TEST(what_was_sent_is_in_a_copy),
    };

    return cmocka_run_group_tests_name("qemu_live", tests, NULL, NULL);
}
