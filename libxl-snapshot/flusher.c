/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Writes dirty pages of the disks' images back in the background: flusher.h. */
#include "flusher.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "op.h"
#include "process.h"
#include "util.h"

#define FLUSH_INTERVAL_S 1

static void __attribute__((noreturn))
flusher_process(const struct op *op, pid_t tool)
{
    int *fds = xcalloc(op->n_disks, sizeof(*fds));

    closefrom(3);
    for (size_t i = 0; i < op->n_disks; i++)
        fds[i] = open(op->disks[i].path, O_RDONLY | O_CLOEXEC);
    if (process_drop_privileges() || prctl(PR_SET_PDEATHSIG, SIGKILL) ||
        getppid() != tool)
        _exit(1);
    for (;;) {
        for (size_t i = 0; i < op->n_disks; i++)
            if (fds[i] >= 0)
                fdatasync(fds[i]);
        sleep(FLUSH_INTERVAL_S);
    }
}

pid_t flusher_start(const struct op *op)
{
    pid_t tool = getpid();
    pid_t pid = op->n_disks ? fork() : 0;

    if (!pid && op->n_disks)
        flusher_process(op, tool);
    return pid > 0 ? pid : 0;
}

void flusher_stop(pid_t pid)
{
    if (pid)
        kill(pid, SIGKILL);
}

void flusher_reap(pid_t pid)
{
    while (pid && waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        ;
}
