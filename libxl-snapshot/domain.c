/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Domains, looked at: finding one, its configuration, and the reasons for
 * which no snapshot of it can be taken.  Nothing here changes anything but
 * domain_withdraw_suspend, which undoes a request of our own.
 *
 * libxl's names are trusted only so far: libxl_domain_qualifier_to_domid takes
 * any digits, even "", for a domid without asking whether it exists, and
 * dominfo.domain_type says HVM for PVH; so ids are checked by
 * libxl_domain_info and the type comes from the configuration.
 */
#include "domain.h"

#include <ctype.h>
#include <xenstore.h>

#include "util.h"

/* Each fails if somebody has written there meanwhile. */
#define WITHDRAW_TRIES 100
#define BACKENDS "/local/domain/0/"
/* What a domain may have beyond its target (libxl_x86.c, libxl__arch_extra_memory);
 * ACPI tables of PVH ones come to some pages more. */
#define EXTRA_KB 1024
#define PVH_EXTRA_KB 2048

void domain_init(struct domain *dom)
{
    memset(dom, 0, sizeof(*dom));
    libxl_dominfo_init(&dom->info);
    libxl_domain_config_init(&dom->config);
}

void domain_clear(struct domain *dom)
{
    free(dom->name);
    free(dom->config_json);
    free(dom->home);
    libxl_dominfo_dispose(&dom->info);
    libxl_domain_config_dispose(&dom->config);
    domain_init(dom);
}

char *domain_xs_read(uint32_t domid, const char *path)
{
    cleanup_free char *full =
        xasprintf("/local/domain/%" PRIu32 "/%s", domid, path);
    struct xs_handle *xsh = xs_open(0);
    unsigned int len;
    char *value;

    if (!xsh)
        return NULL;
    value = xs_read(xsh, XBT_NULL, full, &len);
    xs_close(xsh);
    return value;
}

char *domain_disk_backend_read(struct xlsnap *xs, uint32_t domid,
                               const char *vdev, const char *key)
{
    size_t len = strlen(BACKENDS);
    libxl_device_disk d;
    libxl_diskinfo info;
    char *value = NULL;

    libxl_device_disk_init(&d);
    d.vdev = xstrdup(vdev);
    if (!libxl_device_disk_getinfo(xs->ctx, domid, &d, &info)) {
        if (info.backend && !strncmp(info.backend, BACKENDS, len)) {
            cleanup_free char *path =
                xasprintf("%s/%s", info.backend + len, key);

            value = domain_xs_read(0, path);
        }
        libxl_diskinfo_dispose(&info);
    }
    libxl_device_disk_dispose(&d);
    return value;
}

/* A line "WORD/ENTRY" for each entry of the directory, with `key` below it
 * "WORD/ENTRY=VALUE". */
static void text_add_entries(struct xs_handle *xsh, char **text,
                             const char *word, const char *dir, const char *key)
{
    unsigned int n = 0;
    cleanup_free char **entries = xs_directory(xsh, XBT_NULL, dir, &n);

    for (unsigned int i = 0; entries && i < n; i++) {
        cleanup_free char *path = xasprintf("%s/%s/%s", dir, entries[i], key);
        cleanup_free char *value = xs_read(xsh, XBT_NULL, path, NULL);
        char *longer = xasprintf("%s%s/%s%s%s\n", *text, word, entries[i],
                                 value ? "=" : "", value ? value : "");

        free(*text);
        *text = longer;
    }
}

char *domain_outline(uint32_t domid)
{
    cleanup_free char *top = xasprintf("/libxl/%" PRIu32 "/device", domid);
    cleanup_free char *cpus = xasprintf("/local/domain/%" PRIu32 "/cpu", domid);
    cleanup_free char *target = domain_xs_read(domid, "memory/target");
    struct xs_handle *xsh = xs_open(0);
    cleanup_free char **types = NULL;
    unsigned int n_types = 0;
    char *text = NULL;

    if (xsh)
        types = xs_directory(xsh, XBT_NULL, top, &n_types);
    if (types || (xsh && errno == ENOENT)) /* it has none */
        text = xasprintf("memory=%s\n", target ? target : "?");
    if (text)
        text_add_entries(xsh, &text, "cpu", cpus, "availability");
    for (unsigned int i = 0; types && i < n_types; i++) {
        cleanup_free char *dir = xasprintf("%s/%s", top, types[i]);

        text_add_entries(xsh, &text, types[i], dir, "params");
    }
    if (xsh)
        xs_close(xsh);
    return text;
}

