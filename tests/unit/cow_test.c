/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * cow.c: stores as the kernel writes them, built here in memory, and damaged
 * ones.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <endian.h>
#include <fcntl.h>
#include <sys/mman.h>

#include "cow.h"
#include "file.h"
#include "util.h"

#define CHUNK 4096
#define PAIRS (CHUNK / 16)
#define STRIDE (PAIRS + 1)
#define ORIGIN (64 << 20)
#define STORE (16 << 20)

static int memory_file(uint64_t size)
{
    int fd = memfd_create("cow", MFD_CLOEXEC);

    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, size), 0);
    return fd;
}

static void put_header(int fd, uint32_t magic, uint32_t valid, uint32_t version,
                       uint32_t sectors)
{
    uint32_t header[4] = { htole32(magic), htole32(valid), htole32(version),
                           htole32(sectors) };

    assert_int_equal(file_pwrite_all(fd, header, sizeof(header), 0), 0);
}

/* The pair number `i` of the table. */
static void put_pair_of(int fd, uint32_t chunk, size_t i, uint64_t origin,
                        uint64_t store)
{
    uint64_t pair[2] = { htole64(origin), htole64(store) };
    size_t pairs = chunk / 16;
    off_t at = (off_t)(1 + i / pairs * (pairs + 1)) * chunk + i % pairs * 16;

    assert_int_equal(file_pwrite_all(fd, pair, sizeof(pair), at), 0);
}

static void put_pair(int fd, size_t i, uint64_t origin, uint64_t store)
{
    put_pair_of(fd, CHUNK, i, origin, store);
}

/* Where the kernel puts the data of pair number `i`. */
static uint64_t data_chunk(size_t i)
{
    return 2 + i + i / PAIRS;
}

/* A store with n pairs; pair i is of origin chunk first + i * step. */
static int store_new(size_t n, uint64_t first, uint64_t step)
{
    int fd = memory_file(STORE);

    put_header(fd, 0x70416e53, 1, 1, CHUNK / 512);
    for (size_t i = 0; i < n; i++)
        put_pair(fd, i, first + i * step, data_chunk(i));
    return fd;
}

static void assert_refused(int fd, const char *message)
{
    struct xlsnap_error err = { 0 };
    struct cow cow;

    assert_int_equal(cow_read(fd, STORE, ORIGIN, &cow, &err), -XLSNAP_FAILED);
    assert_string_equal(err.msg, message);
    cow_clear(&cow);
    close(fd);
}

static struct cow read_good(int fd)
{
    struct xlsnap_error err = { 0 };
    struct cow cow;

    assert_int_equal(cow_read(fd, STORE, ORIGIN, &cow, &err), 0);
    assert_string_equal(err.msg, "");
    close(fd);
    return cow;
}

/* ---- the table ---- */

static void an_empty_store_names_nothing(void **state)
{
    struct cow cow = read_good(store_new(0, 0, 0));

    assert_int_equal(cow.n, 0);
    assert_int_equal(cow.chunk_bytes, CHUNK);
    cow_clear(&cow);
}

/* One area full, but for one, to the brim, and one more: the table goes on in
 * the next area. */
static void all_areas_are_read(void **state)
{
    const size_t counts[] = { 1, PAIRS - 1, PAIRS, PAIRS + 1, 3 * PAIRS + 5 };

    for (size_t c = 0; c < ARRAY_SIZE(counts); c++) {
        struct cow cow = read_good(store_new(counts[c], 7, 3));

        assert_int_equal(cow.n, counts[c]);
        for (size_t i = 0; i < cow.n; i++)
            assert_int_equal(cow.chunks[i], 7 + 3 * i);
        cow_clear(&cow);
    }
}

static void chunks_come_in_ascending_order(void **state)
{
    int fd = store_new(0, 0, 0);
    struct cow cow;

    put_pair(fd, 0, 900, 2);
    put_pair(fd, 1, 0, 3);
    put_pair(fd, 2, 16383, 4);
    put_pair(fd, 3, 5, 5);
    cow = read_good(fd);
    assert_int_equal(cow.n, 4);
    assert_int_equal(cow.chunks[0], 0);
    assert_int_equal(cow.chunks[1], 5);
    assert_int_equal(cow.chunks[2], 900);
    assert_int_equal(cow.chunks[3], 16383);
    cow_clear(&cow);
}

