/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * External programs; run.h has the rules.
 *
 * One struct run is one child from fork to reaping.  Between fork and exec the
 * child makes system calls only: what needs memory (environment, the paths to
 * try) is made before, because the caller may have threads.  PATH is searched
 * here and not by execvp, which hands a file without "#!" to /bin/sh.
 *
 * The parent waits on a pidfd, never for end of file and never with a SIGCHLD
 * handler: those belong to the caller and to libxl.
 */
#include "run.h"

#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "pulse.h"
#include "util.h"

#define PATH_OF_ROOT                                     \
    "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:" \
    "/sbin:/bin"
#define STDERR_KEPT 4096
#define TICK_MS 20 /* where there is no pidfd: valgrind, Linux before 5.3 */
#define PULSE_MS 20000
#define KILLED_MS 10000
#define PIPE_MAX (1 << 20) /* fs.pipe-max-size: what a pipe holds at most */

/* A closed exec pipe means that the program runs, an int in it is errno. */
enum { PIPE_OUT, PIPE_ERR, PIPE_EXEC, N_PIPES };

struct run {
    const char *name;
    int timeout_ms;
    int64_t deadline;
    pid_t pid;
    int pidfd;
    int ours[N_PIPES];   /* read ends; -1 after end of file */
    int theirs[N_PIPES]; /* write ends; -1 in the parent after fork */
    int exec_errno;      /* 0: the program was executed */
    bool keep_out;
    bool too_much; /* more than RUN_OUTPUT_MAX on stdout */
    char *out;
    size_t out_len, out_size;
    char err_tail[STDERR_KEPT + 1];
    size_t err_len;
};

static void run_init(struct run *run, const char *const argv[], int timeout_ms,
                     bool keep_out)
{
    size_t i;

    memset(run, 0, sizeof(*run));
    run->name = argv[0];
    run->timeout_ms = timeout_ms;
    run->deadline = now_ms() + timeout_ms;
    run->pid = run->pidfd = -1;
    run->keep_out = keep_out;
    for (i = 0; i < N_PIPES; i++)
        run->ours[i] = run->theirs[i] = -1;
}

