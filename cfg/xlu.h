/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* libxlutil's parser of xl.cfg's grammar, with its report as our error. */
#ifndef XLSNAP_XLU_H
#define XLSNAP_XLU_H

#include <libxlutil.h>
#include <stdio.h>

#include "scan.h"

struct xlu {
    XLU_Config *config;
    FILE *report; /* config wants it as long as it lives */
    char *report_text;
    size_t report_len;
};

/*
 * *xlu: all zeroes before; to be cleared also after a failure.  The error is
 * -XLSNAP_INVALID with the place.  Nothing is printed.
 */
int xlu_parse(const struct cfg_place *at, const char *text, size_t len,
              struct xlu *xlu, struct xlsnap_error *err);
void xlu_clear(struct xlu *xlu);

#endif
