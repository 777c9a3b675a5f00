/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * From arguments to a snapshot's description: the config file, KEY=VALUE
 * overrides, options, in this order of growing precedence; and for revert the
 * way from a user's config to the snapshot.cfg that create wrote.
 */
#include "request.h"

#include <ctype.h>
#include <glob.h>
#include <string.h>
#include <sys/stat.h>

#include "cfg.h"
#include "error.h"
#include "file.h"
#include "util.h"

static bool ends_with(const char *s, const char *end)
{
    size_t n = strlen(s), m = strlen(end);

    return n >= m && !strcmp(s + n - m, end);
}

bool request_is_config(const char *word)
{
    struct stat st;

    return strchr(word, '/') || ends_with(word, ".cfg") ||
           ends_with(word, ".xml") ||
           (!stat(word, &st) && S_ISREG(st.st_mode));
}

bool request_is_override(const char *word)
{
    const char *p = word;

    while (isalnum((unsigned char)*p) || *p == '_')
        p++;
    return p > word && *p == '=';
}

static void set_string(char **field, const char *value)
{
    free(*field);
    *field = xstrdup(value);
}

/* The options, which override everything. */
static int request_options(const struct cli *cli, struct xlsnap_snapshot *s,
                           struct cfg_origin *origin,
                           struct xlsnap_error *err)
{
    struct {
        const char *key, *value;
    } const opts[] = {
        { "domain", cli->domain },
        { "path", cli->path },
        { "name", cli->name },
        { "description", cli->description },
        { "compress", cli->compress },
        { "live", cli->live ? "1" : NULL },
        { "type", cli->internal ? "internal"
                                : (cli->external ? "external" : NULL) },
    };
    int rc = 0;

    for (size_t i = 0; i < ARRAY_SIZE(opts) && !rc; i++) {
        cleanup_free char *text = NULL;

        if (!opts[i].value)
            continue;
        text = xasprintf("%s=%s", opts[i].key, opts[i].value);
        rc = cfg_override(text, s, origin, err);
    }
    return rc;
}

static int request_read_config(const char *file, struct xlsnap_snapshot *s,
                               struct cfg_origin *origin,
                               struct xlsnap_error *err)
{
    if (ends_with(file, ".xml"))
        return xlsnap_fail(err, XLSNAP_INVALID,
                           "'%s': libvirt XML is not supported by this "
                           "version",
                           file);
    return cfg_read(file, s, origin, err);
}

/* CONFIG or DOMAIN, overrides and options into *s. */
static int request_parse(const struct cli *cli, struct xlsnap_snapshot *s,
                         struct cfg_origin *origin, struct xlsnap_error *err)
{
    int i = 0, rc = 0;

    cfg_origin_init(origin);
    if (i < cli->argc && !request_is_override(cli->argv[i])) {
        const char *word = cli->argv[i++];

        if (request_is_config(word))
            rc = request_read_config(word, s, origin, err);
        else
            set_string(&s->domain, word);
    }
    for (; i < cli->argc && !rc; i++) {
        if (request_is_override(cli->argv[i]))
            rc = cfg_override(cli->argv[i], s, origin, err);
        else
            rc = xlsnap_fail(err, XLSNAP_INVALID,
                             "'%s' is not KEY=VALUE (see 'xl snapshot-%s "
                             "--help')",
                             cli->argv[i], cli->command->name);
    }
    if (!rc)
        rc = request_options(cli, s, origin, err);
    if (!rc && !s->domain)
        rc = xlsnap_fail(err, XLSNAP_INVALID,
                         "no domain: give its name, a config with 'domain', "
                         "or -d DOMAIN");
    return rc;
}

int request_create(const struct cli *cli, struct xlsnap_snapshot *snap,
                   struct xlsnap_error *err)
{
    struct cfg_origin origin;
    int rc = request_parse(cli, snap, &origin, err);

    if (!rc && (snap->uuid || snap->memory_digest))
        rc = xlsnap_fail(err, XLSNAP_INVALID,
                         "'%s' is the snapshot.cfg of a snapshot that exists; "
                         "create needs a config of yours",
                         origin.file ? origin.file : "the config");
    cfg_origin_clear(&origin);
    return rc;
}

/* ---- revert ---- */

/* "web1.cfg:3: " or "" when it was an option. */
static char *origin_text(const struct cfg_origin *origin, const char *key)
{
    int line = origin->line[cfg_key(key)];

    return line > 0 ? xasprintf("%s:%d: ", origin->file, line) : xstrdup("");
}

static int contradicts(const struct cfg_origin *origin, const char *key,
                       const char *asked, const char *is,
                       struct xlsnap_error *err)
{
    cleanup_free char *where = NULL;

    if (!asked || (is && !strcmp(asked, is)))
        return 0;
    where = origin_text(origin, key);
    return xlsnap_fail(err, XLSNAP_INVALID,
                       "%s%s '%s' contradicts the snapshot's own '%s'", where,
                       key, asked, is ? is : "");
}

static int disk_contradicts(const struct cfg_origin *origin,
                            const struct xlsnap_disk *asked,
                            const struct xlsnap_disk *is,
                            struct xlsnap_error *err)
{
    cleanup_free char *where = origin_text(origin, "disks");
    const char *method = xlsnap_method_name(asked->method);

    if (!is)
        return xlsnap_fail(err, XLSNAP_INVALID,
                           "%sthe snapshot has no disk '%s'", where,
                           asked->vdev);
    if ((asked->method && asked->method != is->method) ||
        (asked->target && (!is->target || strcmp(asked->target, is->target))))
        return xlsnap_fail(err, XLSNAP_INVALID,
                           "%sdisk '%s': '%s%s%s' contradicts the snapshot's "
                           "own '%s%s%s'",
                           where, asked->vdev, method,
                           asked->target ? " " : "",
                           asked->target ? asked->target : "",
                           xlsnap_method_name(is->method),
                           is->target ? " " : "",
                           is->target ? is->target : "");
    return 0;
}

