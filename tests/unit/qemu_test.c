/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * qcow2.c and the part of disk-qcow2-internal.c that needs no QEMU: replies
 * as QEMU 7.2 gives them, and real images, made by the real qemu-img.
 */
#include <fcntl.h>
#include <ftw.h>
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <sys/stat.h>
#include <cmocka.h>

#include "qcow2.h"
#include "run.h"
#include "util.h"

#define MAX_DISKS 2

static char dir[] = "/tmp/qcow2_test.XXXXXX";

/* The operation that the tests run: snapshot "s1" of a.qcow2 and b.qcow2. */
static struct op op;
static struct disk disks[MAX_DISKS];
static struct disk *list[MAX_DISKS] = { &disks[0], &disks[1] };
static struct disk_group group = { .driver = &disk_qcow2_internal,
                                   .disks = list,
                                   .n = 1 };

static int remove_one(const char *path, const struct stat *st, int type,
                      struct FTW *ftw)
{
    return remove(path);
}

static int setup(void **state)
{
    strcpy(dir + strlen(dir) - 6, "XXXXXX");
    op_init(&op, NULL);
    op.snap.name = xstrdup("s1");
    memset(disks, 0, sizeof(disks));
    group.n = 1;
    return mkdtemp(dir) && !chdir(dir) ? 0 : -1;
}

static int teardown(void **state)
{
    for (size_t i = 0; i < MAX_DISKS; i++) {
        free(disks[i].source);
        free(disks[i].path);
        free(disks[i].tag);
    }
    op_clear(&op);
    return chdir("/") || nftw(dir, remove_one, 9, FTW_DEPTH | FTW_PHYS);
}

/* disks[i] becomes this file, as disk.c would fill it in. */
static struct disk *use(size_t i, const char *file)
{
    static const char *const vdevs[] = { "xvda", "xvdb" };
    struct xlsnap_error err = { 0 };
    struct disk *disk = &disks[i];

    disk->vdev = (char *)vdevs[i];
    disk->source = xstrdup(file);
    disk->path = realpath(file, NULL);
    disk->format = LIBXL_DISK_FORMAT_QCOW2;
    disk->backend = LIBXL_DISK_BACKEND_QDISK;
    if (!disk->path || file_id(file, &disk->id, &err))
        fail_msg("%s: %s", file, err.msg);
    return disk;
}

static void run(const char *const argv[])
{
    struct xlsnap_error err = { 0 };

    if (run_ok(argv, RUN_TIMEOUT_MS, &err))
        fail_msg("%s", err.msg);
}
#define RUN(...) run((const char *const[]){ __VA_ARGS__, NULL })

static void make_image(const char *file)
{
    RUN("qemu-img", "create", "-q", "-f", "qcow2", file, "1M");
}

static void fill(const char *file, const char *pattern)
{
    cleanup_free char *cmd = xasprintf("write -q -P %s 0 1M", pattern);

    RUN("qemu-io", "-f", "qcow2", "-c", cmd, file);
}

static void assert_filled(const char *file, const char *pattern)
{
    cleanup_free char *cmd = xasprintf("read -q -P %s 0 1M", pattern);

    RUN("qemu-io", "-f", "qcow2", "-c", cmd, file);
}

static void tag(const char *file, const char *name)
{
    RUN("qemu-img", "snapshot", "-q", "-c", name, file);
}

/* How many snapshots of that tag has the image? */
static int count_tags(const struct disk *disk, const char *name)
{
    struct xlsnap_error err = { 0 };
    const struct json *image;
    struct json *root;
    int count;

    if (qcow2_info(disk, &root, &image, &err))
        fail_msg("%s", err.msg);
    qcow2_find_id(image, name, &count);
    json_free(root);
    return count;
}

static struct json *parse(const char *text)
{
    struct xlsnap_error err = { 0 };
    struct json *root;

    if (json_parse(text, strlen(text), "test", &root, &err))
        fail_msg("%s", err.msg);
    return root;
}

/* ---- query-block ---- */

