/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * run.c with real programs.  The test is a child subreaper, so that what a
 * program leaves behind can be waited for; after every test no child and no
 * descriptor more than before may be left.
 */
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <cmocka.h>

#include "run.h"
#include "util.h"

#define SH(script) ((const char *const[]){ "sh", "-c", script, NULL })

static int fds_before;
static int pipes_until_failure = -1; /* -1: none fails */
static bool fork_fails;

/* These stand before those of libc. */
int pipe2(int fds[2], int flags)
{
    if (pipes_until_failure == 0) {
        errno = EMFILE;
        return -1;
    }
    if (pipes_until_failure > 0)
        pipes_until_failure--;
    return syscall(SYS_pipe2, fds, flags);
}

pid_t fork(void)
{
    if (fork_fails) {
        errno = EAGAIN;
        return -1;
    }
    return syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
}

static int count_fds(void)
{
    DIR *dir = opendir("/proc/self/fd");
    int n = 0;

    assert_non_null(dir);
    while (readdir(dir))
        n++;
    closedir(dir);
    return n;
}

static int setup(void **state)
{
    fds_before = count_fds();
    return 0;
}

static int teardown(void **state)
{
    assert_int_equal(waitpid(-1, NULL, 0), -1);
    assert_int_equal(errno, ECHILD);
    assert_int_equal(count_fds(), fds_before);
    return 0;
}

static void assert_prints(const char *const argv[], const char *expected)
{
    struct xlsnap_error err = { 0 };
    char *out = NULL;

    if (run_output(argv, RUN_TIMEOUT_MS, &out, &err))
        fail_msg("%s", err.msg);
    assert_string_equal(out, expected);
    assert_int_equal(err.code, 0);
    free(out);
}

static void assert_fails(const char *const argv[], int timeout_ms,
                         const char *message)
{
    struct xlsnap_error err = { 0 };
    char *out = NULL;

    assert_int_equal(run_output(argv, timeout_ms, &out, &err), -XLSNAP_FAILED);
    assert_string_equal(err.msg, message);
    assert_int_equal(err.code, XLSNAP_FAILED);
    assert_null(out);
}

static void exit_status_0_is_success(void **state)
{
    struct xlsnap_error err = { 0 };

    assert_int_equal(run_ok(SH("exit 0"), RUN_TIMEOUT_MS, &err), 0);
    assert_int_equal(err.code, 0);
}

static void the_output_is_given_as_it_is(void **state)
{
    assert_prints(SH("printf ' a\\n\\nb '; echo ignored >&2"), " a\n\nb ");
}

static void no_output_is_the_empty_string(void **state)
{
    assert_prints(SH("exit 0"), "");
}

static void a_failure_gives_the_status_and_the_last_line(void **state)
{
    assert_fails(SH("echo out; echo first >&2; echo '  no space ' >&2;"
                    "echo >&2; exit 5"),
                 RUN_TIMEOUT_MS, "'sh' exited with status 5: no space");
}

static void a_silent_failure_gives_the_status(void **state)
{
    struct xlsnap_error err = { 0 };

    assert_int_equal(run_ok(SH("exit 3"), RUN_TIMEOUT_MS, &err),
                     -XLSNAP_FAILED);
    assert_string_equal(err.msg, "'sh' exited with status 3");
}

static void the_last_line_is_found_after_a_flood(void **state)
{
    assert_fails(SH("yes error | head -c 300000 >&2; echo the end >&2; exit 1"),
                 RUN_TIMEOUT_MS, "'sh' exited with status 1: the end");
}

static void a_missing_program_is_told_apart(void **state)
{
    const char *const argv[] = { "no-such-program", NULL };
    struct xlsnap_error err = { 0 };
    int status = -1;

    assert_int_equal(run_status(argv, RUN_TIMEOUT_MS, &status, NULL, &err),
                     -XLSNAP_FAILED);
    assert_string_equal(
        err.msg, "cannot run 'no-such-program': No such file or directory");
    assert_int_equal(err.errnum, ENOENT);
    assert_int_equal(status, -1);
}

static void status_127_is_a_status(void **state)
{
    struct xlsnap_error err = { 0 };
    int status = -1;

    assert_int_equal(
        run_status(SH("exit 127"), RUN_TIMEOUT_MS, &status, NULL, &err), 0);
    assert_int_equal(status, 127);
}

