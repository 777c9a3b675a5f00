/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* DISKSPEC: what a string of `disks` may be, and what it then means. */
#include "cfg_testing.h"

#include "diskspec.h"

/* The first disk of a config with this spec; valid until the next call. */
static const struct xlsnap_disk *disk_of(const char *spec)
{
    static struct xlsnap_snapshot snap;
    cleanup_free char *text = xasprintf("disks = [ '%s' ]", spec);

    xlsnap_snapshot_clear(&snap);
    read_text(text, &snap);
    assert_int_equal(snap.n_disks, 1);
    return &snap.disks[0];
}

static void refuse_spec(const char *spec, const char *message)
{
    cleanup_free char *text = xasprintf("disks = [ '%s' ]", spec);
    cleanup_free char *whole = xasprintf("web1.cfg:1: disks[0]: %s", message);

    refuse(text, whole);
}

#define FORM "must be TARGET,FORMAT,VDEV or vdev=VDEV,KEY=VALUE,..."
#define SIZE                                                                   \
    "must be a number of bytes, with K, M, G or T behind it for 2^10 to 2^40," \
    " or a percentage from 1% to 1000%"
#define VDEV "must be a virtual device such as xvda, hda or sda1"

/* Positional. */

static void positional_without_target_is_internal(void **state)
{
    const struct xlsnap_disk *disk = disk_of(",,xvda");

    assert_string_equal(disk->vdev, "xvda");
    assert_int_equal(disk->method, XLSNAP_METHOD_INTERNAL);
    assert_null(disk->target);
    assert_null(disk->format);
}

static void positional_with_target_is_external(void **state)
{
    const struct xlsnap_disk *disk = disk_of("/srv/a.qcow2,qcow2,hda");

    assert_int_equal(disk->method, XLSNAP_METHOD_EXTERNAL);
    assert_string_equal(disk->target, "/srv/a.qcow2");
    assert_string_equal(disk->format, "qcow2");
    assert_string_equal(disk->vdev, "hda");
}

static void blanks_before_a_field_are_ignored(void **state)
{
    const struct xlsnap_disk *disk = disk_of(" /srv/a, raw,\t xvda");

    assert_string_equal(disk->target, "/srv/a");
    assert_string_equal(disk->format, "raw");
    assert_string_equal(disk->vdev, "xvda");
}

static void positional_with_too_few_fields(void **state)
{
    refuse_spec("/srv/a,raw", "'/srv/a,raw': " FORM);
}

static void positional_with_too_many_fields(void **state)
{
    refuse_spec("/srv/a,raw,xvda,w", "'/srv/a,raw,xvda,w': " FORM);
}

static void a_word_is_no_spec(void **state)
{
    refuse_spec("xvda", "'xvda': " FORM);
}

static void an_empty_spec(void **state)
{
    refuse_spec("", "'': " FORM);
}

static void positional_without_vdev(void **state)
{
    refuse_spec("/srv/a,raw,", "'/srv/a,raw,': VDEV '' " VDEV);
}

static void positional_with_an_unknown_format(void **state)
{
    refuse_spec(",vmdk,xvda", "',vmdk,xvda': FORMAT 'vmdk' must be raw, qcow,"
                              " qcow2, vhd or qed");
}

/* KEY=VALUE. */

static void pairs_may_come_in_any_order(void **state)
{
    const struct xlsnap_disk *disk =
        disk_of("format=qed,target=/srv/t, snapshot=overlay, vdev=xvdb");

    assert_string_equal(disk->vdev, "xvdb");
    assert_int_equal(disk->method, XLSNAP_METHOD_OVERLAY);
    assert_string_equal(disk->format, "qed");
    assert_string_equal(disk->target, "/srv/t");
}

static void a_vdev_alone_leaves_the_method_open(void **state)
{
    assert_int_equal(disk_of("vdev=xvda")->method, XLSNAP_METHOD_DEFAULT);
}

static void a_disk_can_be_left_out(void **state)
{
    assert_int_equal(disk_of("vdev=xvda,snapshot=no")->method,
                     XLSNAP_METHOD_NO);
}

