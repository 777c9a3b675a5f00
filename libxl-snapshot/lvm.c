/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * LVM: see lvm.h.  What it prints is read as JSON and not believed; an LV is
 * known by its device number, which the kernel gave it, never by a path.
 */
#include "lvm.h"

#include <ctype.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>

#include "dm.h"
#include "file.h"
#include "json.h"
#include "process.h"
#include "run.h"
#include "util.h"

#define NAME_MAX_LVM 127 /* NAME_LEN in LVM, DM_NAME_LEN in the kernel */
#define LAYER "-cow"     /* the longest that a snapshot's devices get */
#define LINKS_MAX 40
#define ARGS_MAX 192
#define KILLED_WAIT_MS 1000

/* ---- names ---- */

static bool name_has(const char *name, const char *const list[])
{
    for (; *list; list++)
        if (strstr(name, *list))
            return true;
    return false;
}

static size_t dm_name_len(const char *name)
{
    size_t n = strlen(name);

    for (; *name; name++)
        n += *name == '-';
    return n;
}

static bool name_chars_ok(const char *name)
{
    for (; *name; name++)
        if (!isalnum((unsigned char)*name) && !strchr("_.+-", *name))
            return false;
    return true;
}

/* lvm(8), VALID NAMES. */
const char *lvm_name_problem(const char *vg, const char *lv)
{
    static const char *const inner[] = {
        "_cdata", "_cmeta",  "_corig", "_cpool",   "_cvol",   "_imeta",
        "_iorig", "_mimage", "_mlog",  "_pmspare", "_rimage", "_rmeta",
        "_tdata", "_tmeta",  "_vdata", "_vorigin", "_wcorig", NULL,
    };

    if (!*lv)
        return "it is empty";
    if (*lv == '-')
        return "it starts with '-'";
    if (!strcmp(lv, ".") || !strcmp(lv, ".."))
        return "it is that of a directory";
    if (!name_chars_ok(lv))
        return "it has other characters than letters, digits and _.+-";
    if (!strncmp(lv, "snapshot", 8) || !strncmp(lv, "pvmove", 6) ||
        name_has(lv, inner))
        return "it is reserved by LVM";
    if (strlen(lv) > NAME_MAX_LVM ||
        dm_name_len(vg) + 1 + dm_name_len(lv) + strlen(LAYER) > NAME_MAX_LVM)
        return "it is too long";
    return NULL;
}

bool lvm_split_path(const char *path, char **vg_r, char **lv_r)
{
    const char *vg = path + 5, *slash;

    if (strncmp(path, "/dev/", 5))
        return false;
    slash = strchr(vg, '/');
    if (!slash || slash == vg || !slash[1] || strchr(slash + 1, '/'))
        return false;
    *vg_r = xasprintf("%.*s", (int)(slash - vg), vg);
    *lv_r = xstrdup(slash + 1);
    /* They become arguments of LVM's programs. */
    if (**vg_r != '-' && **lv_r != '-' && name_chars_ok(*vg_r) &&
        name_chars_ok(*lv_r))
        return true;
    free(*vg_r);
    free(*lv_r);
    *vg_r = *lv_r = NULL;
    return false;
}

/* A part of such a name: "my--vg" is "my-vg". */
static char *dm_unescape(const char *text, size_t len)
{
    char *name = xcalloc(len + 1, 1), *p = name;

    for (size_t i = 0; i < len; i++) {
        *p++ = text[i];
        if (text[i] == '-' && i + 1 < len && text[i + 1] == '-')
            i++;
    }
    return name;
}

bool lvm_split_dm(const char *name, char **vg_r, char **lv_r)
{
    const char *p = name;

    while (*p && (*p != '-' || p[1] == '-'))
        p += *p == '-' ? 2 : 1;
    if (!*p || p == name || !p[1])
        return false;
    *vg_r = dm_unescape(name, p - name);
    *lv_r = dm_unescape(p + 1, strlen(p + 1));
    return true;
}

/* Is this the name of an LV of that VG?  Its own name, to be freed. */
static char *lvm_name_at(const char *path, const char *vg)
{
    static const char *const dm_dirs[] = { "/dev/mapper/",
                                           "/dev/disk/by-id/dm-name-" };
    cleanup_free char *found = NULL;
    char *lv = NULL;
    bool split = false;

    for (size_t i = 0; i < ARRAY_SIZE(dm_dirs) && !split; i++)
        if (!strncmp(path, dm_dirs[i], strlen(dm_dirs[i])))
            split = lvm_split_dm(path + strlen(dm_dirs[i]), &found, &lv);
    if (!split)
        split = lvm_split_path(path, &found, &lv);
    if (split && !strcmp(found, vg) && !lvm_name_problem(vg, lv))
        return lv;
    free(lv);
    return NULL;
}