bool domain_withdraw_suspend(uint32_t domid)
{
    cleanup_free char *path =
        xasprintf("/local/domain/%" PRIu32 "/control/shutdown", domid);
    struct xs_handle *xsh = xs_open(0);
    bool withdrawn = false, again = true;

    if (!xsh)
        return false;
    for (int n = 0; again && n < WITHDRAW_TRIES; n++) {
        xs_transaction_t t = xs_transaction_start(xsh);
        cleanup_free char *value = NULL;
        bool ended;

        if (t == XBT_NULL)
            break;
        value = xs_read(xsh, t, path, NULL);
        withdrawn =
            value && !strcmp(value, "suspend") && xs_write(xsh, t, path, "", 0);
        ended = xs_transaction_end(xsh, t, !withdrawn);
        withdrawn = withdrawn && ended;
        again = !ended && errno == EAGAIN;
    }
    xs_close(xsh);
    return withdrawn;
}

static pid_t domain_qemu(uint32_t domid)
{
    cleanup_free char *pid = domain_xs_read(domid, "image/device-model-pid");

    return pid ? (pid_t)strtol(pid, NULL, 10) : 0;
}

static void domain_fill(struct xlsnap *xs, struct domain *dom,
                        const libxl_dominfo *info)
{
    domain_clear(dom);
    libxl_dominfo_copy(xs->ctx, &dom->info, info);
    dom->domid = info->domid;
    dom->name = libxl_domid_to_name(xs->ctx, info->domid);
    if (!dom->name)
        dom->name = xasprintf("(domid %" PRIu32 ")", info->domid);
    snprintf(dom->uuid, sizeof(dom->uuid), LIBXL_UUID_FMT,
             LIBXL_UUID_BYTES(info->uuid));
    dom->qemu_pid = domain_qemu(dom->domid);
}

enum domain_match { MATCH_NAME, MATCH_DOMID, MATCH_UUID };

static bool domain_matches(struct xlsnap *xs, const libxl_dominfo *info,
                           enum domain_match how, const char *which)
{
    cleanup_free char *name = NULL;
    char uuid[DOMAIN_UUID_LEN + 1];
    char *end;

    switch (how) {
    case MATCH_NAME:
        name = libxl_domid_to_name(xs->ctx, info->domid);
        return name && !strcmp(name, which);
    case MATCH_DOMID:
        return isdigit((unsigned char)which[0]) &&
               strtoul(which, &end, 10) == info->domid && !*end;
    case MATCH_UUID:
        snprintf(uuid, sizeof(uuid), LIBXL_UUID_FMT,
                 LIBXL_UUID_BYTES(info->uuid));
        return !info->dying && !strcasecmp(uuid, which);
    }
    return false;
}

/* Who resumes or resets it lets it go on; anything else is its end. */
static bool info_has_ended(const libxl_dominfo *info)
{
    return info->shutdown &&
           info->shutdown_reason != LIBXL_SHUTDOWN_REASON_SUSPEND &&
           info->shutdown_reason != LIBXL_SHUTDOWN_REASON_SOFT_RESET;
}

/*
 * Of several the one that has not ended: on_crash=rename-restart and the like
 * leave a domain behind that has the uuid of the new one
 * (libxl_domain_preserve changes it in libxl's records, not in Xen's).
 */
static enum domain_presence domain_search(struct xlsnap *xs,
                                          enum domain_match how,
                                          const char *which, struct domain *dom)
{
    int n = 0;
    libxl_dominfo *list = libxl_list_domain(xs->ctx, &n);
    const libxl_dominfo *found = NULL;
    bool ended = false; /* that one */

    if (!list)
        return DOMAIN_UNKNOWN;
    for (int i = 0; i < n; i++)
        if ((!found || ended) && domain_matches(xs, &list[i], how, which) &&
            (!found || !info_has_ended(&list[i]))) {
            found = &list[i];
            ended = info_has_ended(found);
        }
    if (found)
        domain_fill(xs, dom, found);
    libxl_dominfo_list_free(list, n);
    return found ? DOMAIN_THERE : DOMAIN_GONE;
}

static int domain_search_failed(struct xlsnap_error *err)
{
    return xlsnap_fail(err, XLSNAP_FAILED, "libxl cannot list the domains");
}

