/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One record of the oracle: 4096 bytes that all follow from a struct ident.
 * Head, a pattern that no other record has, a checksum at the end. A record
 * is compared byte by byte with what it must be, so a record that is half
 * one and half another can't pass. Never touches a disk.
 */
#include "oracle.h"

#include <string.h>

#define MAGIC 0x314c4341524f5358ULL /* "XSORACL1" */
#define WORDS (RECORD_SIZE / sizeof(uint64_t))

struct record {
    uint64_t magic;
    struct ident id;
    uint64_t body[WORDS - 1 - sizeof(struct ident) / 8 - 1];
    uint64_t sum;
};

_Static_assert(sizeof(struct record) == RECORD_SIZE, "record size");

uint64_t mix64(uint64_t x)
{
    x += 0x9e3779b97f4a7c15ULL;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
    return x ^ (x >> 31);
}

static uint64_t checksum(const struct record *rec)
{
    const uint64_t *word = (const uint64_t *)rec;
    uint64_t sum = 0xcbf29ce484222325ULL;

    for (size_t i = 0; i < WORDS - 1; i++)
        sum = mix64(sum ^ word[i]);
    return sum;
}

void record_fill(void *buf, const struct ident *id)
{
    struct record *rec = buf;
    uint64_t x = id->run ^ mix64(id->number) ^ mix64(id->stamp) ^
                 mix64((uint64_t)id->disk << 32 | id->slot);

    rec->magic = MAGIC;
    rec->id = *id;
    for (size_t i = 0; i < sizeof(rec->body) / 8; i++) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        rec->body[i] = x;
    }
    rec->sum = checksum(rec);
}

bool record_read(const void *buf, struct ident *id_r)
{
    const struct record *rec = buf;
    struct record good;

    if (rec->magic != MAGIC || rec->sum != checksum(rec))
        return false;
    record_fill(&good, &rec->id);
    if (memcmp(&good, rec, sizeof(good)))
        return false;
    *id_r = rec->id;
    return true;
}

bool record_is_zero(const void *buf)
{
    const uint64_t *word = buf;

    for (size_t i = 0; i < WORDS; i++)
        if (word[i])
            return false;
    return true;
}

uint64_t record_number(const void *buf)
{
    const struct record *rec = buf;

    return rec->magic == MAGIC ? rec->id.number : 0;
}

const char *record_check(const void *buf, const struct ident *id)
{
    struct record good;
    struct ident found;

    if (!id->number && id->slot != SUPER) {
        if (record_is_zero(buf))
            return NULL;
    } else {
        record_fill(&good, id);
        if (!memcmp(&good, buf, sizeof(good)))
            return NULL;
        if (record_is_zero(buf))
            return "zero";
    }
    if (!record_read(buf, &found))
        return "torn";
    if (found.run != id->run || found.disk != id->disk ||
        found.slot != id->slot || found.disks != id->disks ||
        found.slots != id->slots)
        return "foreign";
    if (found.number != id->number)
        return found.number > id->number ? "newer" : "older";
    return "foreign"; /* the number is right, the instant is not */
}
