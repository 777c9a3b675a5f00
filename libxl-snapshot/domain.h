/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A running domain: finding it, what libxl knows of it, and the moves of its
 * life that a snapshot needs.  domain.c only looks; lifecycle.c acts.
 */
#ifndef XLSNAP_DOMAIN_H
#define XLSNAP_DOMAIN_H

#include <sys/types.h>

#include "handle.h"

#define DOMAIN_UUID_LEN 36
#define DOMAIN_NONE ((uint32_t)INVALID_DOMID) /* no domain */

struct domain {
    uint32_t domid;
    char *name;
    char uuid[DOMAIN_UUID_LEN + 1];
    libxl_dominfo info;         /* as of domain_find or domain_refresh */
    libxl_domain_config config; /* after domain_load_config */
    bool have_config;
    char *config_json; /* the same as libxl JSON, domid zeroed, as xl save */
    pid_t qemu_pid;    /* 0: the domain has no QEMU */
    /* The control group for its guard and monitor (monitor_home), or NULL. */
    char *home;
};

void domain_init(struct domain *dom);
void domain_clear(struct domain *dom);

/*
 * By name, else by number as a domid (a domain whose name is a number is
 * found by that name first), else by uuid.  -XLSNAP_REFUSED if there is none.
 */
int domain_find(struct xlsnap *xs, const char *which, struct domain *dom,
                struct xlsnap_error *err);
/* True and *dom filled if a domain of that uuid (not dying) is seen to exist. */
bool domain_find_uuid(struct xlsnap *xs, const char *uuid, struct domain *dom);
/*
 * The domain of that uuid (NULL: of none), else that of exactly that name;
 * dom->domid is DOMAIN_NONE if there is none.  -XLSNAP_FAILED: libxl cannot tell.
 */
int domain_find_uuid_or_name(struct xlsnap *xs, const char *uuid,
                             const char *name, struct domain *dom,
                             struct xlsnap_error *err);
/* What domain_refresh found. */
enum domain_presence {
    DOMAIN_GONE,    /* this domid and uuid no longer exist, or are dying */
    DOMAIN_THERE,   /* ->info is fresh */
    DOMAIN_UNKNOWN, /* libxl could not tell: it may stand there suspended */
};
/* Reads ->info again. */
enum domain_presence domain_refresh(struct xlsnap *xs, struct domain *dom);

/* libxl_retrieve_domain_configuration. */
int domain_load_config(struct xlsnap *xs, struct domain *dom,
                       struct xlsnap_error *err);

/*
 * Sets path and format of a disk in the configuration that libxl keeps of the
 * running domain and goes by at a reboot, save or migration.  libxl has no
 * function for that; its userdata "libxl-json" is what libxl_internal.c's
 * libxl__set_domain_configuration writes.  Does nothing if it says so already.
 */
int domain_store_disk(struct xlsnap *xs, const struct domain *dom,
                      const char *vdev, const char *path,
                      libxl_disk_format format, struct xlsnap_error *err);
/* The same in dom->config and dom->config_json, which the memory image gets. */
void domain_set_disk(struct xlsnap *xs, struct domain *dom, const char *vdev,
                     const char *path, libxl_disk_format format);

/*
 * Refuses (-XLSNAP_REFUSED, the reason in err) every domain of which no
 * whole snapshot can be taken or whose state forbids it now.  Needs
 * domain_load_config.
 */
int domain_check_create(struct xlsnap *xs, const struct domain *dom, bool force,
                        struct xlsnap_error *err);
/*
 * Can it be saved live?  Xen tracks a PV guest's dirty pages by shadow paging
 * only (xen/arch/x86/mm/shadow), which distributions may build without:
 * Debian 12 does.
 */
int domain_check_live(struct xlsnap *xs, const struct domain *dom,
                      struct xlsnap_error *err);
/* The same for a domain that a revert is about to destroy. */
int domain_check_destroy(struct xlsnap *xs, const struct domain *dom,
                         struct xlsnap_error *err);

/*
 * Is it being started: has it never run yet?  Its QEMU may come any moment:
 * dom->qemu_pid is read again.
 */
bool domain_is_starting(struct xlsnap *xs, struct domain *dom);
/*
 * Is it gone, or shut down for good (not to be resumed or reset)?  Its end is its
 * monitor's business, who may have taken its QEMU away.  Read again.
 */
bool domain_has_ended(struct xlsnap *xs, struct domain *dom);
/* Is it shut down with reason "suspend"? */
bool domain_is_suspended(const struct domain *dom);

/* libxl keeps something of that kind of it, "libvirt-xml", say (libxl_userdata_*). */
bool domain_has_userdata(struct xlsnap *xs, uint32_t domid, const char *kind);

