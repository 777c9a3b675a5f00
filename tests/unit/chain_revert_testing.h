/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* For the tests of reverts: real images with a snapshot to go back to. */
#ifndef CHAIN_REVERT_TESTING_H
#define CHAIN_REVERT_TESTING_H

#include "chain_testing.h"

/* A snapshot of a.qcow2 as a-s1.qcow2; the guest has written since. */
static inline void make_external(void)
{
    struct disk *disk;

    make_full_image("a.qcow2");
    disk = use_for(XLSNAP_METHOD_EXTERNAL, "a.qcow2", "a-s1.qcow2");
    create(disk);
    guest_writes("a.qcow2");
}

/* The same, with a.qcow2 frozen under its name and t.qcow2 the overlay. */
static inline void make_overlay(void)
{
    struct disk *disk;

    make_full_image("a.qcow2");
    disk = use_for(XLSNAP_METHOD_OVERLAY, "a.qcow2", "t.qcow2");
    create(disk);
    guest_writes("t.qcow2");
}

static inline void assert_base(const char *file, const char *name,
                               const char *format)
{
    struct json *root;
    const struct json *image = image_info(file, &root);

    assert_string_equal(json_get_string(image, "backing-filename"), name);
    assert_string_equal(json_get_string(image, "backing-filename-format"),
                        format);
    json_free(root);
}

#endif
