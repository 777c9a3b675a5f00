/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* text.c: what is UTF-8, and what a terminal is not to see. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "text.h"
#include "util.h"

static void assert_utf8(const char *s, size_t len, size_t want, uint32_t c)
{
    uint32_t got = c;

    assert_int_equal(text_utf8(s, len, &got), want);
    assert_int_equal(got, c);
}

static void characters_of_one_to_four_bytes(void **state)
{
    assert_utf8("a", 1, 1, 'a');
    assert_utf8("\xc3\xa4", 2, 2, 0xe4);
    assert_utf8("\xe2\x82\xac", 3, 3, 0x20ac);
    assert_utf8("\xf0\x9f\x92\xa9!", 5, 4, 0x1f4a9);
    assert_utf8("\xed\x9f\xbf", 3, 3, 0xd7ff);
    assert_utf8("\xee\x80\x80", 3, 3, 0xe000);
    assert_utf8("\xf4\x8f\xbf\xbf", 4, 4, 0x10ffff);
    assert_utf8("", 1, 1, 0);
}

static void what_is_no_utf8(void **state)
{
    const char *const all[] = {
        "\x80",             /* the middle of one */
        "\xc0\xaf",         /* overlong '/' */
        "\xc1\xbf",         /* overlong */
        "\xe0\x80\xaf",     /* overlong '/' */
        "\xf0\x80\x80\xaf", /* overlong '/' */
        "\xed\xa0\x80",     /* a surrogate */
        "\xf4\x90\x80\x80", /* above the last one */
        "\xf8\x88\x80\x80", /* five bytes */
        "\xc3(",            /* another one begins */
        "\xff",
    };

    for (size_t i = 0; i < ARRAY_SIZE(all); i++)
        assert_utf8(all[i], strlen(all[i]), 0, 0);
    assert_utf8("\xc3\xa4", 1, 0, 0);
    assert_utf8("\xf0\x9f\x92\xa9", 3, 0, 0);
}

static void assert_printed(const char *text, const char *want)
{
    char copy[64];

    assert_true(strlen(text) < sizeof(copy));
    strcpy(copy, text);
    text_make_printable(copy);
    assert_string_equal(copy, want);
}

static void what_is_text_stays(void **state)
{
    const char *const all[] = { "", "disk 'xvda': no space",
                                "K\xc3\xb6ln, 5 \xe2\x82\xac",
                                "\xd7\xa9\xd7\x9c\xd7\x95\xd7\x9d",
                                "\xf0\x9f\x92\xa9" };

    for (size_t i = 0; i < ARRAY_SIZE(all); i++)
        assert_printed(all[i], all[i]);
}

static void what_a_terminal_would_obey_does_not(void **state)
{
    assert_printed("a\nok: all is well", "a?ok: all is well");
    assert_printed("\x1b[2Ja\r\tb\x7f", "?[2Ja??b?");
    assert_printed("\xc2\x9b"
                   "2J",
                   "??2J"); /* C1's CSI */
    assert_printed("\xe2\x80\xae"
                   "gpj",
                   "???gpj");                            /* right to left */
    assert_printed("\xe2\x81\xa6x", "???x");             /* an isolate */
    assert_printed("a\xe2\x80\x8f\xd8\x9cx", "a?????x"); /* marks */
    assert_printed("\xe2\x80\xa8x", "???x");             /* line separator */
    assert_printed("a\xff\xc3", "a??");
    assert_printed("\xc3\xa4\xc0\xaf\xc3\xa4", "\xc3\xa4??\xc3\xa4");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(characters_of_one_to_four_bytes),
        cmocka_unit_test(what_is_no_utf8),
        cmocka_unit_test(what_is_text_stays),
        cmocka_unit_test(what_a_terminal_would_obey_does_not),
    };

    return cmocka_run_group_tests_name("text", tests, NULL, NULL);
}
