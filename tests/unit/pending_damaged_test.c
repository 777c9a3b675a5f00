/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * pending.c: records that are damaged, or that nobody of us has written: what
 * stands in one becomes names of files, so none is believed half.
 */
#include "pending_testing.h"

static void assert_damaged(const char *text, const char *message)
{
    struct xlsnap_error err = { 0 };
    struct found found = { 0 };

    put(RECORD, text);
    assert_int_equal(pending_each(&xs, found_one, &found, &err),
                     -XLSNAP_FAILED);
    if (message)
        assert_string_equal(err.msg, message);
    assert_int_equal(err.code, XLSNAP_FAILED);
    assert_non_null(strstr(err.msg, RECORD)); /* which one */
    assert_int_equal(found.n, 0);
}

/* The text of a record with `from` replaced by `to`, to be freed. */
static char *edited(const char *text, const char *from, const char *to)
{
    const char *p = strstr(text, from);

    if (!p)
        fail_msg("no %s in the record", from);
    return xasprintf("%.*s%s%s", (int)(p - text), text, to, p + strlen(from));
}

static void a_record_cut_anywhere_is_told(void **state)
{
    cleanup_free char *text = NULL;

    write_small(UUID, "web1");
    text = get(RECORD);
    for (size_t len = strrchr(text, '}') - text; len--;) {
        text[len] = '\0';
        assert_damaged(text, NULL);
    }
}

static void an_empty_record_is_told(void **state)
{
    write_small(UUID, "web1");
    assert_damaged("", NULL);
    assert_damaged("{}", NO_RECORD);
    assert_damaged("[]", NO_RECORD);
    assert_damaged("null", NO_RECORD);
}

static void a_record_of_another_format_is_told(void **state)
{
    const char *formats[] = { "0",    "1",  "6",   "8",   "\"7\"",
                              "null", "-7", "7.0", "true" };
    cleanup_free char *text = NULL;

    write_small(UUID, "web1");
    text = get(RECORD);
    for (size_t i = 0; i < ARRAY_SIZE(formats); i++) {
        cleanup_free char *to = xasprintf("\"format\": %s,", formats[i]);
        cleanup_free char *bad = edited(text, "\"format\": 7,", to);

        assert_damaged(bad, NO_RECORD);
    }
}

/* Each member in turn is given another name. */
static void a_record_that_lacks_a_member_is_told(void **state)
{
    cleanup_free char *text = NULL;
    char *name;
    int n = 0;

    write_small(UUID, "web1");
    text = get(RECORD);
    for (name = strstr(text, "\": "); name; name = strstr(name + 1, "\": ")) {
        name[-1] ^= 1;
        assert_damaged(text, NO_RECORD);
        name[-1] ^= 1;
        n++;
    }
    assert_int_equal(n, 30 + 2 * 20); /* those of pending.c */
    put(RECORD, text);
    assert_int_equal(count_records(), 1);
}

static void a_member_of_another_type_is_told(void **state)
{
    const struct {
        const char *from, *to;
    } edits[] = {
        { "\"operation\": \"revert\"", "\"operation\": 1" },
        { "\"domain\": \"web1\"", "\"domain\": null" },
        { "\"domain\": \"web1\"", "\"domain\": \"\"" },
        { "\"uuid\": \"" UUID "\"", "\"uuid\": {}" },
        { "\"name\": \"before-upgrade\"", "\"name\": []" },
        { "\"looking\": false", "\"looking\": 0" },
        { "\"no_return\": true", "\"no_return\": \"true\"" },
        { "\"no_return\": true", "\"no_return\": 1" },
        { "\"live\": false", "\"live\": 0" },
        { "\"settled\": false", "\"settled\": null" },
        { "\"monitor\": \"yes\"", "\"monitor\": true" },
        { "\"paused\": true", "\"paused\": 0" },
        { "\"domid\": 7", "\"domid\": \"7\"" },
        { "\"domid\": 7", "\"domid\": 7.5" },
        { "\"domid\": 7", "\"domid\": -1" },
        { "\"domid\": 7", "\"domid\": 4294967296" }, /* 0, cut to 32 bits */
        { "\"restored\": 32751", "\"restored\": 1e3" },
        { "\"released\": false", "\"released\": 0" },
        { "\"disks\": [", "\"disks\": {}, \"more\": [" },
        { "\"vdev\": \"xvda\"", "\"vdev\": 3" },
        { "\"method\": \"internal\"", "\"method\": \"\"" },
        { "\"method\": \"internal\"", "\"method\": \"magic\"" },
        { "\"ino\": 1792", "\"ino\": \"1792\"" },
        { "\"ino\": 4712", "\"ino\": null" },
        { "\"made\": {", "\"made\": 1, \"more\": {" },
        { "\"id\": {", "\"id\": [], \"more\": {" },
        { "\"keep\": true", "\"keep\": \"yes\"" },
        { "\"force\": true", "\"force\": 1" },
        { "\"dir_ino\": 4711", "\"dir_ino\": \"4711\"" },
        { "\"left_written\": 0", "\"left_written\": \"0\"" },
        { "\"token\": \"0123456789abcdef\"", "\"token\": null" },
        { "\"token\": \"0123456789abcdef\"", "\"token\": 123456789" },
        { "\"dev\": 64768", "\"dev\": \"64768\"" },
        { "\"block\": true", "\"block\": \"true\"" },
    };
    cleanup_free char *text = NULL;

    write_small(UUID, "web1");
    text = get(RECORD);
    for (size_t i = 0; i < ARRAY_SIZE(edits); i++) {
        cleanup_free char *bad = edited(text, edits[i].from, edits[i].to);

        assert_damaged(bad, NO_RECORD);
    }
}

