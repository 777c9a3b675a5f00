/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The QMP client: a non-blocking socket, poll and one deadline a command.
 *
 * A struct qmp with fd -1 is dead: something came that leaves unknown what
 * QEMU has done or will say next, so the socket is closed at once (the monitor
 * serves one client at a time) and nothing is sent or believed any more.  Only
 * an error reply, which is an answer, leaves the session alive.
 *
 * A command's id is ours and never used twice, thus a late reply to an earlier
 * command cannot pass for the reply to this one.
 */
#include "qmp.h"

#include <limits.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "pulse.h"
#include "util.h"

#define CHUNK 65536
#define RETRY_MS 20    /* while the listen queue is full */
#define VERSION_MAX 99 /* of each part, as qmp_version packs them */

struct qmp {
    int fd; /* -1: dead */
    char *path;
    int version;
    int64_t last_id;
    char *buf; /* what has come and was not taken */
    size_t len, size;
};

/* One command from its sending to its reply, or one greeting. */
struct qmp_wait {
    const char *what; /* for messages: "QMP command 'stop'" */
    int timeout_ms;
    int64_t deadline;
};

static int qmp_die(struct qmp *qmp, int errnum, const char *what,
                   const char *how, struct xlsnap_error *err)
{
    if (qmp->fd >= 0)
        close(qmp->fd);
    qmp->fd = -1;
    return xlsnap_fail_errno(err, XLSNAP_FAILED, errnum, "%s on '%s' %s", what,
                             qmp->path, how);
}

static int qmp_time_out(struct qmp *qmp, const struct qmp_wait *wait,
                        struct xlsnap_error *err)
{
    cleanup_free char *how = xasprintf(
        "got no %s within %g s",
        qmp->last_id ? "answer" : "greeting (another client may hold it)",
        wait->timeout_ms / 1000.0);

    return qmp_die(qmp, ETIMEDOUT, wait->what, how, err);
}

/* Waits for POLLIN or POLLOUT.  The clock is asked even if there is always
 * something to read: a flood of events must end too. */
static int qmp_poll(struct qmp *qmp, short events, const struct qmp_wait *wait,
                    struct xlsnap_error *err)
{
    struct pollfd pfd = { .fd = qmp->fd, .events = events };
    int64_t left;
    int r;

    do {
        left = wait->deadline - now_ms();
        if (left <= 0)
            return qmp_time_out(qmp, wait, err);
        r = poll(&pfd, 1, left);
    } while (r == 0 || (r < 0 && errno == EINTR));
    if (r < 0)
        return qmp_die(qmp, errno, wait->what, "failed", err);
    return 0;
}

static int qmp_send(struct qmp *qmp, const char *text,
                    const struct qmp_wait *wait, struct xlsnap_error *err)
{
    size_t done = 0, len = strlen(text);
    ssize_t n;
    int rc;

    while (done < len) {
        rc = qmp_poll(qmp, POLLOUT, wait, err);
        if (rc)
            return rc;
        n = send(qmp->fd, text + done, len - done, MSG_NOSIGNAL);
        if (n > 0)
            done += n;
        else if (errno != EAGAIN && errno != EINTR)
            return qmp_die(qmp, errno == EPIPE ? ECONNRESET : errno, wait->what,
                           "could not be sent", err);
    }
    return 0;
}

/* Adds to the buffer what has come. */
static int qmp_receive(struct qmp *qmp, const struct qmp_wait *wait,
                       struct xlsnap_error *err)
{
    ssize_t n;
    int rc = qmp_poll(qmp, POLLIN, wait, err);

