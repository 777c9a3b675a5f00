/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What libxlutil cannot tell about a config's text: whether it is text at
 * all, which keys it has, and where.  Internal to cfg/.
 */
#ifndef XLSNAP_CFG_SCAN_H
#define XLSNAP_CFG_SCAN_H

#include "error.h"

/* Where a text comes from, for messages. */
struct cfg_place {
    const char *file;
    int line; /* 0: lines mean nothing here (command line) */
};

/* Puts "FILE:LINE: " (or "FILE: ") before the message; returns -err->code. */
int cfg_locate(const struct cfg_place *at, struct xlsnap_error *err);
/* -XLSNAP_INVALID with a message that begins with the place. */
int cfg_bad(const struct cfg_place *at, struct xlsnap_error *err,
            const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* A text cut to what fits into a message: cfg_short(text).s */
struct cfg_short {
    char s[100];
};
struct cfg_short cfg_short(const char *text);

/*
 * Text is UTF-8 without NUL and without control characters other than
 * newline, tab, and a carriage return before a newline.
 */
int cfg_check_text(const struct cfg_place *at, const char *text, size_t len,
                   struct xlsnap_error *err);

enum cfg_kind {
    CFG_STRING, /* quoted */
    CFG_NUMBER,
    CFG_LIST,
    CFG_BARE, /* a word of the command line: string or number */
};

/* An element of a list. */
struct cfg_item {
    enum cfg_kind kind;
    int line;
    const char *text; /* NULL: a list; filled in by the parser */
};

/* KEY = VALUE. */
struct cfg_stmt {
    const char *key; /* key_len bytes within the text */
    size_t key_len;
    int line;
    enum cfg_kind kind;
    const char *text; /* NULL: a list; filled in by the parser */
    struct cfg_item *items;
    size_t n_items;
    size_t max_items;
};

struct cfg_scan {
    struct cfg_stmt *stmts;
    size_t n_stmts;
    size_t max_stmts;
    bool whole; /* false: stopped at something that libxlutil must judge */
};

/*
 * Finds the statements of a text that cfg_check_text accepts and that ends
 * with a newline; at->line is the number of its first line.  Stops quietly
 * where the text is no config: what came before is right then, and libxlutil
 * says what is wrong.  An error only for what libxlutil must not see: "+="
 * (its cost grows with the square of their number) and numeric escapes (it
 * drops them silently).  The caller clears *scan also after a failure.
 */
int cfg_scan(const struct cfg_place *at, const char *text, size_t len,
             struct cfg_scan *scan, struct xlsnap_error *err);
void cfg_scan_clear(struct cfg_scan *scan);

#endif
