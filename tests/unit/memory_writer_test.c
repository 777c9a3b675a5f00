/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* memory-write.c: the writer as a process: its signals, descriptors, privileges, and
 * how it ends. */
#include "memory_write_testing.h"

/* What /proc/PID/status says of it, a number in that base. */
static unsigned long long status_of(pid_t pid, const char *field, int base)
{
    cleanup_free char *path = xasprintf("/proc/%d/status", (int)pid);
    FILE *f = fopen(path, "r");
    unsigned long long value = -1;
    char line[256];

    assert_non_null(f);
    while (fgets(line, sizeof(line), f))
        if (!strncmp(line, field, strlen(field)) && line[strlen(field)] == ':')
            value = strtoull(line + strlen(field) + 1, NULL, base);
    fclose(f);
    return value;
}

static bool ignores(pid_t pid, const int *signals, size_t n)
{
    unsigned long long mask = status_of(pid, "SigIgn", 16);

    for (size_t i = 0; i < n; i++)
        if (!(mask >> (signals[i] - 1) & 1))
            return false;
    return true;
}

static void the_writer_survives_the_signals_of_a_terminal(void **state)
{
    const int signals[] = { SIGINT, SIGQUIT, SIGTERM, SIGHUP, SIGPIPE };
    struct memory_written written;
    struct memory_writer *w = start(CONFIG);
    int64_t deadline = now_ms() + 20000;

    while (!ignores(forked, signals, ARRAY_SIZE(signals)) &&
           now_ms() < deadline)
        usleep(1000);
    for (size_t i = 0; i < ARRAY_SIZE(signals); i++)
        assert_int_equal(kill(forked, signals[i]), 0);
    assert_int_equal(feed(w, "stream", 6), 0);
    finish(w, &written);
    assert_int_equal(written.bytes,
                     sizeof(struct xl_save_header) + 4 + sizeof(CONFIG) + 6);
}

static int count_descriptors(void)
{
    int n = 0;

    for (int fd = 0; fd < 1024; fd++)
        n += fcntl(fd, F_GETFD) >= 0;
    return n;
}

static void assert_no_child(void)
{
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
    assert_int_equal(errno, ECHILD);
}

static void a_writer_freed_early_leaves_no_process(void **state)
{
    int before = count_descriptors();
    struct memory_writer *w = start(CONFIG);

    assert_int_equal(feed(w, "stream", 6), 0);
    memory_writer_free(w);
    assert_no_child();
    assert_int_equal(kill(forked, 0), -1);
    assert_int_equal(count_descriptors(), before);
    assert_int_equal(access("image", F_OK), 0);
}

/* libxl's helper may hang with the pipe in its hands. */
static void a_writer_is_freed_while_the_pipe_is_held(void **state)
{
    struct memory_writer *w = start(CONFIG);
    pid_t helper = _Fork();

    if (!helper) {
        pause();
        _exit(0);
    }
    memory_writer_free(w);
    assert_int_equal(kill(forked, 0), -1);
    assert_int_equal(kill(helper, SIGKILL), 0);
    assert_int_equal(waitpid(helper, NULL, 0), helper);
}

static void a_finished_writer_leaves_no_process(void **state)
{
    int before = count_descriptors();
    struct memory_written written;

    finish(start(CONFIG), &written);
    assert_no_child();
    assert_int_equal(count_descriptors(), before);
}

static void a_writer_not_started_leaves_no_process(void **state)
{
    int before = count_descriptors();

    put_file("image", "", 0);
    assert_not_started("cannot create memory image 'image': File exists");
    assert_no_child();
    assert_int_equal(count_descriptors(), before);
}

static void no_writer_can_be_freed(void **state)
{
    memory_writer_free(NULL);
    assert_no_child();
}

/* A lock of ours, say, must not live on in the writer. */
static void the_writer_keeps_no_other_descriptor(void **state)
{
    struct memory_written written;
    struct memory_writer *w;
    int theirs[2];
    char c;

    assert_int_equal(pipe(theirs), 0); /* without O_CLOEXEC */
    w = start(CONFIG);
    close(theirs[1]);
    assert_int_equal(read(theirs[0], &c, 1), 0); /* waits while one is left */
    assert_int_equal(kill(forked, 0), 0);
    close(theirs[0]);
    finish(w, &written);
}

/* What it reads is a guest's. */
static void the_writer_has_no_privileges(void **state)
{
    struct memory_written written;
    struct memory_writer *w = start(CONFIG);
    int64_t deadline = now_ms() + 20000;

    if (geteuid())
        skip();
    while (!status_of(forked, "Uid", 10) && now_ms() < deadline)
        usleep(1000);
    assert_int_equal(status_of(forked, "Uid", 10), 0x70000000 + forked);
    assert_int_equal(status_of(forked, "Gid", 10), 0x70000000 + forked);
    assert_int_equal(status_of(forked, "Groups", 10), 0); /* an empty list */
    assert_int_equal(status_of(forked, "CapPrm", 16), 0);
    assert_int_equal(status_of(forked, "CapEff", 16), 0);
    assert_int_equal(status_of(forked, "NoNewPrivs", 10), 1);
    assert_int_equal(feed(w, "stream", 6), 0);
    finish(w, &written);
    assert_int_equal(written.bytes,
                     sizeof(struct xl_save_header) + 4 + sizeof(CONFIG) + 6);
}

/* libxl's helper has the pipe, too, and may outlive our end of it. */
static void the_stream_ends_with_its_last_holder(void **state)
{
    struct memory_written written;
    struct memory_writer *w = start(CONFIG);
    pid_t helper = _Fork();
    struct image im;

    if (!helper) {
        usleep(100000);
        _exit(feed(w, "stream", 6));
    }
    memory_writer_eof(w);
    assert_int_equal(memory_writer_fd(w), -1);
    finish(w, &written);
    expect(&im, "stream", 6);
    assert_content("image", im.data, im.len);
    image_free(&im);
    assert_int_equal(waitpid(helper, NULL, 0), helper);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_writer_survives_the_signals_of_a_terminal),
        TEST(a_writer_freed_early_leaves_no_process),
        TEST(a_writer_is_freed_while_the_pipe_is_held),
        TEST(a_finished_writer_leaves_no_process),
        TEST(a_writer_not_started_leaves_no_process),
        TEST(no_writer_can_be_freed),
        TEST(the_writer_keeps_no_other_descriptor),
        TEST(the_writer_has_no_privileges),
        TEST(the_stream_ends_with_its_last_holder),
    };

    return cmocka_run_group_tests_name("memory_writer", tests, NULL, NULL);
}