/* An entry of query-block for a disk of PV: no device, an image. */
static char *entry(const char *drv, const char *file, const char *more)
{
    return xasprintf(
        "{\"io-status\": \"ok\", \"device\": \"\", \"locked\": false, "
        "\"removable\": false, \"qdev\": \"/machine/x\", \"type\": "
        "\"unknown\", \"inserted\": {\"ro\": false, \"drv\": \"%s\", "
        "\"node-name\": \"xvda-qcow2\", \"file\": \"%s\", \"image\": {"
        "\"virtual-size\": 1048576, \"filename\": \"%s\", \"format\": "
        "\"%s\"%s}}}",
        drv, file, file, drv, more);
}

#define CD "{\"device\": \"ide1-cd0\", \"removable\": true}"

/* Looks for disks[0] in these entries; NULL: refused, with the message. */
static bool find(const char *entries, const char *message)
{
    cleanup_free char *text = xasprintf("[%s]", entries);
    struct json *blocks = parse(text);
    struct xlsnap_error err = { 0 };
    const struct json *found = qcow2_find_entry(blocks, &disks[0], &err);

    if (found)
        assert_string_equal(json_get_string(found, "node-name"), "xvda-qcow2");
    else
        assert_int_equal(err.code, XLSNAP_REFUSED);
    assert_string_equal(err.msg, message);
    json_free(blocks);
    return found;
}

