/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * JSON through yajl, which no other file sees: upstream has been silent since
 * 2015, and one day another library will stand here.
 *
 * Text is foreign data.  yajl is lenient (comments, overlong UTF-8, "\u0000"
 * that cuts a C string short) and its yajl_tree_free recurses, so every text
 * first passes json_scan, which knows strings from structure and refuses what
 * yajl would let through.  A struct json is yajl's own node under our name;
 * numbers are read from their text, as yajl loses INT64_MIN.
 */
#include "json.h"

#include <stdarg.h>
#include <yajl/yajl_gen.h>
#include <yajl/yajl_tree.h>

#include "text.h"
#include "util.h"

#define REPLACEMENT "\xef\xbf\xbd" /* U+FFFD */

/* Where json_scan stands. */
struct json_scan {
    const unsigned char *text;
    size_t len, at;
    int depth;
};

/* Behind the opening quote; steps over the closing one.  Unterminated strings
 * and bad escapes are left to yajl. */
static const char *json_scan_string(struct json_scan *scan)
{
    uint32_t c;
    size_t n;

    while (scan->at < scan->len) {
        if (scan->text[scan->at] == '"') {
            scan->at++;
            return NULL;
        }
        if (scan->text[scan->at] == '\\') {
            if (scan->len - scan->at >= 6 &&
                !memcmp(scan->text + scan->at, "\\u0000", 6))
                return "a string contains a NUL character";
            scan->at++; /* what follows may be a quote */
            if (scan->at == scan->len)
                break;
        }
        n = text_utf8((const char *)scan->text + scan->at, scan->len - scan->at,
                      &c);
        if (n == 0)
            return "a string is not UTF-8";
        scan->at += n;
    }
    return NULL;
}

/* NULL, or what is wrong with the text. */
static const char *json_scan(const char *text, size_t len)
{
    struct json_scan scan = { (const unsigned char *)text, len, 0, 0 };
    const char *wrong = NULL;

    if (memchr(text, '\0', len))
        return "NUL byte";
    while (!wrong && scan.at < len) {
        switch (text[scan.at++]) {
        case '"':
            wrong = json_scan_string(&scan);
            break;
        case '{':
        case '[':
            if (++scan.depth > JSON_DEPTH_MAX)
                wrong = "nested too deeply";
            break;
        case '}':
        case ']':
            scan.depth--;
            break;
        case '/':
            wrong = "comment";
            break;
        }
    }
    return wrong;
}

int json_parse(const char *text, size_t len, const char *what,
               struct json **root_r, struct xlsnap_error *err)
{
    const char *wrong = json_scan(text, len);
    cleanup_free char *copy = NULL;
    char reason[256] = "";
    yajl_val root;

    if (wrong)
        return xlsnap_fail(err, XLSNAP_FAILED, "invalid JSON in %s: %s", what,
                           wrong);
    copy = xcalloc(len + 1, 1);
    memcpy(copy, text, len);
    root = yajl_tree_parse(copy, reason, sizeof(reason));
    if (!root) {
        reason[strcspn(reason, "\n")] = '\0'; /* a drawing follows */
        return xlsnap_fail(err, XLSNAP_FAILED, "invalid JSON in %s: %s", what,
                           reason);
    }
    *root_r = (struct json *)root;
    return 0;
}

void json_free(struct json *root)
{
    yajl_tree_free((yajl_val)root);
}

static yajl_val json_node(const struct json *v)
{
    return (yajl_val)v;
}

const struct json *json_get(const struct json *v, const char *name)
{
    yajl_val node = json_node(v);
    size_t i;

    if (!YAJL_IS_OBJECT(node))
        return NULL;
    for (i = 0; i < node->u.object.len; i++)
        if (!strcmp(node->u.object.keys[i], name))
            return (const struct json *)node->u.object.values[i];
    return NULL;
}

const struct json *json_path(const struct json *v, ...)
{
    const char *name;
    va_list ap;

    va_start(ap, v);
    while (v && (name = va_arg(ap, const char *)))
        v = json_get(v, name);
    va_end(ap);
    return v;
}

bool json_is_object(const struct json *v)
{
    return YAJL_IS_OBJECT(json_node(v));
}

bool json_is_null(const struct json *v)
{
    return YAJL_IS_NULL(json_node(v));
}

