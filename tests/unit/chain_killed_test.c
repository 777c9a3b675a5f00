/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * disk-qemu.c and disk-qemu-chain-undo.c with a real QEMU, when the tool was killed
 * in a snapshot or in the undo of one: what the guard and recover do.
 */
#include "live_testing.h"

/* ---- a snapshot that was cut off ---- */

/* A snapshot that was cut off before its renaming. */
static struct file_id cut_off_switched(void)
{
    struct xlsnap_error err = { 0 };
    struct disk *disk = use_external();
    struct file_id id = disk->id;

    start_qemu("a.qcow2", NULL);
    begin_create();
    ok(disk_qemu.create(&op, now, &err), &err);
    assert_files(".", TMP_A " a-s1.qcow2 " MONITOR);
    kill_tool();
    return id;
}

static void the_name_goes_to_what_qemu_writes_to(void **state)
{
    cut_off_switched();
    rescue();
    assert_files(".", "a-s1.qcow2 a.qcow2 " MONITOR);
    assert_active("a.qcow2", &op.disks[0].made);
    rescue(); /* again, by recover after the guard */
    assert_files(".", "a-s1.qcow2 a.qcow2 " MONITOR);
    assert_goes_on("a.qcow2", "da");
}

static void a_rescued_snapshot_is_undone(void **state)
{
    struct file_id id = cut_off_switched();

    rescue();
    live_writes("da");
    kill_tool();
    undo();
    assert_files(".", "a.qcow2 " MONITOR);
    assert_as_before("a.qcow2", &id, AFTER);
}

static void the_name_goes_back_to_what_qemu_still_writes_to(void **state)
{
    struct xlsnap_error err = { 0 };
    struct disk *disk = use_external();
    struct file_id id = disk->id;

    start_qemu("a.qcow2", NULL);
    begin_create();
    ok(qemu_external.begin(&op, disk, &err), &err);
    kill_tool();
    rescue();
    assert_files(".", TMP_A " a-s1.qcow2 a.qcow2 " MONITOR);
    assert_active("a.qcow2", &id);
    undo();
    assert_files(".", "a.qcow2 " MONITOR);
    assert_as_before("a.qcow2", &id, BEFORE);
}

static void a_finished_switch_is_undone(void **state)
{
    struct disk *disk = use_external();
    struct file_id id = disk->id;

    start_qemu("a.qcow2", NULL);
    make_snapshot();
    live_writes("da");
    kill_tool();
    rescue();
    undo();
    assert_files(".", "a.qcow2 " MONITOR);
    assert_as_before("a.qcow2", &id, AFTER);
}

static void anothers_file_under_the_name_is_told(void **state)
{
    struct xlsnap_error err = { 0 };
    struct file_id other;

    cut_off_switched();
    put("a.qcow2", "another's");
    other = id_of("a.qcow2");
    assert_int_equal(disk_qemu.rescue(&op, now, &err), -XLSNAP_FAILED);
    assert_non_null(strstr(err.msg, "a.qcow2' is neither of the files it "
                                    "should be; the guest writes to '"));
    assert_files(".", TMP_A " a-s1.qcow2 a.qcow2 " MONITOR);
    assert_is("a.qcow2", &other);
}

static void an_overlay_that_was_not_settled_is_so_by_a_rescue(void **state)
{
    cleanup_free char *target = in_dir("t.qcow2");
    struct xlsnap_error err = { 0 };
    struct disk *disk = use_overlay();
    struct file_id id = disk->id;

    start_qemu("a.qcow2", NULL);
    begin_create();
    ok(disk_qemu.create(&op, now, &err), &err);
    /* Before the switch: a late one must find libxl's configuration right. */
    assert_string_equal(stored, target);
    kill_tool();
    rescue();
    assert_string_equal(stored, target);
    assert_active("t.qcow2", &op.disks[0].made);
    live_writes("da");
    undo();
    assert_files(".", "a.qcow2 " MONITOR);
    assert_string_equal(stored, op.disks[0].source);
    assert_as_before("a.qcow2", &id, AFTER);
}