/* The path with the symbolic links of its directory resolved. */
static char *path_in_real_dir(const char *path)
{
    cleanup_free char *copy = xstrdup(path);
    cleanup_free char *dir = realpath(dirname(copy), NULL);
    const char *base = strrchr(path, '/');

    return dir && base ? xasprintf("%s%s", dir, base) : xstrdup(path);
}

char *lvm_name_of_path(const char *path, const char *vg)
{
    char *current = xstrdup(path), *lv = NULL;

    for (int i = 0; i < LINKS_MAX && current && !lv; i++) {
        cleanup_free char *at = path_in_real_dir(current);
        cleanup_free char *dir = xstrdup(at);
        char target[PATH_MAX];
        ssize_t n;

        free(current);
        current = NULL;
        lv = lvm_name_at(at, vg);
        n = lv ? -1 : readlink(at, target, sizeof(target) - 1);
        if (n <= 0)
            continue;
        target[n] = 0;
        current = *target == '/' ? xstrdup(target)
                                 : xasprintf("%s/%s", dirname(dir), target);
    }
    free(current);
    return lv;
}

int lvm_vg_of_device(dev_t dev, char **vg_r, struct xlsnap_error *err)
{
    struct xlsnap_error mapper = { 0 };
    cleanup_free char *lv = NULL;
    struct dm_info info;

    if (dm_look(dev, &info, &mapper) && mapper.errnum != ENXIO)
        return xlsnap_fail(err, XLSNAP_REFUSED, "%s", mapper.msg);
    if (mapper.code || strncmp(info.uuid, "LVM-", 4) ||
        !lvm_split_dm(info.name, vg_r, &lv))
        return xlsnap_fail(err, XLSNAP_REFUSED,
                           "block device %u:%u is no LVM logical volume, and "
                           "nothing here can snapshot another one",
                           major(dev), minor(dev));
    return 0;
}

/* ---- commands ---- */

/* LVM's last word when it could not have the VG's lock. */
static bool lvm_was_locked(const struct xlsnap_error *err)
{
    return strstr(err->msg, "Cannot process volume group") ||
           strstr(err->msg, "Can't get lock");
}

static int lvm_patience_ms = LVM_LOCK_MS;

int lvm_set_patience(int ms)
{
    int before = lvm_patience_ms;

    lvm_patience_ms = ms;
    return before;
}

static int lvm_program(const char *const argv[], const char *config,
                       int timeout_ms, char **out_r, struct xlsnap_error *err)
{
    cleanup_free char *all = xasprintf("global/wait_for_locks=0 %s", config);
    const char *full[ARGS_MAX + 3] = { argv[0], "--config", all };
    int64_t deadline = now_ms() + lvm_patience_ms;
    struct xlsnap_error one;

    for (size_t i = 1; argv[i]; i++) {
        if (i >= ARGS_MAX)
            abort();
        full[i + 2] = argv[i];
    }
    for (;;) {
        memset(&one, 0, sizeof(one));
        if (!(out_r ? run_output(full, timeout_ms, out_r, &one)
                    : run_ok(full, timeout_ms, &one)))
            return 0;
        if (!lvm_was_locked(&one) || now_ms() >= deadline)
            break;
        usleep(100000);
    }
    xlsnap_fail(err, one.code, "%s", one.msg);
    return lvm_was_locked(&one)
               ? xlsnap_prefix(err,
                               "the volume group has been locked by another "
                               "LVM command for %d s, or is gone",
                               lvm_patience_ms / 1000)
               : -err->code;
}

int lvm_run(const char *const argv[], const char *config, int timeout_ms,
            struct xlsnap_error *err)
{
    return lvm_program(argv, config, timeout_ms, NULL, err);
}

int lvm_output(const char *const argv[], const char *config, int timeout_ms,
               char **out_r, struct xlsnap_error *err)
{
    return lvm_program(argv, config, timeout_ms, out_r, err);
}

struct lvm_command {
    const char *vg_lv, *tag; /* of one of its arguments; vg_lv NULL: any */
    pid_t pid;               /* of the last one found; 0: none */
    bool killed;             /* it was */
};

static bool lvm_is_command(const char *pid, const struct lvm_command *command)
{
    size_t len;
    cleanup_free char *arguments = process_arguments(pid, &len);
    const char *name = strrchr(arguments, '/'), *arg = arguments;

    name = name ? name + 1 : arguments;
    if (strncmp(name, "lv", 2))
        return false;
    for (; arg; arg = process_argument_next(arguments, len, arg))
        if ((command->vg_lv && !strcmp(arg, command->vg_lv)) ||
            strstr(arg, command->tag))
            return true;
    return false;
}

/* Looks on for one that was not killed. */
static bool lvm_note_command(const char *pid, void *arg)
{
    struct lvm_command *command = arg;

    if (!lvm_is_command(pid, command))
        return false;
    command->pid = atoi(pid);
    command->killed = process_is_killed(pid);
    return !command->killed;
}

