/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The monitor process: waits for the domain to shut down and carries out the
 * action its configuration names, as xl's own does (tools/xl/xl_vmcontrol.c,
 * create_domain and handle_domain_death; the actions are part of the
 * configuration that libxl keeps).  It logs to /var/log/xen/xl-snapshot-NAME.log
 * and ends with its domain.
 *
 * A death event generator reports one shutdown only, so a new one is enabled
 * before the old is dropped whenever the domain lives on (after a suspend).
 */
#include "monitor.h"

#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "file.h"
#include "run.h"
#include "start.h"
#include "text.h"
#include "util.h"

#define DUMP_DIR "/var/lib/xen/dump"
#define MEMORY_WAIT_S 10

struct monitor {
    struct xlsnap *xs;
    libxl_ctx *ctx;
    uint32_t domid;
    libxl_domain_config config;
    char *update; /* of "xl config-update"; NULL: none */
    size_t update_len;
    libxl_evgen_domain_death *death;
    libxl_evgen_disk_eject **ejects; /* one per disk, NULL: fixed */
    int n_ejects;
};

/* What follows after an action was begun. */
enum sequel {
    SEQUEL_EXIT,
    SEQUEL_WATCH,      /* the domain lives on */
    SEQUEL_CREATE,     /* it was destroyed or preserved: make it anew */
    SEQUEL_SOFT_RESET, /* on the same domid */
    SEQUEL_HAND_OVER, /* "xl create" starts it, and leaves a monitor of its own */
};

static void __attribute__((format(printf, 1, 2))) say(const char *fmt, ...)
{
    cleanup_free char *text = NULL;
    va_list ap;

    va_start(ap, fmt);
    text = xvasprintf(fmt, ap);
    va_end(ap);
    text_make_printable(text);
    dprintf(STDOUT_FILENO, "%s\n", text);
}