/* libxl's configuration was changed, but QEMU never switched. */
static void an_overlay_that_was_not_switched_to_leaves_the_config(void **state)
{
    struct disk *disk = use_overlay();
    struct file_id id = disk->id;

    start_qemu("a.qcow2", NULL);
    begin_create();
    strcpy(stored, disk->target);
    kill_tool();
    rescue();
    assert_string_equal(stored, op.disks[0].source);
    undo();
    assert_files(".", "a.qcow2 " MONITOR);
    assert_as_before("a.qcow2", &id, BEFORE);
}

/* ---- an undo that was cut off ---- */

#define JOB "{\"id\": \"xl-snapshot-xvda\"}"

static void wait_job(const char *wanted)
{
    int64_t deadline = now_ms() + WAIT_MS;
    bool reached = false;

    while (!reached && now_ms() < deadline) {
        struct json *reply = NULL;
        const char *status;

        tell("query-jobs", NULL, &reply);
        status = json_get_string(json_array_at(qmp_result(reply), 0), "status");
        reached = status && !strcmp(status, wanted);
        json_free(reply);
        usleep(1000);
    }
    assert_true(reached);
}

/* A merge as the undo begins it, as far as "ready". */
static void tell_commit(const char *top, const char *base)
{
    cleanup_free char *arguments =
        xasprintf("{\"job-id\": \"xl-snapshot-xvda\", \"device\": \"%s\", "
                  "\"base-node\": \"%s\", \"auto-finalize\": false, "
                  "\"auto-dismiss\": false}",
                  top, base);

    tell("block-commit", arguments, NULL);
    wait_job("ready");
}

static void tell_complete(void)
{
    tell("job-complete", JOB, NULL);
    wait_job("pending");
}

static void tell_finalize(void)
{
    tell("job-finalize", JOB, NULL);
    wait_job("concluded");
}

/* The commit of a finished snapshot, as far as "ready". */
static struct file_id begin_commit(struct disk *disk)
{
    struct file_id id = disk->id;

    start_qemu("a.qcow2", NULL);
    make_snapshot();
    live_writes("da");
    tell_commit("xvda-" TOKEN, "xvda-qcow2");
    return id;
}

static struct file_id begin_commit_pending(struct disk *disk)
{
    struct file_id id = begin_commit(disk);

    tell_complete();
    return id;
}

static void assert_commit_gone_on_with(const struct file_id *id)
{
    undo();
    assert_files(".", "a.qcow2 " MONITOR);
    assert_as_before("a.qcow2", id, AFTER);
}

static void a_commit_that_was_ready_is_made_anew(void **state)
{
    struct file_id id = begin_commit(use_external());

    kill_tool();
    rescue();
    assert_active("a.qcow2", &op.disks[0].made);
    assert_commit_gone_on_with(&id);
}

/* QEMU held the guest's requests: it must not wait for us for ever. */
static void a_commit_before_its_renaming_is_made_anew(void **state)
{
    struct file_id id = begin_commit_pending(use_external());

    kill_tool();
    rescue();
    assert_active("a.qcow2", &op.disks[0].made);
    live_writes("da");
    assert_commit_gone_on_with(&id);
}

static void a_commit_after_its_renaming_is_ended(void **state)
{
    struct file_id id = begin_commit_pending(use_external());

    assert_int_equal(rename("a-s1.qcow2", "a.qcow2"), 0);
    kill_tool();
    rescue();
    assert_active("a.qcow2", &id);
    live_writes("da");
    assert_commit_gone_on_with(&id);
}

/* As commit_names leaves them. */
static void exchange_names(void)
{
    assert_int_equal(
        renameat2(AT_FDCWD, "a-s1.qcow2", AT_FDCWD, "a.qcow2", RENAME_EXCHANGE),
        0);
}

