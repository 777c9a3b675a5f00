/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * revert-host.c: what a host must have before a domain is destroyed for its restore.
 * What libxl knows of CPU pools and domains is made up here.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <sys/stat.h>

#include "revert.h"
#include "util.h"

static char dir[] = "/tmp/revert_host_test.XXXXXX";
static libxl_cpupoolinfo the_pool; /* the only one: 0, "Pool-0" */
static libxl_domain_config config;
static struct xlsnap xs;

/* libxl_bitmap_alloc needs a context. */
static void set_cpus(libxl_bitmap *cpus, uint8_t bits)
{
    cpus->size = 1;
    cpus->map = xcalloc(1, 1);
    *cpus->map = bits;
}

int libxl_cpupool_qualifier_to_cpupoolid(libxl_ctx *ctx, const char *name,
                                         uint32_t *id, int *was_name)
{
    *id = strcmp(name, "Pool-0") ? 7 : 0;
    return *id ? ERROR_INVAL : 0;
}

int libxl_cpupool_info(libxl_ctx *ctx, libxl_cpupoolinfo *info, uint32_t id)
{
    if (id)
        return ERROR_INVAL;
    info->pool_name = xstrdup("Pool-0");
    set_cpus(&info->cpumap, *the_pool.cpumap.map);
    return 0;
}

int libxl_domain_qualifier_to_domid(libxl_ctx *ctx, const char *name,
                                    uint32_t *domid)
{
    *domid = atoi(name);
    return *domid || !strcmp(name, "Domain-0") ? 0 : ERROR_INVAL;
}

int libxl_domain_info(libxl_ctx *ctx, libxl_dominfo *info, uint32_t domid)
{
    return domid ? ERROR_DOMAIN_NOTFOUND : 0;
}

static int make_dir(void **state)
{
    return mkdtemp(dir) ? 0 : -1;
}

static int remove_dir(void **state)
{
    static const char *const names[] = { "vif-own", "my-vif-bridge",
                                         "vif-bridge", "vmlinuz" };

    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        cleanup_free char *path = xasprintf("%s/%s", dir, names[i]);

        unlink(path);
    }
    return rmdir(dir);
}

/* CPUs 0 and 1, and a PV guest. */
static int setup(void **state)
{
    libxl_cpupoolinfo_init(&the_pool);
    set_cpus(&the_pool.cpumap, 3);
    libxl_domain_config_init(&config);
    libxl_domain_build_info_init_type(&config.b_info, LIBXL_DOMAIN_TYPE_PV);
    return 0;
}

static int teardown(void **state)
{
    libxl_domain_config_dispose(&config);
    libxl_cpupoolinfo_dispose(&the_pool);
    return 0;
}

static void assert_hosts(void)
{
    struct xlsnap_error err = { 0 };

    if (revert_check_host(&xs, &config, false, &err))
        fail_msg("%s", err.msg);
}

static void assert_lacks(const char *what)
{
    struct xlsnap_error err = { 0 };

    assert_int_equal(revert_check_host(&xs, &config, false, &err),
                     -XLSNAP_REFUSED);
    if (!strstr(err.msg, what))
        fail_msg("'%s' is not in '%s'", what, err.msg);
}

/* An executable file of that name; its path, to be freed. */
static char *script(const char *name)
{
    char *path = xasprintf("%s/%s", dir, name);
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0700);

    assert_true(fd >= 0);
    close(fd);
    chmod(path, 0700);
    return path;
}

/* The only one; with that script. */
static libxl_device_nic *add_nic(const char *name)
{
    config.nics = xcalloc(1, sizeof(*config.nics));
    config.num_nics = 1;
    libxl_device_nic_init(config.nics);
    config.nics->script = script(name);
    return config.nics;
}

static void plain_guest(void **state)
{
    assert_hosts();
}

static void own_network_script(void **state)
{
    libxl_device_nic *nic = add_nic("vif-own");

    nic->bridge = xstrdup("nowhere"); /* that script's business */
    assert_hosts();
    chmod(nic->script, 0600);
    assert_lacks("the network script '/");
}

static void script_named_like_vif_bridge(void **state)
{
    libxl_device_nic *nic = add_nic("my-vif-bridge");

    nic->bridge = xstrdup("nowhere");
    assert_hosts();
}

static void bridge_of_no_such_name(void **state)
{
    libxl_device_nic *nic = add_nic("vif-bridge");

    nic->bridge = xstrdup("nowhere");
    assert_lacks("a network interface on bridge 'nowhere', there is none");
    free(nic->bridge);
    nic->bridge = xstrdup("");
    assert_hosts();
}

static void bridge_by_default(void **state)
{
    add_nic("vif-bridge");
    if (access("/sys/class/net/xenbr0/bridge", F_OK) &&
        access("/sys/class/net/eth0/bridge", F_OK))
        assert_lacks("bridge 'xenbr0'");
    else
        assert_hosts();
}