/* Not another process that has got its number meanwhile. */
static void lvm_kill_command(const struct lvm_command *command)
{
    cleanup_free char *pid = xasprintf("%d", (int)command->pid);
    cleanup_close int fd = (int)syscall(SYS_pidfd_open, command->pid, 0);
    int errnum = errno;

    if (!lvm_is_command(pid, command))
        return;
    if (fd >= 0)
        syscall(SYS_pidfd_send_signal, fd, SIGKILL, NULL, 0);
    else if (errnum == ENOSYS) /* Linux before 5.3 */
        kill(command->pid, SIGKILL);
}

void lvm_wait_commands(const char *vg_lv, const char *tag, int timeout_ms,
                       bool insist)
{
    int64_t deadline = now_ms() + timeout_ms, end = deadline + KILLED_WAIT_MS;

    for (;;) {
        struct lvm_command command = { vg_lv, tag, 0, false };

        process_find(lvm_note_command, &command);
        if (!command.pid || now_ms() >= end)
            return;
        if (now_ms() >= deadline)
            lvm_kill_command(&command);
        if (command.killed && !insist && end > now_ms() + KILLED_WAIT_MS)
            end = now_ms() + KILLED_WAIT_MS;
        usleep(50000);
    }
}

/* ---- lvs ---- */

#define LVS_FIELDS                                                             \
    "lv_name,lv_layout,lv_role,origin,pool_lv,lv_tags,lv_health_status,"       \
    "lv_read_ahead,lv_kernel_major,lv_kernel_minor,lv_size,data_percent,"      \
    "metadata_percent,lv_permissions,lv_merging,lv_snapshot_invalid,"          \
    "lv_check_needed,lv_skip_activation,lv_fixed_minor,vg_name,"               \
    "vg_extent_size,vg_free_count,vg_missing_pv_count,vg_shared,vg_clustered," \
    "vg_exported,vg_permissions"

/* One LV of the answer; `bad` as soon as anything is not as it should be. */
struct row {
    const struct json *v;
    bool bad;
};

static const char *row_string(struct row *row, const char *name)
{
    const char *value = json_get_string(row->v, name);

    if (!value)
        row->bad = true;
    return value ? value : "";
}

/* A name of LVM's, or nothing. */
static char *row_name(struct row *row, const char *name)
{
    const char *value = row_string(row, name);

    if (strlen(value) > NAME_MAX_LVM || *value == '-' || !name_chars_ok(value))
        row->bad = true;
    return xstrdup(value);
}

static uint64_t row_number(struct row *row, const char *name)
{
    const char *value = row_string(row, name);
    unsigned long long n;
    char *end;

    errno = 0;
    n = strtoull(value, &end, 10);
    if (!isdigit((unsigned char)*value) || *end || errno)
        row->bad = true;
    return n;
}

/* report/binary_values_as_numeric: "-1" is "unknown", as of inactive LVs. */
static bool row_bool(struct row *row, const char *name)
{
    const char *value = row_string(row, name);

    if (strcmp(value, "0") && strcmp(value, "1") && strcmp(value, "-1"))
        row->bad = true;
    return !strcmp(value, "1");
}

/* "12.34" is 1234, "" is -1. */
static int row_percent(struct row *row, const char *name)
{
    const char *value = row_string(row, name);
    double percent;
    char *end;

    if (!*value)
        return -1;
    percent = strtod(value, &end);
    if (!isdigit((unsigned char)*value) || *end || !(percent <= 1000))
        row->bad = true;
    return row->bad ? -1 : (int)(percent * 100 + 0.5);
}

/* 0 when it is not active: "-1". */
static dev_t row_dev(struct row *row)
{
    uint64_t big, small;

    if (!strcmp(row_string(row, "lv_kernel_major"), "-1"))
        return 0;
    big = row_number(row, "lv_kernel_major");
    small = row_number(row, "lv_kernel_minor");
    if (big > UINT32_MAX || small > UINT32_MAX)
        row->bad = true;
    return row->bad ? 0 : makedev((unsigned)big, (unsigned)small);
}

/* Of one that is not active lvs says "unknown" where it does not say "read-only"
 * (LVM2, lib/report/report.c, _lvpermissions_disp). */
static bool row_writable(struct row *row)
{
    const char *word = row_string(row, "lv_permissions");

    return !strcmp(word, "writeable") || !strcmp(word, "unknown");
}

