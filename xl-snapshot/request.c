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
           ends_with(word, ".xml") || (!stat(word, &st) && S_ISREG(st.st_mode));
}

bool request_is_override(const char *word)
{
    const char *p = word;

    while (isalnum((unsigned char)*p) || *p == '_')
        p++;
    /* += is refused as such, not taken for a domain */
    return p > word && (*p == '=' || (p[0] == '+' && p[1] == '='));
}

/*
 * KEY=VALUE of a value that is taken to the letter: cfg_override would read a
 * description that begins with '[' as a list.
 */
static char *assignment(const char *key, const char *value)
{
    char *text = xcalloc(strlen(key) + 2 * strlen(value) + 4, 1), *out;

    out = text + sprintf(text, "%s=", key);
    if (!*value || !strchr("\"'[ \t", *value)) {
        strcpy(out, value);
        return text;
    }
    *out++ = '"';
    for (; *value; value++) {
        if (strchr("\"\\\n\t", *value))
            *out++ = '\\';
        *out++ = *value == '\n' ? 'n' : *value == '\t' ? 't' : *value;
    }
    strcpy(out, "\"");
    return text;
}

static int request_set(const char *key, const char *value,
                       struct xlsnap_snapshot *s, struct cfg_origin *origin,
                       struct xlsnap_error *err)
{
    cleanup_free char *text = assignment(key, value);

    return cfg_override(text, s, origin, err);
}

/* "KEY=VALUE 'name=x': ..." was an option in truth. */
static void blame_option(struct xlsnap_error *err)
{
    static const char is[] = "KEY=VALUE '", be[] = "option '--";
    size_t len = strlen(is);

    if (strncmp(err->msg, is, len))
        return;
    memmove(err->msg + strlen(be), err->msg + len, strlen(err->msg + len) + 1);
    memcpy(err->msg, be, strlen(be));
}

/* The options, which override everything. */
static int request_options(const struct cli *cli, struct xlsnap_snapshot *s,
                           struct cfg_origin *origin, struct xlsnap_error *err)
{
    const char *type = cli->internal   ? "internal"
                       : cli->external ? "external"
                                       : NULL;
    struct {
        const char *key, *value;
    } const opts[] = {
        { "domain", cli->domain },
        { "path", cli->path },
        { "name", cli->name },
        { "description", cli->description },
        { "compress", cli->compress },
        { "live", cli->live ? "1" : NULL },
        { "type", type },
    };
    int rc = 0;

    for (size_t i = 0; i < ARRAY_SIZE(opts) && !rc; i++)
        if (opts[i].value)
            rc = request_set(opts[i].key, opts[i].value, s, origin, err);
    if (rc)
        blame_option(err);
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
    const char *file = NULL;
    int i = 0, rc = 0;

    cfg_origin_init(origin);
    if (i < cli->argc && !request_is_override(cli->argv[i])) {
        const char *word = cli->argv[i++];

        if (request_is_config(word))
            rc = request_read_config(file = word, s, origin, err);
        else
            rc = request_set("domain", word, s, origin, err);
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
    if (rc || s->domain)
        return rc;
    if (file)
        return xlsnap_fail(err, XLSNAP_INVALID,
                           "%s: this file has no 'domain'; name it there, or "
                           "with -d DOMAIN",
                           file);
    return xlsnap_fail(err, XLSNAP_INVALID,
                       "no domain: give its name, a config with 'domain', or "
                       "-d DOMAIN");
}

/* "web1.cfg:3: " or "" when it was given on the command line. */
static char *origin_text(const struct cfg_origin *origin, const char *key)
{
    int line = origin->line[cfg_key(key)];

    return line > 0 ? xasprintf("%s:%d: ", origin->file, line) : xstrdup("");
}

/* A request must not claim what only a snapshot that was taken can say. */
static int request_check_keys(const struct xlsnap_snapshot *s,
                              const struct cfg_origin *origin,
                              struct xlsnap_error *err)
{
    static const char *const keys[] = { "uuid", "memory_digest",
                                        "creation_time" };
    cleanup_free char *where = NULL;