static void network_of_another_domain(void **state)
{
    libxl_device_nic *nic = add_nic("vif-own");

    chmod(nic->script, 0600);
    nic->backend_domname = xstrdup("Domain-0"); /* that is here */
    assert_lacks("the network script '/");
    chmod(nic->script, 0700);
    assert_hosts();
    chmod(nic->script, 0600);
    free(nic->backend_domname);
    nic->backend_domname = xstrdup("router");
    assert_lacks("the backend domain 'router', there is none");
    free(nic->backend_domname);
    nic->backend_domname = xstrdup("17"); /* libxl takes any number for one */
    assert_lacks("the backend domain '17', there is none");
}

static void scripts_that_udev_runs(void **state)
{
    chmod(add_nic("vif-own")->script, 0600);
    libxl_defbool_set(&config.c_info.run_hotplug_scripts, false);
    assert_hosts();
}

static void disk_script(void **state)
{
    config.disks = xcalloc(1, sizeof(*config.disks));
    config.num_disks = 1;
    libxl_device_disk_init(config.disks);
    config.disks->script = xstrdup("block-of-no-such-name");
    assert_lacks("the disk script '/etc/xen/scripts/block-of-no-such-name'");
    config.disks->backend_domid = 5;
    assert_hosts();
}

static void device_model(void **state)
{
    struct xlsnap_error err = { 0 };

    config.b_info.device_model = xstrdup("/nowhere/qemu");
    assert_hosts();
    assert_int_equal(revert_check_host(&xs, &config, true, &err),
                     -XLSNAP_REFUSED);
    assert_non_null(strstr(err.msg, "the device model '/nowhere/qemu'"));
}

static void kernel_of_a_pv_guest_is_in_its_memory(void **state)
{
    struct xlsnap_error err = { 0 };

    config.b_info.kernel = xstrdup("/nowhere/vmlinuz");
    assert_int_equal(revert_check_host(&xs, &config, true, &err), 0);
}

static void kernel_of_an_hvm_guest(void **state)
{
    libxl_domain_build_info *b = &config.b_info;

    libxl_domain_build_info_dispose(b);
    libxl_domain_build_info_init(b);
    libxl_domain_build_info_init_type(b, LIBXL_DOMAIN_TYPE_HVM);
    b->kernel = script("vmlinuz");
    assert_hosts();
    b->ramdisk = xstrdup("/nowhere/initrd");
    assert_lacks("the ramdisk '/nowhere/initrd', No such file");
    unlink(b->kernel);
    assert_lacks("the kernel '/");
    free(b->kernel);
    free(b->ramdisk);
    b->kernel = b->ramdisk = NULL;
    b->device_model_user = xstrdup("no-such-user");
    assert_lacks("the device model's user 'no-such-user'");
}

static void pool_of_no_such_name(void **state)
{
    config.c_info.pool_name = xstrdup("Pool-0");
    assert_hosts();
    free(config.c_info.pool_name);
    config.c_info.pool_name = xstrdup("night");
    assert_lacks("CPU pool 'night', there is none");
}

static void pool_of_no_such_number(void **state)
{
    config.c_info.poolid = 3;
    assert_lacks("CPU pool '3', there is none");
}

static void pool_without_cpus(void **state)
{
    libxl_bitmap_set_none(&the_pool.cpumap);
    assert_lacks("CPU pool 'Pool-0', which has no CPU");
}

static void vcpus_on_cpus_of_the_pool(void **state)
{
    libxl_domain_build_info *b = &config.b_info;

    b->vcpu_hard_affinity = xcalloc(2, sizeof(*b->vcpu_hard_affinity));
    b->num_vcpu_hard_affinity = 2;
    set_cpus(&b->vcpu_hard_affinity[0], 1 << 0);
    set_cpus(&b->vcpu_hard_affinity[1], 1 << 1 | 1 << 6);
    assert_hosts();
    libxl_bitmap_reset(&b->vcpu_hard_affinity[1], 1);
    assert_lacks("CPUs for vCPU '1', and none of them is in its CPU pool");
    libxl_bitmap_dispose(&b->vcpu_hard_affinity[1]); /* none given: all */
    libxl_bitmap_init(&b->vcpu_hard_affinity[1]);
    assert_hosts();
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(plain_guest),
        TEST(own_network_script),
        TEST(script_named_like_vif_bridge),
        TEST(bridge_of_no_such_name),
        TEST(bridge_by_default),
        TEST(network_of_another_domain),
        TEST(scripts_that_udev_runs),
        TEST(disk_script),
        TEST(device_model),
        TEST(kernel_of_a_pv_guest_is_in_its_memory),
        TEST(kernel_of_an_hvm_guest),
        TEST(pool_of_no_such_name),
        TEST(pool_of_no_such_number),
        TEST(pool_without_cpus),
        TEST(vcpus_on_cpus_of_the_pool),
    };

    return cmocka_run_group_tests_name("revert host", tests, make_dir,
                                       remove_dir);
}
