/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The text of a config, seen without libxlutil.
 *
 * libxlutil answers "what is the value of KEY" and nothing else: it cannot
 * list the keys, lets a later assignment of a key win silently, and does not
 * say where a value stood.  So the text is read a second time here, by a lexer
 * with the very tokens of libxlu_cfg_l.l, which notes keys and lines and
 * leaves the values to libxlutil.  It runs first and keeps from libxlutil what
 * that cannot take.
 */
#include "scan.h"

#include "text.h"
#include "util.h"

#define FILE_NAME_SHOWN 255

int cfg_locate(const struct cfg_place *at, struct xlsnap_error *err)
{
    const char *file = at->file, *dots = "";
    size_t len = strlen(file);

    /* The end of a long path says more than its beginning. */
    if (len > FILE_NAME_SHOWN) {
        dots = "...";
        file += len - FILE_NAME_SHOWN;
        while ((*file & 0xc0) == 0x80)
            file++;
    }
    if (at->line > 0)
        return xlsnap_prefix(err, "%s%s:%d", dots, file, at->line);
    return xlsnap_prefix(err, "%s%s", dots, file);
}

int cfg_bad(const struct cfg_place *at, struct xlsnap_error *err,
            const char *fmt, ...)
{
    cleanup_free char *msg = NULL;
    va_list ap;

    va_start(ap, fmt);
    msg = xvasprintf(fmt, ap);
    va_end(ap);
    xlsnap_fail(err, XLSNAP_INVALID, "%s", msg);
    return cfg_locate(at, err);
}

struct cfg_short cfg_short(const char *text)
{
    struct cfg_short out;
    size_t max = sizeof(out.s) - sizeof("...");
    size_t len = strnlen(text, max + 1);

    if (len <= max) {
        memcpy(out.s, text, len + 1);
        return out;
    }
    while (max > 0 && (text[max] & 0xc0) == 0x80)
        max--;
    memcpy(out.s, text, max);
    strcpy(out.s + max, "...");
    return out;
}

static bool text_may_contain(uint32_t c, const char *rest, size_t len)
{
    if (c == '\r')
        return len > 1 && rest[1] == '\n';
    return c == '\n' || c == '\t' || !text_is_control(c);
}

int cfg_check_text(const struct cfg_place *at, const char *text, size_t len,
                   struct xlsnap_error *err)
{
    struct cfg_place here = *at;
    uint32_t c = 0;
    size_t n;

    for (size_t i = 0; i < len; i += n) {
        n = text_utf8(text + i, len - i, &c);
        if (n == 0)
            return cfg_bad(&here, err, "not UTF-8 text");
        if (c == 0)
            return cfg_bad(&here, err, "not a text file: it has a NUL byte");
        if (!text_may_contain(c, text + i, len - i))
            return cfg_bad(&here, err, "control character 0x%02x", c);
        if (c == '\n' && here.line > 0)
            here.line++;
    }
    return 0;
}

enum token {
    TOKEN_END = 256,
    TOKEN_BAD,
    TOKEN_IDENT,
    TOKEN_NUMBER,
    TOKEN_STRING,
    TOKEN_ADD,
    /* and the characters \n , [ ] = ; themselves */
};

struct lexer {
    const char *p, *end; /* what is not read yet; end[-1] is a newline */
    const char *token;   /* the last token */
    struct cfg_place at; /* its line */
    int newlines;        /* 1: the last token ended its line */
};

/* Length of the string token at s, 0 if it does not end in its line. */
static size_t string_length(const char *s)
{
    size_t i;

    for (i = 1; s[i] != s[0]; i++) {
        if (s[i] == '\\')
            i++;
        if (s[i] == '\n')
            return 0;
    }
    return i + 1;
}

static size_t word_length(const char *s, const char *chars)
{
    return 1 + strspn(s + 1, chars);
}

static enum token token_of(const char *s, size_t *len_r)
{
    *len_r = 1;
    if (*s == '#') {
        *len_r = strcspn(s, "\n") + 1;
        return '\n';
    }
    if (*s >= 'a' && *s <= 'z') {
        *len_r = word_length(s, "._0123456789abcdefghijklmnopqrstuvwxyz");
        return TOKEN_IDENT;
    }
    if (*s >= '0' && *s <= '9') {
        *len_r = word_length(s, "0123456789abcdefx");
        return TOKEN_NUMBER;
    }
    if (*s == '"' || *s == '\'') {
        *len_r = string_length(s);
        return *len_r > 0 ? TOKEN_STRING : TOKEN_BAD;
    }
    if (*s == '+' && s[1] == '=') {
        *len_r = 2;
        return TOKEN_ADD;
    }
    if (strchr("\n,[]=;", *s))
        return (unsigned char)*s;
    return TOKEN_BAD;
}

