/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * steps.c: made-up steps that note what is called in what order, and fail
 * where a test says so.  What is logged is kept for the tests to see.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include "steps.h"
#include "util.h"

#define CURE "; run 'xl snapshot-recover web1'"

static char trace[512];     /* what was called, in order */
static char logged[4096];   /* of level error */
static const char *failing; /* "run b": that call fails */
static const char *cancel_at;
static int cancel_pipe[2];

static void keep_message(xentoollog_logger *logger, xentoollog_level level,
                         int errnum, const char *context, const char *format,
                         va_list ap)
{
    size_t len = strlen(logged);

    if (level < XTL_ERROR)
        return;
    vsnprintf(logged + len, sizeof(logged) - len, format, ap);
    strncat(logged, "\n", sizeof(logged) - strlen(logged) - 1);
}

static void no_progress(xentoollog_logger *logger, const char *context,
                        const char *doing, int percent, unsigned long done,
                        unsigned long total)
{
}

static void no_destroy(xentoollog_logger *logger)
{
}

static xentoollog_logger logger = { keep_message, no_progress, no_destroy };
static struct xlsnap xs = { .logger = &logger };
static struct op op;
static struct steps steps;

/* "run a" is noted; fails if a test wants that. */
static int note(const char *what, const char *name, struct xlsnap_error *err)
{
    cleanup_free char *call = xasprintf("%s %s", what, name);

    if (*trace)
        strcat(trace, ", ");
    strcat(trace, call);
    if (cancel_at && !strcmp(cancel_at, call))
        assert_int_equal(write(cancel_pipe[1], "", 1), 1);
    if (failing && strstr(failing, call))
        return xlsnap_fail_errno(err, XLSNAP_FAILED, ENOSPC, "%s failed", call);
    return 0;
}