bool json_is_array(const struct json *v)
{
    return YAJL_IS_ARRAY(json_node(v));
}

size_t json_array_len(const struct json *v)
{
    return json_is_array(v) ? json_node(v)->u.array.len : 0;
}

const struct json *json_array_at(const struct json *v, size_t i)
{
    if (i >= json_array_len(v))
        return NULL;
    return (const struct json *)json_node(v)->u.array.values[i];
}

const char *json_string(const struct json *v)
{
    return YAJL_GET_STRING(json_node(v));
}

const char *json_get_string(const struct json *v, const char *name)
{
    return json_string(json_get(v, name));
}

int64_t json_get_int(const struct json *v, const char *name, int64_t dflt)
{
    yajl_val node = json_node(json_get(v, name));
    long long value;
    char *end;

    if (!YAJL_IS_NUMBER(node))
        return dflt;
    errno = 0;
    value = strtoll(YAJL_GET_NUMBER(node), &end, 10);
    return errno || *end ? dflt : value; /* 1.0 and 1e3 are no integers */
}

bool json_get_bool(const struct json *v, const char *name, bool dflt)
{
    yajl_val node = json_node(json_get(v, name));

    if (YAJL_IS_TRUE(node))
        return true;
    return YAJL_IS_FALSE(node) ? false : dflt;
}

struct json_writer {
    yajl_gen gen;
};

/* Wrong nesting is our own bug, and lost memory aborts everywhere. */
static void json_must(yajl_gen_status status)
{
    if (status != yajl_gen_status_ok)
        abort();
}

struct json_writer *json_writer_new(bool pretty)
{
    struct json_writer *w = xcalloc(1, sizeof(*w));

    w->gen = yajl_gen_alloc(NULL);
    if (!w->gen)
        abort();
    yajl_gen_config(w->gen, yajl_gen_beautify, (int)pretty);
    yajl_gen_config(w->gen, yajl_gen_indent_string, "  ");
    return w;
}

/* Bytes that are not UTF-8 become U+FFFD, one each. */
static void json_gen_text(struct json_writer *w, const char *text)
{
    size_t len = strlen(text), at, n, used = 0;
    cleanup_free char *clean = xcalloc(len + 1, sizeof(REPLACEMENT) - 1);
    uint32_t c;

    for (at = 0; at < len; at += n ? n : 1) {
        n = text_utf8(text + at, len - at, &c);
        memcpy(clean + used, n ? text + at : REPLACEMENT,
               n ? n : sizeof(REPLACEMENT) - 1);
        used += n ? n : sizeof(REPLACEMENT) - 1;
    }
    json_must(yajl_gen_string(w->gen, (const unsigned char *)clean, used));
}

static void json_gen_name(struct json_writer *w, const char *name)
{
    if (name)
        json_gen_text(w, name);
}

void json_open_object(struct json_writer *w, const char *name)
{
    json_gen_name(w, name);
    json_must(yajl_gen_map_open(w->gen));
}

void json_close_object(struct json_writer *w)
{
    json_must(yajl_gen_map_close(w->gen));
}

void json_open_array(struct json_writer *w, const char *name)
{
    json_gen_name(w, name);
    json_must(yajl_gen_array_open(w->gen));
}

void json_close_array(struct json_writer *w)
{
    json_must(yajl_gen_array_close(w->gen));
}

void json_put_string(struct json_writer *w, const char *name, const char *value)
{
    json_gen_name(w, name);
    if (value)
        json_gen_text(w, value);
    else
        json_must(yajl_gen_null(w->gen));
}

void json_put_int(struct json_writer *w, const char *name, int64_t value)
{
    json_gen_name(w, name);
    json_must(yajl_gen_integer(w->gen, value));
}

void json_put_bool(struct json_writer *w, const char *name, bool value)
{
    json_gen_name(w, name);
    json_must(yajl_gen_bool(w->gen, value));
}

char *json_writer_finish(struct json_writer *w)
{
    const unsigned char *text;
    char *copy;
    size_t len;

    json_must(yajl_gen_get_buf(w->gen, &text, &len));
    copy = xcalloc(len + 1, 1);
    memcpy(copy, text, len);
    yajl_gen_free(w->gen);
    free(w);
    return copy;
}
