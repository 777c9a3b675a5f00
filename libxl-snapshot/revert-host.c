/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a domain needs of the host to be restored: see revert.h. */
#include "revert.h"

#include <libxl_utils.h>
#include <pwd.h>

#include "util.h"

/* libxl__xen_script_dir_path: given when Xen was built (--with-xen-scriptdir); for
 * another one: make EXTRA_CFLAGS='-DXEN_SCRIPT_DIR="/..."'. */
#ifndef XEN_SCRIPT_DIR
#define XEN_SCRIPT_DIR "/etc/xen/scripts"
#endif

static int host_lacks(struct xlsnap_error *err, const char *what,
                      const char *which, const char *why)
{
    return xlsnap_fail(err, XLSNAP_REFUSED,
                       "the domain cannot be restored on this host as it is: "
                       "its configuration has %s '%s', %s",
                       what, which, why);
}

static int host_check_file(const char *what, const char *path, int mode,
                           struct xlsnap_error *err)
{
    return path && *path && access(path, mode)
               ? host_lacks(err, what, path, strerror(errno))
               : 0;
}

static int host_check_script(const char *what, const char *script,
                             struct xlsnap_error *err)
{
    cleanup_free char *path = *script == '/'
                                  ? xstrdup(script)
                                  : xasprintf(XEN_SCRIPT_DIR "/%s", script);

    return host_check_file(what, path, X_OK, err);
}

/* As tools/hotplug/Linux/vif-bridge finds it: xenbrN may be the old name of ethN. */
static bool host_has_bridge(const char *bridge)
{
    static const char old[] = "xenbr";
    cleanup_free char *path = xasprintf("/sys/class/net/%s/bridge", bridge);
    cleanup_free char *eth =
        strncmp(bridge, old, strlen(old))
            ? NULL
            : xasprintf("/sys/class/net/eth%s/bridge", bridge + strlen(old));

    return !access(path, F_OK) || (eth && !access(eth, F_OK));
}

/* Whose backend serves it; the scripts of another domain's are not here. */
static int host_check_backend(struct xlsnap *xs, const char *name,
                              uint32_t *domid, struct xlsnap_error *err)
{
    /* Digits are taken as they are. */
    return name && (libxl_domain_qualifier_to_domid(xs->ctx, name, domid) ||
                    libxl_domain_info(xs->ctx, NULL, *domid))
               ? host_lacks(err, "the backend domain", name, "there is none")
               : 0;
}

/* Defaults: libxl_nic.c, libxl__device_nic_setdefault.  With "" as bridge the script
 * looks for one itself. */
static int host_check_nic(struct xlsnap *xs, const libxl_device_nic *nic,
                          struct xlsnap_error *err)
{
    const char *script = nic->script ?: "vif-bridge", *slash;
    const char *bridge = nic->bridge ?: "xenbr0";
    uint32_t domid = nic->backend_domid;

    if (host_check_backend(xs, nic->backend_domname, &domid, err))
        return -err->code;
    if (domid)
        return 0;
    if (host_check_script("the network script", script, err))
        return -err->code;
    slash = strrchr(script, '/');
    if (strcmp(slash ? slash + 1 : script, "vif-bridge") || !*bridge ||
        strchr(bridge, '/') || host_has_bridge(bridge))
        return 0;
    return host_lacks(err, "a network interface on bridge", bridge,
                      "there is none");
}

static int host_check_disk(struct xlsnap *xs, const libxl_device_disk *disk,
                           struct xlsnap_error *err)
{
    uint32_t domid = disk->backend_domid;

    if (host_check_backend(xs, disk->backend_domname, &domid, err))
        return -err->code;
    return domid || !disk->script
               ? 0
               : host_check_script("the disk script", disk->script, err);
}

static int host_check_scripts(struct xlsnap *xs,
                              const libxl_domain_config *config,
                              struct xlsnap_error *err)
{
    int rc = 0;

    if (!libxl_defbool_is_default(config->c_info.run_hotplug_scripts) &&
        !libxl_defbool_val(config->c_info.run_hotplug_scripts))
        return 0; /* udev's business */
    for (int i = 0; i < config->num_nics && !rc; i++)
        rc = host_check_nic(xs, &config->nics[i], err);
    for (int i = 0; i < config->num_disks && !rc; i++)
        rc = host_check_disk(xs, &config->disks[i], err);
    return rc;
}

/* QEMU is given the kernel again; a guest without QEMU has had it since it started. */
static int host_check_qemu(const libxl_domain_build_info *b,
                           struct xlsnap_error *err)
{
    int rc = host_check_file("the device model", b->device_model, X_OK, err);

    if (rc || b->type != LIBXL_DOMAIN_TYPE_HVM)
        return rc;
    rc = host_check_file("the kernel", b->kernel, R_OK, err);
    if (!rc)
        rc = host_check_file("the ramdisk", b->ramdisk, R_OK, err);
    if (!rc && b->device_model_user && *b->device_model_user &&
        !getpwnam(b->device_model_user))
        rc = host_lacks(err, "the device model's user", b->device_model_user,
                        "there is none");
    return rc;
}

/* Xen refuses a vCPU that may run on no CPU of its pool (xen/common/sched/core.c,
 * vcpu_set_hard_affinity). */
static int host_check_affinity(const libxl_domain_build_info *b,
                               const libxl_cpupoolinfo *pool,
                               struct xlsnap_error *err)
{
    if (libxl_bitmap_is_empty(&pool->cpumap))
        return host_lacks(err, "CPU pool", pool->pool_name, "which has no CPU");
    for (int i = 0; i < b->num_vcpu_hard_affinity; i++) {
        bool some = !b->vcpu_hard_affinity[i].size;
        int cpu;

        libxl_for_each_set_bit(cpu, pool->cpumap) some |=
            libxl_bitmap_test(&b->vcpu_hard_affinity[i], cpu);
        if (!some) {
            cleanup_free char *vcpu = xasprintf("%d", i);

            return host_lacks(err, "CPUs for vCPU", vcpu,
                              "and none of them is in its CPU pool");
        }
    }
    return 0;
}

static int host_check_cpus(struct xlsnap *xs, const libxl_domain_config *config,
                           struct xlsnap_error *err)
{
    const char *name = config->c_info.pool_name;
    uint32_t id = config->c_info.poolid;
    cleanup_free char *number = xasprintf("%" PRIu32, id);
    libxl_cpupoolinfo pool;
    int rc;

    libxl_cpupoolinfo_init(&pool);
    if ((name &&
         libxl_cpupool_qualifier_to_cpupoolid(xs->ctx, name, &id, NULL)) ||
        libxl_cpupool_info(xs->ctx, &pool, id))
        rc = host_lacks(err, "CPU pool", name ?: number, "there is none");
    else
        rc = host_check_affinity(&config->b_info, &pool, err);
    libxl_cpupoolinfo_dispose(&pool);
    return rc;
}

int revert_check_host(struct xlsnap *xs, const libxl_domain_config *config,
                      bool qemu, struct xlsnap_error *err)
{
    int rc = host_check_scripts(xs, config, err);

    if (!rc && (qemu || config->b_info.type == LIBXL_DOMAIN_TYPE_HVM))
        rc = host_check_qemu(&config->b_info, err);
    return rc ? rc : host_check_cpus(xs, config, err);
}
