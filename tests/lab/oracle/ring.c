/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The rings of records on the disks. Record n goes to slot n % slots, on the
 * first disk first; what every slot of every disk must hold is kept in
 * memory. Before a record is written, the newest one, the slot that is to be
 * written and a rotating sample are read back from every disk: the newest
 * finds a disk that is older than memory, the slot to be written one that is
 * newer, the sample and the full scans find the rest.
 *
 * At start what the disks hold from an earlier life is checked by itself:
 * no holes, the same newest number on all disks or one more on the first
 * ones. Everything is read and written with O_DIRECT, and flushed in order.
 */
#define _GNU_SOURCE /* O_DIRECT */
#include "oracle.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define AREA 65536 /* where the slots begin */
#define GROUP 16   /* places side by side, read at once in scans */

struct slot {
    uint64_t number, stamp; /* what it must hold */
    bool bad;               /* reported; silent until written again */
};

struct disk {
    const char *name;
    int fd;
    uint64_t stride; /* bytes from one group to the next */
    struct slot *slots;
    struct slot super;
    uint64_t newest; /* found at start */
};

static struct disk disks[MAX_DISKS];
static unsigned ndisks;
static uint64_t run;
static unsigned sampled;   /* the slot that the sample comes to next */
static uint32_t *slot_at;  /* the slot in each place */
static uint32_t *place_of; /* and the other way round */
static _Alignas(RECORD_SIZE) unsigned char buffer[GROUP * RECORD_SIZE];

static struct slot *slot_of(struct disk *disk, uint32_t s)
{
    return s == SUPER ? &disk->super : &disk->slots[s];
}

static struct ident ident_of(struct disk *disk, uint32_t s)
{
    const struct slot *slot = slot_of(disk, s);

    return (struct ident){
        .run = run,
        .number = slot->number,
        .stamp = slot->stamp,
        .disk = disk - disks,
        .slot = s,
        .disks = ndisks,
        .slots = opt.slots,
    };
}

/* Neighbours in the ring are far apart on the disk. */
static void make_places(void)
{
    uint32_t step = 97;

    slot_at = calloc(opt.slots, sizeof(*slot_at));
    place_of = calloc(opt.slots, sizeof(*place_of));
    if (!slot_at || !place_of)
        fatal("no memory");
    while (opt.slots % step == 0)
        step += 2;
    for (uint32_t s = 0; s < opt.slots; s++) {
        place_of[s] = (uint64_t)s * step % opt.slots;
        slot_at[place_of[s]] = s;
    }
}

static off_t offset_of(const struct disk *disk, uint32_t s)
{
    if (s == SUPER)
        return 0;
    return AREA + place_of[s] / GROUP * disk->stride +
           place_of[s] % GROUP * RECORD_SIZE;
}

static void io_failed(const struct disk *disk, const char *what, ssize_t n)
{
    const char *why = n < 0 ? strerror(errno) : "short";

    report_corrupt(disk->name, "-", RECORD_SIZE, n < 0 ? 0 : n, "io");
    report("ORACLE NOTE %s %s: %s", what, disk->name, why);
}

static bool read_slots(struct disk *disk, uint32_t s, unsigned count)
{
    ssize_t n =
        pread(disk->fd, buffer, count * RECORD_SIZE, offset_of(disk, s));

    if (n != count * RECORD_SIZE)
        io_failed(disk, "read", n);
    return n == count * RECORD_SIZE;
}

typedef void slot_fn(struct disk *disk, uint32_t s, void *bytes);

static void for_slot(struct disk *disk, uint32_t s, slot_fn *fn)
{
    if (read_slots(disk, s, 1))
        fn(disk, s, buffer);
}

static void for_all_slots(struct disk *disk, slot_fn *fn)
{
    for (uint32_t place = 0; place < opt.slots; place += GROUP) {
        uint32_t left = opt.slots - place;
        uint32_t count = left < GROUP ? left : GROUP;

        if (!read_slots(disk, slot_at[place], count))
            continue;
        for (uint32_t i = 0; i < count; i++)
            fn(disk, slot_at[place + i], buffer + i * RECORD_SIZE);
    }
}