#define STEP(name)                                                 \
    static int run_##name(struct op *o, struct disk_group *group,  \
                          struct xlsnap_error *err)                \
    {                                                              \
        return note("run", #name, err);                            \
    }                                                              \
    static int undo_##name(struct op *o, struct disk_group *group, \
                           struct xlsnap_error *err)               \
    {                                                              \
        return note("undo", #name, err);                           \
    }
STEP(record)
STEP(a)
STEP(b)
STEP(c)

static int note_failure(struct op *o, struct xlsnap_error *err)
{
    assert_ptr_equal(o, &op);
    return note("wake", "guest", err);
}

static int setup(void **state)
{
    trace[0] = logged[0] = '\0';
    failing = cancel_at = NULL;
    op_init(&op, &xs);
    op.pending.domain = xstrdup("web1");
    op.pending.file = xstrdup("/record");
    op.on_failure = note_failure;
    xs.cancel_fd = -1;
    steps.n = 0;
    steps_add(&steps, "record", run_record, undo_record, "note it");
    steps_add(&steps, "a", run_a, undo_a, "%d", 1);
    steps_add(&steps, "b", run_b, undo_b, "two");
    steps_add(&steps, "c", run_c, undo_c, "three");
    return pipe(cancel_pipe);
}

static int teardown(void **state)
{
    steps_clear(&steps);
    op_clear(&op);
    close(cancel_pipe[0]);
    close(cancel_pipe[1]);
    return 0;
}

/* Runs the steps; compares code, message and what was called. */
static void assert_run(int code, const char *message, const char *calls)
{
    struct xlsnap_error err = { 0 };

    assert_int_equal(steps_run(&op, &steps, &err), -code);
    assert_string_equal(trace, calls);
    assert_string_equal(err.msg, message);
    assert_int_equal(err.code, code);
}

static void steps_run_in_order(void **state)
{
    assert_run(0, "", "run record, run a, run b, run c");
    assert_string_equal(logged, "");
}

static void no_steps_are_run_well(void **state)
{
    steps_clear(&steps);
    assert_run(0, "", "");
}

static void a_failing_step_and_those_before_are_undone(void **state)
{
    failing = "run b";
    assert_run(XLSNAP_FAILED, "run b failed: No space left on device",
               "run record, run a, run b, wake guest, undo b, undo a, "
               "undo record");
    assert_string_equal(logged, "");
}

static void the_first_step_is_undone_when_it_fails(void **state)
{
    failing = "run record";
    assert_run(XLSNAP_FAILED, "run record failed: No space left on device",
               "run record, wake guest, undo record");
}

static void all_are_undone_when_the_last_fails(void **state)
{
    failing = "run c";
    assert_run(XLSNAP_FAILED, "run c failed: No space left on device",
               "run record, run a, run b, run c, wake guest, undo c, undo b, "
               "undo a, undo record");
}

static void what_has_no_undo_is_left_out(void **state)
{
    steps.step[2].undo = NULL; /* b */
    failing = "run c";
    assert_run(XLSNAP_FAILED, "run c failed: No space left on device",
               "run record, run a, run b, run c, wake guest, undo c, undo a, "
               "undo record");
}

static void nobody_need_be_told_of_a_failure(void **state)
{
    op.on_failure = NULL;
    failing = "run a";
    assert_run(XLSNAP_FAILED, "run a failed: No space left on device",
               "run record, run a, undo a, undo record");
}

static int run_refused(struct op *o, struct disk_group *group,
                       struct xlsnap_error *err)
{
    return xlsnap_fail(err, XLSNAP_REFUSED, "no");
}

static void the_code_of_the_step_is_returned(void **state)
{
    steps.step[1].run = run_refused;
    assert_run(XLSNAP_REFUSED, "no",
               "run record, wake guest, undo a, undo record");
}

static void a_failing_undo_stops_and_keeps_the_record(void **state)
{
    failing = "run b, undo a";
    assert_run(XLSNAP_UNFINISHED, "run b failed: No space left on device" CURE,
               "run record, run a, run b, wake guest, undo b, undo a");
    assert_string_equal(logged, "cannot undo a: undo a failed: No space left "
                                "on device\n");
}

static void the_disks_are_undone_though_what_stands_alone_is_not(void **state)
{
    struct disk_group group = { 0 };

    steps.step[2].alone = true;
    steps.step[1].group = &group;
    failing = "run c, undo b";
    assert_run(XLSNAP_UNFINISHED, "run c failed: No space left on device" CURE,
               "run record, run a, run b, run c, wake guest, undo c, undo b, "
               "undo a");
    assert_string_equal(logged, "cannot undo b: undo b failed: No space left "
                                "on device\n");
}

static void only_the_disks_are(void **state)
{
    steps.step[2].alone = true;
    failing = "run c, undo b";
    assert_run(XLSNAP_UNFINISHED, "run c failed: No space left on device" CURE,
               "run record, run a, run b, run c, wake guest, undo c, undo b");
}

static void a_guest_that_does_not_run_keeps_everything(void **state)
{
    failing = "run b, wake guest";
    assert_run(XLSNAP_UNFINISHED, "run b failed: No space left on device" CURE,
               "run record, run a, run b, wake guest");
    assert_string_equal(logged, "wake guest failed: No space left on "
                                "device\n");
}

static void nothing_is_undone_after_no_return(void **state)
{
    steps.step[1].no_return = true; /* a */
    failing = "run b";
    assert_run(XLSNAP_UNFINISHED, "run b failed: No space left on device" CURE,
               "run record, run a, run b, wake guest");
    assert_string_equal(logged, "");
}

/* It was dropped, for the guest runs; recover would find nothing. */
static void without_a_record_no_cure_is_named(void **state)
{
    free(op.pending.file);
    op.pending.file = NULL;
    steps.step[1].no_return = true; /* a */
    failing = "run b";
    assert_run(XLSNAP_UNFINISHED, "run b failed: No space left on device",
               "run record, run a, run b, wake guest");
}

static void the_step_of_no_return_itself_is_not_undone(void **state)
{
    steps.step[1].no_return = true;
    failing = "run a";
    assert_run(XLSNAP_UNFINISHED, "run a failed: No space left on device" CURE,
               "run record, run a, wake guest");
}

static void before_no_return_all_is_undone(void **state)
{
    steps.step[2].no_return = true;
    failing = "run a";
    assert_run(XLSNAP_FAILED, "run a failed: No space left on device",
               "run record, run a, wake guest, undo a, undo record");
}

/* ---- cancelling ---- */

static void a_cancelled_run_is_undone(void **state)
{
    struct xlsnap_error err = { 0 };

    xs.cancel_fd = cancel_pipe[0];
    cancel_at = "run a";
    assert_int_equal(steps_run(&op, &steps, &err), -XLSNAP_FAILED);
    assert_string_equal(err.msg, "cancelled");
    assert_int_equal(err.errnum, EINTR);
    /* b has not begun: nothing of it to undo. */
    assert_string_equal(trace, "run record, run a, wake guest, undo a, "
                               "undo record");
}

static void a_run_cancelled_before_it_begins_does_nothing(void **state)
{
    xs.cancel_fd = cancel_pipe[0];
    assert_int_equal(write(cancel_pipe[1], "", 1), 1);
    assert_run(XLSNAP_FAILED, "cancelled", "wake guest");
}

static void a_cancel_in_the_last_step_comes_too_late(void **state)
{
    xs.cancel_fd = cancel_pipe[0];
    cancel_at = "run c";
    assert_run(0, "", "run record, run a, run b, run c");
}

static void nothing_is_cancelled_after_no_return(void **state)
{
    steps.step[1].no_return = true;
    xs.cancel_fd = cancel_pipe[0];
    cancel_at = "run a";
    assert_run(0, "", "run record, run a, run b, run c");
}

static void the_step_of_no_return_can_be_prevented(void **state)
{
    steps.step[2].no_return = true; /* b */
    xs.cancel_fd = cancel_pipe[0];
    cancel_at = "run a";
    assert_run(XLSNAP_FAILED, "cancelled",
               "run record, run a, wake guest, undo a, undo record");
}

static void a_closed_cancel_pipe_cancels(void **state)
{
    xs.cancel_fd = cancel_pipe[0];
    close(cancel_pipe[1]);
    cancel_pipe[1] = -1;
    assert_run(XLSNAP_FAILED, "cancelled", "wake guest");
}

/* ---- the message ---- */

static int run_wordy(struct op *o, struct disk_group *group,
                     struct xlsnap_error *err)
{
    char text[3000];

    memset(text, 'x', sizeof(text));
    text[sizeof(text) - 1] = '\0';
    return xlsnap_fail(err, XLSNAP_FAILED, "%s", text);
}

static void a_long_message_makes_room_for_the_cure(void **state)
{
    struct xlsnap_error err = { 0 };

    steps.step[1].run = run_wordy;
    steps.step[1].no_return = true;
    assert_int_equal(steps_run(&op, &steps, &err), -XLSNAP_UNFINISHED);
    assert_int_equal(strlen(err.msg), sizeof(err.msg) - 1);
    assert_int_equal(strspn(err.msg, "x"), sizeof(err.msg) - sizeof(CURE));
    assert_string_equal(err.msg + sizeof(err.msg) - sizeof(CURE), CURE);
}

/* ---- groups and descriptions ---- */

static struct disk disks[] = { { .vdev = (char *)"xvda" },
                               { .vdev = (char *)"xvdb" },
                               { .vdev = (char *)"hda" } };
static struct disk *list[] = { &disks[0], &disks[1], &disks[2] };
static struct disk_group *seen[4];
static size_t n_seen;

static int see_group(struct op *o, struct disk_group *group,
                     struct xlsnap_error *err)
{
    seen[n_seen++] = group;
    return 0;
}

static const struct disk_driver drivers[] = {
    { .name = "one", .what = "first kind", .create = see_group },
    { .name = "two", .what = "second kind" },
    { .name = "three", .what = "third kind", .create = see_group },
};

static disk_fn *get_create(const struct disk_driver *driver)
{
    return driver->create;
}

/* The driver in the middle has nothing to create. */
static void every_group_has_its_step(void **state)
{
    struct disk_group groups[] = {
        { .driver = &drivers[0], .disks = list, .n = 2 },
        { .driver = &drivers[1], .disks = list, .n = 3 },
        { .driver = &drivers[2], .disks = &list[2], .n = 1 }
    };
    struct op with_groups = { .xs = &xs, .groups = groups, .n_groups = 3 };
    struct xlsnap_error err = { 0 };

    n_seen = 0;
    steps_clear(&steps);
    steps_add_groups(&steps, &with_groups, "disk-create", get_create, NULL,
                     "s1");
    assert_int_equal(steps.n, 2);
    assert_string_equal(steps.step[0].detail, "xvda, xvdb (first kind): s1");
    assert_string_equal(steps.step[1].detail, "hda (third kind): s1");
    assert_int_equal(steps_run(&with_groups, &steps, &err), 0);
    assert_int_equal(n_seen, 2);
    assert_ptr_equal(seen[0], &groups[0]);
    assert_ptr_equal(seen[1], &groups[2]);
}

static void steps_are_described(void **state)
{
    char **lines;
    size_t n;

    steps_describe(&steps, &lines, &n);
    assert_int_equal(n, 4);
    assert_string_equal(lines[0], "record: note it");
    assert_string_equal(lines[1], "a: 1");
    assert_string_equal(lines[3], "c: three");
    for (size_t i = 0; i < n; i++)
        free(lines[i]);
    free(lines);
    assert_string_equal(trace, ""); /* a dry run runs nothing */
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(steps_run_in_order),
        TEST(no_steps_are_run_well),
        TEST(a_failing_step_and_those_before_are_undone),
        TEST(the_first_step_is_undone_when_it_fails),
        TEST(all_are_undone_when_the_last_fails),
        TEST(what_has_no_undo_is_left_out),
        TEST(nobody_need_be_told_of_a_failure),
        TEST(the_code_of_the_step_is_returned),
        TEST(a_failing_undo_stops_and_keeps_the_record),
        TEST(the_disks_are_undone_though_what_stands_alone_is_not),
        TEST(only_the_disks_are),
        TEST(a_guest_that_does_not_run_keeps_everything),
        TEST(nothing_is_undone_after_no_return),
        TEST(without_a_record_no_cure_is_named),
        TEST(the_step_of_no_return_itself_is_not_undone),
        TEST(before_no_return_all_is_undone),
        TEST(a_cancelled_run_is_undone),
        TEST(a_run_cancelled_before_it_begins_does_nothing),
        TEST(a_cancel_in_the_last_step_comes_too_late),
        TEST(nothing_is_cancelled_after_no_return),
        TEST(the_step_of_no_return_can_be_prevented),
        TEST(a_closed_cancel_pipe_cancels),
        TEST(a_long_message_makes_room_for_the_cure),
        TEST(every_group_has_its_step),
        TEST(steps_are_described),
    };

    return cmocka_run_group_tests_name("steps", tests, NULL, NULL);
}
