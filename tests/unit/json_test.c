/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * json.c.  Foreign text is handed over in a heap copy of exactly its length,
 * so that ASan and valgrind see a read behind its end.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include "json.h"
#include "util.h"

static int parse_bytes(const char *text, size_t len, struct json **root_r,
                       struct xlsnap_error *err)
{
    char *copy = xcalloc(len, 1);
    int rc;

    memcpy(copy, text, len);
    *root_r = NULL;
    rc = json_parse(copy, len, "the test", root_r, err);
    free(copy);
    return rc;
}

static struct json *parse(const char *text)
{
    struct xlsnap_error err = { 0 };
    struct json *root;

    if (parse_bytes(text, strlen(text), &root, &err))
        fail_msg("%s", err.msg);
    assert_non_null(root);
    return root;
}

static void assert_refused_bytes(const char *text, size_t len,
                                 const char *reason)
{
    struct xlsnap_error err = { 0 };
    struct json *root;
    char *message;

    assert_int_equal(parse_bytes(text, len, &root, &err), -XLSNAP_FAILED);
    message = xasprintf("invalid JSON in the test: %s", reason);
    assert_string_equal(err.msg, message);
    assert_null(root);
    free(message);
}

static void assert_refused(const char *text, const char *reason)
{
    assert_refused_bytes(text, strlen(text), reason);
}

static void members_are_found(void **state)
{
    struct json *v = parse("{\"a\": \"x\", \"b\": {\"c\": {\"d\": \"y\"}}}");

    assert_string_equal(json_get_string(v, "a"), "x");
    assert_string_equal(json_string(json_path(v, "b", "c", "d", NULL)), "y");
    assert_ptr_equal(json_path(v, NULL), v);
    json_free(v);
}

static void the_first_of_two_equal_members_is_found(void **state)
{
    struct json *v = parse("{\"a\": \"first\", \"a\": \"second\"}");

    assert_string_equal(json_get_string(v, "a"), "first");
    json_free(v);
}

static void what_is_missing_is_null_or_the_default(void **state)
{
    struct json *v = parse("{\"a\": {}}");

    assert_null(json_get(v, "b"));
    assert_null(json_path(v, "a", "b", "c", NULL));
    assert_null(json_get_string(v, "b"));
    assert_int_equal(json_get_int(v, "b", 42), 42);
    assert_true(json_get_bool(v, "b", true));
    assert_false(json_get_bool(v, "b", false));
    assert_null(json_array_at(v, 0));
    json_free(v);
}

static void another_type_is_null_or_the_default(void **state)
{
    struct json *v =
        parse("{\"s\": \"1\", \"n\": 1, \"b\": true, \"z\": null}");

    assert_null(json_get_string(v, "n"));
    assert_null(json_get_string(v, "z"));
    assert_int_equal(json_get_int(v, "s", 42), 42);
    assert_int_equal(json_get_int(v, "b", 42), 42);
    assert_true(json_get_bool(v, "n", true));
    assert_false(json_get_bool(v, "s", false));
    assert_null(json_get(json_get(v, "s"), "x"));
    json_free(v);
}

static void null_is_walked_through(void **state)
{
    assert_null(json_get(NULL, "a"));
    assert_null(json_path(NULL, "a", NULL));
    assert_null(json_string(NULL));
    assert_false(json_is_object(NULL));
    assert_false(json_is_array(NULL));
    assert_int_equal(json_array_len(NULL), 0);
    assert_null(json_array_at(NULL, 0));
    assert_int_equal(json_get_int(NULL, "a", 7), 7);
    json_free(NULL);
}

static void arrays_are_walked(void **state)
{
    struct json *v = parse(" [\"x\", [], {}] ");

    assert_true(json_is_array(v));
    assert_false(json_is_object(v));
    assert_int_equal(json_array_len(v), 3);
    assert_string_equal(json_string(json_array_at(v, 0)), "x");
    assert_int_equal(json_array_len(json_array_at(v, 1)), 0);
    assert_true(json_is_object(json_array_at(v, 2)));
    assert_null(json_array_at(v, 3));
    json_free(v);
}

static void bools_are_read(void **state)
{
    struct json *v = parse("{\"t\": true, \"f\": false}");

    assert_true(json_get_bool(v, "t", false));
    assert_false(json_get_bool(v, "f", true));
    json_free(v);
}

static void every_int64_is_read(void **state)
{
    struct json *v = parse("{\"max\": 9223372036854775807,"
                           " \"min\": -9223372036854775808, \"zero\": -0}");

    assert_true(json_get_int(v, "max", 0) == INT64_MAX);
    assert_true(json_get_int(v, "min", 0) == INT64_MIN);
    assert_int_equal(json_get_int(v, "zero", 1), 0);
    json_free(v);
}