static void row_lv(struct row *row, struct lvm_lv *lv)
{
    lv->name = row_name(row, "lv_name");
    lv->layout = xstrdup(row_string(row, "lv_layout"));
    lv->role = xstrdup(row_string(row, "lv_role"));
    lv->origin = row_name(row, "origin");
    lv->pool = row_name(row, "pool_lv");
    lv->tags = xstrdup(row_string(row, "lv_tags"));
    lv->health = xstrdup(row_string(row, "lv_health_status"));
    lv->read_ahead = xstrdup(row_string(row, "lv_read_ahead"));
    lv->dev = row_dev(row);
    lv->size = row_number(row, "lv_size");
    lv->data = row_percent(row, "data_percent");
    lv->metadata = row_percent(row, "metadata_percent");
    lv->writable = row_writable(row);
    lv->merging = row_bool(row, "lv_merging");
    lv->invalid = row_bool(row, "lv_snapshot_invalid");
    lv->needs_check = row_bool(row, "lv_check_needed");
    lv->skips_activation = row_bool(row, "lv_skip_activation");
    lv->fixed_minor = row_bool(row, "lv_fixed_minor");
    if (!*lv->name)
        row->bad = true;
}

static void row_vg(struct row *row, struct lvm_vg *vg)
{
    if (strcmp(row_string(row, "vg_name"), vg->name))
        row->bad = true;
    vg->extent_size = row_number(row, "vg_extent_size");
    vg->extents_free = row_number(row, "vg_free_count");
    vg->partial = row_number(row, "vg_missing_pv_count") > 0;
    vg->shared = row_bool(row, "vg_shared");
    vg->shared |= row_bool(row, "vg_clustered");
    vg->exported = row_bool(row, "vg_exported");
    vg->writable = !strcmp(row_string(row, "vg_permissions"), "writeable");
    if (!vg->extent_size || vg->extents_free > UINT64_MAX / vg->extent_size)
        row->bad = true;
}

int lvm_parse(const char *text, const char *vg, struct lvm_vg *vg_r,
              struct xlsnap_error *err)
{
    struct json *root = NULL;
    const struct json *list;
    bool bad = false;
    int rc = json_parse(text, strlen(text), "lvs", &root, err);

    memset(vg_r, 0, sizeof(*vg_r));
    if (rc)
        return rc;
    list = json_get(json_array_at(json_get(root, "report"), 0), "lv");
    vg_r->name = xstrdup(vg);
    vg_r->lvs = xcalloc(json_array_len(list), sizeof(*vg_r->lvs));
    for (size_t i = 0; i < json_array_len(list); i++) {
        struct row row = { .v = json_array_at(list, i) };

        row_lv(&row, &vg_r->lvs[vg_r->n++]);
        row_vg(&row, vg_r);
        bad |= row.bad;
    }
    json_free(root);
    if (!bad && vg_r->n)
        return 0;
    lvm_vg_clear(vg_r);
    return xlsnap_fail(err, XLSNAP_FAILED,
                       "'lvs' gives an unexpected answer about volume group "
                       "'%s'",
                       vg);
}

int lvm_look(const char *vg, struct lvm_vg *vg_r, struct xlsnap_error *err)
{
    const char *argv[] = { "lvs",        "-a",      "--reportformat",
                           "json",       "--units", "b",
                           "--nosuffix", "-o",      LVS_FIELDS,
                           vg,           NULL };
    cleanup_free char *text = NULL;
    int rc;

    memset(vg_r, 0, sizeof(*vg_r));
    rc = lvm_output(argv,
                    "report/binary_values_as_numeric=1 "
                    "report/mark_hidden_devices=0",
                    LVM_TIMEOUT_MS, &text, err);
    return rc ? rc : lvm_parse(text, vg, vg_r, err);
}

void lvm_vg_clear(struct lvm_vg *vg)
{
    for (size_t i = 0; i < vg->n; i++) {
        struct lvm_lv *lv = &vg->lvs[i];

        free(lv->name);
        free(lv->layout);
        free(lv->role);
        free(lv->origin);
        free(lv->pool);
        free(lv->tags);
        free(lv->health);
        free(lv->read_ahead);
    }
    free(vg->lvs);
    free(vg->name);
    memset(vg, 0, sizeof(*vg));
}

const struct lvm_lv *lvm_find(const struct lvm_vg *vg, const char *name)
{
    for (size_t i = 0; i < vg->n; i++)
        if (!strcmp(vg->lvs[i].name, name))
            return &vg->lvs[i];
    return NULL;
}

const struct lvm_lv *lvm_find_dev(const struct lvm_vg *vg, dev_t dev)
{
    for (size_t i = 0; i < vg->n && dev; i++)
        if (vg->lvs[i].dev == dev)
            return &vg->lvs[i];
    return NULL;
}

bool lvm_has_word(const char *words, const char *word)
{
    size_t len = strlen(word);

    while (*words) {
        size_t n = strcspn(words, ",");

        if (n == len && !strncmp(words, word, n))
            return true;
        words += n + (words[n] == ',');
    }
    return false;
}
