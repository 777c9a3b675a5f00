/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Reads the copy-on-write store of a dm-snapshot and copies the chunks that it
 * names: see cow.h.  Nothing in a store is believed: each number is checked
 * against the sizes of the devices before it is used.
 */
#include "cow.h"

#include <endian.h>

#include "file.h"
#include "util.h"

#define COW_MAGIC 0x70416e53 /* "SnAp" */
#define COW_VERSION 1
#define COW_HEADER_CHUNKS 1
#define COW_SECTOR 512
#define COW_CHUNK_MAX (1 << 20) /* LVM's limit is 512 KiB */
#define COW_ALIGN 4096          /* of buffers and offsets, for O_DIRECT */
#define COW_RUN (1 << 20)       /* bytes read or written at once */

struct cow_header {
    uint32_t magic, valid, version, chunk_sectors;
};

struct cow_pair {
    uint64_t origin, store;
};

static void *cow_buffer(size_t size)
{
    void *p = NULL;

    if (posix_memalign(&p, COW_ALIGN, size))
        abort();
    return p;
}

/* All of it, or an error. */
static int cow_pread(int fd, void *buf, size_t len, uint64_t at,
                     struct xlsnap_error *err)
{
    size_t done = 0;

    while (done < len) {
        ssize_t n = pread(fd, (char *)buf + done, len - done, at + done);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return xlsnap_fail_errno(err, XLSNAP_FAILED, n ? errno : ENODATA,
                                     "cannot read %zu bytes at %" PRIu64, len,
                                     at);
        done += n;
    }
    return 0;
}

/* ---- the table ---- */

static int cow_read_header(int fd, uint64_t store, uint32_t *chunk_r,
                           struct xlsnap_error *err)
{
    cleanup_free struct cow_header *h = cow_buffer(COW_ALIGN);
    uint64_t chunk;
    int rc = cow_pread(fd, h, COW_ALIGN, 0, err);

    if (rc)
        return rc;
    chunk = (uint64_t)le32toh(h->chunk_sectors) * COW_SECTOR;
    if (le32toh(h->magic) != COW_MAGIC)
        return xlsnap_fail(err, XLSNAP_FAILED,
                           "it is no copy-on-write store of a snapshot");
    if (!le32toh(h->valid))
        return xlsnap_fail(err, XLSNAP_FAILED, "the snapshot has overflowed");
    if (le32toh(h->version) != COW_VERSION)
        return xlsnap_fail(err, XLSNAP_FAILED,
                           "the store is of version %" PRIu32 ", not %d",
                           le32toh(h->version), COW_VERSION);
    if (!chunk || chunk > COW_CHUNK_MAX || (chunk & (chunk - 1)) ||
        chunk * (COW_HEADER_CHUNKS + 1) > store)
        return xlsnap_fail(err, XLSNAP_FAILED,
                           "the store is damaged: chunks of %" PRIu64 " bytes",
                           chunk);
    *chunk_r = chunk;
    return 0;
}

/* What a table is checked against. */
struct cow_limits {
    uint64_t store_chunks, origin_chunks;
    uint64_t stride; /* from one area to the next, in chunks */
};

/* May that chunk of the store hold data? */
static bool cow_is_data(const struct cow_limits *limits, uint64_t chunk)
{
    return chunk > COW_HEADER_CHUNKS && chunk < limits->store_chunks &&
           chunk % limits->stride != COW_HEADER_CHUNKS;
}

static int cow_add_pair(struct cow_pair **pairs, size_t *n,
                        const struct cow_limits *limits, uint64_t origin,
                        uint64_t store, struct xlsnap_error *err)
{
    if (!cow_is_data(limits, store) || origin >= limits->origin_chunks)
        return xlsnap_fail(err, XLSNAP_FAILED,
                           "the store is damaged: chunk %" PRIu64
                           " of the origin in chunk %" PRIu64,
                           origin, store);
    if (!(*n & (*n - 1))) /* a power of two: full */
        *pairs = xrealloc(*pairs, *n ? 2 * *n : 1, sizeof(**pairs));
    (*pairs)[*n] = (struct cow_pair){ .origin = origin, .store = store };
    ++*n;
    return 0;
}