static void run_status_gives_status_and_output(void **state)
{
    struct xlsnap_error err = { 0 };
    char *out = NULL;
    int status = -1;

    assert_int_equal(run_status(SH("echo found; exit 3"), RUN_TIMEOUT_MS,
                                &status, &out, &err),
                     0);
    assert_int_equal(status, 3);
    assert_string_equal(out, "found\n");
    free(out);
}

static void a_directory_is_not_run(void **state)
{
    assert_fails((const char *const[]){ "/", NULL }, RUN_TIMEOUT_MS,
                 "cannot run '/': Permission denied");
}

static void a_file_without_interpreter_goes_to_no_shell(void **state)
{
    char path[] = "/tmp/run_test.XXXXXX";
    const char *const argv[] = { path, NULL };
    struct xlsnap_error err = { 0 };
    int fd = mkstemp(path);

    assert_int_equal(write(fd, "exit 0\n", 7), 7);
    assert_int_equal(fchmod(fd, 0700), 0);
    close(fd);
    assert_int_equal(run_ok(argv, RUN_TIMEOUT_MS, &err), -XLSNAP_FAILED);
    unlink(path);
    assert_int_equal(err.errnum, ENOEXEC);
}

static void only_absolute_elements_of_path_are_searched(void **state)
{
    char file[] = "/tmp/run_test.XXXXXX";
    const char *const argv[] = { file + strlen("/tmp/"), NULL };
    char *path = xstrdup(getenv("PATH")), *cwd = getcwd(NULL, 0);
    struct xlsnap_error err = { 0 };
    int fd = mkstemp(file);

    assert_int_equal(write(fd, "#!/bin/sh\n", 10), 10);
    assert_int_equal(fchmod(fd, 0700), 0);
    close(fd);
    assert_int_equal(chdir("/tmp"), 0);
    setenv("PATH", ":.:../tmp:/nowhere:", 1);
    assert_int_equal(run_ok(argv, RUN_TIMEOUT_MS, &err), -XLSNAP_FAILED);
    assert_int_equal(err.errnum, ENOENT);
    setenv("PATH", ":/nowhere:/tmp", 1);
    assert_int_equal(run_ok(argv, RUN_TIMEOUT_MS, &err), 0);
    setenv("PATH", path, 1);
    assert_int_equal(chdir(cwd), 0);
    unlink(file);
    free(path);
    free(cwd);
}

/* As cron sets it, lvcreate's directory is not in it. */
static void roots_directories_come_after_path(void **state)
{
    const char *const argv[] = { "ldconfig", "-V", NULL };
    char *path = xstrdup(getenv("PATH"));
    struct xlsnap_error err = { 0 };

    setenv("PATH", "/usr/bin:/bin", 1);
    assert_int_equal(run_ok(argv, RUN_TIMEOUT_MS, &err), 0);
    unsetenv("PATH");
    assert_int_equal(run_ok(argv, RUN_TIMEOUT_MS, &err), 0);
    setenv("PATH", path, 1);
    free(path);
}

static void a_signal_is_no_status(void **state)
{
    struct xlsnap_error err = { 0 };
    int status = -1;

    assert_int_equal(
        run_status(SH("kill -9 $$"), RUN_TIMEOUT_MS, &status, NULL, &err),
        -XLSNAP_FAILED);
    assert_string_equal(err.msg, "'sh' was killed by signal 9");
    assert_int_equal(status, -1);
}

static void a_time_out_kills_the_whole_group(void **state)
{
    struct xlsnap_error err = { 0 };
    int64_t start = now_ms();
    int status = 0;

    /* Two processes: the shell is reaped by run, its child by us. */
    assert_int_equal(
        run_ok(SH("sleep 100 & echo waiting >&2; wait"), 200, &err),
        -XLSNAP_FAILED);
    assert_string_equal(err.msg, "'sh' did not finish within 0.2 s: waiting");
    assert_true(waitpid(-1, &status, 0) > 0);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    assert_in_range(now_ms() - start, 200, 20000);
}

static void a_daemon_that_keeps_the_pipes_does_not_hang_us(void **state)
{
    struct xlsnap_error err = { 0 };
    int64_t start = now_ms();
    char *out = NULL;
    pid_t daemon_pid;

    assert_int_equal(
        run_output(SH("sleep 100 & echo $!"), RUN_TIMEOUT_MS, &out, &err), 0);
    assert_in_range(now_ms() - start, 0, 20000);
    daemon_pid = atoi(out);
    free(out);
    assert_int_equal(waitpid(daemon_pid, NULL, WNOHANG), 0); /* lives */
    kill(daemon_pid, SIGKILL);
    assert_int_equal(waitpid(daemon_pid, NULL, 0), daemon_pid);
}

