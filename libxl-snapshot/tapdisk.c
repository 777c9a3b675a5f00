/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Running tap-ctl and vhd-util, and understanding what they say: see
 * tapdisk.h.  Knows nothing of disks and snapshots.
 */
#include "tapdisk.h"

#include <ctype.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>

#include "file.h"
#include "process.h"
#include "run.h"
#include "util.h"

#define OTHERS_MS 2000 /* for the name of another tapdisk's file */
#define PREFIX "vhd:"
#define CHECK_TIMEOUT_MS 300000

/* Bits of a state, of blktap's drivers/tapdisk-vbd.h. */
#define STATE_QUIESCE_REQUESTED 0x04
#define STATE_QUIESCED 0x08
#define STATE_PAUSE_REQUESTED 0x10
#define STATE_PAUSED 0x20

const char *tapdisk_file(const char *source)
{
    return source && !strncmp(source, PREFIX "/", strlen(PREFIX "/"))
               ? source + strlen(PREFIX)
               : NULL;
}

/* ---- running them ---- */

/* The last line of a text that says something; cut off there. */
static char *last_line(char *text)
{
    size_t len = strlen(text);
    char *start;

    while (len && isspace((unsigned char)text[len - 1]))
        text[--len] = '\0';
    start = strrchr(text, '\n');
    start = start ? start + 1 : text;
    for (char *p = start; *p; p++)
        if (iscntrl((unsigned char)*p))
            *p = '?';
    return start;
}

static int tool_failed(const char *const argv[], int status, char *out,
                       struct xlsnap_error *err)
{
    const char *said = last_line(out);

    return xlsnap_fail(
        err, XLSNAP_FAILED, "'%s %s' exited with status %d (%s)%s%.200s",
        argv[0], argv[1], status, strerror(status), *said ? ": " : "", said);
}

/* stdout goes to *out_r, to be freed; it may be NULL. */
static int tool_run(const char *const argv[], int timeout_ms, char **out_r,
                    struct xlsnap_error *err)
{
    cleanup_free char *out = NULL;
    int status = 0;
    int rc = run_status(argv, timeout_ms, &status, &out, err);

    if (!rc && status)
        rc = tool_failed(argv, status, out, err);
    if (!rc && out_r) {
        *out_r = out;
        out = NULL;
    }
    return rc;
}

static int not_understood(const char *command, const char *text,
                          struct xlsnap_error *err)
{
    cleanup_free char *copy = xstrdup(text);

    return xlsnap_fail(err, XLSNAP_FAILED,
                       "'%s' says something unknown here: '%.100s'", command,
                       last_line(copy));
}

/* What its help must mention.  Not every command knows -h: those say the same
 * and end with EINVAL. */
static int check_tool(const char *program, const char *command,
                      const char *option, struct xlsnap_error *err)
{
    const char *argv[] = { program, command, "-h", NULL };
    cleanup_free char *help = NULL;
    int status = 0;
    int rc = run_status(argv, RUN_TIMEOUT_MS, &status, &help, err);

    if (!rc && status && status != EINVAL)
        rc = tool_failed(argv, status, help, err);
    if (!rc && !strstr(help, option))
        rc = xlsnap_fail(err, XLSNAP_FAILED,
                         "this '%s' is another version than those known here: "
                         "its command '%s' has no option '%s'",
                         program, command, option + 1);
    return rc;
}

int tapdisk_check_tools(struct xlsnap_error *err)
{
    static const struct {
        const char *program, *command, *option;
    } needed[] = {
        { "tap-ctl", "list", "[-p" },     { "tap-ctl", "pause", "<-m" },
        { "tap-ctl", "unpause", "[-a" },  { "vhd-util", "snapshot", "[-e" },
        { "vhd-util", "check", "[-i" },   { "vhd-util", "query", "[-p" },
        { "vhd-util", "coalesce", "<-n" }
    };
    int rc = 0;

    for (size_t i = 0; i < ARRAY_SIZE(needed) && !rc; i++)
        rc = check_tool(needed[i].program, needed[i].command, needed[i].option,
                        err);
    return rc;
}

/* ---- numbers ---- */

/* All of the text is one number without sign, at most `max`. */
static bool number(const char *text, int base, unsigned long max,
                   unsigned long *n_r)
{
    char *end;

    if (!isxdigit((unsigned char)*text))
        return false;
    errno = 0;
    *n_r = strtoul(text, &end, base);
    return !errno && !*end && *n_r <= max;
}

/* ---- tapdisks ---- */

/* A line of `tap-ctl list`; what it does not say is 0, or -1, or NULL. */
struct listed {
    struct tapdisk tapdisk;
    const char *args;
};

static bool listed_set(struct listed *l, const char *word)
{
    unsigned long n;

    if (!strncmp(word, "pid=", 4) && !l->tapdisk.pid &&
        number(word + 4, 10, INT_MAX, &n) && n)
        l->tapdisk.pid = n;
    else if (!strncmp(word, "minor=", 6) && l->tapdisk.minor < 0 &&
             number(word + 6, 10, INT_MAX, &n))
        l->tapdisk.minor = n;
    else if (!strncmp(word, "state=", 6) && number(word + 6, 0, UINT_MAX, &n))
        l->tapdisk.state = n;
    else
        return false;
    return true;
}