/* All areas until a pair ends the table; the last may be full up to the end of
 * the store. */
static int cow_read_pairs(int fd, uint32_t chunk,
                          const struct cow_limits *limits,
                          struct cow_pair **pairs, size_t *n,
                          struct xlsnap_error *err)
{
    size_t size = chunk < COW_ALIGN ? COW_ALIGN : chunk;
    cleanup_free struct cow_pair *area = cow_buffer(size);
    uint64_t at = COW_HEADER_CHUNKS;
    int rc = 0;

    for (; at < limits->store_chunks; at += limits->stride) {
        rc = cow_pread(fd, area, chunk, at * chunk, err);
        for (size_t i = 0; i < chunk / sizeof(*area) && !rc; i++) {
            if (!area[i].store)
                return 0;
            rc = cow_add_pair(pairs, n, limits, le64toh(area[i].origin),
                              le64toh(area[i].store), err);
        }
        if (rc)
            return rc;
    }
    return 0;
}

static int compare_store(const void *a, const void *b)
{
    uint64_t x = ((const struct cow_pair *)a)->store;
    uint64_t y = ((const struct cow_pair *)b)->store;

    return x < y ? -1 : x > y;
}

static int compare_origin(const void *a, const void *b)
{
    uint64_t x = ((const struct cow_pair *)a)->origin;
    uint64_t y = ((const struct cow_pair *)b)->origin;

    return x < y ? -1 : x > y;
}

/* Sorts them, and finds chunks that come twice. */
static int cow_sort(struct cow_pair *pairs, size_t n, struct xlsnap_error *err)
{
    bool twice = false;

    if (!n)
        return 0; /* qsort takes no NULL */
    qsort(pairs, n, sizeof(*pairs), compare_store);
    for (size_t i = 1; i < n; i++)
        twice |= pairs[i].store == pairs[i - 1].store;
    qsort(pairs, n, sizeof(*pairs), compare_origin);
    for (size_t i = 1; i < n; i++)
        twice |= pairs[i].origin == pairs[i - 1].origin;
    return twice ? xlsnap_fail(err, XLSNAP_FAILED,
                               "the store is damaged: its table has a chunk "
                               "twice")
                 : 0;
}

int cow_read(int fd, uint64_t store, uint64_t origin, struct cow *cow_r,
             struct xlsnap_error *err)
{
    cleanup_free struct cow_pair *pairs = NULL;
    struct cow_limits limits;
    uint32_t chunk = 0;
    size_t n = 0;
    int rc = cow_read_header(fd, store, &chunk, err);

    memset(cow_r, 0, sizeof(*cow_r));
    if (rc)
        return rc;
    limits.store_chunks = store / chunk;
    limits.origin_chunks = origin / chunk + (origin % chunk != 0);
    limits.stride = chunk / sizeof(struct cow_pair) + 1;
    rc = cow_read_pairs(fd, chunk, &limits, &pairs, &n, err);
    if (!rc)
        rc = cow_sort(pairs, n, err);
    if (rc)
        return rc;
    cow_r->chunk_bytes = chunk;
    cow_r->chunks = xcalloc(n, sizeof(*cow_r->chunks));
    for (cow_r->n = 0; cow_r->n < n; cow_r->n++)
        cow_r->chunks[cow_r->n] = pairs[cow_r->n].origin;
    return 0;
}

void cow_clear(struct cow *cow)
{
    free(cow->chunks);
    memset(cow, 0, sizeof(*cow));
}

/* ---- sizes ---- */

/* The kernel zeroes the next area before it fills the last place of one. */
uint64_t cow_size(uint64_t chunks, uint32_t chunk_bytes)
{
    uint64_t areas = chunks / (chunk_bytes / sizeof(struct cow_pair)) + 1;

    return (COW_HEADER_CHUNKS + areas + chunks) * chunk_bytes;
}

