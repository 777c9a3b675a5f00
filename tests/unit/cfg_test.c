/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * cfg_read and cfg_override: what a config may say, and the message for all
 * that it may not.  DISKSPECs have cfg_diskspec_test.c.
 */
#include <fcntl.h>
#include <glob.h>
#include <sys/stat.h>

#include "cfg_testing.h"

static struct xlsnap_snapshot snap; /* cleared after each test */
static char dir[] = "/tmp/cfg_test.XXXXXX";

static int clear_snap(void **state)
{
    xlsnap_snapshot_clear(&snap);
    return 0;
}

#define KNOWN                                                                 \
    "(known: compress, description, disks, domain, live, memory, name, path," \
    " type)"

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

static void there_are_lines_for_all_keys(void **state)
{
    assert_int_equal(cfg_key("compress"), 0);
    assert_int_equal(cfg_key("uuid"), 12);
    assert_int_equal(cfg_key("nmae"), -1);
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
    assert_true(files.gl_pathc >= 6);
    for (size_t i = 0; i < files.gl_pathc; i++) {
        if (cfg_read(files.gl_pathv[i], &snap, NULL, &err))
            fail_msg("%s", err.msg);
        assert_non_null(snap.domain);
        xlsnap_snapshot_clear(&snap);
    }
    globfree(&files);
}

/* KEY=VALUE. */

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
    refuse_override("name=\xff", "KEY=VALUE 'name=\xff': not UTF-8 text");
}

static void an_override_that_is_very_long(void **state)
{
    cleanup_free char *text = xasprintf("path=/%s", repeat('a', 5000));
    cleanup_free char *message = xasprintf(
        "KEY=VALUE 'path=/%.90s...': path: '/%.95s...': is too long for a path",
        repeat('a', 96), repeat('a', 96));

    refuse_override(text, message);
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
        cmocka_unit_test_teardown(there_are_lines_for_all_keys, clear_snap),
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
        cmocka_unit_test_teardown(a_missing_file, clear_snap),
        cmocka_unit_test_teardown(a_directory, clear_snap),
        cmocka_unit_test_teardown(a_device, clear_snap),
        cmocka_unit_test_teardown(a_fifo_that_nobody_writes, clear_snap),
        cmocka_unit_test_teardown(a_file_that_is_too_large, clear_snap),
        cmocka_unit_test_teardown(a_line_of_a_million_bytes, clear_snap),
        cmocka_unit_test_teardown(a_million_statements, clear_snap),
        cmocka_unit_test_teardown(a_million_errors, clear_snap),
        cmocka_unit_test_teardown(the_examples, clear_snap),
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
        cmocka_unit_test_teardown(an_override_that_is_very_long, clear_snap),
    };

    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