/* What is in an area behind the end is of an earlier use of the space. */
static void nothing_behind_the_end_counts(void **state)
{
    int fd = store_new(2, 1, 1);
    struct cow cow;

    put_pair(fd, 3, 50, 60);
    put_pair(fd, PAIRS, 51, 61);
    cow = read_good(fd);
    assert_int_equal(cow.n, 2);
    cow_clear(&cow);
}

static void other_chunk_sizes_are_read(void **state)
{
    const uint32_t sizes[] = { 512, 1024, 65536, 524288 };

    for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
        int fd = memory_file(STORE);
        struct cow cow;

        put_header(fd, 0x70416e53, 1, 1, sizes[i] / 512);
        put_pair_of(fd, sizes[i], 0, 3, 2);
        put_pair_of(fd, sizes[i], 1, 1, 3);
        cow = read_good(fd);
        assert_int_equal(cow.chunk_bytes, sizes[i]);
        assert_int_equal(cow.n, 2);
        assert_int_equal(cow.chunks[0], 1);
        cow_clear(&cow);
    }
}

/* The last chunk of an origin may lie on it only in part. */
static void a_last_chunk_in_part_is_allowed(void **state)
{
    struct xlsnap_error err = { 0 };
    int fd = store_new(0, 0, 0);
    struct cow cow;

    put_pair(fd, 0, 10, 2);
    assert_int_equal(cow_read(fd, STORE, 10 * CHUNK + 512, &cow, &err), 0);
    cow_clear(&cow);
    assert_int_equal(cow_read(fd, STORE, 10 * CHUNK, &cow, &err),
                     -XLSNAP_FAILED);
    close(fd);
}

/* Area after area is full, up to the end of the store. */
static void a_store_full_to_its_end_is_read(void **state)
{
    uint64_t chunks = 2 * STRIDE + 1;
    struct xlsnap_error err = { 0 };
    int fd = store_new(2 * PAIRS, 0, 1);
    struct cow cow;

    assert_int_equal(cow_read(fd, chunks * CHUNK, ORIGIN, &cow, &err), 0);
    assert_int_equal(cow.n, 2 * PAIRS);
    cow_clear(&cow);
    close(fd);
}

/* ---- damage ---- */

static void a_wrong_magic_is_refused(void **state)
{
    int fd = store_new(1, 0, 1);

    put_header(fd, 0, 1, 1, 8);
    assert_refused(fd, "it is no copy-on-write store of a snapshot");
}

static void an_overflowed_store_is_refused(void **state)
{
    int fd = store_new(1, 0, 1);

    put_header(fd, 0x70416e53, 0, 1, 8);
    assert_refused(fd, "the snapshot has overflowed");
}

static void another_version_is_refused(void **state)
{
    int fd = store_new(1, 0, 1);

    put_header(fd, 0x70416e53, 1, 2, 8);
    assert_refused(fd, "the store is of version 2, not 1");
}

static void absurd_chunk_sizes_are_refused(void **state)
{
    const struct {
        uint32_t sectors;
        const char *message;
    } all[] = {
        { 0, "the store is damaged: chunks of 0 bytes" },
        { 3, "the store is damaged: chunks of 1536 bytes" },
        { 4096, "the store is damaged: chunks of 2097152 bytes" },
        { 0x80000000, "the store is damaged: chunks of 1099511627776 bytes" },
        { 0xffffffff, "the store is damaged: chunks of 2199023255040 bytes" },
    };

    for (size_t i = 0; i < ARRAY_SIZE(all); i++) {
        int fd = memory_file(STORE);

        put_header(fd, 0x70416e53, 1, 1, all[i].sectors);
        assert_refused(fd, all[i].message);
    }
}