int domain_find(struct xlsnap *xs, const char *which, struct domain *dom,
                struct xlsnap_error *err)
{
    static const enum domain_match how[] = { MATCH_NAME, MATCH_DOMID,
                                             MATCH_UUID };
    enum domain_presence found = DOMAIN_GONE;

    for (size_t i = 0; i < ARRAY_SIZE(how) && found == DOMAIN_GONE; i++)
        found = domain_search(xs, how[i], which, dom);
    if (found == DOMAIN_THERE)
        return 0;
    if (found == DOMAIN_UNKNOWN)
        return domain_search_failed(err);
    return xlsnap_fail(err, XLSNAP_REFUSED,
                       "there is no domain '%s' (see 'xl list')", which);
}

bool domain_find_uuid(struct xlsnap *xs, const char *uuid, struct domain *dom)
{
    return domain_search(xs, MATCH_UUID, uuid, dom) == DOMAIN_THERE;
}

int domain_find_uuid_or_name(struct xlsnap *xs, const char *uuid,
                             const char *name, struct domain *dom,
                             struct xlsnap_error *err)
{
    enum domain_presence found =
        uuid ? domain_search(xs, MATCH_UUID, uuid, dom) : DOMAIN_GONE;

    if (found == DOMAIN_GONE)
        found = domain_search(xs, MATCH_NAME, name, dom);
    if (found != DOMAIN_THERE)
        dom->domid = DOMAIN_NONE;
    return found == DOMAIN_UNKNOWN ? domain_search_failed(err) : 0;
}

enum domain_presence domain_refresh(struct xlsnap *xs, struct domain *dom)
{
    enum domain_presence found = DOMAIN_GONE;
    libxl_dominfo info;
    char uuid[DOMAIN_UUID_LEN + 1];
    int rc;

    libxl_dominfo_init(&info);
    rc = libxl_domain_info(xs->ctx, &info, dom->domid);
    if (rc && rc != ERROR_DOMAIN_NOTFOUND)
        found = DOMAIN_UNKNOWN;
    if (!rc) {
        snprintf(uuid, sizeof(uuid), LIBXL_UUID_FMT,
                 LIBXL_UUID_BYTES(info.uuid));
        if (!strcmp(uuid, dom->uuid) && !info.dying)
            found = DOMAIN_THERE;
    }
    if (found == DOMAIN_THERE) {
        libxl_dominfo_dispose(&dom->info);
        libxl_dominfo_copy(xs->ctx, &dom->info, &info);
    }
    libxl_dominfo_dispose(&info);
    return found;
}

bool domain_is_starting(struct xlsnap *xs, struct domain *dom)
{
    if (domain_refresh(xs, dom) != DOMAIN_THERE)
        return false;
    dom->qemu_pid = domain_qemu(dom->domid);
    return dom->info.paused && !dom->info.cpu_time;
}

bool domain_has_ended(struct xlsnap *xs, struct domain *dom)
{
    enum domain_presence found = domain_refresh(xs, dom);

    return found == DOMAIN_GONE ||
           (found == DOMAIN_THERE && info_has_ended(&dom->info));
}

bool domain_is_suspended(const struct domain *dom)
{
    return dom->info.shutdown &&
           dom->info.shutdown_reason == LIBXL_SHUTDOWN_REASON_SUSPEND;
}

int domain_load_config(struct xlsnap *xs, struct domain *dom,
                       struct xlsnap_error *err)
{
    int rc = libxl_retrieve_domain_configuration(xs->ctx, dom->domid,
                                                 &dom->config, NULL);

    if (rc)
        return xlsnap_fail(err, XLSNAP_REFUSED,
                           "libxl has no configuration of domain '%s' "
                           "(libxl error %d)",
                           dom->name, rc);
    dom->have_config = true;
    /* A saved domid would be asked for again at restore; xl zeroes it, too. */
    dom->config.c_info.domid = 0;
    dom->config_json = libxl_domain_config_to_json(xs->ctx, &dom->config);
    if (!dom->config_json)
        return xlsnap_fail(err, XLSNAP_FAILED,
                           "cannot write the configuration of domain '%s' as "
                           "JSON",
                           dom->name);
    return 0;
}