static void a_commit_after_the_exchange_of_names_is_ended(void **state)
{
    struct file_id id = begin_commit_pending(use_external());

    exchange_names();
    kill_tool();
    rescue();
    assert_active("a.qcow2", &id);
    live_writes("da");
    op.disks[0].merging = true; /* as was noted before it */
    assert_commit_gone_on_with(&id);
}

/* Which way the job must go cannot be seen: it is not ended the wrong way. */
static void a_commit_whose_disk_is_out_of_sight_waits_for_it(void **state)
{
    struct xlsnap_error err = { 0 };
    struct file_id id = begin_commit_pending(use_external());

    assert_int_equal(rename("a.qcow2", "hidden"), 0);
    qemu_session_end(&op); /* the guard knows what the tool did */
    assert_int_equal(disk_qemu.rescue(&op, now, &err), -XLSNAP_FAILED);
    assert_non_null(
        strstr(err.msg, "disk 'xvda': it cannot be seen whether '"));
    wait_job("pending");
    assert_int_equal(rename("hidden", "a.qcow2"), 0);
    kill_tool();
    rescue();
    assert_active("a.qcow2", &op.disks[0].made);
    live_writes("da");
    assert_commit_gone_on_with(&id);
}

/* QEMU has not let go of the overlay, though the names were changed already. */
static void a_commit_that_fails_at_its_end_gives_the_names_back(void **state)
{
    struct file_id id = begin_commit_pending(use_external());

    exchange_names();
    tell("job-cancel", JOB, NULL);
    wait_job("concluded");
    kill_tool();
    rescue();
    assert_is("a-s1.qcow2", &id);
    assert_active("a.qcow2", &op.disks[0].made);
    live_writes("da");
    assert_commit_gone_on_with(&id);
}

static void note_merge(bool merged)
{
    struct xlsnap_error err = { 0 };

    op.disks[0].merging = true;
    op.disks[0].merged = merged;
    pending_update_disks(&op.pending, &op);
    ok(pending_write(&xs, &op.pending, &err), &err);
}

static void an_overlays_commit_before_its_note_is_made_anew(void **state)
{
    struct file_id id = begin_commit_pending(use_overlay());

    note_merge(false);
    kill_tool();
    rescue();
    assert_string_equal(stored, op.disks[0].target);
    assert_active("t.qcow2", &op.disks[0].made);
    live_writes("da");
    assert_commit_gone_on_with(&id);
}

static void an_overlays_commit_after_its_note_is_ended(void **state)
{
    struct file_id id = begin_commit_pending(use_overlay());

    note_merge(true);
    kill_tool();
    rescue();
    assert_string_equal(stored, op.disks[0].source);
    assert_active("a.qcow2", &id);
    live_writes("da");
    assert_commit_gone_on_with(&id);
}

/* Somebody has started the guest on the half merged base. */
static void an_overlay_is_kept_when_the_guest_runs_on_its_base(void **state)
{
    struct xlsnap_error err = { 0 };

    use_overlay();
    start_qemu("a.qcow2", NULL);
    make_snapshot();
    live_writes("da");
    note_merge(false);
    stop_qemu();
    start_qemu("a.qcow2", NULL);
    kill_tool();
    rescue();
    now->touched = true;
    assert_int_equal(disk_qemu.remove(&op, now, &err), -XLSNAP_REFUSED);
    assert_non_null(strstr(err.msg, "disk 'xvda': the guest has written to '"));
    assert_files(".", "a.qcow2 " MONITOR " t.qcow2");
}

/* Which file it wrote to last is not to be seen; the undo finds out. */
static void of_a_dead_qemu_a_rescue_leaves_all_as_it_is(void **state)
{
    uint32_t domid;
    pid_t qemu;

    cut_off_switched();
    live_writes("da");
    domid = op.dom.domid;
    qemu = op.dom.qemu_pid;
    stop_qemu();
    op.dom.domid = domid;
    op.dom.qemu_pid = qemu;
    rescue();
    assert_files(".", TMP_A " a-s1.qcow2 " MONITOR);
    op.dom.qemu_pid = 0;
    op.dom.domid = DOMAIN_NONE;
    undo();
    assert_files(".", "a.qcow2 " MONITOR);
    assert_data("a.qcow2", "qcow2", AFTER);
}