static void touch(const char *file)
{
    int fd = open(file, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

    assert_true(fd >= 0);
    close(fd);
}

#define NOT_SERVED "disk 'xvda': QEMU does not serve 'a.qcow2' as qcow2"

static void a_node_is_found_by_its_file(void **state)
{
    cleanup_free char *ours = NULL, *other = NULL, *all = NULL;

    touch("a.qcow2");
    touch("b.qcow2");
    use(0, "a.qcow2");
    use(1, "b.qcow2");
    ours = entry("qcow2", disks[0].path, "");
    other = entry("qcow2", disks[1].path, "");
    all = xasprintf("%s, %s, %s", CD, other, ours);
    assert_true(find(all, ""));
}

static void a_node_is_found_by_another_name_of_the_file(void **state)
{
    cleanup_free char *name = xasprintf("%s/link", dir);
    cleanup_free char *text = entry("qcow2", name, "");

    touch("a.qcow2");
    assert_int_equal(symlink("a.qcow2", "link"), 0);
    use(0, "a.qcow2");
    assert_true(find(text, ""));
}

static void a_disk_that_qemu_does_not_serve_is_refused(void **state)
{
    cleanup_free char *other = NULL, *gone = entry("qcow2", "/no/file", "");

    touch("a.qcow2");
    touch("b.qcow2");
    use(0, "a.qcow2");
    use(1, "b.qcow2");
    other = entry("qcow2", disks[1].path, "");
    assert_false(find("", NOT_SERVED));
    assert_false(find(CD, NOT_SERVED));
    assert_false(find(other, NOT_SERVED));
    assert_false(find(gone, NOT_SERVED));
}

static void a_disk_served_as_raw_is_refused(void **state)
{
    cleanup_free char *text = NULL;

    touch("a.qcow2");
    text = entry("raw", use(0, "a.qcow2")->path, "");
    assert_false(find(text, NOT_SERVED));
}

/* A file name of the sort "json:{...}" or one relative to QEMU's directory. */
static void a_name_that_is_no_path_is_refused(void **state)
{
    cleanup_free char *text = entry("qcow2", "a.qcow2", "");

    touch("a.qcow2");
    use(0, "a.qcow2");
    assert_false(find(text, NOT_SERVED));
}

static void a_disk_that_qemu_has_twice_is_refused(void **state)
{
    cleanup_free char *text = NULL, *twice = NULL;

    touch("a.qcow2");
    text = entry("qcow2", use(0, "a.qcow2")->path, "");
    twice = xasprintf("%s, %s", text, text);
    assert_false(
        find(twice, "disk 'xvda': QEMU has 'a.qcow2' open more than once"));
}

static void a_reply_of_another_shape_is_refused(void **state)
{
    const char *const replies[] = {
        "5",
        "null, [], \"x\"",
        "{\"inserted\": 3}",
        "{\"inserted\": {\"drv\": 1, \"image\": []}}",
        "{\"inserted\": {\"drv\": \"qcow2\", \"image\": {\"filename\": {}}}}",
    };
    cleanup_free char *nameless = NULL;
    struct json *object = parse("{}");
    struct xlsnap_error err = { 0 };

    touch("a.qcow2");
    use(0, "a.qcow2");
    nameless = xasprintf("{\"inserted\": {\"drv\": \"qcow2\", \"image\": "
                         "{\"filename\": \"%s\"}}}",
                         disks[0].path);
    for (size_t i = 0; i < ARRAY_SIZE(replies); i++)
        assert_false(find(replies[i], NOT_SERVED));
    assert_false(find(nameless, NOT_SERVED));
    assert_null(qcow2_find_entry(object, &disks[0], &err));
    assert_string_equal(err.msg, NOT_SERVED);
    json_free(object);
}

#define SNAPSHOT(id, name)                             \
    "{\"id\": \"" id "\", \"name\": \"" name "\", "    \
    "\"vm-state-size\": 0, \"date-sec\": 1700000000, " \
    "\"date-nsec\": 5, \"vm-clock-sec\": 0, \"vm-clock-nsec\": 0}"

static bool entry_has_tag(const char *snapshots, const char *name)
{
    cleanup_free char *more = xasprintf(", \"snapshots\": %s", snapshots);
    cleanup_free char *text = entry("qcow2", "/a", snapshots ? more : "");
    struct json *v = parse(text);
    bool has = qcow2_entry_has_tag(json_get(v, "inserted"), name);

    json_free(v);
    return has;
}

static void tags_of_a_node_are_found(void **state)
{
    const char *two = "[" SNAPSHOT("1", "s1") ", " SNAPSHOT("2", "s2") "]";

    assert_true(entry_has_tag(two, "s1"));
    assert_true(entry_has_tag(two, "s2"));
    assert_false(entry_has_tag(two, "s"));
    assert_false(entry_has_tag(two, "1")); /* an ID */
    assert_false(entry_has_tag(NULL, "s1"));
    assert_false(entry_has_tag("{\"name\": \"s1\"}", "s1"));
    assert_false(entry_has_tag("[{\"name\": 1}, null, {}]", "1"));
}

/* ---- snapshots in qemu-img info ---- */

static void assert_id(const char *snapshots, const char *name, const char *id,
                      int count)
{
    cleanup_free char *text = xasprintf("{\"snapshots\": %s}", snapshots);
    struct json *image = parse(text);
    int n = -1;
    const char *found = qcow2_find_id(image, name, &n);

    assert_int_equal(n, count);
    assert_int_equal(!found, !id);
    if (id)
        assert_string_equal(found, id);
    json_free(image);
}

static void the_id_of_a_tag_is_found(void **state)
{
    const char *two = "[" SNAPSHOT("1", "s1") ", " SNAPSHOT("22", "s2") "]";

    assert_id(two, "s1", "1", 1);
    assert_id(two, "s2", "22", 1);
    assert_id(two, "s3", NULL, 0);
    assert_id("[]", "s1", NULL, 0);
}

static void a_tag_that_is_there_twice_has_no_id(void **state)
{
    assert_id("[" SNAPSHOT("1", "s1") ", " SNAPSHOT("2", "s1") "]", "s1", NULL,
              2);
}

static void an_id_is_not_taken_for_a_tag(void **state)
{
    const char *crossed = "[" SNAPSHOT("1", "2") ", " SNAPSHOT("2", "1") "]";

    assert_id(crossed, "1", "2", 1);
    assert_id(crossed, "2", "1", 1);
    assert_id("[" SNAPSHOT("1", "s1") "]", "1", NULL, 0);
}

static void a_list_of_another_shape_has_no_id(void **state)
{
    assert_id("5", "s1", NULL, 0);
    assert_id("{\"name\": \"s1\", \"id\": \"1\"}", "s1", NULL, 0);
    assert_id("[null, {}, {\"name\": 1}]", "s1", NULL, 0);
    assert_id("[{\"name\": \"s1\"}]", "s1", NULL, 1);
    assert_id("[{\"name\": \"s1\", \"id\": 1}]", "s1", NULL, 1);
}

/* ---- real images ---- */

static void the_image_is_first_in_its_chain(void **state)
{
    struct xlsnap_error err = { 0 };
    const struct json *image;
    struct json *root;

    make_image("base.qcow2");
    RUN("qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b",
        "base.qcow2", "a.qcow2");
    if (qcow2_info(use(0, "a.qcow2"), &root, &image, &err))
        fail_msg("%s", err.msg);
    assert_int_equal(json_array_len(root), 2);
    assert_string_equal(json_get_string(image, "format"), "qcow2");
    assert_string_equal(json_get_string(image, "backing-filename"),
                        "base.qcow2");
    assert_int_equal(json_get_int(image, "virtual-size", 0), 1 << 20);
    json_free(root);
}

/* A snapshot is made, found, gone back to and deleted under such a name. */
static void assert_name_works(const char *file)
{
    struct xlsnap_error err = { 0 };
    struct disk *disk;

    assert_int_equal(rename("image", file), 0);
    disk = use(0, file);
    if (qcow2_snapshot_cmd(disk, "-c", "s1", &err) ||
        disk_qcow2_internal.prove(&op, &group, &err) ||
        disk_qcow2_internal.revert(&op, &group, &err) ||
        disk_qcow2_internal.remove(&op, &group, &err))
        fail_msg("%s", err.msg);
    assert_int_equal(count_tags(disk, "s1"), 0);
    free(disk->source);
    free(disk->path);
    free(disk->tag);
    memset(disk, 0, sizeof(*disk));
    assert_int_equal(rename(file, "image"), 0);
}

static void no_character_of_a_name_means_anything(void **state)
{
    const char *const names[] = {
        "a,b=c.qcow2",         "it's \"x\"",
        "two  words ",         "50%20\\%s",
        "line\nbreak",         "json:{\"driver\": \"nbd\"}",
        "nbd:localhost:1",     "-l",
        "{}[]#?&;|$HOME`id`*", "fat:\xc3\xa4\xf0\x9f\x98\x80",
        "tab\t\x01",           "file.driver=raw,,x",
    };

    make_image("image");
    for (size_t i = 0; i < ARRAY_SIZE(names); i++)
        assert_name_works(names[i]);
}

static void assert_not_proved(const char *message)
{
    struct xlsnap_error err = { 0 };

    assert_int_equal(disk_qcow2_internal.prove(&op, &group, &err),
                     -XLSNAP_REFUSED);
    assert_int_equal(err.code, XLSNAP_REFUSED);
    assert_non_null(strstr(err.msg, "disk 'xvda': "));
    if (!strstr(err.msg, message))
        assert_string_equal(err.msg, message);
    assert_null(disks[0].tag);
}

static void revert(void)
{
    struct xlsnap_error err = { 0 };

    if (disk_qcow2_internal.revert(&op, &group, &err))
        fail_msg("%s", err.msg);
}

static void remove_snapshot(void)
{
    struct xlsnap_error err = { 0 };

    if (disk_qcow2_internal.remove(&op, &group, &err))
        fail_msg("%s", err.msg);
}

/* An image with 0x11 in snapshot s1 and 0x22 now. */
static void make_reverted(size_t i, const char *file)
{
    make_image(file);
    fill(file, "0x11");
    tag(file, "s1");
    fill(file, "0x22");
    use(i, file);
}

/* ---- prove ---- */

static void a_snapshot_is_proved(void **state)
{
    struct xlsnap_error err = { 0 };

    make_image("a.qcow2");
    tag("a.qcow2", "s0");
    tag("a.qcow2", "s1");
    use(0, "a.qcow2");
    assert_int_equal(disk_qcow2_internal.prove(&op, &group, &err), 0);
    assert_string_equal(disks[0].tag, "2");
    assert_int_equal(disk_qcow2_internal.prove(&op, &group, &err),
                     0); /* again */
    assert_string_equal(disks[0].tag, "2");
}

static void a_missing_snapshot_is_refused(void **state)
{
    make_image("a.qcow2");
    tag("a.qcow2", "s10");
    use(0, "a.qcow2");
    assert_not_proved("disk 'xvda': 'a.qcow2' has no snapshot named 's1'");
}

static void a_tag_that_is_there_twice_is_refused(void **state)
{
    make_image("a.qcow2");
    tag("a.qcow2", "s1");
    tag("a.qcow2", "s1");
    assert_int_equal(count_tags(use(0, "a.qcow2"), "s1"), 2);
    assert_not_proved("disk 'xvda': 'a.qcow2' has more than one snapshot named "
                      "'s1'");
}

static void a_missing_backing_file_is_refused(void **state)
{
    make_image("base.qcow2");
    RUN("qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b",
        "base.qcow2", "a.qcow2");
    tag("a.qcow2", "s1");
    use(0, "a.qcow2");
    assert_int_equal(unlink("base.qcow2"), 0);
    assert_not_proved("base.qcow2': No such file or directory");
}

static void a_missing_image_is_refused(void **state)
{
    make_image("a.qcow2");
    use(0, "a.qcow2");
    assert_int_equal(unlink("a.qcow2"), 0);
    assert_not_proved("a.qcow2': No such file or directory");
}

static void a_file_that_is_no_qcow2_is_refused(void **state)
{
    touch("a.qcow2");
    assert_int_equal(truncate("a.qcow2", 1 << 20), 0);
    use(0, "a.qcow2");
    assert_not_proved("Image is not in qcow2 format");
}

static void an_image_marked_as_corrupt_is_refused(void **state)
{
    int fd;

    make_image("a.qcow2");
    tag("a.qcow2", "s1");
    use(0, "a.qcow2");
    fd = open("a.qcow2", O_WRONLY | O_CLOEXEC);
    assert_int_equal(pwrite(fd, "\2", 1, 79), 1); /* incompatible bit 1 */
    close(fd);
    assert_not_proved("disk 'xvda': 'a.qcow2' is marked as corrupt (see "
                      "'qemu-img check')");
}

static void an_image_with_bitmaps_is_refused(void **state)
{
    make_reverted(0, "a.qcow2");
    RUN("qemu-img", "bitmap", "--add", "a.qcow2", "backup");
    assert_not_proved("disk 'xvda': 'a.qcow2' holds persistent dirty bitmaps, "
                      "and QEMU cannot revert such an image (see 'qemu-img "
                      "bitmap --remove')");
}

static void the_disk_at_fault_is_named(void **state)
{
    struct xlsnap_error err = { 0 };

    make_image("a.qcow2");
    make_image("b.qcow2");
    tag("a.qcow2", "s1");
    use(0, "a.qcow2");
    use(1, "b.qcow2");
    group.n = 2;
    assert_int_equal(disk_qcow2_internal.prove(&op, &group, &err),
                     -XLSNAP_REFUSED);
    assert_string_equal(err.msg, "disk 'xvdb': 'b.qcow2' has no snapshot named "
                                 "'s1'");
}

/* ---- revert ---- */

static void a_revert_brings_the_data_back(void **state)
{
    make_reverted(0, "a.qcow2");
    assert_filled("a.qcow2", "0x22");
    revert();
    assert_filled("a.qcow2", "0x11");
    assert_int_equal(count_tags(&disks[0], "s1"), 1);
}

static void a_revert_can_be_repeated(void **state)
{
    make_reverted(0, "a.qcow2");
    for (int i = 0; i < 3; i++) {
        revert();
        assert_filled("a.qcow2", "0x11");
        fill("a.qcow2", "0x33");
    }
    RUN("qemu-img", "check", "-q", "a.qcow2");
}

static void all_disks_are_reverted(void **state)
{
    make_reverted(0, "a.qcow2");
    make_reverted(1, "b.qcow2");
    group.n = 2;
    revert();
    assert_filled("a.qcow2", "0x11");
    assert_filled("b.qcow2", "0x11");
}

/* Our tag "2" has ID 1, and -a would take "2" for the ID of the other. */
static void a_revert_goes_by_the_id(void **state)
{
    make_image("a.qcow2");
    fill("a.qcow2", "0x11");
    tag("a.qcow2", "2");
    fill("a.qcow2", "0x44");
    tag("a.qcow2", "other");
    use(0, "a.qcow2");
    free(op.snap.name);
    op.snap.name = xstrdup("2");
    revert();
    assert_filled("a.qcow2", "0x11");
}

static void a_revert_brings_the_size_back(void **state)
{
    make_reverted(0, "a.qcow2");
    RUN("qemu-img", "resize", "-q", "-f", "qcow2", "a.qcow2", "3M");
    revert();
    assert_filled("a.qcow2", "0x11");
    RUN("sh", "-c", "qemu-img info a.qcow2 | grep -q '(1048576 bytes)'");
}

static void a_revert_that_is_refused_changes_nothing(void **state)
{
    struct xlsnap_error err = { 0 };

    make_reverted(0, "a.qcow2");
    RUN("qemu-img", "bitmap", "--add", "a.qcow2", "backup");
    assert_int_equal(disk_qcow2_internal.revert(&op, &group, &err),
                     -XLSNAP_REFUSED);
    assert_non_null(strstr(err.msg, "holds persistent dirty bitmaps"));
    assert_filled("a.qcow2", "0x22");
}

static void what_is_kept_is_kept_once(void **state)
{
    make_reverted(0, "a.qcow2");
    op.pending.discarded = xstrdup("discarded-20260101");
    revert();
    revert(); /* recover does this: the kept state must stay the first one's */
    assert_int_equal(count_tags(&disks[0], "discarded-20260101"), 1);
    assert_filled("a.qcow2", "0x11");
    RUN("qemu-img", "snapshot", "-q", "-a", "discarded-20260101", "a.qcow2");
    assert_filled("a.qcow2", "0x22");
}

static void without_keep_nothing_is_kept(void **state)
{
    struct xlsnap_error err = { 0 };
    const struct json *image;
    struct json *root;

    make_reverted(0, "a.qcow2");
    revert();
    if (qcow2_info(&disks[0], &root, &image, &err))
        fail_msg("%s", err.msg);
    assert_int_equal(json_array_len(json_get(image, "snapshots")), 1);
    json_free(root);
}

/* ---- remove, without a domain ---- */

static void a_snapshot_is_removed(void **state)
{
    make_reverted(0, "a.qcow2");
    tag("a.qcow2", "s2");
    remove_snapshot();
    assert_int_equal(count_tags(&disks[0], "s1"), 0);
    assert_int_equal(count_tags(&disks[0], "s2"), 1);
    assert_filled("a.qcow2", "0x22");
    RUN("qemu-img", "check", "-q", "a.qcow2");
}

static void what_is_not_there_is_as_good_as_removed(void **state)
{
    make_image("a.qcow2");
    use(0, "a.qcow2");
    remove_snapshot();
    tag("a.qcow2", "s1");
    remove_snapshot();
    remove_snapshot();
    assert_int_equal(count_tags(&disks[0], "s1"), 0);
}

/* `qemu-img snapshot -d 1` is the tag "1", not the ID of s1. */
static void a_tag_like_our_id_is_not_removed(void **state)
{
    make_reverted(0, "a.qcow2");
    tag("a.qcow2", "1");
    remove_snapshot();
    assert_int_equal(count_tags(&disks[0], "s1"), 0);
    assert_int_equal(count_tags(&disks[0], "1"), 1);
}

static void one_of_two_of_a_tag_is_not_removed(void **state)
{
    struct xlsnap_error err = { 0 };

    make_reverted(0, "a.qcow2");
    tag("a.qcow2", "s1");
    assert_int_equal(disk_qcow2_internal.remove(&op, &group, &err),
                     -XLSNAP_FAILED);
    assert_string_equal(err.msg, "'a.qcow2' has more than one snapshot named "
                                 "'s1', and it cannot be known which is to be "
                                 "deleted");
    assert_int_equal(count_tags(&disks[0], "s1"), 2);
}

static void the_snapshots_of_all_disks_are_removed(void **state)
{
    make_image("a.qcow2"); /* half done: only the second has one */
    use(0, "a.qcow2");
    make_reverted(1, "b.qcow2");
    group.n = 2;
    remove_snapshot();
    assert_int_equal(count_tags(&disks[1], "s1"), 0);
}

static void an_image_that_cannot_be_read_is_told(void **state)
{
    struct xlsnap_error err = { 0 };

    make_reverted(0, "a.qcow2");
    assert_int_equal(unlink("a.qcow2"), 0);
    assert_int_equal(disk_qcow2_internal.remove(&op, &group, &err),
                     -XLSNAP_FAILED);
    assert_non_null(strstr(err.msg, "'qemu-img' exited with status 1: "));
    assert_non_null(strstr(err.msg, "No such file or directory"));
    err = (struct xlsnap_error){ 0 };
    assert_int_equal(qcow2_sync(&disks[0], &err), -XLSNAP_FAILED);
    assert_int_equal(err.errnum, ENOENT);
}

static void only_qcow2_that_qemu_serves_is_taken(void **state)
{
    struct disk disk = { .format = LIBXL_DISK_FORMAT_QCOW2,
                         .backend = LIBXL_DISK_BACKEND_QDISK };

    assert_true(disk_qcow2_internal.takes(&disk));
    disk.backend = LIBXL_DISK_BACKEND_PHY;
    assert_false(disk_qcow2_internal.takes(&disk));
    disk.backend = LIBXL_DISK_BACKEND_TAP;
    assert_false(disk_qcow2_internal.takes(&disk));
    disk.backend = LIBXL_DISK_BACKEND_QDISK;
    disk.format = LIBXL_DISK_FORMAT_RAW;
    assert_false(disk_qcow2_internal.takes(&disk));
    disk.format = LIBXL_DISK_FORMAT_QED;
    assert_false(disk_qcow2_internal.takes(&disk));
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_node_is_found_by_its_file),
        TEST(a_node_is_found_by_another_name_of_the_file),
        TEST(a_disk_that_qemu_does_not_serve_is_refused),
        TEST(a_disk_served_as_raw_is_refused),
        TEST(a_name_that_is_no_path_is_refused),
        TEST(a_disk_that_qemu_has_twice_is_refused),
        TEST(a_reply_of_another_shape_is_refused),
        TEST(tags_of_a_node_are_found),
        TEST(the_id_of_a_tag_is_found),
        TEST(a_tag_that_is_there_twice_has_no_id),
        TEST(an_id_is_not_taken_for_a_tag),
        TEST(a_list_of_another_shape_has_no_id),
        TEST(the_image_is_first_in_its_chain),
        TEST(no_character_of_a_name_means_anything),
        TEST(a_snapshot_is_proved),
        TEST(a_missing_snapshot_is_refused),
        TEST(a_tag_that_is_there_twice_is_refused),
        TEST(a_missing_backing_file_is_refused),
        TEST(a_missing_image_is_refused),
        TEST(a_file_that_is_no_qcow2_is_refused),
        TEST(an_image_marked_as_corrupt_is_refused),
        TEST(an_image_with_bitmaps_is_refused),
        TEST(the_disk_at_fault_is_named),
        TEST(a_revert_brings_the_data_back),
        TEST(a_revert_can_be_repeated),
        TEST(all_disks_are_reverted),
        TEST(a_revert_goes_by_the_id),
        TEST(a_revert_brings_the_size_back),
        TEST(a_revert_that_is_refused_changes_nothing),
        TEST(what_is_kept_is_kept_once),
        TEST(without_keep_nothing_is_kept),
        TEST(a_snapshot_is_removed),
        TEST(what_is_not_there_is_as_good_as_removed),
        TEST(a_tag_like_our_id_is_not_removed),
        TEST(one_of_two_of_a_tag_is_not_removed),
        TEST(the_snapshots_of_all_disks_are_removed),
        TEST(an_image_that_cannot_be_read_is_told),
        TEST(only_qcow2_that_qemu_serves_is_taken),
    };

    return cmocka_run_group_tests_name("qcow2", tests, NULL, NULL);
}