static void a_daemon_that_floods_the_pipes_does_not_hang_us(void **state)
{
    struct xlsnap_error err = { 0 };
    int64_t start = now_ms();

    assert_int_equal(run_ok(SH("yes & yes >&2 & exit 0"), RUN_TIMEOUT_MS, &err),
                     0);
    assert_in_range(now_ms() - start, 0, 20000);
    assert_true(waitpid(-1, NULL, 0) > 0); /* of SIGPIPE */
    assert_true(waitpid(-1, NULL, 0) > 0);
}

static void stdin_is_empty(void **state)
{
    assert_prints(SH("cat; readlink /proc/self/fd/0"), "/dev/null\n");
}

static void the_locale_is_c(void **state)
{
    const char *const argv[] = { "env", NULL };
    struct xlsnap_error err = { 0 };
    char *out = NULL, *locale;

    setenv("LC_ALL", "de_DE.UTF-8", 1);
    assert_int_equal(run_output(argv, RUN_TIMEOUT_MS, &out, &err), 0);
    unsetenv("LC_ALL");
    locale = strstr(out, "LC_ALL=");
    assert_non_null(locale);
    assert_int_equal(strncmp(locale, "LC_ALL=C\n", 9), 0);
    assert_null(strstr(locale + 1, "LC_ALL=")); /* only once */
    free(out);
}

static void no_other_descriptor_is_inherited(void **state)
{
    int fd = open("/dev/null", O_RDONLY);

    assert_int_equal(dup2(fd, 77), 77); /* without CLOEXEC */
    assert_prints(SH("for fd in 3 4 5 6 7 8 9 10 77; do"
                     "  test ! -e /proc/$$/fd/$fd || echo $fd;"
                     "done"),
                  "");
    close(77);
    close(fd);
}

static void closed_standard_descriptors_do_no_harm(void **state)
{
    int saved[3], fd;

    for (fd = 0; fd < 3; fd++) {
        saved[fd] = fcntl(fd, F_DUPFD_CLOEXEC, 10);
        close(fd);
    }
    assert_prints(SH("echo out; cat; echo err >&2"), "out\n");
    for (fd = 0; fd < 3; fd++) {
        dup2(saved[fd], fd);
        close(saved[fd]);
    }
}

static void signals_are_reset(void **state)
{
    sigset_t all, old;

    signal(SIGPIPE, SIG_IGN);
    signal(SIGHUP, SIG_IGN);
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, &old);
    /* Signals 32 and 33 are glibc's own and cannot be set by anyone else. */
    assert_prints(SH("while read -r key value; do"
                     "    case $key in SigBlk:|SigIgn:)"
                     "        echo $key $((0x$value & ~0x180000000));;"
                     "    esac;"
                     "done < /proc/self/status"),
                  "SigBlk: 0\nSigIgn: 0\n");
    sigprocmask(SIG_SETMASK, &old, NULL);
    signal(SIGPIPE, SIG_DFL);
    signal(SIGHUP, SIG_DFL);
}

static void the_callers_mask_is_restored(void **state)
{
    struct xlsnap_error err = { 0 };
    sigset_t mask;

    assert_int_equal(run_ok(SH("exit 0"), RUN_TIMEOUT_MS, &err), 0);
    sigprocmask(SIG_SETMASK, NULL, &mask);
    assert_false(sigismember(&mask, SIGTERM));
}

static void the_child_leads_its_own_group(void **state)
{
    assert_prints(SH("read -r stat < /proc/$$/stat; set -- $stat;"
                     "test $1 = $5 && echo yes"),
                  "yes\n");
}

static void floods_on_both_pipes_are_drained(void **state)
{
    struct xlsnap_error err = { 0 };
    char *out = NULL;

    assert_int_equal(run_output(SH("head -c 3000000 /dev/zero >&2;"
                                   "yes | head -c 3000000;"
                                   "head -c 3000000 /dev/zero >&2"),
                                RUN_TIMEOUT_MS, &out, &err),
                     0);
    assert_int_equal(strlen(out), 3000000);
    free(out);
}

static void endless_output_is_a_failure(void **state)
{
    assert_fails((const char *const[]){ "yes", NULL }, RUN_TIMEOUT_MS,
                 "'yes' wrote more than 16 MiB of output");
}