static void write_bytes(struct disk *disk, uint32_t s, const void *bytes)
{
    ssize_t n = pwrite(disk->fd, bytes, RECORD_SIZE, offset_of(disk, s));

    if (n != RECORD_SIZE)
        io_failed(disk, "write", n);
}

static void write_slot(struct disk *disk, uint32_t s, uint64_t number)
{
    struct slot *slot = slot_of(disk, s);
    struct ident id;

    slot->number = number;
    slot->stamp = now_ns(CLOCK_REALTIME);
    slot->bad = false;
    id = ident_of(disk, s);
    record_fill(buffer, &id);
    write_bytes(disk, s, buffer);
}

static void flush(struct disk *disk)
{
    if (fdatasync(disk->fd))
        io_failed(disk, "flush", -1);
}

static void slot_is_bad(struct disk *disk, uint32_t s, const void *bytes,
                        const char *kind)
{
    struct slot *slot = slot_of(disk, s);
    char text[16] = "super";

    if (slot->bad)
        return;
    slot->bad = true;
    if (s != SUPER)
        snprintf(text, sizeof(text), "%u", s);
    report_corrupt(disk->name, text, slot->number, record_number(bytes), kind);
}

static void check_slot(struct disk *disk, uint32_t s, void *bytes)
{
    struct ident id = ident_of(disk, s);
    const char *kind = record_check(bytes, &id);

    if (kind)
        slot_is_bad(disk, s, bytes, kind);
}

static void scan(void)
{
    unsigned long long before = atomic_load(&corrupt);

    for (unsigned d = 0; d < ndisks; d++) {
        for_slot(&disks[d], SUPER, check_slot);
        for_all_slots(&disks[d], check_slot);
    }
    report("ORACLE SCAN n=%llu found=%llu", atomic_load(&last),
           atomic_load(&corrupt) - before);
}

/* ---- start ------------------------------------------------------------ */

static uint64_t size_of(int fd)
{
    struct stat st;
    uint64_t size = 0;

    if (!fstat(fd, &st) && S_ISREG(st.st_mode))
        return st.st_size;
    return ioctl(fd, BLKGETSIZE64, &size) ? 0 : size;
}

static void open_disk(struct disk *disk, const char *path)
{
    const int flags = O_RDWR | O_CLOEXEC;
    const unsigned groups = (opt.slots + GROUP - 1) / GROUP;
    const char *slash = strrchr(path, '/');
    uint64_t size;

    disk->name = slash ? slash + 1 : path;
    disk->fd = open(path, flags | O_DIRECT);
    if (disk->fd < 0 && errno == EINVAL) {
        report("ORACLE NOTE %s has no O_DIRECT", disk->name);
        disk->fd = open(path, flags);
    }
    if (disk->fd < 0)
        fatal("cannot open %s: %s", path, strerror(errno));
    size = size_of(disk->fd);
    if (size > AREA)
        disk->stride = (size - AREA) / groups & -(uint64_t)RECORD_SIZE;
    if (disk->stride < GROUP * RECORD_SIZE)
        fatal("%s is too small for %u slots", path, opt.slots);
    disk->slots = calloc(opt.slots, sizeof(*disk->slots));
    if (!disk->slots)
        fatal("no memory");
}

void ring_open(char **paths, unsigned n)
{
    make_places();
    for (ndisks = 0; ndisks < n; ndisks++)
        open_disk(&disks[ndisks], paths[ndisks]);
}

/* Leaves an empty slot. A record there means that the first one is lost. */
static void wipe_slot(struct disk *disk, uint32_t s, void *bytes)
{
    struct ident id;

    if (record_is_zero(bytes))
        return;
    if (record_read(bytes, &id))
        slot_is_bad(disk, SUPER, bytes, "missing");
    memset(bytes, 0, RECORD_SIZE);
    write_bytes(disk, s, bytes);
}

