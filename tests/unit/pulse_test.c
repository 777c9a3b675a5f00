/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* pulse.c: what a process and its children do is seen through the descriptor. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <sys/wait.h>
#include <unistd.h>

#include "pulse.h"

static void nobody_watches(void **state)
{
    pulse();
}

static void what_is_done_is_seen(void **state)
{
    int fd = pulse_share();
    const unsigned *watched = pulse_watch(fd);
    unsigned before;

    assert_true(fd >= 0);
    assert_int_equal(pulse_share(), fd);
    assert_non_null(watched);
    before = pulse_count(watched);
    assert_int_equal(pulse_count(watched), before);
    pulse();
    pulse();
    assert_int_equal(pulse_count(watched), before + 2);
}

static void what_a_child_does_is_seen(void **state)
{
    const unsigned *watched = pulse_watch(pulse_share());
    unsigned before = pulse_count(watched);
    pid_t child = fork();

    if (!child) {
        closefrom(3);
        pulse();
        _exit(0);
    }
    assert_int_equal(waitpid(child, NULL, 0), child);
    assert_int_equal(pulse_count(watched), before + 1);
}

static void what_is_no_such_memory_is_not_watched(void **state)
{
    assert_null(pulse_watch(-1));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nobody_watches),
        cmocka_unit_test(what_is_done_is_seen),
        cmocka_unit_test(what_a_child_does_is_seen),
        cmocka_unit_test(what_is_no_such_memory_is_not_watched),
    };

    return cmocka_run_group_tests_name("pulse", tests, NULL, NULL);
}
