/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "start.h"

#include <fcntl.h>
#include <sys/stat.h>

#include "util.h"

#define XL_CONF "/etc/xen/xl.conf"
#define XL_LOCK_FILE "/var/lock/xl"
#define DOM0_MIN_KB (128 << 10)   /* libxl refuses less (LIBXL_MIN_DOM0_MEM) */
#define DOM0_SPARE_KB (128 << 10) /* that its kernel must keep available */
#define PROGRESS_S 10             /* domain 0 gives nothing up for so long */
#define ROUNDS_MS 30000

void start_init(struct start *start)
{
    memset(start, 0, sizeof(*start));
    start->lock = -1;
}

/* xl: on unless domain 0 was given a fixed size. */
static bool start_auto(struct xlsnap *xs)
{
    static const char option[] = "dom0_mem=";
    const libxl_version_info *info = libxl_get_version_info(xs->ctx);
    const char *at = info ? info->commandline : NULL;

    for (; at && (at = strstr(at, option)); at += strlen(option))
        if (at == info->commandline || at[-1] == ' ')
            return false;
    return true;
}

void start_read(struct xlsnap *xs, struct start *start)
{
    struct xlsnap_error err = { 0 };

    if (xl_conf_read(XL_CONF, &start->conf, &err))
        handle_log(xs, XTL_WARN, "%s; the default counts", err.msg);
    start->autoballoon = start->conf.autoballoon == XL_AUTOBALLOON_AUTO
                             ? start_auto(xs)
                             : start->conf.autoballoon == XL_AUTOBALLOON_ON;
}

/* ---- xl's lock ---- */

/*
 * As xl takes it: of the process.  One of the descriptor would live on in what libxl
 * forks and does not exec, beyond our own end (libxl_exec.c, libxl__spawn_spawn).
 */
static int lock_fcntl(int fd, int op, struct flock *lock)
{
    *lock = (struct flock){ .l_type = F_WRLCK, .l_whence = SEEK_SET };
    return fcntl(fd, op, lock);
}

static int start_lock_busy(const struct start *start, const char *file,
                           struct xlsnap_error *err)
{
    struct flock holder;

    if (lock_fcntl(start->lock, F_GETLK, &holder))
        holder.l_pid = 0;
    return xlsnap_fail(err, XLSNAP_BUSY,
                       "process %d has had the lock '%s' for %d s: an xl that "
                       "is starting a domain",
                       (int)holder.l_pid, file, START_LOCK_MS / 1000);
}

static int start_wait_lock(struct xlsnap *xs, struct start *start,
                           const char *file, bool cancels,
                           struct xlsnap_error *err)
{
    int64_t deadline = now_ms() + START_LOCK_MS;
    struct flock lock;
    bool told = false;

    while (lock_fcntl(start->lock, F_SETLK, &lock)) {
        if (errno != EAGAIN && errno != EACCES && errno != EINTR)
            return xlsnap_fail_errno(err, XLSNAP_REFUSED, errno,
                                     "cannot lock '%s'", file);
        if (cancels && handle_cancelled(xs)) {
            xlsnap_fail(err, XLSNAP_FAILED, "cancelled");
            err->errnum = EINTR;
            return -XLSNAP_FAILED;
        }
        if (now_ms() >= deadline)
            return start_lock_busy(start, file, err);
        if (!told)
            handle_log(xs, XTL_NOTICE,
                       "an xl is starting a domain, and has locked '%s'; that "
                       "is waited for, for %d s at most",
                       file, START_LOCK_MS / 1000);
        told = true;
        usleep(100000);
    }
    return 0;
}

int start_lock(struct xlsnap *xs, struct start *start, bool cancels,
               struct xlsnap_error *err)
{
    const char *file =
        start->conf.lockfile ? start->conf.lockfile : XL_LOCK_FILE;
    struct stat st;
    int rc;

    if (!start->autoballoon || start->lock >= 0)
        return 0;
    /* Its directory may be everybody's. */
    start->lock = open(file,
                       O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW |
                           O_NONBLOCK | O_NOCTTY,
                       0200);
    if (start->lock < 0)
        return xlsnap_fail_errno(err, XLSNAP_REFUSED, errno,
                                 "cannot open xl's lock file '%s'", file);
    if (fstat(start->lock, &st) || !S_ISREG(st.st_mode) ||
        st.st_uid != geteuid()) {
        start_unlock(start);
        return xlsnap_fail(err, XLSNAP_REFUSED,
                           "xl's lock file '%s' is not a file of ours", file);
    }
    rc = start_wait_lock(xs, start, file, cancels, err);
    if (rc)
        start_unlock(start);
    return rc;
}

void start_unlock(struct start *start)
{
    if (start->lock >= 0)
        close(start->lock);
    start->lock = -1;
}

void start_clear(struct start *start)
{
    start_unlock(start);
    xl_conf_clear(&start->conf);
    start_init(start);
}

