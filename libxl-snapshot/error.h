/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Filling in a struct xlsnap_error.  All return -code, so that a failing
 * function ends with `return xlsnap_fail(err, XLSNAP_FAILED, "...")`.
 * The first error wins: a filled err is not overwritten (its code is
 * returned).  Messages are one line, lower case, the error first, subjects in
 * single quotes, made printable (text.h).
 */
#ifndef XLSNAP_ERROR_H
#define XLSNAP_ERROR_H

#include "libxl-snapshot.h"

int xlsnap_fail(struct xlsnap_error *err, int code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* Appends ": " and strerror(errnum). */
int xlsnap_fail_errno(struct xlsnap_error *err, int code, int errnum,
                      const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
/* Of several errors the first is told: `one`, if there was none. */
void xlsnap_keep_first(struct xlsnap_error *err,
                       const struct xlsnap_error *one);
/* Puts "text: " before the message; returns -err->code. */
int xlsnap_prefix(struct xlsnap_error *err, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

#endif