static void format(void)
{
    if (getrandom(&run, sizeof(run), GRND_NONBLOCK) != sizeof(run))
        run = mix64(now_ns(CLOCK_REALTIME));
    for (unsigned d = 0; d < ndisks; d++) {
        for_all_slots(&disks[d], wipe_slot);
        write_slot(&disks[d], SUPER, 0);
        flush(&disks[d]);
    }
}

/* Takes the slot as it is, if it can be a record of this ring. */
static void adopt_slot(struct disk *disk, uint32_t s, void *bytes)
{
    struct slot *slot = slot_of(disk, s);
    struct ident found, id;

    if (!record_read(bytes, &found))
        return;
    slot->number = found.number;
    slot->stamp = found.stamp;
    id = ident_of(disk, s);
    if (record_check(bytes, &id))
        slot->number = slot->stamp = 0;
    else if (s != SUPER && found.number > disk->newest)
        disk->newest = found.number;
}

/* The number that slot s holds once record newest is written, 0: none. */
static uint64_t number_at(uint32_t s, uint64_t newest)
{
    uint64_t back = (newest % opt.slots + opt.slots - s) % opt.slots;

    return newest > back ? newest - back : 0;
}

static void verify_slot(struct disk *disk, uint32_t s, void *bytes)
{
    uint64_t expected = number_at(s, disk->newest);

    if (disk->slots[s].number != expected)
        disk->slots[s] = (struct slot){ .number = expected };
    check_slot(disk, s, bytes);
}

static void verify_instant(void)
{
    for (unsigned d = 1; d < ndisks; d++) {
        uint64_t before = disks[d - 1].newest, here = disks[d].newest;

        if (here > before || here + 1 < disks[0].newest)
            report_corrupt(disks[d].name, "-", before, here, "instant");
    }
}

static void go_on(void)
{
    uint64_t min = UINT64_MAX;

    for (unsigned d = 0; d < ndisks; d++) {
        for_slot(&disks[d], SUPER, adopt_slot);
        for_all_slots(&disks[d], adopt_slot);
        if (disks[d].newest < min)
            min = disks[d].newest;
    }
    for (unsigned d = 0; d < ndisks; d++) {
        for_slot(&disks[d], SUPER, check_slot);
        for_all_slots(&disks[d], verify_slot);
    }
    verify_instant();
    atomic_store(&last, min);
}

void ring_start(void)
{
    bool found = false;

    for (unsigned d = 0; d < ndisks && !found; d++) {
        struct ident id;

        found = read_slots(&disks[d], SUPER, 1) && record_read(buffer, &id);
        if (found)
            run = id.run;
        if (found && id.slots != opt.slots)
            fatal("the disks have %u slots", id.slots);
    }
    if (found)
        go_on();
    else
        format();
    report("ORACLE START last=%llu disks=%u continued=%d run=%016llx",
           atomic_load(&last), ndisks, found, (unsigned long long)run);
}

/* ---- rounds ----------------------------------------------------------- */

static void check_round(uint64_t number)
{
    for (unsigned d = 0; d < ndisks; d++) {
        for_slot(&disks[d], (number - 1) % opt.slots, check_slot);
        for_slot(&disks[d], number % opt.slots, check_slot);
        for (unsigned i = 0; i < opt.sample; i++)
            for_slot(&disks[d], (sampled + i) % opt.slots, check_slot);
    }
    sampled = (sampled + opt.sample) % opt.slots;
}

static void one_round(void)
{
    uint64_t number = atomic_load(&last) + 1;

    check_round(number);
    for (unsigned d = 0; d < ndisks; d++) {
        write_slot(&disks[d], number % opt.slots, number);
        if (opt.flush && number % opt.flush == 0)
            flush(&disks[d]);
    }
    atomic_store(&last, number);
}

void ring_run(void)
{
    struct timespec pause = { opt.interval / 1000,
                              opt.interval % 1000 * 1000000L };
    unsigned done = 0;

    while (!atomic_load(&stopping)) {
        one_round();
        done++;
        if (atomic_exchange(&scan_wanted, false) ||
            (opt.scan_every && done % opt.scan_every == 0))
            scan();
        if (done == opt.rounds)
            break;
        nanosleep(&pause, NULL);
    }
}
