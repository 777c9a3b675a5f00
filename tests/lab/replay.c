/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * replay LOG DISK [SEED]: brings the raw image DISK to what a disk with a volatile
 * write cache holds after a power cut, from the log that QEMU's driver blklogwrites
 * has made of it (the format of the kernel's dm-log-writes,
 * Documentation/admin-guide/device-mapper/log-writes.rst): all writes up to the last
 * flush; with a SEED other than 0 also half of the later ones, picked by that, each
 * sector of 4 KiB by itself: a cache loses what it likes.
 *
 * Prints "replayed N writes, W of M later sectors".
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MAGIC 0x6a736677736872ULL
#define FLUSH 1
#define DISCARD 4
#define PIECE 4096

struct super {
    uint64_t magic, version, entries;
    uint32_t sector_size;
};

struct entry {
    uint64_t sector, sectors, flags, data_len;
};

static int log_fd, disk_fd;
static uint32_t sector_size;

static void die(const char *what)
{
    fprintf(stderr, "replay: %s: %s\n", what, strerror(errno));
    exit(1);
}

/* False at the end of the log, which may be in the middle of a write. */
static bool log_read(void *buf, size_t len, uint64_t at)
{
    ssize_t n = pread(log_fd, buf, len, (off_t)at);

    if (n < 0)
        die("log");
    return (size_t)n == len;
}

static void apply(const struct entry *e, uint64_t at, uint64_t from,
                  uint64_t len)
{
    static char buf[1 << 20];

    while (len) {
        size_t n = len < sizeof(buf) ? len : sizeof(buf);

        if (!log_read(buf, n, at + from))
            return; /* it died while it wrote that */
        if (pwrite(disk_fd, buf, n, (off_t)(e->sector * sector_size + from)) !=
            (ssize_t)n)
            die("disk");
        from += n;
        len -= n;
    }
}

/* The entry at *at_r, which moves on; false: the log ends there.  Its super block is
 * of the last flush, and the file was new. */
static bool log_next(struct entry *e, uint64_t *at_r, uint64_t *data_r)
{
    if (!log_read(e, sizeof(*e), *at_r) || (!e->sectors && !e->flags))
        return false;
    *data_r = *at_r + sector_size;
    *at_r = *data_r;
    if (!(e->flags & DISCARD))
        *at_r += e->sectors * sector_size;
    return true;
}

/* Where what follows the last flush begins. */
static uint64_t last_flush(void)
{
    uint64_t at = sector_size, last = at, data;
    struct entry e;

    while (log_next(&e, &at, &data))
        if (e.flags & FLUSH)
            last = at;
    return last;
}

int main(int argc, char **argv)
{
    unsigned long seed = argc == 4 ? strtoul(argv[3], NULL, 10) : 0;
    uint64_t writes = 0, pieces = 0, kept = 0, end, at, data;
    struct super super;
    struct entry e;

    if (argc < 3 || argc > 4) {
        fprintf(stderr, "usage: replay LOG DISK [SEED]\n");
        return 2;
    }
    log_fd = open(argv[1], O_RDONLY);
    disk_fd = open(argv[2], O_RDWR);
    if (log_fd < 0 || disk_fd < 0 || !log_read(&super, sizeof(super), 0))
        die(argv[log_fd < 0 ? 1 : 2]);
    errno = EINVAL;
    if (super.magic != MAGIC || super.version != 1 || !super.sector_size)
        die(argv[1]);
    sector_size = super.sector_size;
    end = last_flush();
    srandom((unsigned)seed);
    at = sector_size;
    while (log_next(&e, &at, &data)) {
        uint64_t len = e.flags & DISCARD ? 0 : e.sectors * sector_size;

        if (data < end) {
            apply(&e, data, 0, len);
            writes += len > 0;
            continue;
        }
        for (uint64_t from = 0; from < len; from += PIECE) {
            pieces++;
            if (!seed || random() & 1)
                continue;
            apply(&e, data, from, len - from < PIECE ? len - from : PIECE);
            kept++;
        }
    }
    if (fsync(disk_fd))
        die("disk");
    printf("replayed %" PRIu64 " writes, %" PRIu64 " of %" PRIu64
           " later sectors\n",
           writes, kept, pieces);
    return 0;
}