/* True if that changed something. */
static bool config_set_disk(libxl_domain_config *config, const char *vdev,
                            const char *path, libxl_disk_format format)
{
    for (int i = 0; i < config->num_disks; i++) {
        libxl_device_disk *d = &config->disks[i];

        if (!d->vdev || strcmp(d->vdev, vdev) ||
            (d->pdev_path && !strcmp(d->pdev_path, path) &&
             d->format == format))
            continue;
        free(d->pdev_path);
        d->pdev_path = xstrdup(path);
        d->format = format;
        d->backend = LIBXL_DISK_BACKEND_QDISK;
        return true;
    }
    return false;
}

void domain_set_disk(struct xlsnap *xs, struct domain *dom, const char *vdev,
                     const char *path, libxl_disk_format format)
{
    if (!config_set_disk(&dom->config, vdev, path, format))
        return;
    free(dom->config_json);
    dom->config_json = libxl_domain_config_to_json(xs->ctx, &dom->config);
    if (!dom->config_json)
        abort(); /* as out of memory */
}

int domain_store_disk(struct xlsnap *xs, const struct domain *dom,
                      const char *vdev, const char *path,
                      libxl_disk_format format, struct xlsnap_error *err)
{
    static const char id[] = "libxl-json";
    cleanup_free uint8_t *data = NULL;
    cleanup_free char *json = NULL;
    libxl_domain_config config;
    int len = 0, rc;

    libxl_domain_config_init(&config);
    rc = libxl_userdata_retrieve(xs->ctx, dom->domid, id, &data, &len);
    if (!rc && (!len || data[len - 1]))
        rc = ERROR_INVAL;
    if (!rc)
        rc = libxl_domain_config_from_json(xs->ctx, &config, (char *)data);
    if (!rc && config_set_disk(&config, vdev, path, format)) {
        json = libxl_domain_config_to_json(xs->ctx, &config);
        rc = json
                 ? libxl_userdata_store(xs->ctx, dom->domid, id,
                                        (const uint8_t *)json, strlen(json) + 1)
                 : ERROR_NOMEM;
    }
    libxl_domain_config_dispose(&config);
    if (!rc)
        return 0;
    return xlsnap_fail(err, XLSNAP_FAILED,
                       "cannot change disk '%s' to '%s' in libxl's "
                       "configuration of domain '%s' (libxl error %d)",
                       vdev, path, dom->name, rc);
}

bool domain_fits_target(const struct domain *dom)
{
    const libxl_domain_build_info *b = &dom->config.b_info;
    uint64_t extra_kb =
        b->type == LIBXL_DOMAIN_TYPE_PVH ? PVH_EXTRA_KB : EXTRA_KB;

    return !dom->have_config || b->target_memkb == LIBXL_MEMKB_DEFAULT ||
           dom->info.current_memkb <= b->target_memkb + extra_kb;
}

/* The state that forbids it now, or NULL. */
static const char *domain_state_refusal(const struct domain *dom)
{
    cleanup_free char *control = NULL;

    if (dom->info.dying)
        return "it is dying";
    if (dom->info.shutdown) {
        switch (dom->info.shutdown_reason) {
        case LIBXL_SHUTDOWN_REASON_SUSPEND:
            return "it is suspended; 'xl snapshot-recover' resumes it if a "
                   "snapshot left it so";
        case LIBXL_SHUTDOWN_REASON_CRASH:
            return "it has crashed";
        default:
            return "it has shut down";
        }
    }
    if (!domain_fits_target(dom))
        return "its guest has more memory than 'xl mem-set' lets it have, and "
               "has not yet given it back; it could not be restored with that";
    if (dom->info.paused)
        return "it is paused, and a paused guest cannot suspend; unpause it "
               "first ('xl unpause')";
    control = domain_xs_read(dom->domid, "control/shutdown");
    if (control && *control)
        return "it has been asked to shut down, reboot or suspend";
    return NULL;
}

/* A device whose state would not be in the snapshot, or NULL. */
static const char *domain_device_refusal(const libxl_domain_config *c,
                                         bool force)
{
    if (c->num_pcidevs)
        return "it has PCI devices passed through, and their state cannot be "
               "saved";
    if (c->num_dtdevs)
        return "it has device tree nodes passed through";
    if (c->num_usbdevs || c->num_usbctrls)
        return "it has USB devices passed through, and their state cannot be "
               "saved";
    if (c->num_p9s)
        return "it shares a directory of the host (9pfs), which guests cannot "
               "go on with after a restore";
    if (c->num_pvcallsifs)
        return "it has PV Calls sockets, and their state cannot be saved";
    if (!force && !libxl_defbool_is_default(c->b_info.nested_hvm) &&
        libxl_defbool_val(c->b_info.nested_hvm))
        return "it may be a hypervisor itself (nestedhvm), whose guests' state "
               "cannot be saved (--force permits it, for when there are none)";
    if (c->num_vtpms)
        return "it has a vTPM, whose state is kept by another domain";
    if (!libxl_defbool_is_default(c->b_info.dm_restrict) &&
        libxl_defbool_val(c->b_info.dm_restrict))
        return "its QEMU is locked up (dm_restrict), and could not open what "
               "a snapshot makes";
    if (!libxl_defbool_is_default(c->c_info.driver_domain) &&
        libxl_defbool_val(c->c_info.driver_domain))
        return "it is a driver domain, and the devices of others stand on it";
    if (c->b_info.num_vnuma_nodes)
        return "it has vNUMA nodes, and libxl cannot save those";
    return NULL;
}

