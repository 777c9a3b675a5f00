/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xlu.h"

#include "util.h"

/*
 * Takes the first line of libxlutil's report apart:
 *     cfg:LINE: config parsing error near `TOKEN': REASON
 * The TOKEN is <newline> without quotes at the end of a line, and empty at
 * that of the file.  False: it looks otherwise.
 */
static bool xlu_split(char *report, int *line_r, char **token_r,
                      char **reason_r)
{
    static const char near[] = ": config parsing error near ";
    char *token, *end;

    report[strcspn(report, "\n")] = '\0';
    token = strstr(report, near);
    if (!token || sscanf(report, "cfg:%d:", line_r) != 1)
        return false;
    token += strlen(near);
    end = strrchr(token, ':');
    if (!end || end == token || end[1] != ' ')
        return false;
    *end = '\0';
    *reason_r = end + 2;
    if (*token == '`' && end[-1] == '\'') {
        end[-1] = '\0';
        token++;
    }
    *token_r = token;
    return true;
}

/* The error's message, from libxlutil's report. */
static int xlu_fail(const struct cfg_place *at, char *report,
                    struct xlsnap_error *err)
{
    cleanup_free char *where = NULL;
    struct cfg_place here = *at;
    char *token, *reason;
    int len;

    if (!xlu_split(report, &here.line, &token, &reason))
        return cfg_bad(at, err, "cannot be parsed: %s", report);
    /* A token that is a line's end counts for the line before, to it. */
    if (*token == '#' || !strcmp(token, "<newline>"))
        here.line++;
    if (at->line == 0)
        here.line = 0;
    if (!*token)
        where = xasprintf("at the end of the file");
    else if (!strcmp(token, "<newline>"))
        where = xasprintf("at the end of the line");
    else
        where = xasprintf("near '%s'", cfg_short(token).s);
    /* "syntax error, unexpected ..." */
    len = strcspn(reason, ",");
    return cfg_bad(&here, err, "%.*s %s%s%s", len, reason, where,
                   reason[len] ? ":" : "", reason + len + !!reason[len]);
}

int xlu_parse(const struct cfg_place *at, const char *text, size_t len,
              struct xlu *xlu, struct xlsnap_error *err)
{
    int r;

    xlu->report = open_memstream(&xlu->report_text, &xlu->report_len);
    if (!xlu->report)
        abort();
    xlu->config = xlu_cfg_init(xlu->report, "cfg");
    if (!xlu->config)
        abort();
    r = xlu_cfg_readdata(xlu->config, text, len);
    if (fflush(xlu->report))
        abort();
    return r ? xlu_fail(at, xlu->report_text, err) : 0;
}

void xlu_clear(struct xlu *xlu)
{
    if (xlu->config)
        xlu_cfg_destroy(xlu->config);
    if (xlu->report)
        fclose(xlu->report);
    free(xlu->report_text);
    memset(xlu, 0, sizeof(*xlu));
}
