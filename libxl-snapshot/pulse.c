/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "pulse.h"

#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

static int shared = -1;
static unsigned *count;

/* Linux 6.3 wants to be told; an older one does not know the flag. */
#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 8U
#endif

static int memory_new(void)
{
    int fd = memfd_create("xl-snapshot-pulse", MFD_CLOEXEC | MFD_NOEXEC_SEAL);

    if (fd < 0 && errno == EINVAL)
        fd = memfd_create("xl-snapshot-pulse", MFD_CLOEXEC);
    return fd;
}

int pulse_share(void)
{
    void *at = MAP_FAILED;
    int fd;

    if (count)
        return shared;
    fd = memory_new();
    if (fd >= 0 && !ftruncate(fd, sizeof(*count)))
        at = mmap(NULL, sizeof(*count), PROT_READ | PROT_WRITE, MAP_SHARED, fd,
                  0);
    if (at == MAP_FAILED) {
        if (fd >= 0)
            close(fd);
        return -1;
    }
    shared = fd;
    count = at;
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
