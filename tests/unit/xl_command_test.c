/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* xl-command.c: which domain an "xl create" makes. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <unistd.h>

#include "util.h"
#include "xl-command.h"

static time_t started;
static char dir[] = "/tmp/xl_command_test.XXXXXX";

static void write_file(const char *name, const char *text)
{
    FILE *file = fopen(name, "w");

    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

/* The arguments from the command's name on, each ended by a newline here. */
static void assert_creates(const char *arguments, const char *domain)
{
    struct xl_command command = { .text = xstrdup(arguments),
                                  .len = strlen(arguments) };
    cleanup_free char *name = NULL;

    for (char *p = command.text; (p = strchr(p, '\n'));)
        *p++ = '\0';
    command.name = command.text;
    name = xl_command_creates("self", &command, started);
    xl_command_clear(&command);
    if (domain)
        assert_string_equal(name, domain);
    else
        assert_null(name);
}

static void the_file_has_the_name(void **state)
{
    cleanup_free char *absolute = xasprintf("create\n-F\n%s/web.cfg\n", dir);

    assert_creates(absolute, "web");
    assert_creates("create\nweb.cfg\n-F\n", "web");
    assert_creates("cr\n-Fq\nweb.cfg\n", "web");
}

static void an_option_names_the_file(void **state)
{
    assert_creates("create\n-F\n-f\nweb.cfg\n", "web");
    assert_creates("create\n-Ff\nweb.cfg\n", "web");
    assert_creates("create\n-fweb.cfg\n", "web");
    assert_creates("create\n--defconfig\nweb.cfg\n-F\n", "web");
    assert_creates("create\n--defconfig=web.cfg\n", "web");
    assert_creates("create\n-f\n", NULL);
}

static void arguments_come_after_the_file(void **state)
{
    assert_creates("create\nweb.cfg\nname=\"other\"\n", "other");
    assert_creates("create\n/dev/null\nname='x'\nmemory=64\n", "x");
    assert_creates("create\nweb.cfg\nmemory=64\n", "web");
}

static void what_cannot_be_known_is_not_guessed(void **state)
{
    assert_creates("create\n", NULL);
    assert_creates("create\nabsent.cfg\n", NULL);
    assert_creates("create\nnameless.cfg\n", NULL);
    assert_creates("create\nbroken.cfg\n", NULL);
    assert_creates("create\n.\n", NULL);
    assert_creates("restore\nweb.cfg\nimage\n", NULL);
    assert_creates("migrate-receive\n", NULL);
}

/* Of this process: no command of xl's. */
static void another_programs_arguments_are_no_command(void **state)
{
    struct xl_command command = { 0 };

    assert_false(xl_command_makes_domain("self", &command));
    xl_command_clear(&command);
    assert_false(xl_command_makes_domain("0", &command));
    xl_command_clear(&command);
}

static void a_file_that_was_written_since_says_nothing(void **state)
{
    started -= 10;
    assert_creates("create\nweb.cfg\n", NULL);
    assert_creates("create\n/dev/null\nname=\"web\"\n", "web");
    started += 10;
}

static int make_files(void **state)
{
    started = time(NULL) + 1;
    if (!mkdtemp(dir) || chdir(dir))
        return -1;
    write_file("web.cfg", "name = \"web\"\nmemory = 128\n");
    write_file("nameless.cfg", "memory = 128\n");
    write_file("broken.cfg", "name = \"web\n");
    return 0;
}

static int remove_files(void **state)
{
    unlink("web.cfg");
    unlink("nameless.cfg");
    unlink("broken.cfg");
    return chdir("/") || rmdir(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_file_has_the_name),
        cmocka_unit_test(an_option_names_the_file),
        cmocka_unit_test(arguments_come_after_the_file),
        cmocka_unit_test(what_cannot_be_known_is_not_guessed),
        cmocka_unit_test(a_file_that_was_written_since_says_nothing),
        cmocka_unit_test(another_programs_arguments_are_no_command),
    };

    return cmocka_run_group_tests_name("xl command", tests, make_files,
                                       remove_files);
}