static void a_target_implies_external(void **state)
{
    assert_int_equal(disk_of("vdev=xvda,target=/t")->method,
                     XLSNAP_METHOD_EXTERNAL);
}

static void a_size_implies_external(void **state)
{
    assert_int_equal(disk_of("vdev=xvda,size=1G")->method,
                     XLSNAP_METHOD_EXTERNAL);
}

static void a_doubled_comma_is_a_comma(void **state)
{
    assert_string_equal(disk_of("vdev=xvda,target=/a,,b,,,format=raw")->target,
                        "/a,b,");
}

static void an_equals_sign_in_a_value(void **state)
{
    assert_string_equal(disk_of("vdev=xvda,target=/a=b")->target, "/a=b");
}

static void blanks_in_a_value_stay(void **state)
{
    assert_string_equal(disk_of("vdev=xvda,target=/a b ")->target, "/a b ");
}

static void a_source_stays_as_it_is(void **state)
{
    assert_string_equal(disk_of("vdev=xvda,source=vg/lv")->source, "vg/lv");
}

/* For an overlay of a file of another format, in snapshot.cfg. */
static void a_source_may_have_a_format_of_its_own(void **state)
{
    const struct xlsnap_disk *disk =
        disk_of("vdev=xvda,snapshot=overlay,format=qcow2,target=/t,source=/a,"
                "source_format=raw");

    assert_string_equal(disk->format, "qcow2");
    assert_string_equal(disk->source_format, "raw");
    assert_null(disk_of("vdev=xvda,format=raw,source=/a")->source_format);
    assert_null(disk_of("/t,raw,xvda")->source_format);
}

static void an_unknown_format_of_the_source(void **state)
{
    refuse_spec("vdev=xvda,source_format=vmdk",
                "'source_format=vmdk': must be raw, qcow, qcow2, vhd or qed");
    refuse_spec("vdev=xvda,source_format=",
                "'source_format=': must be raw, qcow, qcow2, vhd or qed");
}

static void a_format_of_the_source_given_twice(void **state)
{
    refuse_spec("vdev=xvda,source_format=raw,source_format=raw",
                "'source_format=raw': 'source_format' is given twice");
}

static void an_unknown_method(void **state)
{
    refuse_spec("vdev=xvda,snapshot=intern",
                "'snapshot=intern': must be internal, external, overlay or"
                " no");
}

static void an_empty_method(void **state)
{
    refuse_spec("vdev=xvda,snapshot=",
                "'snapshot=': must be internal, external, overlay or no");
}

static void an_unknown_pair(void **state)
{
    refuse_spec("vdev=xvda,access=rw",
                "'access=rw': unknown key (known: vdev, snapshot, format,"
                " size, target)");
}

static void a_key_without_a_name(void **state)
{
    refuse_spec("=xvda", "'=xvda': unknown key (known: vdev, snapshot,"
                         " format, size, target)");
}

static void a_pair_given_twice(void **state)
{
    refuse_spec("vdev=xvda,vdev=xvdb", "'vdev=xvdb': 'vdev' is given twice");
}

static void a_field_that_is_no_pair(void **state)
{
    refuse_spec("vdev=xvda,qcow2", "'qcow2': must be KEY=VALUE");
}

static void a_comma_at_the_end(void **state)
{
    refuse_spec("vdev=xvda,", "'': must be KEY=VALUE");
}

static void pairs_without_vdev(void **state)
{
    refuse_spec("snapshot=internal", "'snapshot=internal': vdev= is missing");
}

static void an_internal_snapshot_with_a_target(void **state)
{
    refuse_spec("vdev=xvda,snapshot=internal,target=/t",
                "'vdev=xvda,snapshot=internal,target=/t': an internal"
                " snapshot has no target");
}

static void a_disk_left_out_with_a_target(void **state)
{
    refuse_spec("vdev=xvda,snapshot=no,target=/t",
                "'vdev=xvda,snapshot=no,target=/t': a disk that takes no"
                " part has no target");
}

static void an_internal_snapshot_with_a_size(void **state)
{
    refuse_spec("vdev=xvda,snapshot=internal,size=1G",
                "'vdev=xvda,snapshot=internal,size=1G': size has a meaning"
                " for external snapshots only");
}