/* A text or null: a number is neither, and not to be taken for "none". */
static void a_text_of_another_type_is_told(void **state)
{
    const struct {
        const char *from, *to;
    } edits[] = {
        { "\"memory_tmp\": \"/snap/m.save.new-1\"", "\"memory_tmp\": 1" },
        { "\"made_dir\": \"/snap\"", "\"made_dir\": false" },
        { "\"discarded\": \"discarded-1\"", "\"discarded\": {}" },
        { "\"target\": \"/img/b.cow\"", "\"target\": []" },
        { "\"source_format\": \"raw\"", "\"source_format\": 0" },
        { "\"node\": \"xvda-qcow2\"", "\"node\": 1.5" },
    };
    cleanup_free char *text = NULL;

    write_small(UUID, "web1");
    text = get(RECORD);
    for (size_t i = 0; i < ARRAY_SIZE(edits); i++) {
        cleanup_free char *bad = edited(text, edits[i].from, edits[i].to);

        assert_damaged(bad, NO_RECORD);
    }
}

/* It stands in the names of files that recovery removes. */
static void a_token_that_is_none_is_told(void **state)
{
    const char *const tokens[] = {
        "x",
        "0123456789abcde",
        "0123456789abcdef0",
        "0123456789abcdeg",
        "../../../../etc/",
        "0123456/../abcde",
        "0123456789abcde\\n",
    };
    cleanup_free char *text = NULL;

    write_small(UUID, "web1");
    text = get(RECORD);
    for (size_t i = 0; i < ARRAY_SIZE(tokens); i++) {
        cleanup_free char *to = xasprintf("\"token\": \"%s\"", tokens[i]);
        cleanup_free char *bad =
            edited(text, "\"token\": \"0123456789abcdef\"", to);

        assert_damaged(bad, NO_RECORD);
    }
}

static void a_disk_whose_name_is_a_path_is_told(void **state)
{
    const char *const vdevs[] = { "../xvda", "xvda/..", "/", "xvda/b", "." };
    cleanup_free char *text = NULL;

    write_small(UUID, "web1");
    text = get(RECORD);
    for (size_t i = 0; i < ARRAY_SIZE(vdevs); i++) {
        cleanup_free char *to = xasprintf("\"vdev\": \"%s\"", vdevs[i]);
        cleanup_free char *bad = edited(text, "\"vdev\": \"xvda\"", to);

        assert_damaged(bad, NO_RECORD);
    }
}

static void a_name_to_keep_a_file_under_is_no_path(void **state)
{
    cleanup_free char *text = NULL, *bad = NULL;

    write_small(UUID, "web1");
    text = get(RECORD);
    bad = edited(text, "\"discarded\": \"discarded-1\"",
                 "\"discarded\": \"x/../../etc/cron.d/x\"");
    assert_damaged(bad, NO_RECORD);
}