static bool cow_has(const struct cow *cow, uint64_t chunk)
{
    size_t low = 0, high = cow->n;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (cow->chunks[middle] < chunk)
            low = middle + 1;
        else
            high = middle;
    }
    return low < cow->n && cow->chunks[low] == chunk;
}

uint64_t cow_growth(const struct cow *cow, const struct cow *other)
{
    uint64_t n = 0, last = UINT64_MAX;

    for (size_t i = 0; i < cow->n; i++) {
        uint64_t from = cow->chunks[i] * cow->chunk_bytes;
        uint64_t to = from + cow->chunk_bytes - 1;

        for (uint64_t c = from / other->chunk_bytes;
             c <= to / other->chunk_bytes; c++) {
            if (c != last && !cow_has(other, c))
                n++;
            last = c;
        }
    }
    return n;
}

/* ---- copying ---- */

/* How many chunks from `i` on lie side by side, COW_RUN bytes at most. */
static size_t cow_run(const struct cow *cow, size_t i)
{
    size_t max = COW_RUN / cow->chunk_bytes, n = 1;

    while (n < max && i + n < cow->n &&
           cow->chunks[i + n] == cow->chunks[i] + n)
        n++;
    return n;
}

struct cow_span {
    const char *want, *have;
    size_t len;
    uint32_t chunk;
};

/* Where the first chunk from `i` on begins that does (or not) differ. */
static size_t cow_next(const struct cow_span *span, size_t i, bool differs)
{
    for (; i < span->len; i += span->chunk) {
        size_t n = span->len - i < span->chunk ? span->len - i : span->chunk;

        if (!!memcmp(span->want + i, span->have + i, n) == differs)
            return i;
    }
    return span->len;
}

/* Writes the chunks of the run that differ; adds their bytes. */
static int cow_write_run(const struct cow_span *span, uint64_t at, int to,
                         bool to_write, uint64_t *differing,
                         struct xlsnap_error *err)
{
    size_t start = cow_next(span, 0, true), end;

    for (; start < span->len; start = cow_next(span, end, true)) {
        end = cow_next(span, start, false);
        *differing += end - start;
        if (to_write &&
            file_pwrite_all(to, span->want + start, end - start, at + start))
            return xlsnap_fail_errno(err, XLSNAP_FAILED, errno,
                                     "cannot write %zu bytes at %" PRIu64,
                                     end - start, at + start);
    }
    return 0;
}

/* How many of the run's bytes lie on a device of that size. */
static size_t cow_run_bytes(const struct cow *cow, size_t i, size_t n,
                            uint64_t size)
{
    uint64_t at = cow->chunks[i] * cow->chunk_bytes;
    uint64_t len = (uint64_t)n * cow->chunk_bytes;

    return at >= size ? 0 : len > size - at ? size - at : len;
}

int cow_copy(const struct cow *cow, int from, int to, uint64_t size,
             bool to_write, uint64_t *differing_r,
             void (*progress)(void *user, unsigned percent), void *user,
             struct xlsnap_error *err)
{
    cleanup_free char *want = cow_buffer(COW_RUN);
    cleanup_free char *have = cow_buffer(COW_RUN);
    int rc = 0;

    *differing_r = 0;
    for (size_t i = 0, n; i < cow->n && !rc; i += n) {
        uint64_t at = cow->chunks[i] * cow->chunk_bytes;
        struct cow_span span = { .want = want, .have = have };

        n = cow_run(cow, i);
        span.len = cow_run_bytes(cow, i, n, size);
        span.chunk = cow->chunk_bytes;
        rc = cow_pread(from, want, span.len, at, err);
        if (!rc)
            rc = cow_pread(to, have, span.len, at, err);
        if (!rc)
            rc = cow_write_run(&span, at, to, to_write, differing_r, err);
        if (progress)
            progress(user, (unsigned)(100 * (i + n) / cow->n));
    }
    return rc;
}