    if (rc)
        return rc;
    if (qmp->size - qmp->len < CHUNK) {
        qmp->size = 2 * qmp->size + CHUNK;
        qmp->buf = xrealloc(qmp->buf, qmp->size, 1);
    }
    n = recv(qmp->fd, qmp->buf + qmp->len, CHUNK, 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return 0;
    if (n < 0)
        return qmp_die(qmp, errno, wait->what, "got no answer", err);
    if (n == 0)
        return qmp_die(qmp, ECONNRESET, wait->what, "got no answer", err);
    qmp->len += n;
    return 0;
}

/* The bytes of the next line with its '\n', received but not taken. */
static int qmp_await_line(struct qmp *qmp, size_t *len_r,
                          const struct qmp_wait *wait, struct xlsnap_error *err)
{
    size_t searched = 0;
    char *end = NULL;
    int rc;

    for (;;) {
        if (qmp->len > searched)
            end = memchr(qmp->buf + searched, '\n', qmp->len - searched);
        if (end) {
            *len_r = end - qmp->buf + 1;
            return 0;
        }
        searched = qmp->len;
        if (searched > QMP_REPLY_MAX)
            return qmp_die(qmp, EPROTO, wait->what, "got a line without end",
                           err);
        rc = qmp_receive(qmp, wait, err);
        if (rc)
            return rc;
    }
}

/* The next message, which is an object. */
static int qmp_read(struct qmp *qmp, struct json **message_r,
                    const struct qmp_wait *wait, struct xlsnap_error *err)
{
    struct xlsnap_error bad = { 0 };
    struct json *message;
    size_t len = 0;
    int rc = qmp_await_line(qmp, &len, wait, err);

    if (rc)
        return rc;
    if (json_parse(qmp->buf, len, "the answer", &message, &bad)) {
        cleanup_free char *how = xasprintf("failed: %s", bad.msg);

        return qmp_die(qmp, EPROTO, wait->what, how, err);
    }
    qmp->len -= len;
    memmove(qmp->buf, qmp->buf + len, qmp->len);
    if (!json_is_object(message)) {
        json_free(message);
        return qmp_die(qmp, EPROTO, wait->what, "got no object", err);
    }
    *message_r = message;
    return 0;
}

/* As qmp_read, but skips events. */
static int qmp_read_reply(struct qmp *qmp, struct json **reply_r,
                          const struct qmp_wait *wait, struct xlsnap_error *err)
{
    struct json *message;
    int rc;

    for (;;) {
        rc = qmp_read(qmp, &message, wait, err);
        if (rc)
            return rc;
        if (!json_get(message, "event"))
            break;
        json_free(message);
    }
    if (json_get_int(message, "id", 0) != qmp->last_id) {
        json_free(message);
        return qmp_die(qmp, EPROTO, wait->what,
                       "got the answer to another command", err);
    }
    *reply_r = message;
    return 0;
}

/* Tells success from an error reply. */
static int qmp_judge(struct qmp *qmp, const struct json *reply,
                     const struct qmp_wait *wait, struct xlsnap_error *err)
{
    const struct json *error = json_get(reply, "error");
    const char *class = json_get_string(error, "class");
    const char *desc = json_get_string(error, "desc");

    if (error)
        return xlsnap_fail(err, XLSNAP_FAILED, "%s failed: %s: %s", wait->what,
                           class ? class : "no class",
                           desc ? desc : "no reason given");
    if (!qmp_result(reply))
        return qmp_die(qmp, EPROTO, wait->what, "got neither result nor error",
                       err);
    return 0;
}

static int qmp_execute(struct qmp *qmp, const char *command,
                       const char *arguments, const struct qmp_wait *wait,
                       struct json **reply_r, struct xlsnap_error *err)
{
    cleanup_free char *text = NULL;
    struct json *reply = NULL;
    int rc;

