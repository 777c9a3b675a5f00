/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The keys of a config and their values: what each may be, and the message for
 * what it may not.  DISKSPECs have cfg_diskspec_test.c.
 */
#include "cfg_testing.h"

static struct xlsnap_snapshot snap; /* cleared after each test */

static int clear_snap(void **state)
{
    xlsnap_snapshot_clear(&snap);
    return 0;
}

/* Values. */

static void nothing_given(void **state)
{
    read_text("", &snap);
    assert_null(snap.domain);
    assert_null(snap.name);
    assert_null(snap.description);
    assert_null(snap.path);
    assert_null(snap.memory);
    assert_int_equal(snap.type, XLSNAP_METHOD_DEFAULT);
    assert_int_equal(snap.live, -1);
    assert_int_equal(snap.compress, -1);
    assert_int_equal(snap.n_disks, 0);
}

static void every_key_of_a_user(void **state)
{
    read_text("domain='web1'; name='n'; description='d'; path='/p'\n"
              "memory='/m'; type='external'; live=1; compress='zstd'\n"
              "disks=[',,xvda']",
              &snap);
    assert_string_equal(snap.domain, "web1");
    assert_string_equal(snap.name, "n");
    assert_string_equal(snap.description, "d");
    assert_string_equal(snap.path, "/p");
    assert_string_equal(snap.memory, "/m");
    assert_int_equal(snap.type, XLSNAP_METHOD_EXTERNAL);
    assert_int_equal(snap.live, 1);
    assert_int_equal(snap.compress, XLSNAP_COMPRESS_ZSTD);
    assert_int_equal(snap.n_disks, 1);
}

static void every_key_of_snapshot_cfg(void **state)
{
    read_text("snapshot_format = 1\n"
              "uuid = '0f7c8a2e-5b1d-4c3e-9a6f-1b2c3d4e5f60'\n"
              "memory_digest = 'xxh3-128:0123456789abcdef0123456789ABCDEF'\n"
              "creation_time = 1794963301\n",
              &snap);
    assert_string_equal(snap.uuid, "0f7c8a2e-5b1d-4c3e-9a6f-1b2c3d4e5f60");
    assert_string_equal(snap.memory_digest,
                        "xxh3-128:0123456789abcdef0123456789ABCDEF");
    assert_int_equal(snap.creation_time, 1794963301);
}

static void escapes_in_a_string(void **state)
{
    read_text("description = \"a\\\\b\\\"c\\'d\\n\\te\"", &snap);
    assert_string_equal(snap.description, "a\\b\"c'd\n\te");
}

static void memory_path_is_memory(void **state)
{
    read_text("memory_path = '/m'", &snap);
    assert_string_equal(snap.memory, "/m");
    assert_int_equal(cfg_key("memory_path"), cfg_key("memory"));
}

static void a_domain_by_its_id(void **state)
{
    read_text("domain = 7", &snap);
    assert_string_equal(snap.domain, "7");
}

static void a_number_in_quotes(void **state)
{
    read_text("live = '0'", &snap);
    assert_int_equal(snap.live, 0);
}

static void a_relative_path_becomes_absolute(void **state)
{
    cleanup_free char *path = here("snapshots");

    read_text("path = 'snapshots'", &snap);
    assert_string_equal(snap.path, path);
}

static void a_relative_memory_becomes_absolute(void **state)
{
    cleanup_free char *path = here("x/memory.save");

    read_text("memory = 'x/memory.save'", &snap);
    assert_string_equal(snap.memory, path);
}

static void an_empty_description(void **state)
{
    read_text("description = ''", &snap);
    assert_string_equal(snap.description, "");
}

static void carriage_returns_at_line_ends(void **state)
{
    read_text("# windows\r\nname = 'a'\r\nlive = 1\r\n", &snap);
    assert_string_equal(snap.name, "a");
    assert_int_equal(snap.live, 1);
}

static void a_byte_order_mark(void **state)
{
    read_text("\xef\xbb\xbfname = 'a'", &snap);
    assert_string_equal(snap.name, "a");
}

static void a_comment_without_newline_at_the_end(void **state)
{
    read_text("name = 'a'\n# the end", &snap);
    assert_string_equal(snap.name, "a");
}

static void a_key_within_a_string_is_none(void **state)
{
    read_text("description = 'nmae=1; x = 2' # nmae = 3", &snap);
    assert_string_equal(snap.description, "nmae=1; x = 2");
}

/* Values that are refused. */

static void an_empty_domain(void **state)
{
    refuse("domain = ''", "web1.cfg:1: domain: '': must not be empty");
}

static void a_domain_with_a_newline(void **state)
{
    refuse("domain = 'a\\nb'",
           "web1.cfg:1: domain: 'a?b': must not contain control characters");
}

static void a_domain_that_is_too_long(void **state)
{
    cleanup_free char *text = xasprintf("domain = '%s'", repeat('a', 256));
    cleanup_free char *message =
        xasprintf("web1.cfg:1: domain: '%s...': is too long for a domain's"
                  " name",
                  repeat('a', 96));

    refuse(text, message);
}

