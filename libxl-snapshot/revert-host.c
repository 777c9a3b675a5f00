/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a domain needs of the host to be restored: see revert.h. */
#include "revert.h"

#include <libxl_utils.h>

#include "util.h"

#define SCRIPTS "/etc/xen/scripts" /* libxl__xen_script_dir_path */
#define CURE "without it the domain cannot be restored (--force tries it)"

/* What the configuration calls `what` and gives as that file. */
static int host_check_file(const char *what, const char *path, int mode,
                           struct xlsnap_error *err)
{
    return path && *path && access(path, mode)
               ? xlsnap_fail_errno(err, XLSNAP_REFUSED, errno,
                                   "the memory image's configuration has %s "
                                   "'%s'; " CURE,
                                   what, path)
               : 0;
}

static int host_check_script(const char *what, const char *script,
                             struct xlsnap_error *err)
{
    cleanup_free char *path = NULL;

    if (!script)
        return 0;
    path = *script == '/' ? xstrdup(script) : xasprintf(SCRIPTS "/%s", script);
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

static int host_check_nic(const libxl_device_nic *nic, struct xlsnap_error *err)
{
    const char *script = nic->script ?: "vif-bridge";

    if (nic->backend_domname || nic->backend_domid)
        return 0; /* scripts and bridge are that domain's */
    if (host_check_script("the network script", script, err))
        return -err->code;
    if (!text_ends(script, "vif-bridge") || !nic->bridge || !*nic->bridge ||
        strchr(nic->bridge, '/') || host_has_bridge(nic->bridge))
        return 0;
    return xlsnap_fail(err, XLSNAP_REFUSED,
                       "the memory image's configuration has a network "
                       "interface on bridge '%s', and there is none; " CURE,
                       nic->bridge);
}

static int host_check_scripts(const libxl_domain_config *config,
                              struct xlsnap_error *err)
{
    int rc = 0;

    if (!libxl_defbool_is_default(config->c_info.run_hotplug_scripts) &&
        !libxl_defbool_val(config->c_info.run_hotplug_scripts))
        return 0; /* udev's business */
    for (int i = 0; i < config->num_nics && !rc; i++)
        rc = host_check_nic(&config->nics[i], err);
    for (int i = 0; i < config->num_disks && !rc; i++)
        if (!config->disks[i].backend_domname &&
            !config->disks[i].backend_domid)
            rc = host_check_script("the disk script", config->disks[i].script,
                                   err);
    return rc;
}

/* QEMU is given these again; a guest's memory has had its kernel since it started. */
static int host_check_qemu(const libxl_domain_build_info *b,
                           struct xlsnap_error *err)
{
    int rc = host_check_file("the device model", b->device_model, X_OK, err);

    if (b->type != LIBXL_DOMAIN_TYPE_HVM)
        return rc;
    if (!rc)
        rc = host_check_file("the kernel", b->kernel, R_OK, err);
    return rc ? rc : host_check_file("the ramdisk", b->ramdisk, R_OK, err);
}

/* Xen refuses a vCPU that may run on no CPU of its pool (xen/common/sched/core.c,
 * vcpu_set_hard_affinity). */
static int host_check_affinity(const libxl_domain_build_info *b,
                               const libxl_cpupoolinfo *pool,
                               struct xlsnap_error *err)
{
    for (int i = 0; i < b->num_vcpu_hard_affinity; i++) {
        int cpu;
        bool some = !b->vcpu_hard_affinity[i].size;

        libxl_for_each_set_bit(cpu, pool->cpumap) some |=
            libxl_bitmap_test(&b->vcpu_hard_affinity[i], cpu);
        if (!some)
            return xlsnap_fail(err, XLSNAP_REFUSED,
                               "the memory image's configuration has vCPU %d "
                               "on CPUs of which none is in CPU pool '%s'; "
                               "without one the domain cannot be restored "
                               "(--force tries it)",
                               i, pool->pool_name);
    }
    return 0;
}

static int host_check_cpus(struct xlsnap *xs, const libxl_domain_config *config,
                           struct xlsnap_error *err)
{
    const char *name = config->c_info.pool_name;
    uint32_t id = config->c_info.poolid;
    libxl_cpupoolinfo pool;
    int rc;

    libxl_cpupoolinfo_init(&pool);
    if ((name &&
         libxl_cpupool_qualifier_to_cpupoolid(xs->ctx, name, &id, NULL)) ||
        libxl_cpupool_info(xs->ctx, &pool, id))
        rc = name ? xlsnap_fail(err, XLSNAP_REFUSED,
                                "the memory image's configuration has CPU pool "
                                "'%s', and there is none; " CURE,
                                name)
                  : xlsnap_fail(err, XLSNAP_REFUSED,
                                "the memory image's configuration has CPU pool "
                                "%" PRIu32 ", and there is none; " CURE,
                                id);
    else
        rc = host_check_affinity(&config->b_info, &pool, err);
    libxl_cpupoolinfo_dispose(&pool);
    return rc;
}

int revert_check_host(struct xlsnap *xs, const libxl_domain_config *config,
                      struct xlsnap_error *err)
{
    int rc = host_check_scripts(config, err);

    if (!rc)
        rc = host_check_qemu(&config->b_info, err);
    return rc ? rc : host_check_cpus(xs, config, err);
}