static void the_most_output_is_given(void **state)
{
    struct xlsnap_error err = { 0 };
    char *out = NULL;

    assert_int_equal(
        run_output(SH("yes | head -c 16777216"), RUN_TIMEOUT_MS, &out, &err),
        0);
    assert_int_equal(strlen(out), RUN_OUTPUT_MAX);
    free(out);
}

static void output_thrown_away_may_be_long(void **state)
{
    struct xlsnap_error err = { 0 };

    assert_int_equal(
        run_ok(SH("head -c 17000000 /dev/zero"), RUN_TIMEOUT_MS, &err), 0);
}

static volatile sig_atomic_t alarms;

static void on_alarm(int sig)
{
    alarms++;
}

static void interrupting_signals_do_no_harm(void **state)
{
    struct sigaction sa = { .sa_handler = on_alarm }; /* no SA_RESTART */
    struct itimerval often = { { 0, 3000 }, { 0, 3000 } };
    struct itimerval never = { 0 };

    alarms = 0;
    sigaction(SIGALRM, &sa, NULL);
    setitimer(ITIMER_REAL, &often, NULL);
    assert_prints(SH("sleep 0.3; echo done"), "done\n");
    setitimer(ITIMER_REAL, &never, NULL);
    signal(SIGALRM, SIG_DFL);
    assert_true(alarms > 10);
}

static void an_ignored_sigchld_is_no_success(void **state)
{
    struct xlsnap_error err = { 0 };

    signal(SIGCHLD, SIG_IGN);
    assert_int_equal(run_ok(SH("exit 0"), RUN_TIMEOUT_MS, &err),
                     -XLSNAP_FAILED);
    signal(SIGCHLD, SIG_DFL);
    assert_string_equal(
        err.msg, "cannot get the exit status of 'sh': No child processes");
}

static void running_out_of_descriptors_is_a_failure(void **state)
{
    struct xlsnap_error err = { 0 };

    pipes_until_failure = 1;
    assert_int_equal(run_ok(SH("exit 0"), RUN_TIMEOUT_MS, &err),
                     -XLSNAP_FAILED);
    pipes_until_failure = -1;
    assert_string_equal(err.msg, "cannot run 'sh': Too many open files");
}

static void a_failing_fork_is_a_failure(void **state)
{
    struct xlsnap_error err = { 0 };

    fork_fails = true;
    assert_int_equal(run_ok(SH("exit 0"), RUN_TIMEOUT_MS, &err),
                     -XLSNAP_FAILED);
    fork_fails = false;
    assert_string_equal(err.msg,
                        "cannot run 'sh': Resource temporarily unavailable");
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(exit_status_0_is_success),
        TEST(the_output_is_given_as_it_is),
        TEST(no_output_is_the_empty_string),
        TEST(a_failure_gives_the_status_and_the_last_line),
        TEST(a_silent_failure_gives_the_status),
        TEST(the_last_line_is_found_after_a_flood),
        TEST(a_missing_program_is_told_apart),
        TEST(status_127_is_a_status),
        TEST(run_status_gives_status_and_output),
        TEST(a_directory_is_not_run),
        TEST(a_file_without_interpreter_goes_to_no_shell),
        TEST(only_absolute_elements_of_path_are_searched),
        TEST(roots_directories_come_after_path),
        TEST(a_signal_is_no_status),
        TEST(a_time_out_kills_the_whole_group),
        TEST(a_daemon_that_keeps_the_pipes_does_not_hang_us),
        TEST(a_daemon_that_floods_the_pipes_does_not_hang_us),
        TEST(stdin_is_empty),
        TEST(the_locale_is_c),
        TEST(no_other_descriptor_is_inherited),
        TEST(closed_standard_descriptors_do_no_harm),
        TEST(signals_are_reset),
        TEST(the_callers_mask_is_restored),
        TEST(the_child_leads_its_own_group),
        TEST(floods_on_both_pipes_are_drained),
        TEST(endless_output_is_a_failure),
        TEST(the_most_output_is_given),
        TEST(output_thrown_away_may_be_long),
        TEST(interrupting_signals_do_no_harm),
        TEST(an_ignored_sigchld_is_no_success),
        TEST(running_out_of_descriptors_is_a_failure),
        TEST(a_failing_fork_is_a_failure),
    };

    setenv("PATH", "/usr/sbin:/usr/bin:/sbin:/bin", 1);
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    return cmocka_run_group_tests_name("run", tests, NULL, NULL);
}