    text =
        xasprintf("{\"execute\": \"%s\", \"id\": %" PRId64 "%s%s}\n", command,
                  ++qmp->last_id, arguments ? ", \"arguments\": " : "",
                  arguments ? arguments : "");
    rc = qmp_send(qmp, text, wait, err);
    if (!rc)
        rc = qmp_read_reply(qmp, &reply, wait, err);
    if (rc)
        return rc;
    rc = qmp_judge(qmp, reply, wait, err);
    if (rc || !reply_r)
        json_free(reply);
    else
        *reply_r = reply;
    return rc;
}

int qmp_command(struct qmp *qmp, const char *command, const char *arguments,
                int timeout_ms, struct json **reply_r, struct xlsnap_error *err)
{
    cleanup_free char *what = xasprintf("QMP command '%s'", command);
    struct qmp_wait wait = {
        .what = what,
        .timeout_ms = timeout_ms,
        .deadline = now_ms() + timeout_ms,
    };

    pulse(); /* each is waited for this long, and one comes after the other */
    if (qmp->fd < 0)
        return xlsnap_fail_errno(err, XLSNAP_FAILED, ENOTCONN,
                                 "%s was not sent to '%s'", what, qmp->path);
    return qmp_execute(qmp, command, arguments, &wait, reply_r, err);
}

const struct json *qmp_result(const struct json *reply)
{
    return json_get(reply, "return");
}

int qmp_version(const struct qmp *qmp)
{
    return qmp->version;
}

static int qmp_open_socket(struct qmp *qmp, const struct sockaddr_un *addr,
                           const struct qmp_wait *wait)
{
    int r;

    qmp->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (qmp->fd < 0)
        return -1;
    /* EAGAIN: the listen queue is full; POLLOUT would not tell its end. */
    while (
        (r = connect(qmp->fd, (const struct sockaddr *)addr, sizeof(*addr))) &&
        (errno == EAGAIN || errno == EINTR) && now_ms() < wait->deadline)
        usleep(RETRY_MS * 1000);
    return r;
}

static int qmp_open(struct qmp *qmp, const struct qmp_wait *wait,
                    struct xlsnap_error *err)
{
    struct sockaddr_un addr = { .sun_family = AF_UNIX };
    struct stat st;
    int errnum = 0;

    if (strlen(qmp->path) >= sizeof(addr.sun_path)) {
        errnum = ENAMETOOLONG;
    } else if (stat(qmp->path, &st)) {
        errnum = errno;
    } else if (!S_ISSOCK(st.st_mode)) {
        errnum = ENOTSOCK;
    } else {
        strcpy(addr.sun_path, qmp->path);
        if (qmp_open_socket(qmp, &addr, wait))
            errnum = errno == EAGAIN ? ETIMEDOUT : errno;
    }
    if (errnum)
        return xlsnap_fail_errno(err, XLSNAP_FAILED, errnum,
                                 "cannot connect to QEMU at '%s'", qmp->path);
    return 0;
}

/* {"QMP": {"version": {"qemu": {"major": 7, ...}, ...}, "capabilities": []}} */
static int qmp_greeting(struct qmp *qmp, const struct qmp_wait *wait,
                        struct xlsnap_error *err)
{
    static const char *const parts[] = { "major", "minor", "micro" };
    const struct json *version;
    struct json *greeting;
    bool good = true;
    int64_t part;
    size_t i;
    int rc = qmp_read(qmp, &greeting, wait, err);

    if (rc)
        return rc;
    version = json_path(greeting, "QMP", "version", "qemu", NULL);
    for (i = 0; i < ARRAY_SIZE(parts); i++) {
        part = json_get_int(version, parts[i], -1);
        good = good && part >= 0 && part <= VERSION_MAX;
        qmp->version = 100 * qmp->version + (good ? part : 0);
    }
    json_free(greeting);
    if (!good)
        return qmp_die(qmp, EPROTO, wait->what, "got no QMP greeting", err);
    return 0;
}

int qmp_connect(const char *socket_path, int timeout_ms, struct qmp **qmp_r,
                struct xlsnap_error *err)
{
    struct qmp_wait wait = {
        .what = "QMP session",
        .timeout_ms = timeout_ms,
        .deadline = now_ms() + timeout_ms,
    };
    struct qmp *qmp = xcalloc(1, sizeof(*qmp));
    int rc;

    qmp->fd = -1;
    qmp->path = xstrdup(socket_path);
    rc = qmp_open(qmp, &wait, err);
    if (!rc)
        rc = qmp_greeting(qmp, &wait, err);
    wait.what = "QMP command 'qmp_capabilities'";
    if (!rc)
        rc = qmp_execute(qmp, "qmp_capabilities", NULL, &wait, NULL, err);
    if (rc)
        qmp_close(qmp);
    else
        *qmp_r = qmp;
    return rc;
}

void qmp_close(struct qmp *qmp)
{
    if (!qmp)
        return;
    if (qmp->fd >= 0)
        close(qmp->fd);
    free(qmp->path);
    free(qmp->buf);
    free(qmp);
}
