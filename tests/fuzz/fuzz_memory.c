/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Fuzz target: a memory image.
 *
 * Any bytes are either refused with a message of one line, or are an image
 * whose parts lie within the file and whose digest can be computed.
 */
#include <sys/mman.h>

#include "fuzzing.h"

#include "file.h"
#include "memory.h"
#include "util.h"

static void check_image(struct memory_image *image, const char *path,
                        size_t size)
{
    struct xlsnap_error err = { 0 };

    if (image->bytes != size || image->stream <= 0 ||
        (size_t)image->stream >= size || !image->config_json ||
        strlen(image->config_json) >= (size_t)image->stream)
        abort();
    if (memory_image_check_digest(image, path, NULL, &err) ||
        strlen(image->digest) != MEMORY_DIGEST_LEN)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    cleanup_close int fd = memfd_create("image", MFD_CLOEXEC);
    cleanup_free char *path = xasprintf("/proc/self/fd/%d", fd);
    struct xlsnap_error err = { 0 };
    struct memory_image image;
    int rc;

    if (fd < 0 || file_write_all(fd, data, size))
        abort();
    rc = memory_image_open(path, &image, &err);
    if (rc)
        check_refusal(rc, &err, XLSNAP_REFUSED);
    else
        check_image(&image, path, size);
    memory_image_close(&image);
    return 0;
}