static void an_overlay_with_a_size(void **state)
{
    refuse_spec("vdev=xvda,snapshot=overlay,target=/t,size=10%",
                "'vdev=xvda,snapshot=overlay,target=/t,size=10%': size has a"
                " meaning for external snapshots only");
}

static void an_overlay_without_a_target(void **state)
{
    refuse_spec("vdev=xvda,snapshot=overlay",
                "'vdev=xvda,snapshot=overlay': an overlay needs target=, the"
                " new file that the guest will write to");
}

/* TARGET. */

static void a_bare_target_stays(void **state)
{
    assert_string_equal(disk_of("web1-frozen,raw,xvda")->target, "web1-frozen");
}

static void a_relative_target_becomes_absolute(void **state)
{
    cleanup_free char *path = here("frozen/web1.qcow2");

    assert_string_equal(disk_of("frozen/web1.qcow2,,xvda")->target, path);
}

static void an_empty_target(void **state)
{
    refuse_spec("vdev=xvda,target=", "'target=': must not be empty");
}

static void a_target_with_a_newline(void **state)
{
    refuse_spec("vdev=xvda,target=/a\\nb",
                "'target=/a?b': must not contain control characters");
}

static void a_target_that_is_too_long(void **state)
{
    cleanup_free char *spec =
        xasprintf("vdev=xvda,target=/%s", repeat('a', 4096));
    cleanup_free char *message =
        xasprintf("'target=/%s...': is too long for a path",
                  repeat('a', 96 - strlen("target=/")));

    refuse_spec(spec, message);
}

static void a_target_of_two_disks(void **state)
{
    refuse("disks = [\n'/t,,xvda',\n'/t,,xvdb' ]",
           "web1.cfg:3: disks[1]: target '/t' is that of disk 'xvda' already");
}

static void an_lv_name_of_two_disks_may_be_in_two_groups(void **state)
{
    struct xlsnap_snapshot snap;

    read_text("disks = [ 'lv,,xvda', 'lv,,xvdb' ]", &snap);
    assert_int_equal(snap.n_disks, 2);
    xlsnap_snapshot_clear(&snap);
}

/* Size. */

static void a_size_in_bytes(void **state)
{
    assert_int_equal(disk_of("vdev=xvda,size=4194304")->size, 4194304);
}

static void sizes_with_a_unit(void **state)
{
    assert_int_equal(disk_of("vdev=xvda,size=3K")->size, 3ull << 10);
    assert_int_equal(disk_of("vdev=xvda,size=3m")->size, 3ull << 20);
    assert_int_equal(disk_of("vdev=xvda,size=3G")->size, 3ull << 30);
    assert_int_equal(disk_of("vdev=xvda,size=3t")->size, 3ull << 40);
}

static void sizes_in_percent(void **state)
{
    assert_int_equal(disk_of("vdev=xvda,size=20%")->size_percent, 20);
    assert_int_equal(disk_of("vdev=xvda,size=150%ORIGIN")->size_percent, 150);
    assert_int_equal(disk_of("vdev=xvda,size=20%")->size, 0);
}

static void sizes_that_are_none(void **state)
{
    static const char *const words[] = {
        "",   "G",   "-1G", "+1",    " 1",      "0x10", "1.5G", "1GiB",
        "1P", "1 G", "0%",  "1001%", "50%FREE", "50%%", "%",
    };

    for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
        cleanup_free char *spec = xasprintf("vdev=xvda,size=%s", words[i]);
        cleanup_free char *message = xasprintf("'size=%s': %s", words[i], SIZE);

        refuse_spec(spec, message);
    }
}

static void a_size_of_nothing(void **state)
{
    refuse_spec("vdev=xvda,size=0G", "'size=0G': must not be 0");
}

static void a_size_that_overflows_a_number(void **state)
{
    refuse_spec("vdev=xvda,size=99999999999999999999",
                "'size=99999999999999999999': is too large");
}