bool domain_has_userdata(struct xlsnap *xs, uint32_t domid, const char *kind)
{
    uint8_t *data = NULL;
    int len = 0;
    bool yes =
        !libxl_userdata_retrieve(xs->ctx, domid, kind, &data, &len) && len > 0;

    free(data);
    return yes;
}

static const char *domain_owner_refusal(struct xlsnap *xs,
                                        const struct domain *dom, bool force)
{
    uint32_t target;

    if (libxl_is_stubdom(xs->ctx, dom->domid, &target))
        return "it is the stub domain of another one";
    if (libxl_get_stubdom_id(xs->ctx, dom->domid))
        return "its QEMU runs in a stub domain";
    if (text_ends(dom->name, "--incoming") ||
        text_ends(dom->name, "--migratedaway"))
        return "it is being migrated";
    if (domain_save_helper(dom->domid))
        return "it is just being saved ('xl save', 'xl migrate')";
    if (!force && domain_has_userdata(xs, dom->domid, "libvirt-xml"))
        return "it belongs to libvirt, which would not know of the snapshot";
    return NULL;
}

int domain_check_create(struct xlsnap *xs, const struct domain *dom, bool force,
                        struct xlsnap_error *err)
{
    const char *why = NULL;
    cleanup_free char *feature = NULL;

    if (dom->domid == 0)
        why = "it is domain 0, which runs this command";
    if (!why)
        why = domain_owner_refusal(xs, dom, force);
    if (!why)
        why = domain_state_refusal(dom);
    if (!why)
        why = domain_device_refusal(&dom->config, force);
    feature = domain_xs_read(dom->domid, "control/feature-suspend");
    if (!why && feature && !strcmp(feature, "0"))
        why = "its guest says that it cannot suspend (feature-suspend=0)";
    if (why)
        return xlsnap_fail(err, XLSNAP_REFUSED,
                           "cannot snapshot domain '%s': %s", dom->name, why);
    return 0;
}

int domain_check_live(struct xlsnap *xs, const struct domain *dom,
                      struct xlsnap_error *err)
{
    libxl_physinfo info;
    bool can = true;

    if (dom->config.b_info.type != LIBXL_DOMAIN_TYPE_PV)
        return 0;
    libxl_physinfo_init(&info);
    if (!libxl_get_physinfo(xs->ctx, &info))
        can = info.cap_shadow;
    libxl_physinfo_dispose(&info);
    if (can)
        return 0;
    return xlsnap_fail(err, XLSNAP_REFUSED,
                       "domain '%s' is a PV guest, and this Xen was built "
                       "without the shadow paging that a live save of one "
                       "needs (no 'shadow' in virt_caps of 'xl info'); take "
                       "the snapshot without live, or make it a PVH guest",
                       dom->name);
}

int domain_check_destroy(struct xlsnap *xs, const struct domain *dom,
                         struct xlsnap_error *err)
{
    const char *why = domain_owner_refusal(xs, dom, false);

    if (dom->domid == 0)
        why = "it is domain 0, which runs this command";
    if (!why && dom->info.dying)
        why = "it is dying: something still holds on to its memory";
    if (!why && dom->info.shutdown &&
        (dom->info.shutdown_reason == LIBXL_SHUTDOWN_REASON_REBOOT ||
         dom->info.shutdown_reason == LIBXL_SHUTDOWN_REASON_SOFT_RESET))
        why = "it is just rebooting, and its monitor is about to start it "
              "again";
    if (why)
        return xlsnap_fail(err, XLSNAP_REFUSED, "cannot revert domain '%s': %s",
                           dom->name, why);
    return 0;
}
