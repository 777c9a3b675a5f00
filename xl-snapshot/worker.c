/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The split into a process for the terminal and one for the work: worker.h.
 *
 * Signals are caught, never blocked or ignored, in the worker: libxl's helper
 * would inherit that and could not be ended by libxl_ao_abort.
 */
#include "worker.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/wait.h>

#include "util.h"

/* Where this process's handler writes its word. */
static int cancel_write_fd = -1;

static void on_signal(int sig)
{
    int saved = errno;
    ssize_t ignored = write(cancel_write_fd, "", 1);

    (void)ignored;
    errno = saved;
}

static void catch_signals(int write_fd)
{
    const int signals[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT };
    struct sigaction action = { .sa_handler = on_signal,
                                .sa_flags = SA_RESTART };

    cancel_write_fd = write_fd;
    for (size_t i = 0; i < ARRAY_SIZE(signals); i++) {
        struct sigaction old;

        /* nohup has SIGHUP ignored, a shell's background job SIGINT */
        if (!sigaction(signals[i], NULL, &old) && old.sa_handler != SIG_IGN)
            sigaction(signals[i], &action, NULL);
    }
}

static void __attribute__((noreturn)) wait_for_worker(pid_t pid)
{
    int status;
    pid_t r;

    do
        r = waitpid(pid, &status, 0);
    while (r < 0 && errno == EINTR);
    if (r < 0)
        _exit(XLSNAP_UNFINISHED);
    if (WIFEXITED(status))
        _exit(WEXITSTATUS(status));
    fprintf(stderr,
            "xl-snapshot: killed by signal %d in the middle; run 'xl "
            "snapshot-recover'\n",
            WTERMSIG(status));
    _exit(XLSNAP_UNFINISHED);
}

/* One descriptor that is readable when either is. */
static int join_fds(int a, int b)
{
    int epfd = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event event = { .events = EPOLLIN };

    if (epfd >= 0 && (epoll_ctl(epfd, EPOLL_CTL_ADD, a, &event) ||
                      epoll_ctl(epfd, EPOLL_CTL_ADD, b, &event))) {
        close(epfd);
        return -1;
    }
    return epfd;
}

int worker_start(int *cancel_fd_r, struct xlsnap_error *err)
{
    int parent[2], own[2];
    pid_t pid;

    if (pipe2(parent, O_CLOEXEC | O_NONBLOCK) ||
        pipe2(own, O_CLOEXEC | O_NONBLOCK))
        return xlsnap_fail_errno(err, XLSNAP_FAILED, errno,
                                 "cannot make a pipe");
    *cancel_fd_r = join_fds(parent[0], own[0]);
    if (*cancel_fd_r < 0)
        return xlsnap_fail_errno(err, XLSNAP_FAILED, errno,
                                 "cannot make an epoll descriptor");
    fflush(NULL);
    signal(SIGCHLD, SIG_DFL); /* ignored by some callers: no status then */
    catch_signals(parent[1]);
    pid = fork();
    if (pid < 0)
        return xlsnap_fail_errno(err, XLSNAP_FAILED, errno,
                                 "cannot start the worker process");
    if (pid)
        wait_for_worker(pid);
    cancel_write_fd = own[1];
    close(parent[1]); /* so that the first one's end is seen */
    setsid();
    return 0;
}