static void a_store_smaller_than_its_table_is_refused(void **state)
{
    struct xlsnap_error err = { 0 };
    int fd = store_new(0, 0, 0);
    struct cow cow;

    assert_int_equal(cow_read(fd, CHUNK, ORIGIN, &cow, &err), -XLSNAP_FAILED);
    assert_string_equal(err.msg, "the store is damaged: chunks of 4096 bytes");
    close(fd);
}

static void an_empty_file_is_refused(void **state)
{
    assert_refused(memory_file(0),
                   "cannot read 4096 bytes at 0: No data available");
}

static void a_store_that_ends_in_its_table_is_refused(void **state)
{
    int fd = store_new(PAIRS, 0, 1);

    assert_int_equal(ftruncate(fd, (STRIDE + 1) * CHUNK + 100), 0);
    assert_refused(fd, "cannot read 4096 bytes at 1056768: No data available");
}

static void chunks_outside_are_refused(void **state)
{
    const struct {
        uint64_t origin, store;
    } all[] = {
        { ORIGIN / CHUNK, 2 }, { UINT64_MAX, 2 },     { 0, STORE / CHUNK },
        { 0, UINT64_MAX },     { 1ULL << 52, 2 },     { 0, 1 },
        { 0, STRIDE + 1 },     { 0, 3 * STRIDE + 1 },
    };

    for (size_t i = 0; i < ARRAY_SIZE(all); i++) {
        cleanup_free char *message =
            xasprintf("the store is damaged: chunk %" PRIu64
                      " of the origin in chunk %" PRIu64,
                      all[i].origin, all[i].store);
        int fd = store_new(3, 100, 1);

        put_pair(fd, 3, all[i].origin, all[i].store);
        assert_refused(fd, message);
    }
}

#define TWICE "the store is damaged: its table has a chunk twice"

static void a_chunk_of_the_origin_twice_is_refused(void **state)
{
    int fd = store_new(PAIRS + 3, 0, 1);

    put_pair(fd, PAIRS + 3, 17, data_chunk(PAIRS + 3));
    assert_refused(fd, TWICE);
}

/* Two of the origin's in one: a store that goes in a circle, say. */
static void a_chunk_of_the_store_twice_is_refused(void **state)
{
    int fd = store_new(PAIRS + 3, 0, 1);

    put_pair(fd, PAIRS + 3, 1000, data_chunk(17));
    assert_refused(fd, TWICE);
}

/* Whatever is in it: an answer, no crash (under ASan). */
static void random_stores_do_no_harm(void **state)
{
    uint64_t x = 88172645463325252ULL;

    for (int round = 0; round < 200; round++) {
        int fd = store_new(PAIRS + 20, 0, 1);
        struct xlsnap_error err = { 0 };
        struct cow cow;

        for (int i = 0; i < 8; i++) {
            off_t at;

            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            at = x % (round % 2 ? 16 : (STRIDE + 3) * CHUNK);
            assert_int_equal(file_pwrite_all(fd, &x, 1 + x % 7, at), 0);
        }
        if (!cow_read(fd, STORE, ORIGIN, &cow, &err))
            assert_true(cow.n <= STORE / cow.chunk_bytes);
        cow_clear(&cow);
        close(fd);
    }
}

/* ---- sizes ---- */

static void a_size_has_header_table_and_data(void **state)
{
    assert_int_equal(cow_size(0, CHUNK), 2 * CHUNK);
    assert_int_equal(cow_size(PAIRS - 1, CHUNK), (2 + PAIRS - 1) * CHUNK);
    /* With the last place of an area comes the next area. */
    assert_int_equal(cow_size(PAIRS, CHUNK), (3 + PAIRS) * CHUNK);
    /* What LVM reduces a larger one to, but for its extents: 64 MiB. */
    assert_int_equal(cow_size(16384, CHUNK), (1 + 65 + 16384) * CHUNK);
}

static struct cow cow_of(uint32_t chunk, size_t n, const uint64_t *chunks)
{
    struct cow cow = { .chunk_bytes = chunk, .n = n };

    cow.chunks = xcalloc(n, sizeof(*chunks));
    memcpy(cow.chunks, chunks, n * sizeof(*chunks));
    return cow;
}

