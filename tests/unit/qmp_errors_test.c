/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * qmp.c with a QEMU that is silent, answers badly or leaves, or is not there:
 * every command ends in time, and a session that may be out of step is dead.
 */
#include <fcntl.h>

#include "qmp_testing.h"

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

/* ---- silence ---- */

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

/* ---- no session ---- */

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

/* ---- bad replies ---- */

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

/* ---- sockets ---- */

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

int main(void)
{
    const struct CMUnitTest tests[] = {
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
        TEST(a_missing_socket_is_told),
        TEST(a_file_is_no_socket),
        TEST(a_socket_of_a_dead_qemu_is_told),
        TEST(a_path_too_long_for_a_socket_is_told),
        TEST(a_full_listen_queue_times_out),
    };

    return cmocka_run_group_tests_name("qmp_errors", tests, NULL, NULL);
}
