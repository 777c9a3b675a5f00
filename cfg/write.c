/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * From struct xlsnap_snapshot to the text of a snapshot.cfg.
 *
 * Deterministic: the same snapshot gives the same bytes.  Strings are quoted
 * with those escapes only that libxlutil undoes (its numeric ones are broken),
 * so a control character other than newline, tab and carriage return can't be
 * written; no field that cfg_read fills has one.
 */
#include "cfg.h"

#include "diskspec.h"
#include "keys.h"
#include "scan.h"
#include "text.h"
#include "util.h"

static void put_quoted(FILE *f, const char *text)
{
    static const char special[] = "\\\"\n\t\r", letters[] = "\\\"ntr";
    const char *s;

    fputc('"', f);
    for (; *text; text++) {
        s = strchr(special, *text);
        if (s)
            fprintf(f, "\\%c", letters[s - special]);
        else
            fputc(*text, f);
    }
    fputc('"', f);
}

static void put_string(FILE *f, const char *key, const char *value)
{
    if (!value)
        return;
    fprintf(f, "%s = ", key);
    put_quoted(f, value);
    fputc('\n', f);
}

static void put_number(FILE *f, const char *key, long long value)
{
    fprintf(f, "%s = %lld\n", key, value);
}

/* A comment may have anything in it: what no config can hold becomes '?'. */
static void put_comment(FILE *f, const char *text)
{
    bool line_start = true;
    size_t len = strlen(text), n;
    uint32_t c;

    for (; len > 0; text += n, len -= n) {
        n = text_utf8(text, len, &c);
        if (line_start)
            fputs(*text == '\n' ? "#" : "# ", f);
        line_start = *text == '\n';
        if (n == 0 || (text_is_control(c) && c != '\n' && c != '\t'))
            fputc('?', f);
        else
            fwrite(text, n, 1, f);
        n = n ? n : 1;
    }
    if (!line_start)
        fputc('\n', f);
}

static void put_disks(FILE *f, const struct xlsnap_snapshot *snap)
{
    if (snap->n_disks == 0)
        return;
    fputs("disks = [\n", f);
    for (size_t i = 0; i < snap->n_disks; i++) {
        cleanup_free char *spec = diskspec_format(&snap->disks[i]);

        fputs("    ", f);
        put_quoted(f, spec);
        fputs(",\n", f);
    }
    fputs("]\n", f);
}

static void put_keys(FILE *f, const struct xlsnap_snapshot *snap)
{
    put_number(f, "snapshot_format", CFG_FORMAT);
    put_string(f, "domain", snap->domain);
    put_string(f, "uuid", snap->uuid);
    put_string(f, "name", snap->name);
    put_string(f, "description", snap->description);
    if (snap->creation_time)
        put_number(f, "creation_time", snap->creation_time);
    put_string(f, "path", snap->path);
    put_string(f, "memory", snap->memory);
    put_string(f, "memory_digest", snap->memory_digest);
    if (snap->compress >= 0)
        put_string(f, "compress",
                   snap->compress == XLSNAP_COMPRESS_ZSTD ? "zstd" : "none");
    if (snap->live >= 0)
        put_number(f, "live", snap->live);
    if (snap->type != XLSNAP_METHOD_DEFAULT)
        put_string(f, "type", xlsnap_method_name(snap->type));
    put_disks(f, snap);
}

char *cfg_write(const struct xlsnap_snapshot *snap, const char *comment)
{
    char *text;
    size_t len;
    FILE *f = open_memstream(&text, &len);

    if (!f)
        abort();
    if (comment)
        put_comment(f, comment);
    put_keys(f, snap);
    if (fclose(f))
        abort();
    return text;
}