    for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
        if (origin->line[cfg_key(keys[i])] < 0)
            continue;
        where = origin_text(origin, keys[i]);
        return xlsnap_fail(err, XLSNAP_INVALID,
                           "%s'%s' belongs to snapshot.cfg only", where,
                           keys[i]);
    }
    for (size_t i = 0; i < s->n_disks; i++) {
        if (!s->disks[i].source && !s->disks[i].source_format)
            continue;
        where = origin_text(origin, "disks");
        return xlsnap_fail(err, XLSNAP_INVALID,
                           "%sdisk '%s': %s= belongs to snapshot.cfg only",
                           where, s->disks[i].vdev,
                           s->disks[i].source ? "source" : "source_format");
    }
    return 0;
}

/* Does it describe a snapshot that was taken? */
static bool is_complete(const struct xlsnap_snapshot *s)
{
    return s->uuid && s->memory_digest;
}

int request_create(const struct cli *cli, struct xlsnap_snapshot *snap,
                   struct xlsnap_error *err)
{
    struct cfg_origin origin;
    int rc = request_parse(cli, snap, &origin, err);

    if (!rc && origin.file && is_complete(snap))
        rc = xlsnap_fail(err, XLSNAP_INVALID,
                         "'%s' is the snapshot.cfg of a snapshot that exists; "
                         "create needs a config of yours",
                         origin.file);
    if (!rc)
        rc = request_check_keys(snap, &origin, err);
    cfg_origin_clear(&origin);
    return rc;
}

/* ---- revert ---- */

static bool is_id(const char *domain)
{
    return domain[strspn(domain, "0123456789")] == 0;
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

/* A name without '/' (which create put beside the disk) is the last part. */
static bool same_target(const char *asked, const char *is)
{
    const char *slash = is ? strrchr(is, '/') : NULL;

    return !asked || (is && !strcmp(asked, is)) ||
           (slash && !strchr(asked, '/') && !strcmp(asked, slash + 1));
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
        !same_target(asked->target, is->target))
        return xlsnap_fail(err, XLSNAP_INVALID,
                           "%sdisk '%s': '%s%s%s' contradicts the snapshot's "
                           "own '%s%s%s'",
                           where, asked->vdev, method, asked->target ? " " : "",
                           asked->target ? asked->target : "",
                           xlsnap_method_name(is->method),
                           is->target ? " " : "", is->target ? is->target : "");
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
    int rc = 0;

    if (!is_id(asked->domain))
        rc = contradicts(origin, "domain", asked->domain, is->domain, err);
    if (!rc)
        rc = contradicts(origin, "name", asked->name, is->name, err);
    if (!rc)
        rc = contradicts(origin, "path", asked->path, is->path, err);
    if (!rc)
        rc = contradicts(origin, "memory", asked->memory, is->memory, err);
    if (!rc)
        rc = contradicts(origin, "uuid", asked->uuid, is->uuid, err);
    if (!rc)
        rc = contradicts(origin, "memory_digest", asked->memory_digest,
                         is->memory_digest, err);
    for (size_t i = 0; i < asked->n_disks && !rc; i++)
        rc = disk_contradicts(
            origin, &asked->disks[i],
            xlsnap_snapshot_find_disk(is, asked->disks[i].vdev), err);
    return rc;
}

/* Escaped, so that glob takes it to the letter. */
static char *glob_escape(const char *text)
{
    char *escaped = xcalloc(2 * strlen(text) + 1, 1), *out = escaped;

    for (; *text; text++) {
        if (strchr("*?[\\", *text))
            *out++ = '\\';
        *out++ = *text;
    }
    return escaped;
}

#define LIST_MAX 8

/* " PATH PATH (and 3 more)" */
static char *list_text(const glob_t *found)
{
    size_t n = found->gl_pathc < LIST_MAX ? found->gl_pathc : LIST_MAX;
    char *list = xstrdup("");

    for (size_t i = 0; i < n; i++) {
        char *longer = xasprintf("%s %s", list, found->gl_pathv[i]);

        free(list);
        list = longer;
    }
    if (n < found->gl_pathc) {
        char *longer =
            xasprintf("%s (and %zu more)", list, found->gl_pathc - n);

        free(list);
        list = longer;
    }
    return list;
}