static void a_size_that_overflows_by_its_unit(void **state)
{
    refuse_spec("vdev=xvda,size=8388608T", "'size=8388608T': is too large");
    assert_int_equal(disk_of("vdev=xvda,size=8388607T")->size,
                     8388607ull << 40);
}

/* Vdevs: the numbers are those of xen-vbd-interface(7). */

static void xen_virtual_disks(void **state)
{
    assert_int_equal(diskspec_vdev_number("xvda"), 202 << 8);
    assert_int_equal(diskspec_vdev_number("xvdp15"), 202 << 8 | 255);
    assert_int_equal(diskspec_vdev_number("xvdq"), 1 << 28 | 16 << 8);
    assert_int_equal(diskspec_vdev_number("xvda16"), 1 << 28 | 16);
    assert_int_equal(diskspec_vdev_number("xvdtq37"), 1 << 28 | 536 << 8 | 37);
    assert_int_equal(diskspec_vdev_number("d536p37"), 1 << 28 | 536 << 8 | 37);
    assert_int_equal(diskspec_vdev_number("d0p0"), 202 << 8);
}

static void ide_and_scsi_disks(void **state)
{
    assert_int_equal(diskspec_vdev_number("hda"), 3 << 8);
    assert_int_equal(diskspec_vdev_number("hdd63"), 22 << 8 | 64 | 63);
    assert_int_equal(diskspec_vdev_number("sdp15"), 8 << 8 | 255);
}

static void plain_device_numbers(void **state)
{
    assert_int_equal(diskspec_vdev_number("51712"), 51712);
    assert_int_equal(diskspec_vdev_number("0xca00"), 51712);
}

static void words_that_are_no_vdev(void **state)
{
    static const char *const words[] = {
        "",       "xvd",        "xvda0",
        "xvda01", "xvda256",    "xvda1 ",
        "xvdA",   "xvdzzzzz",   "xvdaaaaaaaaaaaaaaaa",
        "hde",    "hda64",      "sdq",
        "sda16",  "vda",        "sr0",
        "d0",     "d0p",        "d-1p0",
        "d0p256", "d1048576p0", "d00p0",
        "-1",     " 1",         "2147483648",
        "0xg",    "xvda/../b",  "xvda-1",
        "d1p1x",
    };

    for (size_t i = 0; i < ARRAY_SIZE(words); i++)
        if (diskspec_vdev_number(words[i]) != -1)
            fail_msg("'%s' is %#x", words[i],
                     (unsigned)diskspec_vdev_number(words[i]));
}

static void an_unsound_vdev(void **state)
{
    refuse_spec("vdev=cdrom", "'vdev=cdrom': " VDEV);
}

static void a_vdev_described_twice(void **state)
{
    refuse("disks = [ ',,xvda', 'vdev=xvdb',\n ',,xvda' ]",
           "web1.cfg:2: disks[2]: disk 'xvda' is described twice");
}

static void a_vdev_described_twice_under_two_names(void **state)
{
    refuse("disks = [ ',,xvda', ',,d0p0' ]",
           "web1.cfg:1: disks[1]: disk 'd0p0' is described twice");
}

/* The list. */

static void the_line_is_that_of_the_element(void **state)
{
    refuse("name = 'a'\ndisks = [\n    # the first\n    ',,xvda',\n"
           "    'vdev=xvdb,snapshot=intern',\n]\n",
           "web1.cfg:5: disks[1]: 'snapshot=intern': must be internal,"
           " external, overlay or no");
}

static void an_empty_list(void **state)
{
    refuse("disks = [ ]", "web1.cfg:1: disks: must name one disk at least;"
                          " leave it out for all disks of the domain");
}

static void a_list_in_the_list(void **state)
{
    refuse("disks = [ ',,xvda', [ ',,xvdb' ] ]",
           "web1.cfg:1: disks[1]: must be a string in quotes, not a list");
}

static void a_number_in_the_list(void **state)
{
    refuse("disks = [ 5 ]",
           "web1.cfg:1: disks[0]: must be a string in quotes, not a number");
}

static void a_string_instead_of_the_list(void **state)
{
    refuse("disks = ',,xvda'",
           "web1.cfg:1: disks: must be a list: [ \"...\", ... ]");
}