static void a_name_that_is_a_number(void **state)
{
    refuse("name = 5",
           "web1.cfg:1: name: must be a string in quotes, not a number");
}

static void an_unsound_name(void **state)
{
    struct xlsnap_error err = { 0 };
    cleanup_free char *message = NULL;

    xlsnap_name_check("a/b", &err);
    message = xasprintf("web1.cfg:2: %s", err.msg);
    refuse("\nname = 'a/b'", message);
}

static void a_description_that_is_too_long(void **state)
{
    cleanup_free char *text =
        xasprintf("description = '%s'", repeat('a', 4097));
    cleanup_free char *message =
        xasprintf("web1.cfg:1: description: '%s...': is longer than 4096"
                  " bytes",
                  repeat('a', 96));

    refuse(text, message);
}

static void a_description_with_a_bell(void **state)
{
    refuse("description = 'a\\a'",
           "web1.cfg:1: description: 'a?': must not contain control"
           " characters other than newline and tab");
}

static void an_empty_path(void **state)
{
    refuse("path = ''", "web1.cfg:1: path: '': must not be empty");
}

static void a_path_that_is_too_long(void **state)
{
    cleanup_free char *text = xasprintf("path = '/%s'", repeat('a', 4095));
    cleanup_free char *message = xasprintf(
        "web1.cfg:1: path: '/%s...': is too long for a path", repeat('a', 95));

    refuse(text, message);
}

static void a_path_that_becomes_too_long(void **state)
{
    cleanup_free char *text = xasprintf("path = '%s'", repeat('a', 4095));
    cleanup_free char *message = xasprintf(
        "web1.cfg:1: path: '%s...': is too long for a path", repeat('a', 96));

    refuse(text, message);
}

static void a_memory_with_a_tab(void **state)
{
    refuse("memory = '/a\\tb'",
           "web1.cfg:1: memory: '/a?b': must not contain control characters");
}

static void a_path_that_is_a_list(void **state)
{
    refuse("path = [ '/a' ]",
           "web1.cfg:1: path: must be a single value, not a list");
}

static void an_unknown_type(void **state)
{
    refuse("type = 'overlay'",
           "web1.cfg:1: type: 'overlay': must be internal or external");
}

static void a_live_in_words(void **state)
{
    refuse("live = 'yes'", "web1.cfg:1: live: 'yes': must be 0 or 1");
}

static void a_live_that_is_another_number(void **state)
{
    refuse("live = 10", "web1.cfg:1: live: '10': must be 0 or 1");
}

static void an_unknown_compression(void **state)
{
    refuse("compress = 'gzip'",
           "web1.cfg:1: compress: 'gzip': must be none or zstd");
}

static void an_unsound_uuid(void **state)
{
    refuse("uuid = '0f7c8a2e-5b1d-4c3e-9a6f-1b2c3d4e5f6'",
           "web1.cfg:1: uuid: '0f7c8a2e-5b1d-4c3e-9a6f-1b2c3d4e5f6': must be"
           " a uuid (8-4-4-4-12 hexadecimal digits)");
}

static void an_unsound_digest(void **state)
{
    refuse("memory_digest = 'md5:0123'",
           "web1.cfg:1: memory_digest: 'md5:0123': must be xxh3-128: and 32"
           " hexadecimal digits");
}

static void an_unsound_creation_time(void **state)
{
    static const char *const words[] = {
        "0", "-5", "1.5", "0x10", "", "now", "99999999999999999999"
    };

    for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
        cleanup_free char *text = xasprintf("creation_time='%s'", words[i]);
        cleanup_free char *message =
            xasprintf("web1.cfg:1: creation_time: '%s': must be a number of"
                      " seconds since 1970",
                      words[i]);

        refuse(text, message);
    }
}

static void a_snapshot_of_a_newer_version(void **state)
{
    refuse("colour = 'red'\nsnapshot_format = 2\n",
           "web1.cfg:2: snapshot_format: '2': is of a newer xl-snapshot than"
           " this one, which knows 1");
}

static void a_format_of_zero(void **state)
{
    refuse("snapshot_format = 0", "web1.cfg:1: snapshot_format: '0': must be a"
                                  " number from 1 on");
}

/* Keys. */

static void a_misspelt_key(void **state)
{
    refuse("domain = 'a'\n\nnmae = 'x'\n",
           "web1.cfg:3: unknown key 'nmae' (did you mean 'name'?)");
}

static void a_foreign_key(void **state)
{
    refuse("vcpus = 2", "web1.cfg:1: unknown key 'vcpus' " KNOWN);
}

static void an_unknown_key_after_others_on_its_line(void **state)
{
    refuse("live = 1; disk = [ 'a' ]",
           "web1.cfg:1: unknown key 'disk' (did you mean 'disks'?)");
}

static void an_unknown_key_after_a_list_of_many_lines(void **state)
{
    refuse("disks = [\n',,xvda',\n\n',,xvdb'\n]\nfoo = 1\n",
           "web1.cfg:6: unknown key 'foo' " KNOWN);
}