/*
 * Only what says which snapshot is meant is compared: that it was taken live,
 * say, does not matter to who goes back to it.
 */
static int request_compare(const struct xlsnap_snapshot *asked,
                           const struct cfg_origin *origin,
                           const struct xlsnap_snapshot *is,
                           struct xlsnap_error *err)
{
    bool by_id = asked->domain[strspn(asked->domain, "0123456789")] == 0;
    int rc = 0;

    if (!by_id)
        rc = contradicts(origin, "domain", asked->domain, is->domain, err);
    if (!rc)
        rc = contradicts(origin, "name", asked->name, is->name, err);
    if (!rc)
        rc = contradicts(origin, "path", asked->path, is->path, err);
    if (!rc)
        rc = contradicts(origin, "memory", asked->memory, is->memory, err);
    for (size_t i = 0; i < asked->n_disks && !rc; i++)
        rc = disk_contradicts(
            origin, &asked->disks[i],
            xlsnap_snapshot_find_disk(is, asked->disks[i].vdev), err);
    return rc;
}

/* Without name and path nothing says which: show what there is. */
static int request_list_known(const char *domain, struct xlsnap_error *err)
{
    cleanup_free char *pattern =
        xasprintf(XLSNAP_SNAPSHOT_DIR "/%s/*/snapshot.cfg", domain);
    cleanup_free char *list = xstrdup("");
    glob_t found;

    if (strchr(domain, '/') || glob(pattern, 0, NULL, &found))
        return xlsnap_fail(err, XLSNAP_INVALID,
                           "which snapshot? give name= or path=, or its "
                           "snapshot.cfg (none was found as %s)",
                           pattern);
    for (size_t i = 0; i < found.gl_pathc; i++) {
        char *longer = xasprintf("%s %s", list, found.gl_pathv[i]);

        free(list);
        list = longer;
    }
    globfree(&found);
    return xlsnap_fail(err, XLSNAP_INVALID,
                       "which snapshot? give name= or path=, or one of:%s",
                       list);
}

static int request_config_path(const struct xlsnap_snapshot *asked,
                               char **file_r, struct xlsnap_error *err)
{
    if (asked->path)
        *file_r = xasprintf("%s/snapshot.cfg", asked->path);
    else if (!asked->name)
        return request_list_known(asked->domain, err);
    else
        *file_r = xasprintf(XLSNAP_SNAPSHOT_DIR "/%s/%s/snapshot.cfg",
                            asked->domain, asked->name);
    return 0;
}

static bool is_complete(const struct xlsnap_snapshot *s)
{
    return s->uuid && s->memory_digest;
}

static int request_follow(struct xlsnap_snapshot *asked,
                          const struct cfg_origin *origin,
                          struct xlsnap_snapshot *snap,
                          struct xlsnap_error *err)
{
    cleanup_free char *file = NULL;
    int rc = request_config_path(asked, &file, err);

    if (!rc)
        rc = cfg_read(file, snap, NULL, err);
    if (!rc && !is_complete(snap))
        rc = xlsnap_fail(err, XLSNAP_INVALID,
                         "'%s' is not a snapshot.cfg that snapshot-create "
                         "wrote (uuid or memory_digest is missing)",
                         file);
    return rc ? rc : request_compare(asked, origin, snap, err);
}

/* What overrides and options said of a snapshot.cfg may only agree with it. */
static int request_agree(const struct cli *cli, struct xlsnap_snapshot *asked,
                         const struct cfg_origin *origin,
                         struct xlsnap_snapshot *snap,
                         struct xlsnap_error *err)
{
    int rc = cfg_read(cli->argv[0], snap, NULL, err);

    return rc ? rc : request_compare(asked, origin, snap, err);
}

int request_snapshot(const struct cli *cli, struct xlsnap_snapshot *snap,
                     struct xlsnap_error *err)
{
    struct xlsnap_snapshot asked;
    struct cfg_origin origin;
    int rc;

    if (!cli->argc && !cli->domain)
        return xlsnap_fail(err, XLSNAP_INVALID,
                           "which snapshot? give a config (see 'xl "
                           "snapshot-%s --help')",
                           cli->command->name);
    xlsnap_snapshot_init(&asked);
    rc = request_parse(cli, &asked, &origin, err);
    if (!rc && is_complete(&asked))
        rc = request_agree(cli, &asked, &origin, snap, err);
    else if (!rc)
        rc = request_follow(&asked, &origin, snap, err);
    cfg_origin_clear(&origin);
    xlsnap_snapshot_clear(&asked);
    return rc;
}

int request_domain(const struct cli *cli, char **domain_r,
                   struct xlsnap_error *err)
{
    struct xlsnap_snapshot snap;
    struct cfg_origin origin;
    int rc = 0;

    *domain_r = NULL;
    if (!cli->argc && !cli->domain)
        return 0;
    if (cli->argc > 1)
        return xlsnap_fail(err, XLSNAP_INVALID,
                           "too many arguments (see 'xl snapshot-%s --help')",
                           cli->command->name);
    xlsnap_snapshot_init(&snap);
    rc = request_parse(cli, &snap, &origin, err);
    if (!rc)
        *domain_r = xstrdup(snap.domain);
    cfg_origin_clear(&origin);
    xlsnap_snapshot_clear(&snap);
    return rc;
}
