/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a config is before it has keys: a file of text in the syntax of
 * xl.cfg.  And what it may be at worst: hostile.
 */
#include <glob.h>
#include <sys/stat.h>

#include "cfg_testing.h"

static struct xlsnap_snapshot snap; /* cleared after each test */
static char dir[] = "/tmp/cfg_text_test.XXXXXX";

static int clear_snap(void **state)
{
    xlsnap_snapshot_clear(&snap);
    return 0;
}

/* Syntax. */

static void a_word_without_quotes(void **state)
{
    refuse("live = 1\nname = web1\n",
           "web1.cfg:2: syntax error near 'web1': unexpected IDENT, expecting"
           " STRING or NUMBER or '['");
}

static void a_key_without_value(void **state)
{
    refuse("live = 1\nname =\n",
           "web1.cfg:2: syntax error at the end of the line: unexpected"
           " NEWLINE, expecting STRING or NUMBER or '['");
}

static void a_key_with_a_comment_for_a_value(void **state)
{
    refuse("live = 1\nname = # later\n",
           "web1.cfg:2: syntax error near '# later': unexpected NEWLINE,"
           " expecting STRING or NUMBER or '['");
}

static void a_list_that_does_not_end(void **state)
{
    refuse("disks = [\n',,xvda',\n",
           "web1.cfg:2: syntax error at the end of the file: unexpected $end,"
           " expecting ']'");
}

static void a_string_that_does_not_end(void **state)
{
    refuse("name = 'a\n", "web1.cfg:1: lexical error near ''a'");
}

static void a_negative_number(void **state)
{
    refuse("live = -1\n", "web1.cfg:1: lexical error near '-1'");
}

static void python(void **state)
{
    refuse("name = 'a'\nimport os\n",
           "web1.cfg:2: syntax error near 'os': unexpected IDENT, expecting +="
           " or '='");
}

static void an_unknown_escape(void **state)
{
    refuse("name = 'a\\q'\n",
           "web1.cfg:1: invalid character after backlash in quoted string"
           " near ''a\\q''");
}

static void a_numeric_escape(void **state)
{
    refuse("\nname = 'a\\x41'\n",
           "web1.cfg:2: '\\x' in a string: numeric escapes do not work in this"
           " syntax, write the character itself");
}

static void an_octal_escape(void **state)
{
    refuse("name = 'a\\\\\\101'\n",
           "web1.cfg:1: '\\1' in a string: numeric escapes do not work in this"
           " syntax, write the character itself");
}

static void a_bad_character_at_the_end(void **state)
{
    refuse("$", "web1.cfg:1: lexical error near '$'");
}

static void lists_of_ten_thousand_levels(void **state)
{
    cleanup_free char *text = xasprintf("disks = %s%s", repeat('[', 8000), "");
    cleanup_free char *deeper = xasprintf("%s%s", text, repeat('[', 8000));

    refuse(deeper, "web1.cfg:1: memory exhausted near '['");
}

/* Text. */

static void a_nul_byte(void **state)
{
    static const char text[] = "live = 1\nname = 'a\0b'\n";

    refuse_bytes(text, sizeof(text) - 1,
                 "web1.cfg:2: not a text file: it has a NUL byte");
}

static void bytes_that_are_not_utf8(void **state)
{
    static const char *const words[] = {
        "\xff",         "\x80",
        "\xc3",         "\xc0\x80",
        "\xed\xa0\x80", "\xf4\x90\x80\x80",
        "\xe2\x82",     "\xf8\x88\x80\x80\x80",
    };

    for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
        cleanup_free char *text = xasprintf("\n# %s", words[i]);

        refuse(text, "web1.cfg:2: not UTF-8 text");
    }
}

static void utf8_text(void **state)
{
    read_text("description = '\xc3\xa9 \xe2\x82\xac \xf0\x9f\x90\xa7'", &snap);
    assert_string_equal(snap.description,
                        "\xc3\xa9 \xe2\x82\xac \xf0\x9f\x90\xa7");
}

static void a_control_character(void **state)
{
    refuse("name = 'a\x1b[31m'", "web1.cfg:1: control character 0x1b");
}

static void a_control_character_of_two_bytes(void **state)
{
    refuse("name = 'a\xc2\x9b'", "web1.cfg:1: control character 0x9b");
}

static void a_carriage_return_within_a_line(void **state)
{
    refuse("name = 'a\rb'", "web1.cfg:1: control character 0x0d");
}

/* Files. */