static void a_number_beyond_int64_is_the_default(void **state)
{
    struct json *v = parse("{\"a\": 9223372036854775808,"
                           " \"b\": -9223372036854775809,"
                           " \"c\": 1e999, \"d\": 1.5, \"e\": 1e3}");
    const char *const names[] = { "a", "b", "c", "d", "e" };
    size_t i;

    for (i = 0; i < ARRAY_SIZE(names); i++)
        assert_int_equal(json_get_int(v, names[i], -42), -42);
    json_free(v);
}

static void strings_are_decoded(void **state)
{
    struct json *v = parse("[\"\\\"\\\\\\/\\n\\u00e4\\ud83d\\ude00\xc3\xa4\"]");

    assert_string_equal(json_string(json_array_at(v, 0)),
                        "\"\\/\n\xc3\xa4\xf0\x9f\x98\x80\xc3\xa4");
    json_free(v);
}

static void brackets_in_strings_are_no_depth(void **state)
{
    char text[1000];
    struct json *v;

    memset(text, '[', sizeof(text));
    memcpy(text, "\"\\\"", 3); /* an escaped quote does not end the string */
    strcpy(text + 900, "\"");
    v = parse(text);
    assert_int_equal(strlen(json_string(v)), 898);
    json_free(v);
}

static char *nest(size_t depth)
{
    char *text = xcalloc(2 * depth + 1, 1);

    memset(text, '[', depth);
    memset(text + depth, ']', depth);
    return text;
}

static void the_deepest_nesting_is_read(void **state)
{
    char *text = nest(JSON_DEPTH_MAX);
    struct json *v = parse(text);
    const struct json *inner = v;
    size_t i;

    for (i = 1; i < JSON_DEPTH_MAX; i++)
        inner = json_array_at(inner, 0);
    assert_true(json_is_array(inner));
    assert_int_equal(json_array_len(inner), 0);
    json_free(v);
    free(text);
}

static void deeper_nesting_is_refused(void **state)
{
    char *text = nest(JSON_DEPTH_MAX + 1);

    assert_refused(text, "nested too deeply");
    free(text);
    text = nest(1000000);
    assert_refused(text, "nested too deeply");
    free(text);
}

static void many_values_side_by_side_are_not_deep(void **state)
{
    struct json *v;
    char text[3002];
    size_t i;

    for (i = 0; i < 1000; i++)
        memcpy(text + 3 * i, i ? ",[]" : "[[]", 3);
    strcpy(text + 3000, "]");
    v = parse(text);
    assert_int_equal(json_array_len(v), 1000);
    json_free(v);
}

static void a_nul_byte_is_refused(void **state)
{
    assert_refused_bytes("{}\0", 3, "NUL byte");
    assert_refused_bytes("[\"a\0b\"]", 7, "NUL byte");
}

static void an_escaped_nul_is_refused(void **state)
{
    assert_refused("[\"a\\u0000b\"]", "a string contains a NUL character");
}

static void an_escaped_backslash_before_u0000_is_text(void **state)
{
    struct json *v = parse("[\"\\\\u0000\"]");

    assert_string_equal(json_string(json_array_at(v, 0)), "\\u0000");
    json_free(v);
}

static void bad_utf8_is_refused(void **state)
{
    const char *const bad[] = {
        "\"\x80\"",             /* continuation alone */
        "\"\xc0\x80\"",         /* overlong NUL */
        "\"\xc3\"",             /* cut short */
        "\"\xe0\x80\x80\"",     /* overlong */
        "\"\xed\xa0\x80\"",     /* surrogate */
        "\"\xf0\x80\x80\x80\"", /* overlong */
        "\"\xf4\x90\x80\x80\"", /* above U+10FFFF */
        "\"\xe2\x82\"",         /* cut short */
        "\"\xf0\x9f\x98",       /* cut short by the end */
        "\"\xff\"",
    };
    size_t i;

    for (i = 0; i < ARRAY_SIZE(bad); i++)
        assert_refused(bad[i], "a string is not UTF-8");
}

static void a_comment_is_refused(void **state)
{
    assert_refused("/* \" */ {}", "comment");
    assert_refused("{} // \"", "comment");
}

static void text_cut_short_is_refused(void **state)
{
    static const char text[] = "{\"a\": [1, \"\\\\x\", true], \"b\": null}";
    struct xlsnap_error err;
    struct json *root;
    size_t len;

    for (len = 0; len < sizeof(text) - 1; len++) {
        memset(&err, 0, sizeof(err));
        assert_int_equal(parse_bytes(text, len, &root, &err), -XLSNAP_FAILED);
        assert_null(root);
        assert_non_null(strstr(err.msg, "invalid JSON in the test: "));
        assert_null(strchr(err.msg, '?'));
    }
    json_free(parse(text));
}

static void empty_text_is_refused(void **state)
{
    assert_refused("", "parse error: premature EOF");
}

static void two_values_are_refused(void **state)
{
    assert_refused("{} {}", "parse error: trailing garbage");
}

