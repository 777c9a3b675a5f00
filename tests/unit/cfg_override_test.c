/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* KEY=VALUE of the command line. */
#include "cfg_testing.h"

static struct xlsnap_snapshot snap; /* cleared after each test */

static int clear_snap(void **state)
{
    xlsnap_snapshot_clear(&snap);
    return 0;
}

static void override(const char *assignment)
{
    struct xlsnap_error err = { 0 };
    struct cfg_origin origin;

    cfg_origin_init(&origin);
    if (cfg_override(assignment, &snap, &origin, &err))
        fail_msg("%s", err.msg);
}

static void refuse_override(const char *assignment, const char *message)
{
    struct xlsnap_error err = { 0 };
    struct cfg_origin origin;

    cfg_origin_init(&origin);
    assert_int_equal(cfg_override(assignment, &snap, &origin, &err),
                     -XLSNAP_INVALID);
    assert_string_equal(err.msg, message);
}

static void an_override_replaces(void **state)
{
    read_text("name = 'a'; live = 1", &snap);
    override("name=b");
    assert_string_equal(snap.name, "b");
    assert_int_equal(snap.live, 1);
}

static void an_override_is_remembered(void **state)
{
    struct xlsnap_error err = { 0 };
    struct cfg_origin origin;

    assert_int_equal(cfg_read_text("f", "live = 1", 8, &snap, &origin, &err),
                     0);
    assert_int_equal(cfg_override("live=0", &snap, &origin, &err), 0);
    assert_int_equal(origin.line[cfg_key("live")], 0);
    assert_int_equal(snap.live, 0);
    cfg_origin_clear(&origin);
}

static void an_override_given_twice(void **state)
{
    struct xlsnap_error err = { 0 };
    struct cfg_origin origin;

    cfg_origin_init(&origin);
    assert_int_equal(cfg_override("memory=/a", &snap, &origin, &err), 0);
    assert_int_equal(cfg_override("memory_path=/b", &snap, &origin, &err),
                     -XLSNAP_INVALID);
    assert_string_equal(err.msg,
                        "KEY=VALUE 'memory_path=/b': 'memory_path' is given"
                        " twice on the command line");
}

static void an_override_with_blanks(void **state)
{
    override("name = b");
    assert_string_equal(snap.name, "b");
}

static void an_override_in_quotes(void **state)
{
    override("description=\"a\\tb\" # a comment");
    assert_string_equal(snap.description, "a\tb");
}

static void a_bare_override_is_taken_to_the_letter(void **state)
{
    override("description=5 \"of\" 'them'\\n = 10; # all\n");
    assert_string_equal(snap.description, "5 \"of\" 'them'\\n = 10; # all\n");
}

static void an_override_with_a_number(void **state)
{
    override("live=1");
    assert_int_equal(snap.live, 1);
}

static void an_override_without_a_value(void **state)
{
    refuse_override("path=", "KEY=VALUE 'path=': path: '': must not be empty");
}

static void an_override_of_the_disks_replaces_all(void **state)
{
    read_text("disks = [ ',,xvda', ',,xvdb' ]", &snap);
    override("disks=[',,xvdc']");
    assert_int_equal(snap.n_disks, 1);
    assert_string_equal(snap.disks[0].vdev, "xvdc");
}

static void a_disks_override_that_is_no_list(void **state)
{
    refuse_override("disks=,,xvda", "KEY=VALUE 'disks=,,xvda': disks: must be"
                                    " a list: [ \"...\", ... ]");
}

static void a_disks_override_that_is_wrong(void **state)
{
    refuse_override("disks=[',,xvda',\n5]",
                    "KEY=VALUE 'disks=[',,xvda',?5]': disks[1]: must be a"
                    " string in quotes, not a number");
}

static void an_override_of_an_unknown_key(void **state)
{
    refuse_override("nmae=x", "KEY=VALUE 'nmae=x': unknown key 'nmae' (did"
                              " you mean 'name'?)");
}

static void a_word_that_is_no_override(void **state)
{
    refuse_override("web1", "KEY=VALUE 'web1': must be KEY=VALUE");
}

static void an_override_without_a_key(void **state)
{
    refuse_override("=web1", "KEY=VALUE '=web1': must be KEY=VALUE");
}

static void an_override_that_appends(void **state)
{
    refuse_override("name+=x", "KEY=VALUE 'name+=x': '+=' is not possible,"
                               " give the whole value");
}

static void an_override_that_is_two(void **state)
{
    refuse_override("name='a'; live=1",
                    "KEY=VALUE 'name='a'; live=1': more than one KEY=VALUE");
}

static void an_override_with_a_syntax_error(void **state)
{
    refuse_override("name='a", "KEY=VALUE 'name='a': lexical error near"
                               " ''a'");
}

static void an_override_that_is_not_utf8(void **state)
{
    refuse_override("name=\xff", "KEY=VALUE 'name=?': not UTF-8 text");
}

static void an_override_without_any_character(void **state)
{
    refuse_override(repeat('\x80', 200), "KEY=VALUE '...': not UTF-8 text");
}

static void an_override_that_is_very_long(void **state)
{
    cleanup_free char *text = xasprintf("path=/%s", repeat('a', 5000));
    cleanup_free char *message = xasprintf(
        "KEY=VALUE 'path=/%.90s...': path: '/%.95s...': is too long for a path",
        repeat('a', 96), repeat('a', 96));

    refuse_override(text, message);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(an_override_replaces, clear_snap),
        cmocka_unit_test_teardown(an_override_is_remembered, clear_snap),
        cmocka_unit_test_teardown(an_override_given_twice, clear_snap),
        cmocka_unit_test_teardown(an_override_with_blanks, clear_snap),
        cmocka_unit_test_teardown(an_override_in_quotes, clear_snap),
        cmocka_unit_test_teardown(a_bare_override_is_taken_to_the_letter,
                                  clear_snap),
        cmocka_unit_test_teardown(an_override_with_a_number, clear_snap),
        cmocka_unit_test_teardown(an_override_without_a_value, clear_snap),
        cmocka_unit_test_teardown(an_override_of_the_disks_replaces_all,
                                  clear_snap),
        cmocka_unit_test_teardown(a_disks_override_that_is_no_list, clear_snap),
        cmocka_unit_test_teardown(a_disks_override_that_is_wrong, clear_snap),
        cmocka_unit_test_teardown(an_override_of_an_unknown_key, clear_snap),
        cmocka_unit_test_teardown(a_word_that_is_no_override, clear_snap),
        cmocka_unit_test_teardown(an_override_without_a_key, clear_snap),
        cmocka_unit_test_teardown(an_override_that_appends, clear_snap),
        cmocka_unit_test_teardown(an_override_that_is_two, clear_snap),
        cmocka_unit_test_teardown(an_override_with_a_syntax_error, clear_snap),
        cmocka_unit_test_teardown(an_override_that_is_not_utf8, clear_snap),
        cmocka_unit_test_teardown(an_override_without_any_character,
                                  clear_snap),
        cmocka_unit_test_teardown(an_override_that_is_very_long, clear_snap),
    };

    xlsnap_snapshot_init(&snap);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