static void make_file(const char *name, const char *text, size_t len,
                      char **path_r)
{
    FILE *f;

    *path_r = xasprintf("%s/%s", dir, name);
    f = fopen(*path_r, "w");
    assert_non_null(f);
    assert_int_equal(fwrite(text, 1, len, f), len);
    assert_int_equal(fclose(f), 0);
}

static void refuse_file(const char *path, const char *message)
{
    struct xlsnap_error err = { 0 };

    assert_int_equal(cfg_read(path, &snap, NULL, &err), -XLSNAP_INVALID);
    assert_string_equal(err.msg, message);
    assert_int_equal(err.code, XLSNAP_INVALID);
}

static void a_file(void **state)
{
    struct xlsnap_error err = { 0 };
    struct cfg_origin origin;
    cleanup_free char *path = NULL;

    make_file("a.cfg", "\nname = 'a'", 11, &path);
    assert_int_equal(cfg_read(path, &snap, &origin, &err), 0);
    assert_string_equal(snap.name, "a");
    assert_string_equal(origin.file, path);
    assert_int_equal(origin.line[cfg_key("name")], 2);
    assert_int_equal(origin.line[cfg_key("live")], -1);
    cfg_origin_clear(&origin);
    assert_null(origin.file);
    assert_int_equal(origin.line[cfg_key("name")], -1);
}

static void messages_name_the_file(void **state)
{
    cleanup_free char *path = NULL, *message = NULL;

    make_file("b.cfg", "nmae = 'a'", 10, &path);
    message =
        xasprintf("%s:1: unknown key 'nmae' (did you mean 'name'?)", path);
    refuse_file(path, message);
}

static void of_a_long_file_name_messages_show_the_end(void **state)
{
    struct xlsnap_error err = { 0 };
    cleanup_free char *name = xasprintf("/%s/web1.cfg", repeat('d', 3000));
    cleanup_free char *message = xasprintf(
        "...%s/web1.cfg:1: unknown key 'foo' " KNOWN, repeat('d', 246));

    cfg_read_text(name, "foo = 1", 7, &snap, NULL, &err);
    assert_string_equal(err.msg, message);
}

static void a_long_file_name_is_cut_between_characters(void **state)
{
    struct xlsnap_error err = { 0 };
    cleanup_free char *name =
        xasprintf("/\xc3\xa9%s/web1.cfg", repeat('d', 245));
    cleanup_free char *message = xasprintf(
        "...%s/web1.cfg:1: unknown key 'foo' " KNOWN, repeat('d', 245));

    cfg_read_text(name, "foo = 1", 7, &snap, NULL, &err);
    assert_string_equal(err.msg, message);
}

static void a_missing_file(void **state)
{
    refuse_file("/nonexistent/web1.cfg",
                "cannot read '/nonexistent/web1.cfg': No such file or"
                " directory");
}

static void a_directory(void **state)
{
    refuse_file("/", "cannot read '/': it is a directory");
}

static void a_device(void **state)
{
    refuse_file("/dev/zero",
                "cannot read '/dev/zero': it is not a regular file");
}

static void a_fifo_that_nobody_writes(void **state)
{
    cleanup_free char *path = xasprintf("%s/fifo", dir), *message = NULL;

    assert_int_equal(mkfifo(path, 0600), 0);
    message = xasprintf("cannot read '%s': it is not a regular file", path);
    refuse_file(path, message);
}

static void a_file_that_is_too_large(void **state)
{
    cleanup_free char *path = NULL, *message = NULL;
    cleanup_free char *line = xcalloc(10 << 20, 1);

    memset(line, '#', 10 << 20);
    make_file("large.cfg", line, 10 << 20, &path);
    message =
        xasprintf("cannot read '%s': it is larger than 1048576 bytes", path);
    refuse_file(path, message);
}

static void a_text_that_is_too_large(void **state)
{
    cleanup_free char *text = xcalloc(CFG_SIZE_MAX + 2, 1);

    memset(text, '\n', CFG_SIZE_MAX + 1);
    refuse(text, "web1.cfg: is larger than 1048576 bytes");
}

static void a_line_of_a_million_bytes(void **state)
{
    struct xlsnap_error err = { 0 };
    cleanup_free char *path = NULL;
    cleanup_free char *line = xcalloc(CFG_SIZE_MAX, 1);

    memset(line, '#', CFG_SIZE_MAX);
    memcpy(line, "live=1", 6);
    make_file("long.cfg", line, CFG_SIZE_MAX, &path);
    assert_int_equal(cfg_read(path, &snap, NULL, &err), 0);
    assert_int_equal(snap.live, 1);
}

