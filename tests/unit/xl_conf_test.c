/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* xl-conf.c: what of xl.conf(5) is read, and what is refused. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "util.h"
#include "xl-conf.h"

static char path[] = "/tmp/xl_conf_test.XXXXXX";
static struct xl_conf conf;
static struct xlsnap_error err;

static int read_text(const char *text)
{
    FILE *file = fopen(path, "w");

    assert_non_null(file);
    fputs(text, file);
    fclose(file);
    xl_conf_clear(&conf);
    memset(&err, 0, sizeof(err));
    return xl_conf_read(path, &conf, &err);
}

static void assert_refused(const char *text, const char *why)
{
    cleanup_free char *expected = xasprintf("%s%s", path, why);

    assert_int_equal(read_text(text), -XLSNAP_INVALID);
    if (strncmp(err.msg, expected, strlen(expected)))
        fail_msg("%s", err.msg);
}

static void without_the_file_all_is_default(void **state)
{
    assert_int_equal(xl_conf_read("/nonexistent/xl.conf", &conf, &err), 0);
    assert_int_equal(conf.autoballoon, XL_AUTOBALLOON_AUTO);
    assert_null(conf.lockfile);
    assert_false(conf.random_domid);
}

static void what_is_not_ours_is_passed_over(void **state)
{
    assert_int_equal(read_text("# autoballoon=\"off\"\n\nvif.default.x=1\n"
                               "vm.cpumask=\"0-3\"\nlist=[1,2]\n"),
                     0);
    assert_int_equal(conf.autoballoon, XL_AUTOBALLOON_AUTO);
    assert_int_equal(read_text(""), 0);
}

static void the_keys_are_read(void **state)
{
    assert_int_equal(read_text("autoballoon=\"off\"\n"), 0);
    assert_int_equal(conf.autoballoon, XL_AUTOBALLOON_OFF);
    assert_int_equal(read_text("autoballoon=0\n"), 0);
    assert_int_equal(conf.autoballoon, XL_AUTOBALLOON_OFF);
    assert_int_equal(read_text("autoballoon=\"auto\"\n"), 0);
    assert_int_equal(conf.autoballoon, XL_AUTOBALLOON_AUTO);
    assert_int_equal(read_text("autoballoon=1\nlockfile=\"/run/x\"\n"
                               "domid_policy=\"random\"\n"),
                     0);
    assert_int_equal(conf.autoballoon, XL_AUTOBALLOON_ON);
    assert_string_equal(conf.lockfile, "/run/x");
    assert_true(conf.random_domid);
    assert_int_equal(read_text("domid_policy='xen'\n"), 0);
    assert_false(conf.random_domid);
}

static void other_values_are_refused(void **state)
{
    assert_refused("autoballoon='yes'\n",
                   ": autoballoon 'yes': must be auto, on or off");
    assert_refused("domid_policy='7'\n",
                   ": domid_policy '7': must be xen or random");
    assert_null(conf.lockfile);
}

static void what_cannot_be_parsed_has_its_line(void **state)
{
    assert_refused("autoballoon='on'\nlockfile=\n",
                   ":2: syntax error at the end of the line");
    assert_int_equal(xl_conf_read("/tmp", &conf, &err), -XLSNAP_INVALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_the_file_all_is_default),
        cmocka_unit_test(what_is_not_ours_is_passed_over),
        cmocka_unit_test(the_keys_are_read),
        cmocka_unit_test(other_values_are_refused),
        cmocka_unit_test(what_cannot_be_parsed_has_its_line),
    };
    int fd = mkstemp(path);
    int failed;

    close(fd);
    failed = cmocka_run_group_tests_name("xl_conf", tests, NULL, NULL);
    xl_conf_clear(&conf);
    unlink(path);
    return failed;
}
