/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * disk-list.c: which disks of a domain a create takes, and what it refuses.
 * libxl's list of the running ones is made up here.
 */
#include "qemu_testing.h"

#define MAX_RUNNING 3

/* How libxl says a disk is served; the tests say what it is to answer. */
static struct {
    const char *vdev;
    libxl_disk_backend backend;
} running[MAX_RUNNING];

libxl_device_disk *libxl_device_disk_list(libxl_ctx *ctx, uint32_t domid,
                                          int *num)
{
    libxl_device_disk *disks = xcalloc(MAX_RUNNING, sizeof(*disks));

    for (*num = 0; *num < MAX_RUNNING && running[*num].vdev; ++*num) {
        libxl_device_disk_init(&disks[*num]);
        disks[*num].vdev = xstrdup(running[*num].vdev);
        disks[*num].backend = running[*num].backend;
    }
    return disks;
}

void libxl_device_disk_list_free(libxl_device_disk *disks, int num)
{
    for (int i = 0; i < num; i++)
        libxl_device_disk_dispose(&disks[i]);
    free(disks);
}

static int setup_domain(void **state)
{
    static const char *const vdevs[MAX_RUNNING] = { "xvda", "xvdb", "xvdc" };

    for (int i = 0; i < MAX_RUNNING; i++) {
        running[i].vdev = vdevs[i];
        running[i].backend = LIBXL_DISK_BACKEND_QDISK;
    }
    if (setup(state))
        return -1;
    op.dom.name = xstrdup("web1");
    free(op.disks);
    op.disks = NULL;
    put("a.qcow2", "");
    put("b.qcow2", "");
    return 0;
}

/* The next writable disk in the domain's configuration. */
static libxl_device_disk *configure(const char *file)
{
    libxl_domain_config *c = &op.dom.config;
    libxl_device_disk *d;

    c->disks = xrealloc(c->disks, c->num_disks + 1, sizeof(*c->disks));
    d = &c->disks[c->num_disks];
    libxl_device_disk_init(d);
    d->vdev = xasprintf("xvd%c", 'a' + c->num_disks++);
    d->pdev_path = *file == '/' ? xstrdup(file) : in_dir(file);
    d->format = LIBXL_DISK_FORMAT_QCOW2;
    d->readwrite = 1;
    return d;
}

static struct xlsnap_disk *ask(const char *vdev, enum xlsnap_method method)
{
    struct xlsnap_disk *s = xlsnap_snapshot_add_disk(&op.snap);

    s->vdev = xstrdup(vdev);
    s->method = method;
    return s;
}

static void take(void)
{
    struct xlsnap_error err = { 0 };

    if (disks_from_domain(&op, &err))
        fail_msg("%s", err.msg);
}

static void assert_refused(const char *message)
{
    struct xlsnap_error err = { 0 };

    assert_int_equal(disks_from_domain(&op, &err), -XLSNAP_REFUSED);
    assert_int_equal(err.code, XLSNAP_REFUSED);
    if (!strstr(err.msg, message))
        assert_string_equal(err.msg, message);
}

/* ---- what is taken ---- */

static void all_writable_disks_are_taken(void **state)
{
    cleanup_free char *path = in_dir("b.qcow2");
    struct file_id b = id_of("b.qcow2");

    configure("a.qcow2");
    configure("b.qcow2");
    take();
    assert_int_equal(op.n_disks, 2);
    assert_int_equal(op.snap.n_disks, 2);
    assert_string_equal(op.disks[1].vdev, "xvdb");
    assert_string_equal(op.disks[1].source, path);
    assert_string_equal(op.disks[1].path, path);
    assert_true(file_id_equal(&op.disks[1].id, &b));
    assert_int_equal(op.disks[1].format, LIBXL_DISK_FORMAT_QCOW2);
    assert_int_equal(op.disks[1].backend, LIBXL_DISK_BACKEND_QDISK);
    assert_int_equal(op.disks[1].method, XLSNAP_METHOD_INTERNAL);
    assert_int_equal(op.n_groups, 1);
}

static void snapshot_cfg_gets_format_and_source(void **state)
{
    cleanup_free char *path = in_dir("a.qcow2");

    configure("a.qcow2");
    take();
    assert_string_equal(op.snap.disks[0].vdev, "xvda");
    assert_string_equal(op.snap.disks[0].format, "qcow2");
    assert_string_equal(op.snap.disks[0].source, path);
}