static int monitor_open_log(struct monitor *m)
{
    cleanup_free char *name =
        xasprintf("xl-snapshot-%s", m->config.c_info.name);
    cleanup_free char *file = NULL;
    cleanup_close int fd = -1;

    if (libxl_create_logfile(m->ctx, name, &file))
        return -1;
    fd = open(file, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    if (fd < 0 || dup2(fd, STDOUT_FILENO) < 0 || dup2(fd, STDERR_FILENO) < 0)
        return -1;
    return 0;
}

static int monitor_watch(struct monitor *m)
{
    libxl_evgen_domain_death *death = NULL;

    say("Waiting for domain %s (domid %" PRIu32 ") to die [pid %ld]",
        m->config.c_info.name, m->domid, (long)getpid());
    if (libxl_evenable_domain_death(m->ctx, m->domid, 0, &death))
        return -1;
    if (m->death)
        libxl_evdisable_domain_death(m->ctx, m->death);
    m->death = death;
    return 0;
}

static int monitor_watch_ejects(struct monitor *m)
{
    m->n_ejects = m->config.num_disks;
    m->ejects = xcalloc(m->n_ejects, sizeof(*m->ejects));
    for (int i = 0; i < m->n_ejects; i++)
        if (m->config.disks[i].removable &&
            libxl_evenable_disk_eject(m->ctx, m->domid, m->config.disks[i].vdev,
                                      i, &m->ejects[i]))
            return -1;
    return 0;
}

static void monitor_unwatch(struct monitor *m)
{
    libxl_event *ev;

    if (m->death)
        libxl_evdisable_domain_death(m->ctx, m->death);
    m->death = NULL;
    for (int i = 0; i < m->n_ejects; i++)
        if (m->ejects[i])
            libxl_evdisable_disk_eject(m->ctx, m->ejects[i]);
    free(m->ejects);
    m->ejects = NULL;
    m->n_ejects = 0;
    while (!libxl_event_check(m->ctx, &ev, LIBXL_EVENTMASK_ALL, NULL, NULL))
        libxl_event_free(m->ctx, ev);
}

/* What libxl knows now; an old configuration is better than none. */
static void monitor_reload_config(struct monitor *m)
{
    libxl_domain_config config;

    libxl_domain_config_init(&config);
    if (libxl_retrieve_domain_configuration(m->ctx, m->domid, &config, NULL)) {
        say("cannot read the domain's configuration, using the old one");
        libxl_domain_config_dispose(&config);
        return;
    }
    libxl_domain_config_dispose(&m->config);
    m->config = config;
}

/* A text in xl.cfg's grammar that xl would start the domain with from now on
 * (tools/xl/xl_vmcontrol.c, reload_domain_config). */
static void monitor_load_update(struct monitor *m)
{
    uint8_t *data = NULL;
    int len = 0;

    if (libxl_userdata_retrieve(m->ctx, m->domid, "xl", &data, &len))
        say("cannot read what 'xl config-update' has stored: %s",
            strerror(errno));
    if (len <= 0) {
        free(data);
        return;
    }
    free(m->update);
    m->update = (char *)data;
    m->update_len = len;
}

static libxl_action_on_shutdown monitor_action(const struct monitor *m,
                                               libxl_shutdown_reason reason)
{
    switch (reason) {
    case LIBXL_SHUTDOWN_REASON_POWEROFF:
        return m->config.on_poweroff;
    case LIBXL_SHUTDOWN_REASON_REBOOT:
        return m->config.on_reboot;
    case LIBXL_SHUTDOWN_REASON_CRASH:
        return m->config.on_crash;
    case LIBXL_SHUTDOWN_REASON_WATCHDOG:
        return m->config.on_watchdog;
    case LIBXL_SHUTDOWN_REASON_SOFT_RESET:
        return m->config.on_soft_reset;
    default:
        return LIBXL_ACTION_ON_SHUTDOWN_DESTROY;
    }
}

static void monitor_core_dump(struct monitor *m)
{
    cleanup_free char *file = xasprintf(DUMP_DIR "/%s", m->config.c_info.name);
    int rc = libxl_domain_core_dump(m->ctx, m->domid, file, NULL);

    say("dumped core to %s (libxl %d)", file, rc);
}

/* Keeps the dead domain under a new name and uuid. */
static int monitor_preserve(struct monitor *m)
{
    char suffix[32];
    time_t now = time(NULL);
    struct tm tm;
    libxl_uuid uuid;

    gmtime_r(&now, &tm);
    strftime(suffix, sizeof(suffix), "-%Y%m%dT%H%MZ", &tm);
    libxl_uuid_generate(&uuid);
    say("Preserving domain %" PRIu32 " with suffix %s", m->domid, suffix);
    return libxl_domain_preserve(m->ctx, m->domid, &m->config.c_info, suffix,
                                 uuid);
}

static enum sequel monitor_act(struct monitor *m,
                               libxl_action_on_shutdown action)
{
    switch (action) {
    case LIBXL_ACTION_ON_SHUTDOWN_COREDUMP_DESTROY:
        monitor_core_dump(m);
        libxl_domain_destroy(m->ctx, m->domid, NULL);
        return SEQUEL_EXIT;
    case LIBXL_ACTION_ON_SHUTDOWN_DESTROY:
        libxl_domain_destroy(m->ctx, m->domid, NULL);
        return SEQUEL_EXIT;
    case LIBXL_ACTION_ON_SHUTDOWN_COREDUMP_RESTART:
        monitor_core_dump(m);
        /* fall through */
    case LIBXL_ACTION_ON_SHUTDOWN_RESTART:
        monitor_reload_config(m);
        monitor_load_update(m);
        libxl_domain_destroy(m->ctx, m->domid, NULL);
        return m->update ? SEQUEL_HAND_OVER : SEQUEL_CREATE;
    case LIBXL_ACTION_ON_SHUTDOWN_RESTART_RENAME:
        monitor_reload_config(m);
        monitor_load_update(m);
        if (monitor_preserve(m))
            return SEQUEL_EXIT;
        return m->update ? SEQUEL_HAND_OVER : SEQUEL_CREATE;
    case LIBXL_ACTION_ON_SHUTDOWN_SOFT_RESET:
        monitor_reload_config(m);
        monitor_load_update(m); /* libxl drops it then */
        return SEQUEL_SOFT_RESET;
    case LIBXL_ACTION_ON_SHUTDOWN_PRESERVE:
        return SEQUEL_EXIT;
    }
    return SEQUEL_EXIT;
}

/* The domain is down: whatever fails here, libxl is to try. */
static void monitor_await_memory(struct monitor *m, struct start *start)
{
    struct xlsnap_error err = { 0 };
    uint64_t need_kb;

    if (start_lock(m->xs, start, false, &err))
        say("%s", err.msg);
    memset(&err, 0, sizeof(err));
    if (!libxl_domain_need_memory(m->ctx, &m->config, m->domid, &need_kb) &&
        libxl_wait_for_free_memory(m->ctx, m->domid, need_kb, MEMORY_WAIT_S) &&
        start_find_memory(m->xs, start, need_kb, &err))
        say("%s", err.msg);
}

static int monitor_create(struct monitor *m)
{
    struct start start;
    int rc;

    start_init(&start);
    start_read(m->xs, &start);
    monitor_await_memory(m, &start);
    m->domid = DOMAIN_NONE;
    m->config.c_info.domid = start_domid(&start);
    rc = libxl_domain_create_new(m->ctx, &m->config, &m->domid, NULL, NULL);
    if (rc)
        start_return_memory(m->xs, &start);
    start_clear(&start);
    return rc;
}

static int monitor_soft_reset(struct monitor *m)
{
    int rc;

    m->config.c_info.domid = 0;
    rc = libxl_domain_soft_reset(m->ctx, &m->config, m->domid, NULL, NULL);
    if (rc)
        libxl_domain_destroy(m->ctx, m->domid, NULL);
    else if (m->update &&
             libxl_userdata_store(m->ctx, m->domid, "xl",
                                  (const uint8_t *)m->update, m->update_len))
        say("what 'xl config-update' had stored is lost: %s", strerror(errno));
    free(m->update);
    m->update = NULL;
    return rc;
}

/* The update is for xl alone to read: its program has the only parser of it.  Like
 * xl's monitor it has all the time that it wants. */
static int monitor_hand_over(struct monitor *m)
{
    cleanup_close int fd = memfd_create("xl.cfg", MFD_CLOEXEC);
    cleanup_free char *path = xasprintf("/proc/%ld/fd/%d", (long)getpid(), fd);
    const char *const argv[] = { "xl", "create", "-q", path, NULL };
    struct xlsnap_error err = { 0 };

    say("Starting it with the configuration of 'xl config-update'");
    if (fd < 0 || file_write_all(fd, m->update, m->update_len))
        xlsnap_fail_errno(&err, XLSNAP_FAILED, errno, "cannot keep it");
    else if (!run_ok(argv, INT_MAX, &err))
        return 0;
    say("cannot do so, so it starts as it was: %s", err.msg);
    free(m->update);
    m->update = NULL;
    return -1;
}

static int monitor_recreate(struct monitor *m, bool soft_reset)
{
    int rc = soft_reset ? monitor_soft_reset(m) : monitor_create(m);

    if (rc) {
        say("cannot start the domain again (libxl error %d)", rc);
        return -1;
    }
    libxl_domain_unpause(m->ctx, m->domid, NULL);
    return monitor_watch(m) || monitor_watch_ejects(m) ? -1 : 0;
}

static enum sequel monitor_shutdown(struct monitor *m,
                                    libxl_shutdown_reason reason)
{
    libxl_action_on_shutdown action = monitor_action(m, reason);

    say("Domain %" PRIu32 " has shut down: %s", m->domid,
        libxl_shutdown_reason_to_string(reason)
            ? libxl_shutdown_reason_to_string(reason)
            : "unknown reason");
    /* Somebody saves it; who resumes it wants it watched. */
    if (reason == LIBXL_SHUTDOWN_REASON_SUSPEND)
        return SEQUEL_WATCH;
    say("Action is %s", libxl_action_on_shutdown_to_string(action));
    return monitor_act(m, action);
}

/* libxl 4.17 looks for the vdev where it is not (libxl_disk.c,
 * libxl_evenable_disk_eject), and xl's monitor dies of the NULL. */
static void monitor_eject(struct monitor *m, libxl_event *ev)
{
    libxl_device_disk *disk = &ev->u.disk_eject.disk;
    int rc;

    if (!disk->vdev)
        disk->vdev = xstrdup(m->config.disks[ev->for_user].vdev);
    rc = libxl_cdrom_insert(m->ctx, m->domid, disk, NULL);
    say("The CD in %s is ejected (libxl %d)", disk->vdev, rc);
}

static enum sequel monitor_event(struct monitor *m, libxl_event *ev)
{
    if (ev->domid != m->domid)
        return SEQUEL_WATCH;
    switch (ev->type) {
    case LIBXL_EVENT_TYPE_DOMAIN_SHUTDOWN:
        return monitor_shutdown(m, ev->u.domain_shutdown.shutdown_reason);
    case LIBXL_EVENT_TYPE_DOMAIN_DEATH:
        say("Domain %" PRIu32 " has been destroyed.", m->domid);
        return SEQUEL_EXIT;
    case LIBXL_EVENT_TYPE_DISK_EJECT:
        monitor_eject(m, ev);
        return SEQUEL_WATCH;
    default:
        return SEQUEL_WATCH;
    }
}

static int monitor_loop(struct monitor *m)
{
    for (;;) {
        libxl_event *ev;
        enum sequel sequel;
        bool shutdown;

        if (libxl_event_wait(m->ctx, &ev, LIBXL_EVENTMASK_ALL, NULL, NULL))
            return -1;
        shutdown = ev->type == LIBXL_EVENT_TYPE_DOMAIN_SHUTDOWN;
        sequel = monitor_event(m, ev);
        libxl_event_free(m->ctx, ev);
        if (sequel == SEQUEL_EXIT)
            return 0;
        if (sequel == SEQUEL_WATCH && shutdown && monitor_watch(m))
            return -1;
        if (sequel < SEQUEL_CREATE)
            continue;
        monitor_unwatch(m);
        sleep(2); /* xl does so: else the new domain sometimes fails */
        if (sequel == SEQUEL_HAND_OVER && !monitor_hand_over(m))
            return 0;
        if (monitor_recreate(m, sequel == SEQUEL_SOFT_RESET))
            return -1;
    }
}

int xlsnap_monitor_process(struct xlsnap *xs, uint32_t domid)
{
    struct monitor m = { .xs = xs, .ctx = xs->ctx, .domid = domid };
    const char ready = 'r';
    int rc;

    signal(SIGHUP, SIG_IGN);
    signal(SIGINT, SIG_IGN);
    umask(022);
    libxl_domain_config_init(&m.config);
    rc = libxl_retrieve_domain_configuration(m.ctx, domid, &m.config, NULL) ||
         monitor_open_log(&m) || monitor_watch(&m) || monitor_watch_ejects(&m);
    if (!rc) {
        rc = write(MONITOR_FD, &ready, 1) != 1;
        close(MONITOR_FD);
    }
    if (!rc)
        rc = monitor_loop(&m);
    say("Done. Exiting now");
    monitor_unwatch(&m);
    free(m.update);
    libxl_domain_config_dispose(&m.config);
    return rc ? XLSNAP_FAILED : 0;
}
