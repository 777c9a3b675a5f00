/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the fuzz targets share. */
#ifndef FUZZING_H
#define FUZZING_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "error.h"
#include "text.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A failure has that code (0: any) and a message of one line. */
static inline void check_refusal(int rc, const struct xlsnap_error *err,
                                 int code)
{
    char printable[sizeof(err->msg)];

    if (rc >= 0 || rc != -err->code || (code && err->code != code) ||
        !err->msg[0])
        abort();
    memcpy(printable, err->msg, sizeof(printable));
    text_make_printable(printable);
    if (strcmp(printable, err->msg))
        abort();
}

#endif