static void what_cannot_be_written_takes_no_part(void **state)
{
    configure("a.qcow2");
    configure("missing.iso")->is_cdrom = 1;
    configure("missing.raw")->readwrite = 0;
    configure("/")->pdev_path[0] = '\0'; /* an empty drive */
    take();
    assert_int_equal(op.n_disks, 1);
    assert_int_equal(op.snap.n_disks, 1);
}

static void a_request_is_taken_over(void **state)
{
    struct xlsnap_disk *asked = ask("xvda", XLSNAP_METHOD_EXTERNAL);

    asked->target = xstrdup("t.qcow2");
    asked->size = 1 << 30;
    asked->size_percent = 20;
    configure("a.qcow2")->format = LIBXL_DISK_FORMAT_RAW;
    configure("b.qcow2");
    take();
    assert_int_equal(op.disks[0].method, XLSNAP_METHOD_EXTERNAL);
    assert_string_equal(op.disks[0].target, "t.qcow2");
    assert_int_equal(op.disks[0].size, 1 << 30);
    assert_int_equal(op.disks[0].size_percent, 20);
    assert_string_equal(op.snap.disks[0].target, "t.qcow2");
    assert_int_equal(op.disks[1].method, XLSNAP_METHOD_INTERNAL);
    assert_null(op.disks[1].target);
}

static void the_options_of_the_disk_are_known(void **state)
{
    libxl_device_disk *d = configure("a.qcow2");

    d->direct_io_safe = true;
    libxl_defbool_set(&d->discard_enable, true);
    libxl_defbool_set(&configure("b.qcow2")->discard_enable, false);
    put("c.qcow2", "");
    configure("c.qcow2"); /* says nothing: libxl's default for a writable one */
    take();
    assert_true(op.disks[0].direct_io_safe);
    assert_true(op.disks[0].discard);
    assert_false(op.disks[1].direct_io_safe);
    assert_false(op.disks[1].discard);
    assert_true(op.disks[2].discard);
}

static void a_symbolic_link_is_resolved(void **state)
{
    cleanup_free char *name = in_dir("name"), *path = in_dir("a.qcow2");

    assert_int_equal(symlink("a.qcow2", "name"), 0);
    configure("name");
    take();
    assert_string_equal(op.disks[0].source, name);
    assert_string_equal(op.disks[0].path, path);
}

static void a_disk_is_left_out_with_force(void **state)
{
    ask("xvda", XLSNAP_METHOD_NO);
    configure("a.qcow2");
    configure("b.qcow2");
    op.force = true;
    take();
    assert_int_equal(op.n_disks, 1);
    assert_string_equal(op.disks[0].vdev, "xvdb");
    assert_int_equal(op.snap.n_disks, 2); /* snapshot.cfg says so */
    assert_int_equal(op.snap.disks[0].method, XLSNAP_METHOD_NO);
}

/* ---- what is refused ---- */

static void a_writable_disk_left_out_is_refused(void **state)
{
    ask("xvda", XLSNAP_METHOD_NO);
    configure("a.qcow2");
    assert_refused("disk 'xvda' is writable, so leaving it out would make "
                   "memory and disk disagree after a revert (--force permits "
                   "it)");
}

static void a_disk_that_the_domain_has_not_is_refused(void **state)
{
    ask("xvdc", XLSNAP_METHOD_DEFAULT);
    configure("a.qcow2");
    assert_refused("domain 'web1' has no writable disk 'xvdc'");
}

static void a_disk_that_is_read_only_is_refused(void **state)
{
    ask("xvdb", XLSNAP_METHOD_INTERNAL);
    configure("a.qcow2");
    configure("b.qcow2")->readwrite = 0;
    assert_refused("domain 'web1' has no writable disk 'xvdb'");
}

/* By whatever name. */
static void a_file_that_two_disks_are_on_is_refused(void **state)
{
    assert_int_equal(symlink("a.qcow2", "link.qcow2"), 0);
    configure("a.qcow2");
    configure("b.qcow2");
    configure("link.qcow2");
    assert_refused("disks 'xvda' and 'xvdc' are the same file, '");
}

static void another_format_than_the_disks_is_refused(void **state)
{
    ask("xvda", XLSNAP_METHOD_INTERNAL)->format = xstrdup("raw");
    configure("a.qcow2");
    assert_refused("disk 'xvda' is of format qcow2, not raw");
}

/* There format= is that of the new file. */
static void an_overlay_of_another_format_is_refused(void **state)
{
    struct xlsnap_disk *asked = ask("xvda", XLSNAP_METHOD_OVERLAY);

    asked->target = xstrdup("t");
    asked->format = xstrdup("raw");
    configure("a.qcow2")->format = LIBXL_DISK_FORMAT_RAW;
    assert_refused("disk 'xvda': an overlay is of format qcow2, not raw");
}

