/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * JSON, read and written.  The only user of yajl.
 *
 * A parsed value is a tree; the pointers got from it live until json_free of
 * its root.  Getters never fail: a missing member, or one of another type, is
 * NULL or the default, so that a foreign reply is walked in one expression.
 */
#ifndef XLSNAP_JSON_H
#define XLSNAP_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "error.h"

struct json;

#define JSON_DEPTH_MAX 200

/* One complete value; `what` names the source in the error message. */
int json_parse(const char *text, size_t len, const char *what,
               struct json **root_r, struct xlsnap_error *err);
void json_free(struct json *root); /* NULL is fine; only for roots */

/* Member of an object; v may be NULL. */
const struct json *json_get(const struct json *v, const char *name);
/* Several members deep, ended by NULL: json_path(v, "image", "format", NULL) */
const struct json *json_path(const struct json *v, ...)
    __attribute__((sentinel));
bool json_is_object(const struct json *v);
bool json_is_array(const struct json *v);
bool json_is_null(const struct json *v);     /* the value null; not "missing" */
size_t json_array_len(const struct json *v); /* 0 if not an array */
const struct json *json_array_at(const struct json *v, size_t i);
const char *json_string(const struct json *v); /* NULL if not a string */
/* Shorthands for a member. */
const char *json_get_string(const struct json *v, const char *name);
int64_t json_get_int(const struct json *v, const char *name, int64_t dflt);
bool json_get_bool(const struct json *v, const char *name, bool dflt);

/*
 * Writer: a growing buffer.  Inside an object pass the member's name, inside
 * an array NULL.  Strings that are not UTF-8 have the offending bytes
 * replaced by U+FFFD.  Example:
 *     struct json_writer *w = json_writer_new(pretty);
 *     json_open_object(w, NULL);
 *     json_put_string(w, "name", "x");
 *     json_close_object(w);
 *     text = json_writer_finish(w);
 */
struct json_writer;
struct json_writer *json_writer_new(bool pretty);
void json_open_object(struct json_writer *w, const char *name);
void json_close_object(struct json_writer *w);
void json_open_array(struct json_writer *w, const char *name);
void json_close_array(struct json_writer *w);
/* A NULL value is written as null. */
void json_put_string(struct json_writer *w, const char *name,
                     const char *value);
void json_put_int(struct json_writer *w, const char *name, int64_t value);
void json_put_bool(struct json_writer *w, const char *name, bool value);
/* Frees the writer; the text is to be freed. */
char *json_writer_finish(struct json_writer *w);

#endif