static uint64_t growth(uint32_t chunk, size_t n, const uint64_t *chunks,
                       uint32_t other_chunk, size_t m, const uint64_t *others)
{
    struct cow a = cow_of(chunk, n, chunks);
    struct cow b = cow_of(other_chunk, m, others);
    uint64_t result = cow_growth(&a, &b);

    cow_clear(&a);
    cow_clear(&b);
    return result;
}

static void growth_is_what_the_other_lacks(void **state)
{
    const uint64_t ours[] = { 1, 2, 3, 16, 17, 40 };
    const uint64_t some[] = { 0, 2, 17 };
    const uint64_t big[] = { 1 };

    assert_int_equal(growth(4096, 6, ours, 4096, 0, some), 6);
    assert_int_equal(growth(4096, 6, ours, 4096, 3, some), 4);
    assert_int_equal(growth(4096, 6, ours, 4096, 6, ours), 0);
    /* In chunks of 64 KiB these are 0, 1 and 2. */
    assert_int_equal(growth(4096, 6, ours, 65536, 0, big), 3);
    assert_int_equal(growth(4096, 6, ours, 65536, 1, big), 2);
    /* In chunks of 1 KiB each is four. */
    assert_int_equal(growth(4096, 6, ours, 1024, 0, some), 24);
    assert_int_equal(growth(4096, 6, ours, 1024, 3, some), 24);
    assert_int_equal(growth(4096, 1, ours, 1024, 1, (uint64_t[]){ 5 }), 3);
}

/* ---- copying ---- */

#define DISK (3 * 1024 * 1024 + 512)

static int disk_of(unsigned char first)
{
    cleanup_free unsigned char *bytes = xcalloc(DISK, 1);
    int fd = memory_file(DISK);

    for (size_t i = 0; i < DISK; i++)
        bytes[i] = first + i / CHUNK;
    assert_int_equal(file_pwrite_all(fd, bytes, DISK, 0), 0);
    return fd;
}

static unsigned char *disk_bytes(int fd)
{
    unsigned char *bytes = xcalloc(DISK, 1);

    assert_int_equal(pread(fd, bytes, DISK, 0), DISK);
    return bytes;
}

static void copy_takes_the_named_chunks_only(void **state)
{
    uint64_t chunks[600], n = 0, differing;
    int from = disk_of(1), to = disk_of(100);
    cleanup_free unsigned char *want = disk_bytes(to), *have = NULL;
    cleanup_free unsigned char *source = disk_bytes(from);
    struct xlsnap_error err = { 0 };
    struct cow cow;

    /* A run longer than one read, some single ones, and the last, in part. */
    for (uint64_t c = 3; c < 300; c++)
        chunks[n++] = c;
    for (uint64_t c = 400; c < 500; c += 3)
        chunks[n++] = c;
    chunks[n++] = DISK / CHUNK;
    cow = cow_of(CHUNK, n, chunks);
    for (uint64_t i = 0; i < n; i++)
        for (size_t b = 0; b < CHUNK && chunks[i] * CHUNK + b < DISK; b++)
            want[chunks[i] * CHUNK + b] = source[chunks[i] * CHUNK + b];
    assert_int_equal(
        cow_copy(&cow, from, to, DISK, true, &differing, NULL, NULL, &err), 0);
    assert_int_equal(differing, (n - 1) * CHUNK + 512);
    have = disk_bytes(to);
    assert_memory_equal(want, have, DISK);
    assert_int_equal(
        cow_copy(&cow, from, to, DISK, false, &differing, NULL, NULL, &err), 0);
    assert_int_equal(differing, 0);
    cow_clear(&cow);
    close(from);
    close(to);
}

