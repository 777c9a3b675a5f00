/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * From a config's text to struct xlsnap_snapshot.
 *
 * The values come from libxlutil, so that quoting, numbers, lists and
 * comments are what they are in xl.cfg; scan.c says which keys there are and
 * where; keys.c knows what each may be.  Two things are forgiven that
 * libxlutil does not forgive: carriage returns at line ends, and a comment in
 * a last line without a newline.
 */
#include "cfg.h"

#include "file.h"
#include "keys.h"
#include "scan.h"
#include "util.h"
#include "xlu.h"

/* A text that libxlutil has accepted, with the values of its statements. */
struct parsed {
    char *text;
    struct cfg_scan scan; /* points into text and xlu */
    struct xlu xlu;
};

static void parsed_clear(struct parsed *parsed)
{
    cfg_scan_clear(&parsed->scan);
    xlu_clear(&parsed->xlu);
    free(parsed->text);
}

/* A copy with a newline at the end of every line and none before it. */
static char *plain_lines(const char *text, size_t len, size_t *len_r)
{
    static const char bom[] = "\xef\xbb\xbf";
    size_t i = len >= 3 && !memcmp(text, bom, 3) ? 3 : 0;
    char *copy = xcalloc(len + 2, 1);
    size_t n = 0;

    for (; i < len; i++)
        if (text[i] != '\r' || i + 1 == len || text[i + 1] != '\n')
            copy[n++] = text[i];
    if (n == 0 || copy[n - 1] != '\n')
        copy[n++] = '\n';
    copy[n] = '\0';
    *len_r = n;
    return copy;
}

static int parse_text(const struct cfg_place *at, const char *text,
                      size_t text_len, struct parsed *parsed,
                      struct xlsnap_error *err)
{
    size_t len;

    if (cfg_check_text(at, text, text_len, err))
        return -err->code;
    parsed->text = plain_lines(text, text_len, &len);
    if (cfg_scan(at, parsed->text, len, &parsed->scan, err) ||
        xlu_parse(at, parsed->text, len, &parsed->xlu, err))
        return -err->code;
    if (!parsed->scan.whole)
        return cfg_bad(at, err, "syntax error");
    return 0;
}

/* Gets the value of a statement whose key is given once. */
static int stmt_fill(const struct cfg_place *at, const XLU_Config *xlu,
                     struct cfg_stmt *stmt, struct xlsnap_error *err)
{
    cleanup_free char *key = xasprintf("%.*s", (int)stmt->key_len, stmt->key);
    XLU_ConfigList *list;
    int n;

    if (stmt->kind != CFG_LIST) {
        if (xlu_cfg_get_string(xlu, key, &stmt->text, 1))
            return cfg_bad(at, err, "'%s' has no value", key);
        return 0;
    }
    if (xlu_cfg_get_list(xlu, key, &list, &n, 1) || n < 0 ||
        (size_t)n != stmt->n_items)
        return cfg_bad(at, err, "'%s' is no list", key);
    for (size_t i = 0; i < stmt->n_items; i++)
        stmt->items[i].text = xlu_cfg_get_listitem(list, i);
    return 0;
}

static struct cfg_place stmt_place(const struct cfg_place *at,
                                   const struct cfg_stmt *stmt)
{
    return (struct cfg_place){ at->file, stmt->line };
}

/* Known, and not given before; notes the line. */
static int stmt_check_key(const struct cfg_place *at,
                          const struct cfg_stmt *stmt,
                          struct cfg_origin *origin, struct xlsnap_error *err)
{
    int key = cfg_key_n(stmt->key, stmt->key_len);

    if (key < 0)
        return cfg_unknown_key(at, stmt->key, stmt->key_len, err);
    if (origin->line[key] >= 0)
        return cfg_bad(at, err, "'%.*s' is given twice, first on line %d%s",
                       (int)stmt->key_len, stmt->key, origin->line[key],
                       key == cfg_key("memory")
                           ? " ('memory' and 'memory_path' are the same)"
                           : "");
    origin->line[key] = stmt->line;
    return 0;
}

static int stmt_apply(const struct cfg_place *at, const struct parsed *parsed,
                      struct cfg_stmt *stmt, struct xlsnap_snapshot *snap,
                      struct xlsnap_error *err)
{
    if (stmt_fill(at, parsed->xlu.config, stmt, err))
        return -err->code;
    return cfg_set(cfg_key_n(stmt->key, stmt->key_len), at, stmt, snap, err);
}

/*
 * Of all that can be wrong with the file of a newer version, the version is
 * to be named.  (Of several, libxlutil knows the last.)
 */
static int check_format(const struct cfg_place *at, struct parsed *parsed,
                        struct xlsnap_snapshot *snap, struct xlsnap_error *err)
{
    for (size_t i = parsed->scan.n_stmts; i > 0; i--) {
        struct cfg_stmt *stmt = &parsed->scan.stmts[i - 1];
        struct cfg_place here = stmt_place(at, stmt);

        if (cfg_key_n(stmt->key, stmt->key_len) == cfg_key("snapshot_format"))
            return stmt_apply(&here, parsed, stmt, snap, err);
    }
    return 0;
}