static void a_commit_that_was_not_dismissed_is_so(void **state)
{
    struct file_id id = begin_commit_pending(use_external());

    assert_int_equal(rename("a-s1.qcow2", "a.qcow2"), 0);
    tell_finalize();
    kill_tool();
    assert_commit_gone_on_with(&id);
}

/* ---- the domain died, and was started again meanwhile ---- */

static void a_new_qemu_is_switched_back(void **state)
{
    struct disk *disk = use_external();
    struct file_id id = disk->id;

    start_qemu("a.qcow2", NULL);
    make_snapshot();
    live_writes("da");
    stop_qemu();
    start_qemu("a.qcow2", NULL);
    kill_tool();
    rescue();
    undo();
    assert_files(".", "a.qcow2 " MONITOR);
    assert_as_before("a.qcow2", &id, AFTER);
}

/* Its base is a node that nobody has given a name: known as xvda no more. */
static void a_new_qemu_makes_no_other_snapshot(void **state)
{
    use_external();
    start_qemu("a.qcow2", NULL);
    make_snapshot();
    stop_qemu();
    start_qemu("a.qcow2", NULL);
    kill_tool();
    undo();
    clear_operation("s2");
    use_for(XLSNAP_METHOD_EXTERNAL, "a.qcow2", "a-s2.qcow2");
    assert_not_checked("disk 'xvda': QEMU does not serve '");
}

/* Of the node with this file, to be freed. */
static char *node_of(const char *file)
{
    cleanup_free char *path = in_dir(file);
    struct json *reply = NULL;
    char *name = NULL;

    tell("query-named-block-nodes", "{\"flat\": true}", &reply);
    for (size_t i = 0; i < json_array_len(qmp_result(reply)); i++) {
        const struct json *node = json_array_at(qmp_result(reply), i);

        if (!strcmp(json_get_string(node, "file"), path) &&
            !strcmp(json_get_string(node, "drv"), "qcow2"))
            name = xstrdup(json_get_string(node, "node-name"));
    }
    json_free(reply);
    assert_non_null(name);
    return name;
}

static bool has_node(const char *name)
{
    struct json *reply = NULL;
    bool found = false;

    tell("query-named-block-nodes", "{\"flat\": true}", &reply);
    for (size_t i = 0; i < json_array_len(qmp_result(reply)); i++)
        found = found ||
                !strcmp(json_get_string(json_array_at(qmp_result(reply), i),
                                        "node-name"),
                        name);
    json_free(reply);
    return found;
}

/* QEMU has the overlay and its base open; the undo is killed when it has merged
 * them, and has named the base, but before it lets the overlay's node go. */
static void merge_in_new_qemu(const char *overlay, const char *base)
{
    cleanup_free char *node = NULL;
    struct xlsnap_error err = { 0 };

    stop_qemu();
    start_qemu(overlay, NULL);
    op.disks[0].merging = true; /* as a merge begins */
    pending_update_disks(&op.pending, &op);
    ok(pending_write(&xs, &op.pending, &err), &err);
    node = node_of(base);
    tell_commit("xvda-qcow2", node);
    tell_complete();
    if (now->disks[0]->method == XLSNAP_METHOD_EXTERNAL)
        assert_int_equal(rename(base, overlay), 0);
    else
        strcpy(stored, now->disks[0]->source);
    op.disks[0].merged = now->disks[0]->method == XLSNAP_METHOD_OVERLAY;
    pending_update_disks(&op.pending, &op);
    ok(pending_write(&xs, &op.pending, &err), &err);
    tell_finalize();
    tell("job-dismiss", JOB, NULL);
    assert_true(has_node("xvda-qcow2"));
    kill_tool();
    rescue();
    assert_false(has_node("xvda-qcow2"));
}