static void a_check_writes_nothing(void **state)
{
    const uint64_t chunks[] = { 1, 2, 9 };
    struct cow cow = cow_of(CHUNK, 3, chunks);
    int from = disk_of(1), to = disk_of(1);
    cleanup_free unsigned char *before = NULL, *after = NULL;
    struct xlsnap_error err = { 0 };
    uint64_t differing;

    assert_int_equal(file_pwrite_all(to, "x", 1, 2 * CHUNK + 17), 0);
    assert_int_equal(file_pwrite_all(to, "y", 1, 5 * CHUNK), 0);
    before = disk_bytes(to);
    assert_int_equal(
        cow_copy(&cow, from, to, DISK, false, &differing, NULL, NULL, &err), 0);
    assert_int_equal(differing, CHUNK);
    after = disk_bytes(to);
    assert_memory_equal(before, after, DISK);
    cow_clear(&cow);
    close(from);
    close(to);
}

static void remember(void *user, unsigned percent)
{
    unsigned *last = user;

    assert_true(percent >= *last && percent <= 100);
    *last = percent;
}

static void progress_ends_at_100(void **state)
{
    const uint64_t chunks[] = { 1, 5, 9 };
    struct cow cow = cow_of(CHUNK, 3, chunks);
    int from = disk_of(1), to = disk_of(2);
    struct xlsnap_error err = { 0 };
    unsigned last = 0;
    uint64_t differing;

    assert_int_equal(
        cow_copy(&cow, from, to, DISK, true, &differing, remember, &last, &err),
        0);
    assert_int_equal(last, 100);
    cow_clear(&cow);
    close(from);
    close(to);
}

static void a_copy_that_cannot_be_read_or_written_says_where(void **state)
{
    const uint64_t chunks[] = { 9 };
    struct cow cow = cow_of(CHUNK, 1, chunks);
    int from = disk_of(1), to = open("/dev/full", O_RDWR | O_CLOEXEC);
    int zero = open("/dev/zero", O_RDONLY | O_CLOEXEC);
    int empty = memory_file(0);
    struct xlsnap_error err = { 0 }, err2 = { 0 };
    uint64_t differing;

    assert_int_equal(
        cow_copy(&cow, from, to, DISK, true, &differing, NULL, NULL, &err),
        -XLSNAP_FAILED);
    assert_string_equal(err.msg, "cannot write 4096 bytes at 36864: No space "
                                 "left on device");
    assert_int_equal(
        cow_copy(&cow, empty, zero, DISK, true, &differing, NULL, NULL, &err2),
        -XLSNAP_FAILED);
    assert_string_equal(err2.msg, "cannot read 4096 bytes at 36864: No data "
                                  "available");
    cow_clear(&cow);
    close(from);
    close(to);
    close(zero);
    close(empty);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_store_names_nothing),
        cmocka_unit_test(all_areas_are_read),
        cmocka_unit_test(chunks_come_in_ascending_order),
        cmocka_unit_test(nothing_behind_the_end_counts),
        cmocka_unit_test(other_chunk_sizes_are_read),
        cmocka_unit_test(a_last_chunk_in_part_is_allowed),
        cmocka_unit_test(a_store_full_to_its_end_is_read),
        cmocka_unit_test(a_wrong_magic_is_refused),
        cmocka_unit_test(an_overflowed_store_is_refused),
        cmocka_unit_test(another_version_is_refused),
        cmocka_unit_test(absurd_chunk_sizes_are_refused),
        cmocka_unit_test(a_store_smaller_than_its_table_is_refused),
        cmocka_unit_test(an_empty_file_is_refused),
        cmocka_unit_test(a_store_that_ends_in_its_table_is_refused),
        cmocka_unit_test(chunks_outside_are_refused),
        cmocka_unit_test(a_chunk_of_the_origin_twice_is_refused),
        cmocka_unit_test(a_chunk_of_the_store_twice_is_refused),
        cmocka_unit_test(random_stores_do_no_harm),
        cmocka_unit_test(a_size_has_header_table_and_data),
        cmocka_unit_test(growth_is_what_the_other_lacks),
        cmocka_unit_test(copy_takes_the_named_chunks_only),
        cmocka_unit_test(a_check_writes_nothing),
        cmocka_unit_test(progress_ends_at_100),
        cmocka_unit_test(a_copy_that_cannot_be_read_or_written_says_where),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