/* ---- memory ---- */

/* Of this system, which is domain 0. */
static uint64_t dom0_available_kb(void)
{
    FILE *info = fopen("/proc/meminfo", "re");
    unsigned long long kb = 0;
    char line[128];

    while (info && fgets(line, sizeof(line), info))
        if (sscanf(line, "MemAvailable: %llu", &kb) == 1)
            break;
    if (info)
        fclose(info);
    return kb;
}

/* What domain 0 can give up without harm. */
static uint64_t dom0_spare_kb(struct xlsnap *xs)
{
    uint64_t available = dom0_available_kb(), target;

    if (libxl_get_memory_target(xs->ctx, 0, &target) || target <= DOM0_MIN_KB ||
        available <= DOM0_SPARE_KB)
        return 0;
    target -= DOM0_MIN_KB;
    available -= DOM0_SPARE_KB;
    return target < available ? target : available;
}

static int free_memory(struct xlsnap *xs, uint64_t *free_kb,
                       struct xlsnap_error *err)
{
    return libxl_get_free_memory(xs->ctx, free_kb)
               ? xlsnap_fail(err, XLSNAP_FAILED,
                             "libxl cannot tell how much memory is free")
               : 0;
}

bool start_has_memory(struct xlsnap *xs, uint64_t need_kb)
{
    uint64_t free_kb;

    return !libxl_get_free_memory(xs->ctx, &free_kb) && need_kb <= free_kb;
}

int start_check_memory(struct xlsnap *xs, const struct start *start,
                       uint64_t need_kb, struct xlsnap_error *err)
{
    uint64_t free_kb, spare_kb;
    int rc = free_memory(xs, &free_kb, err);

    if (rc || need_kb <= free_kb)
        return rc;
    if (!start->autoballoon)
        return xlsnap_fail(err, XLSNAP_REFUSED,
                           "the domain needs %" PRIu64 " MiB of free memory, "
                           "but only %" PRIu64 " MiB are free (autoballoon, "
                           "xl.conf(5), is off)",
                           need_kb >> 10, free_kb >> 10);
    spare_kb = dom0_spare_kb(xs);
    if (need_kb - free_kb <= spare_kb)
        return 0;
    return xlsnap_fail(err, XLSNAP_REFUSED,
                       "the domain needs %" PRIu64 " MiB of free memory, but "
                       "only %" PRIu64 " MiB are free, and domain 0 can spare "
                       "%" PRIu64 " MiB",
                       need_kb >> 10, free_kb >> 10, spare_kb >> 10);
}

static int start_shrink(struct xlsnap *xs, struct start *start,
                        uint64_t missing_kb, struct xlsnap_error *err)
{
    int rc;

    handle_log(xs, XTL_NOTICE, "domain 0 gives up %" PRIu64 " MiB of memory",
               missing_kb >> 10);
    rc = libxl_set_memory_target(xs->ctx, 0, -(int64_t)missing_kb, 1, 0);
    if (rc)
        return xlsnap_fail(err, XLSNAP_REFUSED,
                           "domain 0 cannot be told to give up %" PRIu64
                           " MiB of memory (libxl error %d)",
                           missing_kb >> 10, rc);
    start->taken_kb += missing_kb;
    rc = libxl_wait_for_memory_target(xs->ctx, 0, PROGRESS_S);
    return rc ? xlsnap_fail(err, XLSNAP_REFUSED,
                            "domain 0 does not give up %" PRIu64
                            " MiB of memory, though it was told to",
                            missing_kb >> 10)
              : 0;
}

int start_find_memory(struct xlsnap *xs, struct start *start, uint64_t need_kb,
                      struct xlsnap_error *err)
{
    int64_t deadline = now_ms() + ROUNDS_MS;

    for (;;) {
        uint64_t free_kb;
        int rc = free_memory(xs, &free_kb, err);

        if (rc || need_kb <= free_kb)
            return rc;
        rc = start_check_memory(xs, start, need_kb, err);
        if (!rc && now_ms() >= deadline)
            rc = xlsnap_fail(err, XLSNAP_REFUSED,
                             "somebody takes the memory that domain 0 gives "
                             "up for the domain");
        if (!rc)
            rc = start_shrink(xs, start, need_kb - free_kb, err);
        if (rc)
            return rc;
    }
}

void start_return_memory(struct xlsnap *xs, struct start *start)
{
    if (start->taken_kb &&
        libxl_set_memory_target(xs->ctx, 0, start->taken_kb, 1, 0))
        handle_log(xs, XTL_WARN,
                   "domain 0 cannot be given back %" PRIu64
                   " MiB of memory ('xl mem-set 0 ...')",
                   start->taken_kb >> 10);
    start->taken_kb = 0;
}

uint32_t start_domid(const struct start *start)
{
    return start->conf.random_domid ? RANDOM_DOMID : INVALID_DOMID;
}