static void an_unknown_key_that_is_very_long(void **state)
{
    cleanup_free char *text = xasprintf("%s = 1", repeat('k', 8000));
    cleanup_free char *message =
        xasprintf("web1.cfg:1: unknown key '%s...' " KNOWN, repeat('k', 96));

    refuse(text, message);
}

static void a_key_given_twice(void **state)
{
    refuse("name = 'a'\nlive = 1\nname = 'b'\n",
           "web1.cfg:3: 'name' is given twice, first on line 1");
}

static void memory_given_under_both_names(void **state)
{
    refuse("memory = '/a'\nmemory_path = '/b'\n",
           "web1.cfg:2: 'memory_path' is given twice, first on line 1"
           " ('memory' and 'memory_path' are the same)");
}

static void a_value_that_is_appended(void **state)
{
    refuse("name = 'a'\nname += 'b'\n",
           "web1.cfg:2: '+=' would append to an earlier value: write the whole"
           " value once, with '='");
}

static void a_short_key_is_not_guessed_at(void **state)
{
    refuse("lvm = 1", "web1.cfg:1: unknown key 'lvm' " KNOWN);
}

static void there_are_lines_for_all_keys(void **state)
{
    assert_int_equal(cfg_key("compress"), 0);
    assert_int_equal(cfg_key("uuid"), 12);
    assert_int_equal(cfg_key("nmae"), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(nothing_given, clear_snap),
        cmocka_unit_test_teardown(every_key_of_a_user, clear_snap),
        cmocka_unit_test_teardown(every_key_of_snapshot_cfg, clear_snap),
        cmocka_unit_test_teardown(escapes_in_a_string, clear_snap),
        cmocka_unit_test_teardown(memory_path_is_memory, clear_snap),
        cmocka_unit_test_teardown(a_domain_by_its_id, clear_snap),
        cmocka_unit_test_teardown(a_number_in_quotes, clear_snap),
        cmocka_unit_test_teardown(a_relative_path_becomes_absolute, clear_snap),
        cmocka_unit_test_teardown(a_relative_memory_becomes_absolute,
                                  clear_snap),
        cmocka_unit_test_teardown(an_empty_description, clear_snap),
        cmocka_unit_test_teardown(carriage_returns_at_line_ends, clear_snap),
        cmocka_unit_test_teardown(a_byte_order_mark, clear_snap),
        cmocka_unit_test_teardown(a_comment_without_newline_at_the_end,
                                  clear_snap),
        cmocka_unit_test_teardown(a_key_within_a_string_is_none, clear_snap),
        cmocka_unit_test_teardown(an_empty_domain, clear_snap),
        cmocka_unit_test_teardown(a_domain_with_a_newline, clear_snap),
        cmocka_unit_test_teardown(a_domain_that_is_too_long, clear_snap),
        cmocka_unit_test_teardown(a_name_that_is_a_number, clear_snap),
        cmocka_unit_test_teardown(an_unsound_name, clear_snap),
        cmocka_unit_test_teardown(a_description_that_is_too_long, clear_snap),
        cmocka_unit_test_teardown(a_description_with_a_bell, clear_snap),
        cmocka_unit_test_teardown(an_empty_path, clear_snap),
        cmocka_unit_test_teardown(a_path_that_is_too_long, clear_snap),
        cmocka_unit_test_teardown(a_path_that_becomes_too_long, clear_snap),
        cmocka_unit_test_teardown(a_memory_with_a_tab, clear_snap),
        cmocka_unit_test_teardown(a_path_that_is_a_list, clear_snap),
        cmocka_unit_test_teardown(an_unknown_type, clear_snap),
        cmocka_unit_test_teardown(a_live_in_words, clear_snap),
        cmocka_unit_test_teardown(a_live_that_is_another_number, clear_snap),
        cmocka_unit_test_teardown(an_unknown_compression, clear_snap),
        cmocka_unit_test_teardown(an_unsound_uuid, clear_snap),
        cmocka_unit_test_teardown(an_unsound_digest, clear_snap),
        cmocka_unit_test_teardown(an_unsound_creation_time, clear_snap),
        cmocka_unit_test_teardown(a_snapshot_of_a_newer_version, clear_snap),
        cmocka_unit_test_teardown(a_format_of_zero, clear_snap),
        cmocka_unit_test_teardown(a_misspelt_key, clear_snap),
        cmocka_unit_test_teardown(a_foreign_key, clear_snap),
        cmocka_unit_test_teardown(an_unknown_key_after_others_on_its_line,
                                  clear_snap),
        cmocka_unit_test_teardown(an_unknown_key_after_a_list_of_many_lines,
                                  clear_snap),
        cmocka_unit_test_teardown(an_unknown_key_that_is_very_long, clear_snap),
        cmocka_unit_test_teardown(a_key_given_twice, clear_snap),
        cmocka_unit_test_teardown(memory_given_under_both_names, clear_snap),
        cmocka_unit_test_teardown(a_value_that_is_appended, clear_snap),
        cmocka_unit_test_teardown(a_short_key_is_not_guessed_at, clear_snap),
        cmocka_unit_test_teardown(there_are_lines_for_all_keys, clear_snap),
    };

    xlsnap_snapshot_init(&snap);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
