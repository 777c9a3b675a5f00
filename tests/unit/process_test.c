/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* process.c: whose processes are looked at. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <cmocka.h>

#include "process.h"
#include "util.h"

#define UID 4711

static bool is_it(const char *pid, void *arg)
{
    return atoi(pid) == *(pid_t *)arg;
}

/* A process that waits, of that user, with or without its own /proc files. */
static pid_t start(uid_t uid, bool dumpable)
{
    int ready[2];
    char c;
    pid_t pid;

    assert_int_equal(pipe(ready), 0);
    pid = fork();
    if (!pid) {
        if (setresuid(uid, uid, uid) ||
            prctl(PR_SET_DUMPABLE, dumpable, 0, 0, 0))
            _exit(1);
        close(ready[1]);
        pause();
        _exit(0);
    }
    close(ready[1]);
    assert_int_equal(read(ready[0], &c, 1), 0);
    close(ready[0]);
    return pid;
}

static void end(pid_t pid)
{
    assert_int_equal(kill(pid, SIGKILL), 0);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
}

static void a_process_of_ours_is_found(void **state)
{
    pid_t pid = start(geteuid(), true);

    assert_int_equal(process_find(is_it, &pid), pid);
    end(pid);
    assert_int_equal(process_find(is_it, &pid), 0);
}

/* He can give it the arguments of any of ours. */
static void a_process_of_somebody_else_is_not(void **state)
{
    for (int dumpable = 0; dumpable < 2; dumpable++) {
        pid_t pid = start(UID, dumpable);

        assert_int_equal(process_find(is_it, &pid), 0);
        end(pid);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_process_of_ours_is_found),
        cmocka_unit_test(a_process_of_somebody_else_is_not),
    };

    return cmocka_run_group_tests_name("process", tests, NULL, NULL);
}
