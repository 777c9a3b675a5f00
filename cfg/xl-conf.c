/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xl-conf.h"

#include <sys/stat.h>

#include "cfg.h"
#include "file.h"
#include "util.h"
#include "xlu.h"

/* The value of a key as text, or NULL. */
static const char *conf_get(const XLU_Config *config, const char *key)
{
    const char *text;

    return xlu_cfg_get_string(config, key, &text, 1) ? NULL : text;
}

static int conf_autoballoon(const char *path, const char *text,
                            enum xl_autoballoon *value_r,
                            struct xlsnap_error *err)
{
    if (!text || !strcmp(text, "auto"))
        *value_r = XL_AUTOBALLOON_AUTO;
    else if (!strcmp(text, "on") || !strcmp(text, "1"))
        *value_r = XL_AUTOBALLOON_ON;
    else if (!strcmp(text, "off") || !strcmp(text, "0"))
        *value_r = XL_AUTOBALLOON_OFF;
    else
        return xlsnap_fail(err, XLSNAP_INVALID,
                           "%s: autoballoon '%s': must be auto, on or off",
                           path, text);
    return 0;
}

static int conf_domid_policy(const char *path, const char *text, bool *random_r,
                             struct xlsnap_error *err)
{
    *random_r = text && !strcmp(text, "random");
    if (!text || *random_r || !strcmp(text, "xen"))
        return 0;
    return xlsnap_fail(err, XLSNAP_INVALID,
                       "%s: domid_policy '%s': must be xen or random", path,
                       text);
}

static int conf_fill(const char *path, const XLU_Config *config,
                     struct xl_conf *conf, struct xlsnap_error *err)
{
    const char *lockfile = conf_get(config, "lockfile");

    conf_autoballoon(path, conf_get(config, "autoballoon"), &conf->autoballoon,
                     err);
    conf_domid_policy(path, conf_get(config, "domid_policy"),
                      &conf->random_domid, err);
    if (lockfile)
        conf->lockfile = xstrdup(lockfile);
    return -err->code;
}

int xl_conf_read(const char *path, struct xl_conf *conf,
                 struct xlsnap_error *err)
{
    struct cfg_place at = { .file = path, .line = 1 };
    cleanup_free char *text = NULL;
    struct xlu xlu = { 0 };
    struct stat st;
    size_t len;
    int rc;

    memset(conf, 0, sizeof(*conf));
    if (stat(path, &st) && errno == ENOENT)
        return 0;
    if (file_read(path, CFG_SIZE_MAX, &text, &len, err)) {
        err->code = XLSNAP_INVALID;
        return -XLSNAP_INVALID;
    }
    rc = xlu_parse(&at, text, len, &xlu, err);
    if (!rc) /* one bad value does not hide the others */
        rc = conf_fill(path, xlu.config, conf, err);
    xlu_clear(&xlu);
    return rc;
}

void xl_conf_clear(struct xl_conf *conf)
{
    free(conf->lockfile);
    memset(conf, 0, sizeof(*conf));
}