static void an_overlay_is_qcow2_whatever_the_disk_is(void **state)
{
    struct xlsnap_disk *asked = ask("xvda", XLSNAP_METHOD_OVERLAY);

    asked->target = xstrdup("t");
    asked->format = xstrdup("qcow2");
    configure("a.qcow2")->format = LIBXL_DISK_FORMAT_RAW;
    take();
    assert_int_equal(op.disks[0].method, XLSNAP_METHOD_OVERLAY);
    assert_int_equal(op.disks[0].format, LIBXL_DISK_FORMAT_RAW);
}

static void a_disk_of_a_driver_domain_is_refused(void **state)
{
    configure("a.qcow2")->backend_domid = 3;
    assert_refused("disk 'xvda' is served by a driver domain, out of reach "
                   "from here");
    op.dom.config.disks[0].backend_domid = 0;
    op.dom.config.disks[0].backend_domname = xstrdup("storage");
    assert_refused("disk 'xvda' is served by a driver domain, out of reach "
                   "from here");
}

static void a_disk_attached_by_a_script_is_refused(void **state)
{
    configure("a.qcow2")->script = xstrdup("block-drbd");
    assert_refused("disk 'xvda' is attached by script 'block-drbd', which "
                   "this version does not know");
}

static void what_is_behind_a_network_is_refused(void **state)
{
    libxl_device_disk *d = configure("a.qcow2");

    free(d->pdev_path);
    d->pdev_path = xstrdup("nbd:host:1");
    assert_refused("disk 'xvda': 'nbd:host:1' is no file or device of this "
                   "host; what is behind the network (NBD, RBD, iSCSI...) "
                   "only its server can snapshot");
}

static void a_size_of_what_is_no_volume_is_refused(void **state)
{
    ask("xvda", XLSNAP_METHOD_EXTERNAL)->size_percent = 20;
    configure("a.qcow2");
    assert_refused("is no LVM volume: size= is");
}

static void a_file_that_is_gone_is_refused(void **state)
{
    configure("missing");
    assert_refused("disk 'xvda': cannot examine '");
}

static void a_disk_that_is_not_running_is_refused(void **state)
{
    running[1].vdev = NULL;
    configure("a.qcow2");
    configure("b.qcow2");
    assert_refused("disk 'xvdb' ('");
}

/* A refusal leaves the request as it was made. */
static void a_refused_request_stays_as_it_was(void **state)
{
    ask("xvdc", XLSNAP_METHOD_DEFAULT);
    configure("a.qcow2");
    assert_refused("'xvdc'");
    assert_int_equal(op.snap.n_disks, 1);
    assert_string_equal(op.snap.disks[0].vdev, "xvdc");
}

#define DOMAIN_TEST(f) \
    cmocka_unit_test_setup_teardown(f, setup_domain, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        DOMAIN_TEST(all_writable_disks_are_taken),
        DOMAIN_TEST(snapshot_cfg_gets_format_and_source),
        DOMAIN_TEST(what_cannot_be_written_takes_no_part),
        DOMAIN_TEST(a_request_is_taken_over),
        DOMAIN_TEST(the_options_of_the_disk_are_known),
        DOMAIN_TEST(a_symbolic_link_is_resolved),
        DOMAIN_TEST(a_disk_is_left_out_with_force),
        DOMAIN_TEST(a_writable_disk_left_out_is_refused),
        DOMAIN_TEST(a_disk_that_the_domain_has_not_is_refused),
        DOMAIN_TEST(a_disk_that_is_read_only_is_refused),
        DOMAIN_TEST(a_file_that_two_disks_are_on_is_refused),
        DOMAIN_TEST(another_format_than_the_disks_is_refused),
        DOMAIN_TEST(an_overlay_of_another_format_is_refused),
        DOMAIN_TEST(an_overlay_is_qcow2_whatever_the_disk_is),
        DOMAIN_TEST(a_disk_of_a_driver_domain_is_refused),
        DOMAIN_TEST(a_disk_attached_by_a_script_is_refused),
        DOMAIN_TEST(what_is_behind_a_network_is_refused),
        DOMAIN_TEST(a_size_of_what_is_no_volume_is_refused),
        DOMAIN_TEST(a_file_that_is_gone_is_refused),
        DOMAIN_TEST(a_disk_that_is_not_running_is_refused),
        DOMAIN_TEST(a_refused_request_stays_as_it_was),
    };

    return cmocka_run_group_tests_name("disk_domain", tests, NULL, NULL);
}