static void a_million_statements(void **state)
{
    cleanup_free char *text = xcalloc(CFG_SIZE_MAX, 1);

    for (size_t i = 0; i + 4 < CFG_SIZE_MAX; i += 4)
        memcpy(text + i, "a=1;", 4);
    refuse(text, "web1.cfg:1: unknown key 'a' " KNOWN);
}

static void a_million_errors(void **state)
{
    cleanup_free char *text = xcalloc(CFG_SIZE_MAX, 1);

    for (size_t i = 0; i + 2 < CFG_SIZE_MAX; i += 2)
        memcpy(text + i, "$\n", 2);
    refuse(text, "web1.cfg:1: lexical error near '$'");
}

static void the_examples(void **state)
{
    struct xlsnap_error err = { 0 };
    glob_t files;

    assert_int_equal(glob("cfg/examples/*.cfg", 0, NULL, &files), 0);
    assert_true(files.gl_pathc >= 3);
    for (size_t i = 0; i < files.gl_pathc; i++) {
        if (cfg_read(files.gl_pathv[i], &snap, NULL, &err))
            fail_msg("%s", err.msg);
        assert_non_null(snap.domain);
        xlsnap_snapshot_clear(&snap);
    }
    globfree(&files);
}

static int make_dir(void **state)
{
    return mkdtemp(dir) ? 0 : -1;
}

static int remove_dir(void **state)
{
    static const char *const names[] = { "a.cfg", "b.cfg", "fifo", "large.cfg",
                                         "long.cfg" };

    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        cleanup_free char *path = xasprintf("%s/%s", dir, names[i]);

        unlink(path);
    }
    return rmdir(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(a_word_without_quotes, clear_snap),
        cmocka_unit_test_teardown(a_key_without_value, clear_snap),
        cmocka_unit_test_teardown(a_key_with_a_comment_for_a_value, clear_snap),
        cmocka_unit_test_teardown(a_list_that_does_not_end, clear_snap),
        cmocka_unit_test_teardown(a_string_that_does_not_end, clear_snap),
        cmocka_unit_test_teardown(a_negative_number, clear_snap),
        cmocka_unit_test_teardown(python, clear_snap),
        cmocka_unit_test_teardown(an_unknown_escape, clear_snap),
        cmocka_unit_test_teardown(a_numeric_escape, clear_snap),
        cmocka_unit_test_teardown(an_octal_escape, clear_snap),
        cmocka_unit_test_teardown(a_bad_character_at_the_end, clear_snap),
        cmocka_unit_test_teardown(lists_of_ten_thousand_levels, clear_snap),
        cmocka_unit_test_teardown(a_nul_byte, clear_snap),
        cmocka_unit_test_teardown(bytes_that_are_not_utf8, clear_snap),
        cmocka_unit_test_teardown(utf8_text, clear_snap),
        cmocka_unit_test_teardown(a_control_character, clear_snap),
        cmocka_unit_test_teardown(a_control_character_of_two_bytes, clear_snap),
        cmocka_unit_test_teardown(a_carriage_return_within_a_line, clear_snap),
        cmocka_unit_test_teardown(a_file, clear_snap),
        cmocka_unit_test_teardown(messages_name_the_file, clear_snap),
        cmocka_unit_test_teardown(of_a_long_file_name_messages_show_the_end,
                                  clear_snap),
        cmocka_unit_test_teardown(a_long_file_name_is_cut_between_characters,
                                  clear_snap),
        cmocka_unit_test_teardown(a_missing_file, clear_snap),
        cmocka_unit_test_teardown(a_directory, clear_snap),
        cmocka_unit_test_teardown(a_device, clear_snap),
        cmocka_unit_test_teardown(a_fifo_that_nobody_writes, clear_snap),
        cmocka_unit_test_teardown(a_file_that_is_too_large, clear_snap),
        cmocka_unit_test_teardown(a_text_that_is_too_large, clear_snap),
        cmocka_unit_test_teardown(a_line_of_a_million_bytes, clear_snap),
        cmocka_unit_test_teardown(a_million_statements, clear_snap),
        cmocka_unit_test_teardown(a_million_errors, clear_snap),
        cmocka_unit_test_teardown(the_examples, clear_snap),
    };

    xlsnap_snapshot_init(&snap);
    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
