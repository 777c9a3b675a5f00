/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * disk-qemu-chain-revert.c: how the new image names the frozen one that it is
 * based on; QEMU finds that wherever both are and whatever they are called.
 */
#include "chain_revert_testing.h"

static void a_base_beside_it_is_named_relative(void **state)
{
    make_external();
    assert_base("a.qcow2", "a-s1.qcow2", "qcow2"); /* by create, too */
    revert();
    assert_base("a.qcow2", "a-s1.qcow2", "qcow2");
}

static void a_base_beside_an_overlay_is_named_relative(void **state)
{
    make_overlay();
    assert_base("t.qcow2", "a.qcow2", "qcow2");
    revert();
    assert_base("t.qcow2", "a.qcow2", "qcow2");
}

static void a_base_elsewhere_is_named_absolute(void **state)
{
    cleanup_free char *name = in_dir("snaps/frozen");
    struct disk *disk;

    make_full_image("a.qcow2");
    assert_int_equal(mkdir("snaps", 0700), 0);
    disk = use_for(XLSNAP_METHOD_EXTERNAL, "a.qcow2", "snaps/frozen");
    create(disk);
    assert_base("a.qcow2", name, "qcow2");
    revert();
    assert_base("a.qcow2", name, "qcow2");
    assert_filled("a.qcow2", BEFORE);
}

static void a_base_of_an_overlay_elsewhere_is_named_absolute(void **state)
{
    cleanup_free char *name = in_dir("a.qcow2");
    struct disk *disk;

    make_full_image("a.qcow2");
    assert_int_equal(mkdir("new", 0700), 0);
    disk = use_for(XLSNAP_METHOD_OVERLAY, "a.qcow2", "new/t.qcow2");
    create(disk);
    assert_base("new/t.qcow2", name, "qcow2");
    revert();
    assert_base("new/t.qcow2", name, "qcow2");
    assert_filled("new/t.qcow2", BEFORE);
}

static void the_directory_can_be_moved(void **state)
{
    struct disk *disk;

    assert_int_equal(mkdir("images", 0700), 0);
    make_full_image("images/a.qcow2");
    disk =
        use_for(XLSNAP_METHOD_EXTERNAL, "images/a.qcow2", "images/a-s1.qcow2");
    create(disk);
    revert();
    assert_int_equal(rename("images", "elsewhere"), 0);
    assert_filled("elsewhere/a.qcow2", BEFORE);
    guest_writes("elsewhere/a.qcow2");
    assert_data("elsewhere/a.qcow2", "qcow2", AFTER);
}

/* QEMU takes a relative name as from the directory of the name it is given. */
static void a_disk_known_by_a_symbolic_link_finds_its_base(void **state)
{
    struct disk *disk;

    assert_int_equal(mkdir("images", 0700), 0);
    make_full_image("images/a.qcow2");
    assert_int_equal(symlink("images/a.qcow2", "name"), 0);
    disk = use_for(XLSNAP_METHOD_EXTERNAL, "name", "images/a-s1.qcow2");
    create(disk);
    assert_filled("name", BEFORE);
    guest_writes("name");
    revert();
    assert_filled("name", BEFORE);
    assert_filled("images/a.qcow2", BEFORE);
    assert_files(".", "images name");
    assert_files("images", "a-s1.qcow2 a.qcow2");
}

static void a_directory_known_by_a_symbolic_link_can_be_moved(void **state)
{
    struct disk *disk;

    assert_int_equal(mkdir("images", 0700), 0);
    make_full_image("images/a.qcow2");
    assert_int_equal(symlink("images", "link"), 0);
    disk = use_for(XLSNAP_METHOD_EXTERNAL, "link/a.qcow2", "link/a-s1.qcow2");
    create(disk);
    revert();
    assert_base("link/a.qcow2", "a-s1.qcow2", "qcow2");
    assert_filled("link/a.qcow2", BEFORE);
}

/* In a directory of its own: such a name is all that it is known by. */
static void assert_name_works(enum xlsnap_method method, const char *name)
{
    bool external = method == XLSNAP_METHOD_EXTERNAL;
    cleanup_free char *target = xasprintf("%s.s1", name);
    cleanup_free char *active = NULL;

    assert_int_equal(teardown(NULL) || setup(NULL), 0);
    make_full_image("image");
    assert_int_equal(rename("image", name), 0);
    create(use_for(method, name, target));
    active = in_dir(external ? name : target);
    guest_writes(active);
    revert();
    assert_filled(active, BEFORE);
}

/* Those in which QEMU could see a protocol, an option or an end. */
static void no_character_of_a_name_means_anything(void **state)
{
    const char *const names[] = {
        "a,b=c.qcow2",
        "it's \"x\"",
        "two  words ",
        "50%20\\%s",
        "line\nbreak",
        "json:{\"driver\": \"nbd\"}",
        "nbd:localhost:1",
        "-l",
        "{}[]#?&;|$HOME`id`*",
        "fat:\xc3\xa4\xf0\x9f\x98\x80",
        "tab\t\x01",
        "file.driver=raw,,x",
        "file:x",
        "2026-01-31T12:00",
    };

    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        assert_name_works(XLSNAP_METHOD_EXTERNAL, names[i]);
        assert_name_works(XLSNAP_METHOD_OVERLAY, names[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_base_beside_it_is_named_relative),
        TEST(a_base_beside_an_overlay_is_named_relative),
        TEST(a_base_elsewhere_is_named_absolute),
        TEST(a_base_of_an_overlay_elsewhere_is_named_absolute),
        TEST(the_directory_can_be_moved),
        TEST(a_disk_known_by_a_symbolic_link_finds_its_base),
        TEST(a_directory_known_by_a_symbolic_link_can_be_moved),
        TEST(no_character_of_a_name_means_anything),
    };

    return cmocka_run_group_tests_name("chain_revert_names", tests, NULL, NULL);
}