static int apply(const struct cfg_place *at, struct parsed *parsed,
                 struct xlsnap_snapshot *snap, struct cfg_origin *origin,
                 struct xlsnap_error *err)
{
    if (check_format(at, parsed, snap, err))
        return -err->code;
    for (size_t i = 0; i < parsed->scan.n_stmts; i++) {
        struct cfg_place here = stmt_place(at, &parsed->scan.stmts[i]);

        if (stmt_check_key(&here, &parsed->scan.stmts[i], origin, err))
            return -err->code;
    }
    for (size_t i = 0; i < parsed->scan.n_stmts; i++) {
        struct cfg_place here = stmt_place(at, &parsed->scan.stmts[i]);

        if (stmt_apply(&here, parsed, &parsed->scan.stmts[i], snap, err))
            return -err->code;
    }
    return 0;
}

void cfg_origin_init(struct cfg_origin *origin)
{
    origin->file = NULL;
    for (size_t i = 0; i < ARRAY_SIZE(origin->line); i++)
        origin->line[i] = -1;
}

void cfg_origin_clear(struct cfg_origin *origin)
{
    free(origin->file);
    cfg_origin_init(origin);
}

int cfg_read_text(const char *name, const char *text, size_t len,
                  struct xlsnap_snapshot *snap, struct cfg_origin *origin,
                  struct xlsnap_error *err)
{
    struct cfg_place at = { name, 1 };
    struct parsed parsed = { 0 };
    struct cfg_origin own;
    int rc;

    if (!origin)
        origin = &own;
    cfg_origin_init(origin);
    if (len > CFG_SIZE_MAX) {
        at.line = 0;
        rc = cfg_bad(&at, err, "is larger than %d bytes", CFG_SIZE_MAX);
    } else {
        rc = parse_text(&at, text, len, &parsed, err);
    }
    if (!rc)
        rc = apply(&at, &parsed, snap, origin, err);
    parsed_clear(&parsed);
    if (origin != &own)
        origin->file = xstrdup(name);
    return rc;
}

int cfg_read(const char *path, struct xlsnap_snapshot *snap,
             struct cfg_origin *origin, struct xlsnap_error *err)
{
    cleanup_free char *text = NULL;
    size_t len;

    if (origin)
        cfg_origin_init(origin);
    if (file_read(path, CFG_SIZE_MAX, &text, &len, err)) {
        err->code = XLSNAP_INVALID;
        return -XLSNAP_INVALID;
    }
    return cfg_read_text(path, text, len, snap, origin, err);
}

/* A value written as in a file: KEY=VALUE is a file of one line. */
static int override_parsed(const struct cfg_place *at, const char *key,
                           const char *value, struct xlsnap_snapshot *snap,
                           struct xlsnap_error *err)
{
    cleanup_free char *text = xasprintf("%s=%s", key, value);
    struct parsed parsed = { 0 };
    int rc = parse_text(at, text, strlen(text), &parsed, err);

    if (!rc && parsed.scan.n_stmts != 1)
        rc = cfg_bad(at, err, "more than one KEY=VALUE");
    if (!rc)
        rc = stmt_apply(at, &parsed, &parsed.scan.stmts[0], snap, err);
    parsed_clear(&parsed);
    return rc;
}

static int override(const struct cfg_place *at, const char *assignment,
                    struct xlsnap_snapshot *snap, struct cfg_origin *origin,
                    struct xlsnap_error *err)
{
    static const char blanks[] = " \t\n";
    size_t key_len = strcspn(assignment, "+= \t\n");
    const char *sign = assignment + key_len;
    int key = cfg_key_n(assignment, key_len);
    struct cfg_stmt stmt = { .kind = CFG_BARE };

    sign += strspn(sign, blanks);
    if (*sign == '+')
        return cfg_bad(at, err, "'+=' is not possible, give the whole value");
    if (*sign != '=' || key_len == 0)
        return cfg_bad(at, err, "must be KEY=VALUE");
    if (key < 0)
        return cfg_unknown_key(at, assignment, key_len, err);
    if (origin->line[key] == 0)
        return cfg_bad(at, err, "'%.*s' is given twice on the command line",
                       (int)key_len, assignment);
    origin->line[key] = 0;
    stmt.text = sign + 1 + strspn(sign + 1, blanks);
    if (strchr("\"'[", *stmt.text) && *stmt.text)
        return override_parsed(at, cfg_key_name(key), stmt.text, snap, err);
    return cfg_set(key, at, &stmt, snap, err);
}

int cfg_override(const char *assignment, struct xlsnap_snapshot *snap,
                 struct cfg_origin *origin, struct xlsnap_error *err)
{
    cleanup_free char *name =
        xasprintf("KEY=VALUE '%s'", cfg_short(assignment).s);
    struct cfg_place at = { name, 0 };

    if (cfg_check_text(&at, assignment, strlen(assignment), err))
        return -err->code;
    return override(&at, assignment, snap, origin, err);
}