static void run_close(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

static void run_close_all(int fds[N_PIPES])
{
    size_t i;

    for (i = 0; i < N_PIPES; i++)
        run_close(&fds[i]);
}

/* Makes *fd a descriptor that dup2 to 0, 1 and 2 cannot overwrite. */
static int run_move_above_stderr(int *fd)
{
    int high;

    if (*fd > STDERR_FILENO)
        return 0;
    high = fcntl(*fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
    if (high < 0)
        return -1;
    close(*fd);
    *fd = high;
    return 0;
}

static int run_open_pipes(struct run *run)
{
    int ends[2];
    size_t i;

    for (i = 0; i < N_PIPES; i++) {
        if (pipe2(ends, O_CLOEXEC))
            return -1;
        run->ours[i] = ends[0];
        run->theirs[i] = ends[1];
        if (run_move_above_stderr(&run->ours[i]) ||
            run_move_above_stderr(&run->theirs[i]) ||
            fcntl(run->ours[i], F_SETFL, O_NONBLOCK))
            return -1;
    }
    return 0;
}

static void run_free_strings(char **strings)
{
    size_t i;

    for (i = 0; strings[i]; i++)
        free(strings[i]);
    free(strings);
}

/*
 * The files to try for argv[0], in order; of PATH only what is absolute, for the
 * current directory may be anybody's.  cron's PATH lacks the directories of what root
 * alone runs: they come last.
 */
static char **run_candidates(const char *program)
{
    const char *set = getenv("PATH"), *dir, *end;
    cleanup_free char *path = xasprintf("%s:%s", set ? set : "", PATH_OF_ROOT);
    char **list = xcalloc(2, sizeof(*list));
    size_t n = 0;

    if (strchr(program, '/')) {
        list[0] = xstrdup(program);
        return list;
    }
    for (dir = path; *dir; dir = *end ? end + 1 : end) {
        end = strchrnul(dir, ':');
        if (*dir != '/')
            continue;
        list = xrealloc(list, n + 2, sizeof(*list));
        list[n++] = xasprintf("%.*s/%s", (int)(end - dir), dir, program);
        list[n] = NULL;
    }
    return list;
}

static char **run_environment(void)
{
    size_t i, n = 0, count = 0;
    char **env;

    while (environ && environ[count])
        count++;
    env = xcalloc(count + 2, sizeof(*env));
    for (i = 0; i < count; i++)
        if (strncmp(environ[i], "LC_ALL=", 7))
            env[n++] = xstrdup(environ[i]);
    env[n] = xstrdup("LC_ALL=C");
    return env;
}

/* In the child: as if the caller had never touched a signal. */
static void run_child_reset_signals(void)
{
    struct sigaction sa = { .sa_handler = SIG_DFL };
    sigset_t none;
    int sig;

    for (sig = 1; sig < _NSIG; sig++)
        sigaction(sig, &sa, NULL);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

/* In the child: stdin, stdout, stderr, and at exec nothing above. */
static int run_child_set_descriptors(const int theirs[N_PIPES])
{
    int null = open("/dev/null", O_RDONLY);
    struct rlimit limit;
    rlim_t fd;

    if (null < 0 || dup2(null, STDIN_FILENO) < 0 ||
        dup2(theirs[PIPE_OUT], STDOUT_FILENO) < 0 ||
        dup2(theirs[PIPE_ERR], STDERR_FILENO) < 0)
        return -1;
    if (!syscall(SYS_close_range, 3U, ~0U, 1U << 2 /* CLOEXEC */))
        return 0;
    /* Linux before 5.11 */
    if (getrlimit(RLIMIT_NOFILE, &limit))
        return -1;
    for (fd = 3; fd < limit.rlim_cur && fd < INT_MAX; fd++)
        fcntl((int)fd, F_SETFD, FD_CLOEXEC);
    return 0;
}

static void __attribute__((noreturn))
run_child(const int theirs[N_PIPES], char **candidates,
          const char *const argv[], char **env)
{
    int failure = ENOENT;
    ssize_t ignored;
    size_t i;

    setpgid(0, 0);
    run_child_reset_signals();
    if (run_child_set_descriptors(theirs)) {
        failure = errno;
        candidates[0] = NULL;
    }
    for (i = 0; candidates[i]; i++) {
        execve(candidates[i], (char *const *)argv, env);
        if (errno != ENOENT && errno != ENOTDIR)
            failure = errno;
    }
    ignored = write(theirs[PIPE_EXEC], &failure, sizeof(failure));
    (void)ignored;
    _exit(127);
}

/*
 * Signals stay blocked over fork: a handler of the caller that ran in the
 * child would write into the caller's self-pipe.
 */
static int run_fork(struct run *run, const char *const argv[])
{
    char **candidates = run_candidates(argv[0]);
    char **env = run_environment();
    sigset_t all, old;
    int saved;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    run->pid = fork();
    if (run->pid == 0)
        run_child(run->theirs, candidates, argv, env);
    saved = errno;
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    run_free_strings(candidates);
    run_free_strings(env);
    errno = saved;
    if (run->pid < 0)
        return -1;
    setpgid(run->pid, run->pid); /* whoever is first; the other one fails */
    run->pidfd = syscall(SYS_pidfd_open, run->pid, 0);
    /* ESRCH: the caller ignores SIGCHLD; run_reap will find that out. */
    return run->pidfd < 0 && errno != ENOSYS && errno != ESRCH ? -1 : 0;
}

static void run_keep_out(struct run *run, const char *data, size_t n)
{
    if (!run->keep_out || run->too_much)
        return;
    if (run->out_len + n > RUN_OUTPUT_MAX) {
        run->too_much = true;
        return;
    }
    if (run->out_len + n + 1 > run->out_size) {
        run->out_size = 2 * (run->out_len + n + 1);
        run->out = xrealloc(run->out, run->out_size, 1);
    }
    memcpy(run->out + run->out_len, data, n);
    run->out_len += n;
}

/* Of stderr the end is kept: that is where the reason stands. */
static void run_keep_err(struct run *run, const char *data, size_t n)
{
    size_t drop;

    if (n > STDERR_KEPT) {
        data += n - STDERR_KEPT;
        n = STDERR_KEPT;
    }
    drop = run->err_len + n > STDERR_KEPT ? run->err_len + n - STDERR_KEPT : 0;
    memmove(run->err_tail, run->err_tail + drop, run->err_len - drop);
    memcpy(run->err_tail + run->err_len - drop, data, n);
    run->err_len += n - drop;
    run->err_tail[run->err_len] = '\0';
}

static void run_keep(struct run *run, size_t which, const char *data, size_t n)
{
    if (which == PIPE_OUT)
        run_keep_out(run, data, n);
    else if (which == PIPE_ERR)
        run_keep_err(run, data, n);
    else if (n == sizeof(run->exec_errno))
        memcpy(&run->exec_errno, data, n);
}

/*
 * Takes what a pipe holds now, without waiting.  No more than a pipe can hold:
 * a daemon that keeps writing shall not keep us.
 */
static void run_drain(struct run *run, size_t which)
{
    char buf[65536];
    size_t total = 0;
    ssize_t n;

    while (run->ours[which] >= 0 && total < PIPE_MAX) {
        n = read(run->ours[which], buf, sizeof(buf));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            return;
        if (n <= 0) {
            run_close(&run->ours[which]);
            return;
        }
        run_keep(run, which, buf, n);
        total += n;
    }
}

/* Dead, but not reaped. */
static bool run_is_over(const struct run *run)
{
    siginfo_t info = { 0 };

    return waitid(P_PID, run->pid, &info, WEXITED | WNOHANG | WNOWAIT) ||
           info.si_pid;
}

/* Until the child is dead or shall be: then true. */
static bool run_watch(struct run *run)
{
    struct pollfd fds[N_PIPES + 1];
    int64_t left;
    size_t i;

    for (;;) {
        left = run->deadline - now_ms();
        if (left <= 0)
            return true;
        for (i = 0; i < N_PIPES; i++)
            fds[i] = (struct pollfd){ .fd = run->ours[i], .events = POLLIN };
        fds[i] = (struct pollfd){ .fd = run->pidfd, .events = POLLIN };
        if (run->pidfd < 0 && left > TICK_MS)
            left = TICK_MS;
        /* It has a limit of its own. */
        pulse();
        if (left > PULSE_MS)
            left = PULSE_MS;
        if (poll(fds, ARRAY_SIZE(fds), left) < 0)
            continue; /* EINTR; ENOMEM passes or the time does */
        for (i = 0; i < N_PIPES; i++)
            if (fds[i].revents)
                run_drain(run, i);
        if (run->too_much)
            return true;
        if (run_is_over(run))
            return false;
    }
}

/* Has it ended, within some time?  One that sleeps in the kernel may not, even
 * after SIGKILL; whoever waits has a guest that waits for him. */
static bool run_has_ended(struct run *run)
{
    int64_t deadline = now_ms() + KILLED_MS;
    siginfo_t info = { 0 };

    while (!waitid(P_PID, run->pid, &info, WEXITED | WNOHANG | WNOWAIT) &&
           !info.si_pid) {
        if (now_ms() >= deadline)
            return false;
        usleep(20000);
    }
    return true;
}

/* -1 if the caller ignores SIGCHLD: the kernel then keeps no status. */
static int run_reap(struct run *run, siginfo_t *info_r)
{
    int r;

    do
        r = waitid(P_PID, run->pid, info_r, WEXITED);
    while (r && errno == EINTR);
    return r;
}

/* The last line that is not blank, trimmed; NULL if there is none. */
static const char *run_last_line(char *text)
{
    size_t len = strlen(text);
    char *line;

    while (len > 0 && strchr(" \t\r\n", text[len - 1]))
        text[--len] = '\0';
    line = strrchr(text, '\n');
    line = line ? line + 1 : text;
    line += strspn(line, " \t\r");
    return *line ? line : NULL;
}

static int run_fail_reason(struct run *run, const char *what,
                           struct xlsnap_error *err)
{
    const char *line = run_last_line(run->err_tail);

    return xlsnap_fail(err, XLSNAP_FAILED, "'%s' %s%s%s", run->name, what,
                       line ? ": " : "", line ? line : "");
}

static int run_judge(struct run *run, bool killed, const siginfo_t *info,
                     int *status_r, struct xlsnap_error *err)
{
    char what[80];

    if (run->exec_errno)
        return xlsnap_fail_errno(err, XLSNAP_FAILED, run->exec_errno,
                                 "cannot run '%s'", run->name);
    if (run->too_much)
        snprintf(what, sizeof(what), "wrote more than %d MiB of output",
                 RUN_OUTPUT_MAX >> 20);
    else if (killed)
        snprintf(what, sizeof(what), "did not finish within %g s",
                 run->timeout_ms / 1000.0);
    else if (info->si_code != CLD_EXITED)
        snprintf(what, sizeof(what), "was killed by signal %d",
                 info->si_status);
    else if (info->si_status && !status_r)
        snprintf(what, sizeof(what), "exited with status %d", info->si_status);
    else {
        if (status_r)
            *status_r = info->si_status;
        return 0;
    }
    return run_fail_reason(run, what, err);
}

/* Sees the child to its end, whatever that is. */
static int run_finish(struct run *run, int *status_r, struct xlsnap_error *err)
{
    siginfo_t info = { 0 };
    bool killed = run_watch(run);
    size_t i;
    int rc;

    if (killed)
        kill(-run->pid, SIGKILL); /* not reaped: the number is still its own */
    if (killed && !run_has_ended(run)) {
        rc = xlsnap_fail(err, XLSNAP_FAILED,
                         "'%s' (pid %d) did not finish within %g s and cannot "
                         "be killed: it hangs in the kernel",
                         run->name, (int)run->pid, run->timeout_ms / 1000.0);
        err->errnum = ETIMEDOUT;
        return rc;
    }
    if (run_reap(run, &info))
        return xlsnap_fail_errno(err, XLSNAP_FAILED, errno,
                                 "cannot get the exit status of '%s'",
                                 run->name);
    for (i = 0; i < N_PIPES; i++)
        run_drain(run, i);
    rc = run_judge(run, killed, &info, status_r, err);
    if (rc && killed)
        err->errnum = ETIMEDOUT;
    return rc;
}

static int run_start(struct run *run, const char *const argv[],
                     struct xlsnap_error *err)
{
    siginfo_t info;
    int errnum;

    if (!run_open_pipes(run) && !run_fork(run, argv)) {
        run_close_all(run->theirs);
        return 0;
    }
    errnum = errno;
    if (run->pid > 0) { /* no pidfd */
        kill(-run->pid, SIGKILL);
        run_reap(run, &info);
    }
    return xlsnap_fail_errno(err, XLSNAP_FAILED, errnum, "cannot run '%s'",
                             run->name);
}

static int run_program(const char *const argv[], int timeout_ms, int *status_r,
                       char **out_r, struct xlsnap_error *err)
{
    struct run run;
    int rc;

    run_init(&run, argv, timeout_ms, out_r != NULL);
    rc = run_start(&run, argv, err);
    if (!rc)
        rc = run_finish(&run, status_r, err);
    run_close_all(run.ours);
    run_close_all(run.theirs);
    run_close(&run.pidfd);
    if (rc || !out_r) {
        free(run.out);
        return rc;
    }
    *out_r = xrealloc(run.out, run.out_len + 1, 1);
    (*out_r)[run.out_len] = '\0';
    return 0;
}

int run_ok(const char *const argv[], int timeout_ms, struct xlsnap_error *err)
{
    return run_program(argv, timeout_ms, NULL, NULL, err);
}

int run_output(const char *const argv[], int timeout_ms, char **out_r,
               struct xlsnap_error *err)
{
    return run_program(argv, timeout_ms, NULL, out_r, err);
}

int run_status(const char *const argv[], int timeout_ms, int *status_r,
               char **out_r, struct xlsnap_error *err)
{
    return run_program(argv, timeout_ms, status_r, out_r, err);
}