static void other_grammar_is_refused(void **state)
{
    assert_refused("{'a': 1}", "lexical error: invalid char in json text.");
    assert_refused("[1,]", "parse error: unallowed token at this point in "
                           "JSON text");
    assert_refused("]", "parse error: unallowed token at this point in "
                        "JSON text");
    assert_refused("[\"\n\"]", "lexical error: invalid character inside "
                               "string.");
    assert_refused("[NaN]", "lexical error: invalid char in json text.");
}

static void assert_written(struct json_writer *w, const char *expected)
{
    char *text = json_writer_finish(w);

    assert_string_equal(text, expected);
    free(text);
}

static void an_object_is_written(void **state)
{
    struct json_writer *w = json_writer_new(false);

    json_open_object(w, NULL);
    json_put_string(w, "s", "x");
    json_put_string(w, "none", NULL);
    json_put_int(w, "n", INT64_MIN);
    json_put_bool(w, "b", true);
    json_open_array(w, "list");
    json_put_int(w, NULL, 1);
    json_open_object(w, NULL);
    json_close_object(w);
    json_close_array(w);
    json_close_object(w);
    assert_written(w, "{\"s\":\"x\",\"none\":null,"
                      "\"n\":-9223372036854775808,\"b\":true,"
                      "\"list\":[1,{}]}");
}

static void pretty_text_has_two_spaces_a_level(void **state)
{
    struct json_writer *w = json_writer_new(true);

    json_open_object(w, NULL);
    json_open_object(w, "a");
    json_put_int(w, "b", 1);
    json_close_object(w);
    json_close_object(w);
    assert_written(w, "{\n  \"a\": {\n    \"b\": 1\n  }\n}\n");
}

static void control_characters_are_escaped(void **state)
{
    struct json_writer *w = json_writer_new(false);

    json_open_array(w, NULL);
    json_put_string(w, NULL, "\"\\/\n\x01\xc3\xa4");
    json_close_array(w);
    assert_written(w, "[\"\\\"\\\\/\\n\\u0001\xc3\xa4\"]");
}

static void bytes_that_are_not_utf8_are_replaced(void **state)
{
    struct json_writer *w = json_writer_new(false);

    json_open_object(w, NULL);
    json_put_string(w, "\xff", "a\xc3\xa4\xc3z\xed\xa0\x80");
    json_close_object(w);
    assert_written(w, "{\"\xef\xbf\xbd\":\"a\xc3\xa4\xef\xbf\xbdz"
                      "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\"}");
}

static void what_is_written_is_read_back(void **state)
{
    struct json_writer *w = json_writer_new(true);
    struct json *v;
    char *text;

    json_open_object(w, NULL);
    json_put_string(w, "odd \"name\"", "tab\t\x7f\xf0\x9f\x98\x80");
    json_put_int(w, "n", INT64_MAX);
    json_close_object(w);
    text = json_writer_finish(w);
    v = parse(text);
    assert_string_equal(json_get_string(v, "odd \"name\""),
                        "tab\t\x7f\xf0\x9f\x98\x80");
    assert_true(json_get_int(v, "n", 0) == INT64_MAX);
    json_free(v);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(members_are_found),
        cmocka_unit_test(the_first_of_two_equal_members_is_found),
        cmocka_unit_test(what_is_missing_is_null_or_the_default),
        cmocka_unit_test(another_type_is_null_or_the_default),
        cmocka_unit_test(null_is_walked_through),
        cmocka_unit_test(arrays_are_walked),
        cmocka_unit_test(bools_are_read),
        cmocka_unit_test(every_int64_is_read),
        cmocka_unit_test(a_number_beyond_int64_is_the_default),
        cmocka_unit_test(strings_are_decoded),
        cmocka_unit_test(brackets_in_strings_are_no_depth),
        cmocka_unit_test(the_deepest_nesting_is_read),
        cmocka_unit_test(deeper_nesting_is_refused),
        cmocka_unit_test(many_values_side_by_side_are_not_deep),
        cmocka_unit_test(a_nul_byte_is_refused),
        cmocka_unit_test(an_escaped_nul_is_refused),
        cmocka_unit_test(an_escaped_backslash_before_u0000_is_text),
        cmocka_unit_test(bad_utf8_is_refused),
        cmocka_unit_test(a_comment_is_refused),
        cmocka_unit_test(text_cut_short_is_refused),
        cmocka_unit_test(empty_text_is_refused),
        cmocka_unit_test(two_values_are_refused),
        cmocka_unit_test(other_grammar_is_refused),
        cmocka_unit_test(an_object_is_written),
        cmocka_unit_test(pretty_text_has_two_spaces_a_level),
        cmocka_unit_test(control_characters_are_escaped),
        cmocka_unit_test(bytes_that_are_not_utf8_are_replaced),
        cmocka_unit_test(what_is_written_is_read_back),
    };

    return cmocka_run_group_tests_name("json", tests, NULL, NULL);
}
