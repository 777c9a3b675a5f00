/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * qmp.c against a QEMU of our own: a child process that accepts one client on
 * a socket in a directory of its own and then does what the test wants, good
 * or bad.  The greeting is that of QEMU 7.2.22.
 */
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
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

static int remove_one(const char *path, const struct stat *st, int type,
                      struct FTW *ftw)
{
    return remove(path);
}

static int setup(void **state)
{
    strcpy(dir + strlen(dir) - 6, "XXXXXX");
    server = 0;
    return mkdtemp(dir) && !chdir(dir) ? 0 : -1;
}

static int teardown(void **state)
{
    if (server > 0) {
        kill(server, SIGKILL);
        waitpid(server, NULL, 0);
    }
    return chdir("/") || nftw(dir, remove_one, 9, FTW_DEPTH | FTW_PHYS);
}

static int listen_at(const char *path, int backlog)
{
    struct sockaddr_un addr = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    strcpy(addr.sun_path, path);
    assert_int_equal(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
    assert_int_equal(listen(fd, backlog), 0);
    return fd;
}

static void serve(void (*behave)(int fd))
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

/* What a server is made of. */

static void say_bytes(int fd, const char *text, size_t len)
{
    while (len > 0) {
        ssize_t n = write(fd, text, len);

        if (n < 0)
            _exit(1);
        text += n;
        len -= n;
    }
}

static void say(int fd, const char *text)
{
    say_bytes(fd, text, strlen(text));
}

/* One request; the process ends when the client leaves. */
static char *hear(int fd)
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

static long hear_id(int fd)
{
    const char *id = strstr(hear(fd), "\"id\": ");

    return id ? atol(id + 6) : -1;
}

/* Hears a request and gives `format` with its id for an answer. */
__attribute__((format(printf, 2, 3))) static void answer(int fd,
                                                         const char *format,
                                                         ...)
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

static void greet(int fd)
{
    say(fd, GREETING);
    answer(fd, "\"return\": {}");
}

static void stay(int fd)
{
    for (;;)
        hear(fd);
}

/* What a test is made of. */

static struct qmp *open_session(void (*behave)(int fd))
{
    struct xlsnap_error err = { 0 };
    struct qmp *qmp = NULL;

    serve(behave);
    if (qmp_connect(SOCKET, LONG_MS, &qmp, &err))
        fail_msg("%s", err.msg);
    return qmp;
}

static void assert_no_session(int timeout_ms, int errnum, const char *message)
{
    struct xlsnap_error err = { 0 };
    struct qmp *qmp = NULL;

    assert_int_equal(qmp_connect(SOCKET, timeout_ms, &qmp, &err),
                     -XLSNAP_FAILED);
    assert_string_equal(err.msg, message);
    assert_int_equal(err.errnum, errnum);
    assert_null(qmp);
}

static struct json *ask(struct qmp *qmp, const char *command,
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

static void assert_command_fails(struct qmp *qmp, int timeout_ms, int errnum,
                                 const char *message)
{
    struct xlsnap_error err = { 0 };
    struct json *reply = NULL;

    assert_int_equal(qmp_command(qmp, "stop", NULL, timeout_ms, &reply, &err),
                     -XLSNAP_FAILED);
    assert_string_equal(err.msg, message);
    assert_int_equal(err.errnum, errnum);
    assert_null(reply);
}

static void assert_dead(struct qmp *qmp)
{
    int64_t start = now_ms();

    assert_command_fails(qmp, LONG_MS, ENOTCONN,
                         "QMP command 'stop' was not sent to 'monitor': "
                         "Transport endpoint is not connected");
    assert_in_range(now_ms() - start, 0, LONG_MS / 2);
}

/* The commonest case: one command, one bad answer, the session is dead. */
static void assert_kills_session(void (*behave)(int fd), int errnum,
                                 const char *message)
{
    struct qmp *qmp = open_session(behave);

    assert_command_fails(qmp, LONG_MS, errnum, message);
    assert_dead(qmp);
    qmp_close(qmp);
}

static void greet_and_stay(int fd)
{
    greet(fd);
    stay(fd);
}

static void a_session_knows_the_version(void **state)
{
    struct qmp *qmp = open_session(greet_and_stay);

    assert_int_equal(qmp_version(qmp), 70222);
    qmp_close(qmp);
}

static void a_closed_session_lets_the_monitor_go(void **state)
{
    struct qmp *qmp = open_session(greet_and_stay);
    int status;

    qmp_close(qmp);
    assert_int_equal(waitpid(server, &status, 0), server); /* heard the end */
    assert_true(WIFEXITED(status));
    server = 0;
    qmp_close(NULL);
}

/* Gives every request back as its result. */
static void greet_and_echo(int fd)
{
    char *request;

    greet(fd);
    for (;;) {
        request = xstrdup(hear(fd));
        dprintf(fd, "{\"id\": %ld, \"return\": %s}\r\n",
                atol(strstr(request, "\"id\": ") + 6), request);
        free(request);
    }
}

static void a_command_is_sent_without_arguments(void **state)
{
    struct qmp *qmp = open_session(greet_and_echo);
    struct json *reply = ask(qmp, "query-status", NULL);
    const struct json *request = qmp_result(reply);

    assert_string_equal(json_get_string(request, "execute"), "query-status");
    assert_null(json_get(request, "arguments"));
    json_free(reply);
    qmp_close(qmp);
}

static void arguments_are_sent(void **state)
{
    struct qmp *qmp = open_session(greet_and_echo);
    struct json *reply = ask(qmp, "eject", "{\"device\": \"a\"}");

    assert_string_equal(
        json_string(json_path(qmp_result(reply), "arguments", "device", NULL)),
        "a");
    json_free(reply);
    qmp_close(qmp);
}

static void ids_increase(void **state)
{
    struct qmp *qmp = open_session(greet_and_echo);
    int64_t id, last = 0;
    struct json *reply;
    int i;

    for (i = 0; i < 5; i++) {
        reply = ask(qmp, "query-status", NULL);
        id = json_get_int(reply, "id", 0);
        assert_true(id > last);
        last = id;
        json_free(reply);
    }
    qmp_close(qmp);
}

static void the_reply_may_be_unwanted(void **state)
{
    struct xlsnap_error err = { 0 };
    struct qmp *qmp = open_session(greet_and_echo);

    assert_int_equal(qmp_command(qmp, "cont", NULL, LONG_MS, NULL, &err), 0);
    qmp_close(qmp);
}

static void greet_with_events(int fd)
{
    say(fd, GREETING EVENT);
    answer(fd, "\"return\": {}");
    say(fd, EVENT); /* while nobody asks */
    say(fd, EVENT);
    hear(fd);
    say(fd, EVENT EVENT);
    say(fd, "{\"return\": {\"running\": true}, \"id\": 2}\r\n");
    stay(fd);
}

static void events_are_skipped(void **state)
{
    struct qmp *qmp = open_session(greet_with_events);
    struct json *reply = ask(qmp, "query-status", NULL);

    assert_true(json_get_bool(qmp_result(reply), "running", false));
    json_free(reply);
    qmp_close(qmp);
}

static void greet_and_answer_in_bytes(int fd)
{
    const char *text = "{\"return\": {\"a\": 42}, \"id\": 2}\r\n";

    greet(fd);
    hear(fd);
    for (; *text; text++) {
        say_bytes(fd, text, 1);
        usleep(1000);
    }
    stay(fd);
}

static void a_reply_may_come_in_bytes(void **state)
{
    struct qmp *qmp = open_session(greet_and_answer_in_bytes);
    struct json *reply = ask(qmp, "query-status", NULL);

    assert_int_equal(json_get_int(qmp_result(reply), "a", 0), 42);
    json_free(reply);
    qmp_close(qmp);
}

static void greet_and_answer_at_length(int fd)
{
    char text[2001];
    size_t i;

    memset(text, 'x', 2000);
    memcpy(text, "\"", 1);
    strcpy(text + 1998, "\",");
    greet(fd);
    hear(fd);
    say(fd, "{\"return\": [");
    for (i = 0; i < 1000; i++)
        say(fd, text);
    say(fd, "1], \"id\": 2}\r\n");
    stay(fd);
}

static void a_long_reply_is_read(void **state)
{
    struct qmp *qmp = open_session(greet_and_answer_at_length);
    struct json *reply = ask(qmp, "query-block", NULL);

    assert_int_equal(json_array_len(qmp_result(reply)), 1001);
    json_free(reply);
    qmp_close(qmp);
}

static void greet_and_fail_once(int fd)
{
    greet(fd);
    answer(fd, "\"error\": {\"class\": \"GenericError\", "
               "\"desc\": \"Node 'x' not found\"}");
    answer(fd, "\"return\": {}");
    stay(fd);
}

static void an_error_reply_is_an_answer(void **state)
{
    struct qmp *qmp = open_session(greet_and_fail_once);

    assert_command_fails(qmp, LONG_MS, 0,
                         "QMP command 'stop' failed: GenericError: "
                         "Node 'x' not found");
    json_free(ask(qmp, "stop", NULL)); /* the session lives */
    qmp_close(qmp);
}

static void greet_and_fail_badly(int fd)
{
    greet(fd);
    answer(fd, "\"error\": [1]");
    stay(fd);
}

static void an_error_without_reason_is_an_error(void **state)
{
    struct qmp *qmp = open_session(greet_and_fail_badly);

    assert_command_fails(qmp, LONG_MS, 0,
                         "QMP command 'stop' failed: no class: "
                         "no reason given");
    qmp_close(qmp);
}

static void a_monitor_held_by_another_client_times_out(void **state)
{
    int64_t start = now_ms();

    serve(stay);
    assert_no_session(SHORT_MS, ETIMEDOUT,
                      "QMP session on 'monitor' got no greeting (another "
                      "client may hold it) within 0.1 s: Connection timed "
                      "out");
    assert_in_range(now_ms() - start, SHORT_MS, LONG_MS / 2);
}

static void only_greet(int fd)
{
    say(fd, GREETING);
    stay(fd);
}

static void silence_after_the_greeting_times_out(void **state)
{
    serve(only_greet);
    assert_no_session(SHORT_MS, ETIMEDOUT,
                      "QMP command 'qmp_capabilities' on 'monitor' got no "
                      "answer within 0.1 s: Connection timed out");
}

static void a_command_times_out_and_kills_the_session(void **state)
{
    struct qmp *qmp = open_session(greet_and_stay);

    assert_command_fails(qmp, SHORT_MS, ETIMEDOUT,
                         "QMP command 'stop' on 'monitor' got no answer "
                         "within 0.1 s: Connection timed out");
    assert_dead(qmp);
    assert_int_equal(waitpid(server, NULL, 0), server); /* and lets it go */
    server = 0;
    qmp_close(qmp);
}

static void greet_and_flood(int fd)
{
    greet(fd);
    for (;;)
        say(fd, EVENT);
}

static void endless_events_time_out(void **state)
{
    struct qmp *qmp = open_session(greet_and_flood);

    assert_command_fails(qmp, SHORT_MS, ETIMEDOUT,
                         "QMP command 'stop' on 'monitor' got no answer "
                         "within 0.1 s: Connection timed out");
    assert_dead(qmp);
    qmp_close(qmp);
}

static void greet_and_sleep(int fd)
{
    greet(fd);
    for (;;)
        pause();
}

static void a_request_that_is_not_read_times_out(void **state)
{
    struct qmp *qmp = open_session(greet_and_sleep);
    struct xlsnap_error err = { 0 };
    char *arguments = xcalloc(4 << 20, 1);

    memset(arguments, ' ', (4 << 20) - 1);
    memcpy(arguments, "{}", 2);
    assert_int_equal(qmp_command(qmp, "stop", arguments, SHORT_MS, NULL, &err),
                     -XLSNAP_FAILED);
    assert_int_equal(err.errnum, ETIMEDOUT);
    assert_dead(qmp);
    free(arguments);
    qmp_close(qmp);
}

static void greet_with_garbage(int fd)
{
    say(fd, "SSH-2.0-OpenSSH_9.2\r\n");
    stay(fd);
}

static void garbage_is_no_greeting(void **state)
{
    serve(greet_with_garbage);
    assert_no_session(LONG_MS, EPROTO,
                      "QMP session on 'monitor' failed: invalid JSON in the "
                      "answer: lexical error: invalid char in json text.: "
                      "Protocol error");
}

static const char *bad_greeting;

static void greet_badly(int fd)
{
    say(fd, bad_greeting);
    stay(fd);
}

static void another_object_is_no_greeting(void **state)
{
    const char *const bad[] = {
        "{}\n",
        EVENT,
        "{\"QMP\": 1}\n",
        "{\"QMP\": {\"version\": {}}}\n",
        "{\"QMP\": {\"version\": {\"qemu\": {\"major\": 1, \"minor\": 2}}}}\n",
        "{\"QMP\": {\"version\": {\"qemu\": {\"major\": 1, \"minor\": 2, "
        "\"micro\": 100}}}}\n",
        "{\"QMP\": {\"version\": {\"qemu\": {\"major\": -1, \"minor\": 2, "
        "\"micro\": 3}}}}\n",
    };
    size_t i;

    for (i = 0; i < ARRAY_SIZE(bad); i++) {
        bad_greeting = bad[i];
        serve(greet_badly);
        assert_no_session(LONG_MS, EPROTO,
                          "QMP session on 'monitor' got no QMP greeting: "
                          "Protocol error");
        waitpid(server, NULL, 0);
        server = 0;
        unlink(SOCKET);
    }
}

static void a_list_is_no_greeting(void **state)
{
    bad_greeting = "[]\n";
    serve(greet_badly);
    assert_no_session(LONG_MS, EPROTO,
                      "QMP session on 'monitor' got no object: "
                      "Protocol error");
}

static void leave(int fd)
{
}

static void a_close_before_the_greeting_is_told(void **state)
{
    serve(leave);
    assert_no_session(LONG_MS, ECONNRESET,
                      "QMP session on 'monitor' got no answer: "
                      "Connection reset by peer");
}

static void refuse_capabilities(int fd)
{
    say(fd, GREETING);
    answer(fd, "\"error\": {\"class\": \"CommandNotFound\", "
               "\"desc\": \"no\"}");
    stay(fd);
}

static void refused_capabilities_are_no_session(void **state)
{
    serve(refuse_capabilities);
    assert_no_session(LONG_MS, 0,
                      "QMP command 'qmp_capabilities' failed: "
                      "CommandNotFound: no");
}

static void answer_garbage(int fd)
{
    greet(fd);
    hear(fd);
    say(fd, "{\"return\": {}, \"id\": 2]\r\n{\"return\": {}, \"id\": 2}\r\n");
    stay(fd);
}

static void a_garbage_reply_kills_the_session(void **state)
{
    assert_kills_session(answer_garbage, EPROTO,
                         "QMP command 'stop' on 'monitor' failed: invalid "
                         "JSON in the answer: parse error: after key and "
                         "value, inside map, I expect ',' or '}': "
                         "Protocol error");
}

static void answer_deeply(int fd)
{
    greet(fd);
    hear(fd);
    say(fd, "{\"id\": 2, \"return\": ");
    for (int i = 0; i < 100000; i++)
        say(fd, "[");
    say(fd, "\n");
    stay(fd);
}

static void a_deep_reply_kills_the_session(void **state)
{
    assert_kills_session(answer_deeply, EPROTO,
                         "QMP command 'stop' on 'monitor' failed: invalid "
                         "JSON in the answer: nested too deeply: "
                         "Protocol error");
}

static void answer_half(int fd)
{
    greet(fd);
    hear(fd);
    say(fd, "{\"return\": {}, \"i");
}

static void half_a_reply_and_a_close_kill_the_session(void **state)
{
    assert_kills_session(answer_half, ECONNRESET,
                         "QMP command 'stop' on 'monitor' got no answer: "
                         "Connection reset by peer");
}

static void answer_without_end(int fd)
{
    static char chunk[1 << 20];

    memset(chunk, ' ', sizeof(chunk));
    greet(fd);
    hear(fd);
    for (;;)
        say_bytes(fd, chunk, sizeof(chunk));
}

static void a_line_without_end_kills_the_session(void **state)
{
    assert_kills_session(answer_without_end, EPROTO,
                         "QMP command 'stop' on 'monitor' got a line without "
                         "end: Protocol error");
}

static const char *bad_reply;

static void answer_badly(int fd)
{
    greet(fd);
    hear(fd);
    say(fd, bad_reply);
    stay(fd);
}

static void a_reply_to_another_command_kills_the_session(void **state)
{
    const char *const bad[] = {
        "{\"return\": {}, \"id\": 1}\n",     "{\"return\": {}, \"id\": 3}\n",
        "{\"return\": {}, \"id\": \"2\"}\n", "{\"return\": {}}\n",
        "{\"error\": {\"class\": \"C\"}}\n", GREETING,
    };
    size_t i;

    for (i = 0; i < ARRAY_SIZE(bad); i++) {
        bad_reply = bad[i];
        assert_kills_session(answer_badly, EPROTO,
                             "QMP command 'stop' on 'monitor' got the answer "
                             "to another command: Protocol error");
        waitpid(server, NULL, 0);
        server = 0;
        unlink(SOCKET);
    }
}

static void neither_result_nor_error_kills_the_session(void **state)
{
    bad_reply = "{\"id\": 2}\n";
    assert_kills_session(answer_badly, EPROTO,
                         "QMP command 'stop' on 'monitor' got neither result "
                         "nor error: Protocol error");
}

static void answer_twice(int fd)
{
    greet(fd);
    hear(fd);
    say(fd, "{\"return\": {}, \"id\": 2}\n{\"return\": {}, \"id\": 2}\n");
    stay(fd);
}

static void a_second_reply_is_not_taken_for_the_next_one(void **state)
{
    struct qmp *qmp = open_session(answer_twice);

    json_free(ask(qmp, "cont", NULL));
    assert_command_fails(qmp, LONG_MS, EPROTO,
                         "QMP command 'stop' on 'monitor' got the answer to "
                         "another command: Protocol error");
    assert_dead(qmp);
    qmp_close(qmp);
}

static void a_monitor_gone_between_commands_is_no_sigpipe(void **state)
{
    struct qmp *qmp = open_session(greet);

    assert_int_equal(waitpid(server, NULL, 0), server);
    server = 0;
    assert_command_fails(qmp, LONG_MS, ECONNRESET,
                         "QMP command 'stop' on 'monitor' could not be sent: "
                         "Connection reset by peer");
    assert_dead(qmp);
    qmp_close(qmp);
}

static void greet_and_answer_late(int fd)
{
    greet(fd);
    hear(fd);
    usleep(200000);
    say(fd, "{\"return\": {}, \"id\": 2}\n");
    stay(fd);
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
    struct qmp *qmp = open_session(greet_and_answer_late);

    alarms = 0;
    sigaction(SIGALRM, &sa, NULL);
    setitimer(ITIMER_REAL, &often, NULL);
    json_free(ask(qmp, "query-status", NULL));
    setitimer(ITIMER_REAL, &never, NULL);
    signal(SIGALRM, SIG_DFL);
    assert_true(alarms > 10);
    qmp_close(qmp);
}

static void a_missing_socket_is_told(void **state)
{
    assert_no_session(LONG_MS, ENOENT,
                      "cannot connect to QEMU at 'monitor': No such file or "
                      "directory");
}

static void a_file_is_no_socket(void **state)
{
    int fd = open(SOCKET, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);

    close(fd);
    assert_no_session(LONG_MS, ENOTSOCK,
                      "cannot connect to QEMU at 'monitor': Socket operation "
                      "on non-socket");
}

static void a_socket_of_a_dead_qemu_is_told(void **state)
{
    close(listen_at(SOCKET, 1));
    assert_no_session(LONG_MS, ECONNREFUSED,
                      "cannot connect to QEMU at 'monitor': Connection "
                      "refused");
}

static void a_path_too_long_for_a_socket_is_told(void **state)
{
    struct xlsnap_error err = { 0 };
    struct qmp *qmp = NULL;
    char path[109], *message;

    memset(path, 'p', sizeof(path));
    path[108] = '\0';
    message =
        xasprintf("cannot connect to QEMU at '%s': File name too long", path);
    assert_int_equal(qmp_connect(path, LONG_MS, &qmp, &err), -XLSNAP_FAILED);
    assert_string_equal(err.msg, message);
    assert_int_equal(err.errnum, ENAMETOOLONG);
    assert_null(qmp);
    free(message);
}

static void a_full_listen_queue_times_out(void **state)
{
    struct sockaddr_un addr = { .sun_family = AF_UNIX, .sun_path = SOCKET };
    int listener = listen_at(SOCKET, 0);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_int_equal(connect(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
    assert_no_session(SHORT_MS, ETIMEDOUT,
                      "cannot connect to QEMU at 'monitor': Connection timed "
                      "out");
    close(fd);
    close(listener);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_session_knows_the_version),
        TEST(a_closed_session_lets_the_monitor_go),
        TEST(a_command_is_sent_without_arguments),
        TEST(arguments_are_sent),
        TEST(ids_increase),
        TEST(the_reply_may_be_unwanted),
        TEST(events_are_skipped),
        TEST(a_reply_may_come_in_bytes),
        TEST(a_long_reply_is_read),
        TEST(an_error_reply_is_an_answer),
        TEST(an_error_without_reason_is_an_error),
        TEST(a_monitor_held_by_another_client_times_out),
        TEST(silence_after_the_greeting_times_out),
        TEST(a_command_times_out_and_kills_the_session),
        TEST(endless_events_time_out),
        TEST(a_request_that_is_not_read_times_out),
        TEST(garbage_is_no_greeting),
        TEST(another_object_is_no_greeting),
        TEST(a_list_is_no_greeting),
        TEST(a_close_before_the_greeting_is_told),
        TEST(refused_capabilities_are_no_session),
        TEST(a_garbage_reply_kills_the_session),
        TEST(a_deep_reply_kills_the_session),
        TEST(half_a_reply_and_a_close_kill_the_session),
        TEST(a_line_without_end_kills_the_session),
        TEST(a_reply_to_another_command_kills_the_session),
        TEST(neither_result_nor_error_kills_the_session),
        TEST(a_second_reply_is_not_taken_for_the_next_one),
        TEST(a_monitor_gone_between_commands_is_no_sigpipe),
        TEST(interrupting_signals_do_no_harm),
        TEST(a_missing_socket_is_told),
        TEST(a_file_is_no_socket),
        TEST(a_socket_of_a_dead_qemu_is_told),
        TEST(a_path_too_long_for_a_socket_is_told),
        TEST(a_full_listen_queue_times_out),
    };

    return cmocka_run_group_tests_name("qmp", tests, NULL, NULL);
}