static enum token lexer_next(struct lexer *lexer)
{
    enum token token;
    size_t len;

    if (lexer->at.line > 0)
        lexer->at.line += lexer->newlines;
    lexer->newlines = 0;
    while (lexer->p < lexer->end && (*lexer->p == ' ' || *lexer->p == '\t'))
        lexer->p++;
    lexer->token = lexer->p;
    if (lexer->p == lexer->end)
        return TOKEN_END;
    token = token_of(lexer->p, &len);
    lexer->newlines = token == '\n';
    lexer->p += len;
    return token;
}

/* Room for one more: arrays grow by doubling. */
static void *grow(void *array, size_t n, size_t *max, size_t size)
{
    if (n < *max)
        return array;
    *max = *max ? *max * 2 : 8;
    return xrealloc(array, *max, size);
}

static struct cfg_stmt *scan_add_stmt(struct cfg_scan *scan,
                                      const struct lexer *lexer)
{
    struct cfg_stmt *stmt;

    scan->stmts =
        grow(scan->stmts, scan->n_stmts, &scan->max_stmts, sizeof(*stmt));
    stmt = &scan->stmts[scan->n_stmts++];
    *stmt = (struct cfg_stmt){
        .key = lexer->token,
        .key_len = lexer->p - lexer->token,
        .line = lexer->at.line,
    };
    return stmt;
}

/* A value begins: it is the statement's, or an element of its list. */
static void scan_add_value(struct cfg_stmt *stmt, int depth, enum cfg_kind kind,
                           int line)
{
    if (depth == 0)
        stmt->kind = kind;
    if (depth != 1)
        return;
    stmt->items = grow(stmt->items, stmt->n_items, &stmt->max_items,
                       sizeof(*stmt->items));
    stmt->items[stmt->n_items++] = (struct cfg_item){ kind, line, NULL };
}

static int scan_check_string(const struct lexer *lexer,
                             struct xlsnap_error *err)
{
    const char *p = lexer->token;
    size_t left = lexer->p - p;

    while ((p = memchr(p, '\\', left))) {
        if (p[1] == 'x' || (p[1] >= '0' && p[1] <= '7'))
            return cfg_bad(&lexer->at, err,
                           "'\\%c' in a string: numeric escapes do not work"
                           " in this syntax, write the character itself",
                           p[1]);
        p += 2;
        left = lexer->p - p;
    }
    return 0;
}

static int scan_refuse_add(const struct lexer *lexer, struct xlsnap_error *err)
{
    return cfg_bad(&lexer->at, err,
                   "'+=' would append to an earlier value: write the whole"
                   " value once, with '='");
}

int cfg_scan(const struct cfg_place *at, const char *text, size_t len,
             struct cfg_scan *scan, struct xlsnap_error *err)
{
    struct lexer lexer = { .p = text, .end = text + len, .at = *at };
    struct cfg_stmt *stmt = NULL;
    enum token token;
    int depth = 0;

    while ((token = lexer_next(&lexer)) != TOKEN_END) {
        if (token == TOKEN_BAD ||
            (!stmt && token > 256 && token != TOKEN_IDENT))
            return 0;
        if (token == TOKEN_ADD)
            return scan_refuse_add(&lexer, err);
        if (token == TOKEN_STRING && scan_check_string(&lexer, err))
            return -err->code;
        if (token == TOKEN_IDENT)
            stmt = scan_add_stmt(scan, &lexer);
        if (token == TOKEN_STRING || token == TOKEN_NUMBER)
            scan_add_value(stmt, depth,
                           token == TOKEN_STRING ? CFG_STRING : CFG_NUMBER,
                           lexer.at.line);
        if (token == '[' && stmt)
            scan_add_value(stmt, depth++, CFG_LIST, lexer.at.line);
        if (token == ']')
            depth--;
    }
    scan->whole = true;
    return 0;
}

void cfg_scan_clear(struct cfg_scan *scan)
{
    for (size_t i = 0; i < scan->n_stmts; i++)
        free(scan->stmts[i].items);
    free(scan->stmts);
    *scan = (struct cfg_scan){ 0 };
}
