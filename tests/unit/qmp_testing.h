/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the tests of qmp.c share: a QEMU of our own, a child process that
 * accepts one client on a socket in a directory of its own and then does what
 * the test wants, good or bad.  The greeting is that of QEMU 7.2.22.
 */
#ifndef QMP_TESTING_H
#define QMP_TESTING_H

#include <ftw.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <cmocka.h>

#include "qmp.h"
#include "util.h"

#define GREETING                                                             \
    "{\"QMP\": {\"version\": {\"qemu\": {\"micro\": 22, \"minor\": 2, "      \
    "\"major\": 7}, \"package\": \"Debian\"}, \"capabilities\": [\"oob\"]}}" \
    "\r\n"
#define EVENT "{\"timestamp\": {\"seconds\": 1}, \"event\": \"RESUME\"}\r\n"
#define LONG_MS 20000 /* never reached in a good run */
#define SHORT_MS 100
#define SOCKET "monitor"

static char dir[] = "/tmp/qmp_test.XXXXXX";
static pid_t server;

static inline int remove_one(const char *path, const struct stat *st, int type,
                             struct FTW *ftw)
{
    return remove(path);
}

static inline int setup(void **state)
{
    strcpy(dir + strlen(dir) - 6, "XXXXXX");
    server = 0;
    return mkdtemp(dir) && !chdir(dir) ? 0 : -1;
}

static inline int teardown(void **state)
{
    if (server > 0) {
        kill(server, SIGKILL);
        waitpid(server, NULL, 0);
    }
    return chdir("/") || nftw(dir, remove_one, 9, FTW_DEPTH | FTW_PHYS);
}

static inline int listen_at(const char *path, int backlog)
{
    struct sockaddr_un addr = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    strcpy(addr.sun_path, path);
    assert_int_equal(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
    assert_int_equal(listen(fd, backlog), 0);
    return fd;
}

static inline void serve(void (*behave)(int fd))
{
    int listener = listen_at(SOCKET, 1), fd;

    server = fork();
    if (server == 0) {
        signal(SIGPIPE, SIG_DFL); /* a client that leaves ends us */
        fd = accept(listener, NULL, NULL);
        close(listener);
        behave(fd);
        _exit(0);
    }
    close(listener);
}

/* ---- what a server is made of ---- */

static inline void say_bytes(int fd, const char *text, size_t len)
{
    while (len > 0) {
        ssize_t n = write(fd, text, len);

        if (n < 0)
            _exit(1);
        text += n;
        len -= n;
    }
}

static inline void say(int fd, const char *text)
{
    say_bytes(fd, text, strlen(text));
}

/* One request; the process ends when the client leaves. */
static inline char *hear(int fd)
{
    static char line[65536];
    size_t len = 0;

    do {
        if (len + 1 == sizeof(line) || read(fd, line + len, 1) != 1)
            _exit(0);
    } while (line[len++] != '\n');
    line[len - 1] = '\0';
    return line;
}

static inline long hear_id(int fd)
{
    const char *id = strstr(hear(fd), "\"id\": ");

    return id ? atol(id + 6) : -1;
}

/* Hears a request and gives `format` with its id for an answer. */
__attribute__((format(printf, 2, 3))) static inline void answer(
    int fd, const char *format, ...)
{
    long id = hear_id(fd);
    char *text;
    va_list ap;

    va_start(ap, format);
    text = xvasprintf(format, ap);
    va_end(ap);
    dprintf(fd, "{%s, \"id\": %ld}\r\n", text, id);
    free(text);
}

static inline void greet(int fd)
{
    say(fd, GREETING);
    answer(fd, "\"return\": {}");
}

static inline void stay(int fd)
{
    for (;;)
        hear(fd);
}

static inline void greet_and_stay(int fd)
{
    greet(fd);
    stay(fd);
}

/* ---- what a test is made of ---- */

static inline struct qmp *open_session(void (*behave)(int fd))
{
    struct xlsnap_error err = { 0 };
    struct qmp *qmp = NULL;

    serve(behave);
    if (qmp_connect(SOCKET, LONG_MS, &qmp, &err))
        fail_msg("%s", err.msg);
    return qmp;
}

static inline struct json *ask(struct qmp *qmp, const char *command,
                               const char *arguments)
{
    struct xlsnap_error err = { 0 };
    struct json *reply = NULL;

    if (qmp_command(qmp, command, arguments, LONG_MS, &reply, &err))
        fail_msg("%s", err.msg);
    assert_int_equal(err.code, 0);
    assert_non_null(qmp_result(reply));
    return reply;
}

static inline void assert_command_fails(struct qmp *qmp, int timeout_ms,
                                        int errnum, const char *message)
{
    struct xlsnap_error err = { 0 };
    struct json *reply = NULL;

    assert_int_equal(qmp_command(qmp, "stop", NULL, timeout_ms, &reply, &err),
                     -XLSNAP_FAILED);
    assert_string_equal(err.msg, message);
    assert_int_equal(err.errnum, errnum);
    assert_null(reply);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

#endif