/* Without name and path nothing says which: show what there is. */
static int request_list_known(const char *domain, struct xlsnap_error *err)
{
    cleanup_free char *escaped = glob_escape(domain);
    cleanup_free char *pattern =
        xasprintf(XLSNAP_SNAPSHOT_DIR "/%s/*/snapshot.cfg", escaped);
    cleanup_free char *list = NULL;
    glob_t found;

    if (glob(pattern, 0, NULL, &found))
        return xlsnap_fail(
            err, XLSNAP_INVALID,
            "which snapshot? give name= or path=, or its "
            "snapshot.cfg (none was found as " XLSNAP_SNAPSHOT_DIR
            "/%s/*/snapshot.cfg)",
            domain);
    list = list_text(&found);
    globfree(&found);
    return xlsnap_fail(err, XLSNAP_INVALID,
                       "which snapshot? give name= or path=, or one of:%s",
                       list);
}

static bool has_snapshots(const char *domain)
{
    cleanup_free char *dir = xasprintf(XLSNAP_SNAPSHOT_DIR "/%s", domain);
    struct stat st;

    return !stat(dir, &st) && S_ISDIR(st.st_mode);
}

static int request_config_path(const struct xlsnap_snapshot *asked,
                               char **file_r, struct xlsnap_error *err)
{
    if (asked->path) {
        *file_r = xasprintf("%s/snapshot.cfg", asked->path);
        return 0;
    }
    /* A domain may be named like a number; then there is a directory. */
    if (is_id(asked->domain) && !has_snapshots(asked->domain))
        return xlsnap_fail(err, XLSNAP_INVALID,
                           "snapshots are filed by the domain's name, not its "
                           "id '%s': give the name, path= or the snapshot.cfg",
                           asked->domain);
    if (strchr(asked->domain, '/') || asked->domain[0] == '.')
        return xlsnap_fail(err, XLSNAP_INVALID,
                           "domain name '%s' is no name for a directory; say "
                           "where the snapshot is (path=)",
                           asked->domain);
    if (!asked->name)
        return request_list_known(asked->domain, err);
    *file_r = xasprintf(XLSNAP_SNAPSHOT_DIR "/%s/%s/snapshot.cfg",
                        asked->domain, asked->name);
    return 0;
}

static int request_read_complete(const char *file, struct xlsnap_snapshot *s,
                                 struct xlsnap_error *err)
{
    int rc = cfg_read(file, s, NULL, err);

    if (rc || is_complete(s))
        return rc;
    return xlsnap_fail(err, XLSNAP_INVALID,
                       "'%s' is not a snapshot.cfg that snapshot-create wrote "
                       "(uuid or memory_digest is missing)",
                       file);
}

static int request_follow(const struct xlsnap_snapshot *asked,
                          const struct cfg_origin *origin,
                          struct xlsnap_snapshot *snap, char **file_r,
                          struct xlsnap_error *err)
{
    int rc = request_check_keys(asked, origin, err);

    if (!rc)
        rc = request_config_path(asked, file_r, err);
    if (!rc)
        rc = request_read_complete(*file_r, snap, err);
    return rc ? rc : request_compare(asked, origin, snap, err);
}

/* What overrides and options said of a snapshot.cfg may only agree with it. */
static int request_agree(const struct xlsnap_snapshot *asked,
                         const struct cfg_origin *origin,
                         struct xlsnap_snapshot *snap, char **file_r,
                         struct xlsnap_error *err)
{
    int rc = request_read_complete(origin->file, snap, err);

    *file_r = xstrdup(origin->file);
    return rc ? rc : request_compare(asked, origin, snap, err);
}

/* Was there a file with a key that only snapshot.cfg has? */
static bool is_snapshot_cfg(const struct cfg_origin *origin)
{
    return origin->file && (origin->line[cfg_key("uuid")] > 0 ||
                            origin->line[cfg_key("memory_digest")] > 0);
}

int request_snapshot(const struct cli *cli, struct xlsnap_snapshot *snap,
                     char **file_r, struct xlsnap_error *err)
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
    if (!rc && is_snapshot_cfg(&origin))
        rc = request_agree(&asked, &origin, snap, file_r, err);
    else if (!rc)
        rc = request_follow(&asked, &origin, snap, file_r, err);
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
