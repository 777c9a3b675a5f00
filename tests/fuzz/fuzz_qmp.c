/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Fuzz target: what a QEMU says.
 *
 * The bytes are all that the other side of the socket ever sends, then it hangs up.
 * Each command either has a reply or fails with a message of one line, in bounded
 * time; after garbage or a hang-up no command is sent any more.
 */
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <signal.h>

#include "fuzzing.h"

#include "file.h"
#include "qmp.h"
#include "util.h"

#define LIMIT_MS 2000

static char dir[] = "/tmp/fuzz_qmp.XXXXXX";
static struct sockaddr_un addr = { .sun_family = AF_UNIX };
static int listener = -1;

static void remove_dir(void)
{
    unlink(addr.sun_path);
    rmdir(dir);
}

static const char *listen_once(void)
{
    if (listener >= 0)
        return addr.sun_path;
    if (!mkdtemp(dir) || atexit(remove_dir))
        abort();
    snprintf(addr.sun_path, sizeof(addr.sun_path), "%s/monitor", dir);
    listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (listener < 0 ||
        bind(listener, (struct sockaddr *)&addr, sizeof(addr)) ||
        listen(listener, 1))
        abort();
    return addr.sun_path;
}

/* In the background: both sides write before they read. */
static pid_t serve(const uint8_t *data, size_t size)
{
    pid_t pid = fork();
    char drop[4096];
    int fd;

    if (pid)
        return pid;
    signal(SIGPIPE, SIG_DFL);
    fd = accept(listener, NULL, NULL);
    file_write_all(fd, data, size);
    shutdown(fd, SHUT_WR);
    while (read(fd, drop, sizeof(drop)) > 0)
        ;
    _exit(0);
}

static void talk(struct qmp *qmp)
{
    bool dead = false;

    for (int i = 0; i < 4; i++) {
        struct xlsnap_error err = { 0 };
        struct json *reply = NULL;
        int rc = qmp_command(qmp, "query-block", NULL, LIMIT_MS, &reply, &err);

        if (rc)
            check_refusal(rc, &err, XLSNAP_FAILED);
        if ((rc == 0) != (reply != NULL) || (dead && !rc))
            abort();
        if (rc && err.errnum == ETIMEDOUT)
            abort(); /* it has hung up */
        if (!rc)
            json_path(qmp_result(reply), "a", "b", NULL);
        dead |= rc && err.errnum;
        json_free(reply);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *path = listen_once();
    struct xlsnap_error err = { 0 };
    struct qmp *qmp = NULL;
    pid_t server = serve(data, size);
    int rc = qmp_connect(path, LIMIT_MS, &qmp, &err);

    if (rc)
        check_refusal(rc, &err, XLSNAP_FAILED);
    else
        talk(qmp);
    qmp_close(qmp);
    waitpid(server, NULL, 0);
    return 0;
}
