/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Where a snapshot's files are: see paths.h. */
#include "paths.h"

#include <libgen.h>
#include <sys/random.h>
#include <sys/stat.h>

#include "util.h"

int paths_fill(struct xlsnap *xs, struct xlsnap_snapshot *snap,
               struct xlsnap_error *err)
{
    if (!snap->path) {
        if (strchr(snap->domain, '/') || snap->domain[0] == '.')
            return xlsnap_fail(err, XLSNAP_INVALID,
                               "domain name '%s' is no name for a directory; "
                               "say where the snapshot goes (path=)",
                               snap->domain);
        snap->path =
            xasprintf("%s/%s/%s", xs->snapshot_dir, snap->domain, snap->name);
    }
    if (!snap->memory)
        snap->memory = xasprintf("%s/memory.save", snap->path);
    return 0;
}

char *paths_config(const struct xlsnap_snapshot *snap)
{
    return xasprintf("%s/" SNAPSHOT_CFG, snap->path);
}

/* Cuts the last component off, in place; "/" stays. */
static void cut_last(char *path)
{
    char *parent = xstrdup(dirname(path));

    strcpy(path, parent);
    free(parent);
}

char *paths_existing(const char *path)
{
    char *p = xstrdup(path);
    struct stat st;

    while (lstat(p, &st) && strcmp(p, "/"))
        cut_last(p);
    return p;
}

char *paths_topmost_missing(const char *path)
{
    cleanup_free char *p = xstrdup(path);
    char *missing = NULL;
    struct stat st;

    while (lstat(p, &st) && strcmp(p, "/")) {
        free(missing);
        missing = xstrdup(p);
        cut_last(p);
    }
    return missing;
}

char *paths_token(void)
{
    uint64_t r;

    if (getrandom(&r, sizeof(r), 0) != sizeof(r))
        abort();
    return xasprintf("%016llx", (unsigned long long)r);
}
