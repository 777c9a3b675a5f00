/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Text of others, as UTF-8 (RFC 3629). */
#ifndef XLSNAP_TEXT_H
#define XLSNAP_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * The length in bytes of the character at `s`, of which `len` > 0 are there; 0: that
 * is no UTF-8 (overlong forms and surrogates are none).
 */
size_t text_utf8(const char *s, size_t len, uint32_t *c_r);
/* One of C0, DEL or C1. */
bool text_is_control(uint32_t c);
/*
 * What could make a terminal do, or show, something else than a line of text becomes
 * '?', byte by byte: bytes that are no UTF-8, control characters (newlines, too), and
 * those that turn the direction of writing.
 */
void text_make_printable(char *text);

#endif
