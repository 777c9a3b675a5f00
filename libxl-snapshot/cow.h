/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The persistent copy-on-write store of a dm-snapshot, as the kernel's
 * dm-snap-persistent.c writes it: which chunks of the origin have changed
 * since the snapshot.  Read only; all numbers are little-endian.
 *
 *     chunk 0            header: magic "SnAp", valid, version 1, chunk size in
 *                        sectors, 32 bits each
 *     chunk 1            area 0 of the table: pairs of 64 bits, the chunk of the
 *                        origin and the chunk of this store that holds what was
 *                        there; a pair whose second is 0 ends the table
 *     chunks 2..E+1      data, E being the pairs that one area holds
 *     chunk E+2          area 1, and so on, every E+1 chunks
 *
 * A pair is in the table once its data is on disk, and only then is the origin
 * overwritten.
 */
#ifndef XLSNAP_COW_H
#define XLSNAP_COW_H

#include "error.h"

struct cow {
    uint32_t chunk_bytes;
    uint64_t *chunks; /* of the origin, ascending, each once */
    size_t n;
};

/*
 * Reads the whole table.  `fd`: the store, O_DIRECT if it is a device that the
 * kernel writes to; `store` and `origin`: their sizes in bytes.  Whatever does
 * not fit the format is -XLSNAP_FAILED; so is a store that has overflowed.
 */
int cow_read(int fd, uint64_t store, uint64_t origin, struct cow *cow_r,
             struct xlsnap_error *err);
void cow_clear(struct cow *cow);

/* Bytes that a store needs for so many chunks, its table included. */
uint64_t cow_size(uint64_t chunks, uint32_t chunk_bytes);
/*
 * How many chunks a store of `other` would get if all of `cow` were written in
 * the origin that both have.
 */
uint64_t cow_growth(const struct cow *cow, const struct cow *other);

/*
 * Makes every chunk of `cow` in `to` equal to that in `from`; those that are
 * equal are not written.  With to_write false only counts.  *differing_r: how
 * many bytes did differ.  `progress` (may be NULL) is called now and then.
 * Both are of `size` bytes or more, opened with O_DIRECT if they are devices.
 */
int cow_copy(const struct cow *cow, int from, int to, uint64_t size,
             bool to_write, uint64_t *differing_r,
             void (*progress)(void *user, unsigned percent), void *user,
             struct xlsnap_error *err);

#endif