/*
 * "pid=4711 minor=0 state=0 args=vhd:/srv/a.vhd"; each may be missing.  The
 * line is cut into pieces.  A path may have blanks in it: it comes last.
 */
static bool listed_parse(char *line, struct listed *l)
{
    *l = (struct listed){ .tapdisk.minor = -1 };
    while (*line) {
        char *blank = strchr(line, ' ');

        if (!strncmp(line, "args=", 5)) {
            l->args = line + 5;
            return true;
        }
        if (blank)
            *blank = '\0';
        if (!listed_set(l, line))
            return false;
        line = blank ? blank + 1 : line + strlen(line);
    }
    return true;
}

/* Does it serve that file, by whatever name? */
static bool listed_serves(const struct listed *l, const char *source)
{
    struct xlsnap_error ignored = { 0 };
    const char *file = tapdisk_file(l->args);
    struct file_id a, b;

    if (!file)
        return false;
    return !strcmp(l->args, source) ||
           (!file_id(tapdisk_file(source), &b, &ignored) &&
            !file_id_within(file, OTHERS_MS, &a, &ignored) &&
            file_id_equal(&a, &b));
}

static int find_in(char *list, const char *source, struct tapdisk *tapdisk_r,
                   struct xlsnap_error *err)
{
    char *rest = list, *line;
    struct listed l;

    while ((line = strsep(&rest, "\n"))) {
        cleanup_free char *whole = xstrdup(line);

        if (!listed_parse(line, &l))
            return not_understood("tap-ctl list", whole, err);
        if (!listed_serves(&l, source))
            continue;
        if (!l.tapdisk.pid || l.tapdisk.minor < 0)
            return not_understood("tap-ctl list", whole, err);
        if (tapdisk_r->pid)
            return xlsnap_fail(err, XLSNAP_FAILED,
                               "'%s' is served twice, by the tapdisks %d and "
                               "%d",
                               source, (int)tapdisk_r->pid, (int)l.tapdisk.pid);
        *tapdisk_r = l.tapdisk;
    }
    return 0;
}

int tapdisk_find(const char *source, struct tapdisk *tapdisk_r,
                 struct xlsnap_error *err)
{
    const char *argv[] = { "tap-ctl", "list", NULL };
    cleanup_free char *list = NULL;
    int rc;

    *tapdisk_r = (struct tapdisk){ 0 };
    rc = tool_run(argv, RUN_TIMEOUT_MS, &list, err);
    return rc ? rc : find_in(list, source, tapdisk_r, err);
}

pid_t tapdisk_pid(const char *source)
{
    struct xlsnap_error ignored = { 0 };
    struct tapdisk t;

    return tapdisk_find(source, &t, &ignored) ? 0 : t.pid;
}

bool tapdisk_is_held(const struct tapdisk *tapdisk)
{
    return tapdisk->state & (STATE_QUIESCE_REQUESTED | STATE_QUIESCED |
                             STATE_PAUSE_REQUESTED | STATE_PAUSED);
}

/* tap-ctl's own option for a time-out is broken: it takes it for an error. */
int tapdisk_pause(const struct tapdisk *tapdisk, struct xlsnap_error *err)
{
    cleanup_free char *pid = xasprintf("%d", (int)tapdisk->pid);
    cleanup_free char *minor = xasprintf("%d", tapdisk->minor);
    const char *argv[] = { "tap-ctl", "pause", "-p", pid, "-m", minor, NULL };

    return tool_run(argv, RUN_TIMEOUT_MS, NULL, err);
}

int tapdisk_unpause(const struct tapdisk *tapdisk, const char *source,
                    struct xlsnap_error *err)
{
    cleanup_free char *pid = xasprintf("%d", (int)tapdisk->pid);
    cleanup_free char *minor = xasprintf("%d", tapdisk->minor);
    const char *argv[] = { "tap-ctl", "unpause", "-p",   pid, "-m",
                           minor,     "-a",      source, NULL };

    return tool_run(argv, RUN_TIMEOUT_MS, NULL, err);
}

/* ---- programs left behind ---- */

static bool is_tool(const char *argument)
{
    const char *slash = strrchr(argument, '/');

    argument = slash ? slash + 1 : argument;
    return !strcmp(argument, "tap-ctl") || !strcmp(argument, "vhd-util");
}

/* A program of ours, with one of these among its arguments?  It may be a
 * script: then the interpreter's name comes first. */
static bool process_is_tool(const char *pid, void *arg)
{
    const char *const *wanted = arg;
    size_t len, n = 0;
    cleanup_free char *arguments = process_arguments(pid, &len);
    bool tool = false;

    for (const char *p = arguments; p;
         p = process_argument_next(arguments, len, p)) {
        tool |= n++ < 2 && is_tool(p);
        for (size_t i = 0; tool && wanted[i]; i++)
            if (!strcmp(p, wanted[i]))
                return true;
    }
    return false;
}