static void a_merge_in_a_new_qemu_is_let_go(void **state)
{
    struct disk *disk = use_external();
    struct file_id id = disk->id;

    start_qemu("a.qcow2", NULL);
    make_snapshot();
    live_writes("da");
    merge_in_new_qemu("a.qcow2", "a-s1.qcow2");
    undo();
    assert_files(".", "a.qcow2 " MONITOR);
    assert_as_before("a.qcow2", &id, AFTER);
}

static void an_overlays_merge_in_a_new_qemu_is_let_go(void **state)
{
    struct disk *disk = use_overlay();
    struct file_id id = disk->id;

    start_qemu("a.qcow2", NULL);
    make_snapshot();
    live_writes("da");
    merge_in_new_qemu("t.qcow2", "a.qcow2");
    undo();
    assert_files(".", "a.qcow2 " MONITOR);
    assert_string_equal(stored, op.disks[0].source);
    assert_as_before("a.qcow2", &id, AFTER);
}

static void a_new_qemu_on_an_overlay_is_switched_back(void **state)
{
    struct disk *disk = use_overlay();
    struct file_id id = disk->id;

    start_qemu("a.qcow2", NULL);
    make_snapshot();
    live_writes("da");
    stop_qemu();
    start_qemu("t.qcow2", NULL);
    kill_tool();
    rescue();
    undo();
    assert_files(".", "a.qcow2 " MONITOR);
    assert_as_before("a.qcow2", &id, AFTER);
}

static void without_any_qemu_it_is_undone_offline(void **state)
{
    cut_off_switched();
    live_writes("da");
    stop_qemu();
    undo();
    assert_files(".", "a.qcow2 " MONITOR);
    assert_data("a.qcow2", "qcow2", AFTER);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        LIVE_TEST(the_name_goes_to_what_qemu_writes_to),
        LIVE_TEST(a_rescued_snapshot_is_undone),
        LIVE_TEST(the_name_goes_back_to_what_qemu_still_writes_to),
        LIVE_TEST(a_finished_switch_is_undone),
        LIVE_TEST(anothers_file_under_the_name_is_told),
        LIVE_TEST(an_overlay_that_was_not_settled_is_so_by_a_rescue),
        LIVE_TEST(an_overlay_that_was_not_switched_to_leaves_the_config),
        LIVE_TEST(a_commit_that_was_ready_is_made_anew),
        LIVE_TEST(a_commit_before_its_renaming_is_made_anew),
        LIVE_TEST(a_commit_after_its_renaming_is_ended),
        LIVE_TEST(a_commit_after_the_exchange_of_names_is_ended),
        LIVE_TEST(a_commit_whose_disk_is_out_of_sight_waits_for_it),
        LIVE_TEST(a_commit_that_fails_at_its_end_gives_the_names_back),
        LIVE_TEST(an_overlays_commit_before_its_note_is_made_anew),
        LIVE_TEST(an_overlays_commit_after_its_note_is_ended),
        LIVE_TEST(an_overlay_is_kept_when_the_guest_runs_on_its_base),
        LIVE_TEST(of_a_dead_qemu_a_rescue_leaves_all_as_it_is),
        LIVE_TEST(a_commit_that_was_not_dismissed_is_so),
        LIVE_TEST(a_new_qemu_is_switched_back),
        LIVE_TEST(a_new_qemu_makes_no_other_snapshot),
        LIVE_TEST(a_merge_in_a_new_qemu_is_let_go),
        LIVE_TEST(an_overlays_merge_in_a_new_qemu_is_let_go),
        LIVE_TEST(a_new_qemu_on_an_overlay_is_switched_back),
        LIVE_TEST(without_any_qemu_it_is_undone_offline),
    };

    return cmocka_run_group_tests_name("chain_killed", tests, NULL, NULL);
}