static void paths_that_are_not_absolute_are_told(void **state)
{
    const struct {
        const char *from, *to;
    } edits[] = {
        { "\"config_path\": \"/snap", "\"config_path\": \"snap" },
        { "\"memory\": \"/snap", "\"memory\": \"snap" },
        { "\"memory_tmp\": \"/snap", "\"memory_tmp\": \"snap" },
        { "\"made_dir\": \"/snap\"", "\"made_dir\": \"snap\"" },
        { "\"made_dir\": \"/snap\"", "\"made_dir\": \"\"" },
        { "\"source\": \"/img/a", "\"source\": \"img/a" },
    };
    cleanup_free char *text = NULL;

    write_small(UUID, "web1");
    text = get(RECORD);
    for (size_t i = 0; i < ARRAY_SIZE(edits); i++) {
        cleanup_free char *bad = edited(text, edits[i].from, edits[i].to);

        assert_damaged(bad, NO_RECORD);
    }
}

/* Recovery could not look for what was made. */
static void a_moved_disk_without_target_is_told(void **state)
{
    cleanup_free char *text = NULL, *bad = NULL;

    write_small(UUID, "web1");
    text = get(RECORD);
    bad = edited(text, "\"target\": \"/img/b.cow\"", "\"target\": null");
    assert_damaged(bad, NO_RECORD);
}

/* Where an image of memory would be is not known without. */
static void a_create_without_temporary_image_is_told(void **state)
{
    cleanup_free char *text = NULL, *create = NULL, *bad = NULL;

    write_small(UUID, "web1");
    text = get(RECORD);
    create =
        edited(text, "\"operation\": \"revert\"", "\"operation\": \"create\"");
    bad = edited(create, "\"memory_tmp\": \"/snap/m.save.new-1\"",
                 "\"memory_tmp\": null");
    assert_damaged(bad, NO_RECORD);
}

static void a_disk_that_is_no_object_is_told(void **state)
{
    cleanup_free char *text = NULL, *bad = NULL;

    write_small(UUID, "web1");
    text = get(RECORD);
    bad = edited(text, "\"disks\": [", "\"disks\": [5,");
    assert_damaged(bad, NO_RECORD);
}

static void a_huge_record_is_told(void **state)
{
    cleanup_free char *text = xcalloc((1 << 20) + 2, 1);

    write_small(UUID, "web1");
    memset(text, ' ', (1 << 20) + 1);
    assert_damaged(text, "cannot read '" RECORD "': it is larger than 1048576 "
                         "bytes");
}

static void a_record_that_is_no_file_is_told(void **state)
{
    struct xlsnap_error err = { 0 };
    struct found found = { 0 };

    write_small(OTHER_UUID, "web1");
    assert_int_equal(mkdir(RECORD, 0700), 0);
    assert_int_equal(pending_each(&xs, found_one, &found, &err),
                     -XLSNAP_FAILED);
    assert_string_equal(err.msg, "cannot read '" RECORD "': it is a "
                                 "directory");
    pending_clear(&found.p);
}

/* What it says is carried out, by root. */
static void a_record_that_others_could_write_is_refused(void **state)
{
    struct xlsnap_error err = { 0 };
    struct found found = { 0 };

    write_small(UUID, "web1");
    assert_int_equal(chmod(RECORD, 0606), 0);
    assert_int_equal(pending_each(&xs, found_one, &found, &err),
                     -XLSNAP_REFUSED);
    assert_non_null(strstr(err.msg, RECORD "' can be written to by others "
                                           "(mode 0606)"));
    assert_int_equal(chmod(RECORD, 0600), 0);
    assert_int_equal(pending_each(&xs, found_one, &found, &err), 0);
    pending_clear(&found.p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_record_cut_anywhere_is_told),
        TEST(an_empty_record_is_told),
        TEST(a_record_of_another_format_is_told),
        TEST(a_record_that_lacks_a_member_is_told),
        TEST(a_member_of_another_type_is_told),
        TEST(a_text_of_another_type_is_told),
        TEST(a_token_that_is_none_is_told),
        TEST(a_disk_whose_name_is_a_path_is_told),
        TEST(a_name_to_keep_a_file_under_is_no_path),
        TEST(paths_that_are_not_absolute_are_told),
        TEST(a_moved_disk_without_target_is_told),
        TEST(a_create_without_temporary_image_is_told),
        TEST(a_disk_that_is_no_object_is_told),
        TEST(a_huge_record_is_told),
        TEST(a_record_that_is_no_file_is_told),
        TEST(a_record_that_others_could_write_is_refused),
    };

    return cmocka_run_group_tests_name("pending_damaged", tests, NULL, NULL);
}
