/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Of xl's own configuration, xl.conf(5), what starting a domain needs. */
#ifndef XLSNAP_XL_CONF_H
#define XLSNAP_XL_CONF_H

#include "libxl-snapshot.h"

enum xl_autoballoon {
    XL_AUTOBALLOON_AUTO, /* on unless Xen was given dom0_mem= */
    XL_AUTOBALLOON_OFF,
    XL_AUTOBALLOON_ON,
};

struct xl_conf {
    enum xl_autoballoon autoballoon;
    char *lockfile;    /* NULL: xl's default */
    bool random_domid; /* domid_policy="random" */
};

/*
 * Keys and values as xl 4.17's parse_global_config (tools/xl/xl.c) has them;
 * others are ignored, as xl does.  No such file: the defaults.  A file that xl
 * refuses, or a value of these keys: -XLSNAP_INVALID, with the line where it
 * cannot be parsed; *conf has what could be read, and else the defaults.
 */
int xl_conf_read(const char *path, struct xl_conf *conf,
                 struct xlsnap_error *err);
void xl_conf_clear(struct xl_conf *conf); /* also all zeroes */

#endif