int tapdisk_wait_tools(const char *const arguments[], int timeout_ms,
                       struct xlsnap_error *err)
{
    int64_t deadline = now_ms() + timeout_ms;

    while (process_find(process_is_tool, (void *)arguments)) {
        if (now_ms() >= deadline)
            return xlsnap_fail(err, XLSNAP_FAILED,
                               "a tap-ctl or vhd-util of an earlier run does "
                               "not come to its end");
        usleep(50000);
    }
    return 0;
}

/* ---- images ---- */

int vhd_check(const char *path, bool in_use, bool parents,
              struct xlsnap_error *err)
{
    const char *argv[] = { "vhd-util", "check", "-n", path, NULL, NULL, NULL };
    size_t n = 4;

    if (in_use)
        argv[n++] = "-i";
    if (parents)
        argv[n++] = "-p";
    return tool_run(argv, CHECK_TIMEOUT_MS, NULL, err);
}

/* `vhd-util query` is to answer with one line; without its newline. */
static int query(const char *path, const char *option, char **line_r,
                 struct xlsnap_error *err)
{
    const char *argv[] = { "vhd-util", "query", "-n", path, option, NULL };
    char *out = NULL;
    int rc = tool_run(argv, RUN_TIMEOUT_MS, &out, err);
    char *end = rc ? NULL : strchr(out, '\n');

    if (!rc && (!end || end[1]))
        rc = not_understood("vhd-util query", out, err);
    if (rc) {
        free(out);
        return rc;
    }
    *end = '\0';
    *line_r = out;
    return 0;
}

static int query_number(const char *path, const char *option,
                        const char *before, unsigned long max,
                        unsigned long *n_r, struct xlsnap_error *err)
{
    cleanup_free char *line = NULL;
    int rc = query(path, option, &line, err);

    if (!rc && (strncmp(line, before, strlen(before)) ||
                !number(line + strlen(before), 10, max, n_r)))
        rc = not_understood("vhd-util query", line, err);
    return rc;
}

int vhd_depth(const char *path, int *depth_r, struct xlsnap_error *err)
{
    unsigned long n = 0;
    int rc = query_number(path, "-d", "chain depth: ", INT_MAX, &n, err);

    *depth_r = n;
    return rc;
}

int vhd_size(const char *path, uint64_t *mib_r, struct xlsnap_error *err)
{
    unsigned long n = 0;
    int rc = query_number(path, "-v", "", INT_MAX, &n, err);

    *mib_r = n;
    return rc;
}

int vhd_check_visible(const char *path, struct xlsnap_error *err)
{
    unsigned long n = 0;
    int rc = query_number(path, "-f", "hidden: ", 1, &n, err);

    if (!rc && n)
        rc = xlsnap_fail(err, XLSNAP_FAILED,
                         "'%s' is marked as hidden, as a toolstack does with "
                         "what is only a parent of other images",
                         path);
    return rc;
}

/* The directory may go by another name, the file not: links have many. */
static bool same_name(const char *a, const char *b)
{
    return a[0] == '/' && !strcmp(strrchr(a, '/'), strrchr(b, '/')) &&
           file_same_dir(a, b);
}

int vhd_check_parent(const char *path, const char *parent,
                     struct xlsnap_error *err)
{
    cleanup_free char *none = xasprintf("%s has no parent", path);
    cleanup_free char *line = NULL;
    int rc = query(path, "-p", &line, err);

    if (rc || (strcmp(line, none) && same_name(line, parent)))
        return rc;
    return xlsnap_fail(err, XLSNAP_FAILED,
                       "the parent of '%s' is not '%s', vhd-util says: "
                       "'%.200s'",
                       path, parent, last_line(line));
}

int vhd_snapshot(const char *child, const char *parent,
                 struct xlsnap_error *err)
{
    const char *argv[] = { "vhd-util", "snapshot", "-n", child,
                           "-p",       parent,     "-e", NULL };
    struct stat st;
    mode_t mask;
    int rc;

    if (!lstat(child, &st) || errno != ENOENT)
        return xlsnap_fail(err, XLSNAP_FAILED, "'%s' exists already", child);
    /* Nobody is to open it before it has its owner. */
    mask = umask(077);
    rc = tool_run(argv, RUN_TIMEOUT_MS, NULL, err);
    umask(mask);
    return rc ? rc : vhd_check_parent(child, parent, err);
}

int vhd_coalesce(const char *child, int timeout_ms, struct xlsnap_error *err)
{
    const char *argv[] = { "vhd-util", "coalesce", "-n", child, NULL };

    return tool_run(argv, timeout_ms, NULL, err);
}

int vhd_sync(const char *path, struct xlsnap_error *err)
{
    cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd >= 0 && !fsync(fd))
        return 0;
    return xlsnap_fail_errno(err, XLSNAP_FAILED, errno,
                             "cannot write '%s' to disk", path);
}