/*
 * Xenstore, /local/domain/DOMID/PATH; NULL if absent, else to be freed.
 */
char *domain_xs_read(uint32_t domid, const char *path);
/*
 * What the backend of a disk of the running domain has in xenstore under that
 * key; NULL if absent, or if the backend is in another domain than 0.
 */
char *domain_disk_backend_read(struct xlsnap *xs, uint32_t domid,
                               const char *vdev, const char *key);
/*
 * What its configuration must fit, of xenstore, a line each: the target of its balloon
 * in KiB ("memory=131072"), its vCPUs ("cpu/0=online"), and which devices it has, in
 * libxl's order (/libxl/DOMID/device), disks with what they are on
 * ("vbd/51712=aio:/a.raw").  NULL if xenstore does not answer; to be freed.
 */
char *domain_outline(uint32_t domid);
/*
 * Has it no more memory than a restored one may have?  libxl gives that the limit of
 * the target in its configuration first (libxl_dom.c, libxl__build_pre), and each page
 * beyond is refused by Xen.  True also without dom->config.
 */
bool domain_fits_target(const struct domain *dom);
/*
 * Takes back a request to suspend that the guest has not seen yet
 * (control/shutdown holding "suspend", emptied in a transaction as libxl's own
 * time-out does).  True if there was one.
 */
bool domain_withdraw_suspend(uint32_t domid);

/* ---- lifecycle.c ---- */

/*
 * Watches control/shutdown, through which a guest is asked to suspend.  NULL
 * if xenstore does not answer.
 */
struct xs_handle *domain_watch_requests(uint32_t domid);
/* Reads what has come; returns how often the node was written since, at
 * least. */
int domain_count_requests(struct xs_handle *watch);

/*
 * Suspends the domain and writes its memory stream to fd (libxl records only;
 * the header before them is memory.c's).  On success the domain is left
 * suspended.  On failure it may be anything: call domain_settle.
 * *suspended_ms gets the moment (now_ms) at which the guest was seen to stand
 * still, and stays 0 if it never did; *requested becomes true as soon as the
 * guest was asked to suspend.
 * When xs->cancel_fd becomes readable the save is aborted: -XLSNAP_FAILED,
 * errnum EINTR.
 */
int domain_save(struct xlsnap *xs, const struct domain *dom, int fd, bool live,
                int64_t *suspended_ms, bool *requested,
                struct xlsnap_error *err);
/* Is libxl's helper at work on a save of this domain?  Its pid, or 0. */
pid_t domain_save_helper(uint32_t domid);
/*
 * The helper of a tool that was killed ends at its next write; waits for that.
 * One that is still there is somebody else's save, not to be resumed in the
 * middle: its pid, or 0.
 */
pid_t domain_wait_helper(uint32_t domid);
/* libxl_domain_resume with suspend_cancel=1: the only safe way in place. */
int domain_resume(struct xlsnap *xs, uint32_t domid, struct xlsnap_error *err);
/*
 * After a failed save: makes sure the domain runs and will not suspend later.
 * A request to suspend that the guest has not seen is taken back; one it has
 * seen is waited for, at most timeout_ms, and the domain resumed.  A guest
 * acknowledges before it freezes its processes, which may take it 20 s and
 * more; when it has not suspended in time it still might: -XLSNAP_FAILED, and
 * with errnum ETIMEDOUT if it is known to run.
 */
#define DOMAIN_SETTLE_MS 60000 /* on top of the 60 s that libxl waited */
#define DOMAIN_GUARD_MS 150000 /* nobody waits for a guard */
int domain_settle(struct xlsnap *xs, struct domain *dom, bool requested,
                  int timeout_ms, struct xlsnap_error *err);
/*
 * Destroys the domain and waits until its QEMU process is really gone: libxl
 * does not (it may be flushing still).
 */
int domain_destroy(struct xlsnap *xs, struct domain *dom,
                   struct xlsnap_error *err);
/*
 * Restores from fd, which stands at the libxl stream; leaves the new domain
 * paused.  On failure no domain is left.  `domid`: start_domid (start.h).
 */
int domain_restore(struct xlsnap *xs, const char *config_json, int fd,
                   uint32_t domid, uint32_t *domid_r, struct xlsnap_error *err);
int domain_pause(struct xlsnap *xs, uint32_t domid, struct xlsnap_error *err);
int domain_unpause(struct xlsnap *xs, uint32_t domid, struct xlsnap_error *err);
/*
 * A domain that we have paused goes on, unless it has ended: nobody unpauses that.
 * An error also if libxl cannot tell whether it is paused.
 */
int domain_wake(struct xlsnap *xs, struct domain *dom,
                struct xlsnap_error *err);

#endif
