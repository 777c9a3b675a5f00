/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "pulse.h"

#include <sys/mman.h>
#include <unistd.h>

static int shared = -1;
static unsigned *count;

int pulse_share(void)
{
    if (shared < 0) {
        shared = memfd_create("xl-snapshot-pulse", MFD_CLOEXEC);
        if (shared < 0 || ftruncate(shared, sizeof(*count)))
            return -1;
    }
    if (!count) {
        void *at = mmap(NULL, sizeof(*count), PROT_READ | PROT_WRITE,
                        MAP_SHARED, shared, 0);

        if (at == MAP_FAILED)
            return -1;
        count = at;
    }
    return shared;
}

void pulse(void)
{
    if (count)
        __atomic_fetch_add(count, 1, __ATOMIC_RELAXED);
}

const unsigned *pulse_watch(int fd)
{
    void *at = mmap(NULL, sizeof(*count), PROT_READ, MAP_SHARED, fd, 0);

    return at == MAP_FAILED ? NULL : at;
}

unsigned pulse_count(const unsigned *watched)
{
    return __atomic_load_n(watched, __ATOMIC_RELAXED);
}
