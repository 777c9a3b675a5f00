/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The error type: see error.h for the rules. */
#include "error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "text.h"

static void error_set(struct xlsnap_error *err, int code, int errnum,
                      const char *fmt, va_list ap)
{
    size_t len;

    err->code = code;
    err->errnum = errnum;
    vsnprintf(err->msg, sizeof(err->msg), fmt, ap);
    len = strlen(err->msg);
    if (errnum)
        snprintf(err->msg + len, sizeof(err->msg) - len, ": %s",
                 strerror(errnum));
    text_make_printable(err->msg);
}

int xlsnap_fail(struct xlsnap_error *err, int code, const char *fmt, ...)
{
    va_list ap;

    if (err->code)
        return -err->code;
    va_start(ap, fmt);
    error_set(err, code, 0, fmt, ap);
    va_end(ap);
    return -code;
}

int xlsnap_fail_errno(struct xlsnap_error *err, int code, int errnum,
                      const char *fmt, ...)
{
    va_list ap;

    if (err->code)
        return -err->code;
    va_start(ap, fmt);
    error_set(err, code, errnum, fmt, ap);
    va_end(ap);
    return -code;
}

void xlsnap_keep_first(struct xlsnap_error *err, const struct xlsnap_error *one)
{
    if (!err->code)
        *err = *one;
}

int xlsnap_prefix(struct xlsnap_error *err, const char *fmt, ...)
{
    char old[sizeof(err->msg)];
    va_list ap;
    size_t len;

    memcpy(old, err->msg, sizeof(old));
    va_start(ap, fmt);
    vsnprintf(err->msg, sizeof(err->msg), fmt, ap);
    va_end(ap);
    len = strlen(err->msg);
    snprintf(err->msg + len, sizeof(err->msg) - len, ": %s", old);
    text_make_printable(err->msg);
    return -err->code;
}