static void a_list_of_very_many(void **state)
{
    cleanup_free char *text = NULL;
    size_t len;
    FILE *f = open_memstream(&text, &len);

    fputs("disks = [", f);
    for (int i = 0; i < 1025; i++)
        fprintf(f, "',,d%dp0',", i);
    fputs("]", f);
    fclose(f);
    refuse(text, "web1.cfg:1: disks: has more than 1024 elements");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(positional_without_target_is_internal),
        cmocka_unit_test(positional_with_target_is_external),
        cmocka_unit_test(blanks_before_a_field_are_ignored),
        cmocka_unit_test(positional_with_too_few_fields),
        cmocka_unit_test(positional_with_too_many_fields),
        cmocka_unit_test(a_word_is_no_spec),
        cmocka_unit_test(an_empty_spec),
        cmocka_unit_test(positional_without_vdev),
        cmocka_unit_test(positional_with_an_unknown_format),
        cmocka_unit_test(pairs_may_come_in_any_order),
        cmocka_unit_test(a_vdev_alone_leaves_the_method_open),
        cmocka_unit_test(a_disk_can_be_left_out),
        cmocka_unit_test(a_target_implies_external),
        cmocka_unit_test(a_size_implies_external),
        cmocka_unit_test(a_doubled_comma_is_a_comma),
        cmocka_unit_test(an_equals_sign_in_a_value),
        cmocka_unit_test(blanks_in_a_value_stay),
        cmocka_unit_test(a_source_stays_as_it_is),
        cmocka_unit_test(a_source_may_have_a_format_of_its_own),
        cmocka_unit_test(an_unknown_format_of_the_source),
        cmocka_unit_test(a_format_of_the_source_given_twice),
        cmocka_unit_test(an_unknown_method),
        cmocka_unit_test(an_empty_method),
        cmocka_unit_test(an_unknown_pair),
        cmocka_unit_test(a_key_without_a_name),
        cmocka_unit_test(a_pair_given_twice),
        cmocka_unit_test(a_field_that_is_no_pair),
        cmocka_unit_test(a_comma_at_the_end),
        cmocka_unit_test(pairs_without_vdev),
        cmocka_unit_test(an_internal_snapshot_with_a_target),
        cmocka_unit_test(a_disk_left_out_with_a_target),
        cmocka_unit_test(an_internal_snapshot_with_a_size),
        cmocka_unit_test(an_overlay_with_a_size),
        cmocka_unit_test(an_overlay_without_a_target),
        cmocka_unit_test(a_bare_target_stays),
        cmocka_unit_test(a_relative_target_becomes_absolute),
        cmocka_unit_test(an_empty_target),
        cmocka_unit_test(a_target_with_a_newline),
        cmocka_unit_test(a_target_that_is_too_long),
        cmocka_unit_test(a_target_of_two_disks),
        cmocka_unit_test(an_lv_name_of_two_disks_may_be_in_two_groups),
        cmocka_unit_test(a_size_in_bytes),
        cmocka_unit_test(sizes_with_a_unit),
        cmocka_unit_test(sizes_in_percent),
        cmocka_unit_test(sizes_that_are_none),
        cmocka_unit_test(a_size_of_nothing),
        cmocka_unit_test(a_size_that_overflows_a_number),
        cmocka_unit_test(a_size_that_overflows_by_its_unit),
        cmocka_unit_test(xen_virtual_disks),
        cmocka_unit_test(ide_and_scsi_disks),
        cmocka_unit_test(plain_device_numbers),
        cmocka_unit_test(words_that_are_no_vdev),
        cmocka_unit_test(an_unsound_vdev),
        cmocka_unit_test(a_vdev_described_twice),
        cmocka_unit_test(a_vdev_described_twice_under_two_names),
        cmocka_unit_test(the_line_is_that_of_the_element),
        cmocka_unit_test(an_empty_list),
        cmocka_unit_test(a_list_in_the_list),
        cmocka_unit_test(a_number_in_the_list),
        cmocka_unit_test(a_string_instead_of_the_list),
        cmocka_unit_test(a_list_of_very_many),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
