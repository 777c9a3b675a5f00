/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "text.h"

#include <string.h>

size_t text_utf8(const char *s, size_t len, uint32_t *c_r)
{
    static const uint32_t min[] = { 0, 0, 0x80, 0x800, 0x10000 };
    const unsigned char *u = (const unsigned char *)s;
    size_t n = u[0] < 0x80   ? 1
               : u[0] < 0xc0 ? 0
               : u[0] < 0xe0 ? 2
               : u[0] < 0xf0 ? 3
               : u[0] < 0xf8 ? 4
                             : 0;
    uint32_t c = n == 1 ? u[0] : u[0] & (0x7f >> n);

    if (n == 0 || n > len)
        return 0;
    for (size_t i = 1; i < n; i++) {
        if ((u[i] & 0xc0) != 0x80)
            return 0;
        c = c << 6 | (u[i] & 0x3f);
    }
    if (c < min[n] || c > 0x10ffff || (c >= 0xd800 && c < 0xe000))
        return 0;
    *c_r = c;
    return n;
}

bool text_is_control(uint32_t c)
{
    return c < 0x20 || (c >= 0x7f && c < 0xa0);
}

/* Also what turns the direction of a line, and so shows another one. */
static bool text_shows(uint32_t c)
{
    return !text_is_control(c) && c != 0x61c && c != 0x200e && c != 0x200f &&
           !(c >= 0x2028 && c <= 0x202e) && !(c >= 0x2066 && c <= 0x2069);
}

void text_make_printable(char *text)
{
    size_t len = strlen(text);
    uint32_t c = 0;

    for (size_t n; len; text += n, len -= n) {
        n = text_utf8(text, len, &c);
        if (!n || !text_shows(c)) {
            n = n ? n : 1;
            memset(text, '?', n);
        }
    }
}
