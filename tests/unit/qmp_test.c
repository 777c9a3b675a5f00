/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * qmp.c with a QEMU that behaves: sessions, commands, their replies among
 * events and in pieces, and errors that are answers.
 */
#include <sys/time.h>

#include "qmp_testing.h"

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
        TEST(interrupting_signals_do_no_harm),
    };

    return cmocka_run_group_tests_name("qmp", tests, NULL, NULL);
}
