/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * qemu.c: replies as QEMU 7.2 gives them, and qemu-img on real images.
 */
#include "qemu_testing.h"

#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>

/* ---- query-block ---- */

/* An entry of query-block for a disk of PV: no device, an image. */
static char *entry(const char *node, const char *more)
{
    return xasprintf(
        "{\"io-status\": \"ok\", \"device\": \"\", \"locked\": false, "
        "\"removable\": false, \"qdev\": \"/machine/x\", \"type\": "
        "\"unknown\", \"inserted\": {\"ro\": false, \"drv\": \"qcow2\", "
        "\"node-name\": \"%s\", \"file\": \"/a.qcow2\", \"image\": {"
        "\"virtual-size\": 1048576, \"filename\": \"/a.qcow2\", "
        "\"format\": \"qcow2\"%s}}}",
        node, more);
}

#define CD "{\"device\": \"ide1-cd0\", \"removable\": true}"

/* The name of the node of xvda in these entries; NULL: refused. */
static char *find(const char *entries, const char *message)
{
    struct disk disk = { .vdev = (char *)"xvda", .source = (char *)"/a.qcow2" };
    cleanup_free char *text = xasprintf("[%s]", entries);
    struct json *blocks = parse(text);
    struct xlsnap_error err = { 0 };
    const struct json *found = qemu_find_node(&op, blocks, &disk, &err);
    char *name = found ? xstrdup(json_get_string(found, "node-name")) : NULL;

    assert_int_equal(err.code, found ? 0 : XLSNAP_REFUSED);
    assert_string_equal(err.msg, message);
    json_free(blocks);
    return name;
}

static void assert_found(const char *entries, const char *node)
{
    cleanup_free char *name = find(entries, "");

    assert_non_null(name);
    assert_string_equal(name, node);
}

static void assert_not_found(const char *entries)
{
    assert_null(find(entries, "disk 'xvda': QEMU does not serve '/a.qcow2'"));
}

static void a_node_is_found_by_its_vdev(void **state)
{
    cleanup_free char *ours = entry("xvda-qcow2", "");
    cleanup_free char *other = entry("xvdb-qcow2", "");
    cleanup_free char *all = xasprintf("%s, %s, %s", CD, other, ours);

    assert_found(all, "xvda-qcow2");
}

/* After a snapshot the node is the overlay's, named by us. */
static void the_node_of_an_overlay_is_found(void **state)
{
    cleanup_free char *text = entry("xvda-" TOKEN, "");

    assert_found(text, "xvda-" TOKEN);
}

static void another_name_is_not_taken_for_the_disks(void **state)
{
    const char *const names[] = { "xvdb-qcow2", "xvdaa-qcow2", "xvd-qcow2",
                                  "xvda",       "#block123",   "",
                                  "my-xvda-1",  "XVDA-qcow2",  "xvda1-qcow2" };

    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        cleanup_free char *text = entry(names[i], "");

        assert_not_found(text);
    }
}

static void a_disk_that_qemu_does_not_serve_is_refused(void **state)
{
    assert_not_found("");
    assert_not_found(CD);
}

static void a_disk_that_qemu_has_twice_is_refused(void **state)
{
    cleanup_free char *text = entry("xvda-qcow2", "");
    cleanup_free char *more = entry("xvda-" TOKEN, "");
    cleanup_free char *twice = xasprintf("%s, %s", text, more);

    assert_null(
        find(twice, "disk 'xvda': QEMU has '/a.qcow2' open more than once"));
}

static void a_reply_of_another_shape_is_refused(void **state)
{
    const char *const replies[] = {
        "5",
        "null, [], \"x\"",
        "{\"inserted\": 3}",
        "{\"inserted\": {\"drv\": \"qcow2\"}}",
        "{\"inserted\": {\"node-name\": 1, \"image\": []}}",
        "{\"inserted\": {\"node-name\": {\"xvda-\": \"xvda-\"}}}",
        "{\"node-name\": \"xvda-qcow2\"}",
    };
    struct disk disk = { .vdev = (char *)"xvda", .source = (char *)"/a.qcow2" };
    struct json *object = parse("{\"node-name\": \"xvda-qcow2\"}");
    struct xlsnap_error err = { 0 };

    for (size_t i = 0; i < ARRAY_SIZE(replies); i++)
        assert_not_found(replies[i]);
    assert_null(qemu_find_node(&op, object, &disk, &err));
    assert_int_equal(err.code, XLSNAP_REFUSED);
    json_free(object);
}

#define SNAPSHOT(id, name)                             \
    "{\"id\": \"" id "\", \"name\": \"" name "\", "    \
    "\"vm-state-size\": 0, \"date-sec\": 1700000000, " \
    "\"date-nsec\": 5, \"vm-clock-sec\": 0, \"vm-clock-nsec\": 0}"

static bool entry_has_tag(const char *snapshots, const char *name)
{
    cleanup_free char *more = xasprintf(", \"snapshots\": %s", snapshots);
    cleanup_free char *text = entry("xvda-qcow2", snapshots ? more : "");
    struct json *v = parse(text);
    bool has = qemu_node_has_tag(json_get(v, "inserted"), name);

    json_free(v);
    return has;
}

/* ---- a monitor that is no QEMU's ---- */

static pid_t monitor;

/* Greets, answers one command after the other with these, and leaves. */
static void __attribute__((noreturn))
monitor_process(int listener, const char *const *replies, size_t n)
{
    static const char greeting[] =
        "{\"QMP\": {\"version\": {\"qemu\": {\"micro\": 0, \"minor\": 2, "
        "\"major\": 7}, \"package\": \"\"}, \"capabilities\": []}}\r\n";
    char command[4096];
    int fd = accept(listener, NULL, NULL);
    bool ok = write(fd, greeting, strlen(greeting)) > 0;

    for (size_t i = 0; ok && i < n; i++) {
        cleanup_free char *text =
            xasprintf("{\"return\": %s, \"id\": %zu}\r\n", replies[i], i + 1);

        ok = read(fd, command, sizeof(command)) > 0 &&
             write(fd, text, strlen(text)) > 0;
    }
    ok = ok && read(fd, command, sizeof(command)) >= 0;
    _exit(!ok);
}

/* op's session is with it. */
static void start_monitor(const char *const *replies, size_t n)
{
    struct sockaddr_un to = { .sun_family = AF_UNIX, .sun_path = "monitor" };
    struct xlsnap_error err = { 0 };
    int listener = socket(AF_UNIX, SOCK_STREAM, 0);

    unlink("monitor");
    assert_int_equal(bind(listener, (struct sockaddr *)&to, sizeof(to)), 0);
    assert_int_equal(listen(listener, 1), 0);
    monitor = fork();
    if (monitor == 0)
        monitor_process(listener, replies, n);
    close(listener);
    assert_int_equal(qmp_connect("monitor", 10000, &op.qmp, &err), 0);
}

static void end_monitor(void)
{
    int status;

    qemu_session_end(&op);
    assert_int_equal(waitpid(monitor, &status, 0), monitor);
    assert_int_equal(status, 0);
}

/* What is asked of QEMU gets no answer: that it does not serve the disk is not
 * known. */
static void a_qemu_that_leaves_is_told_as_such(void **state)
{
    const char *const replies[] = { "{}" };
    struct disk disk = { .vdev = (char *)"xvda", .source = (char *)"/a.qcow2" };
    cleanup_free char *one = entry("#block1", ""), *two = entry("#block2", "");
    cleanup_free char *text = xasprintf("[%s, %s]", one, two);
    struct json *blocks = parse(text);
    struct xlsnap_error err = { 0 };

    start_monitor(replies, 1);
    assert_null(qemu_find_node(&op, blocks, &disk, &err));
    assert_string_equal(err.msg, "QMP command 'qom-get' on 'monitor' got no "
                                 "answer: Connection reset by peer");
    json_free(blocks);
    end_monitor();
}

/* ---- emulated disks of HVM guests ---- */

/* query-block has a drive of that name on that file. */
static int check_unplugged(const char *device, const char *file,
                           struct xlsnap_error *err)
{
    cleanup_free char *path = in_dir(file);
    cleanup_free char *drive = xasprintf(
        "[{\"device\": \"\", \"inserted\": {\"node-name\": \"xvda-qcow2\", "
        "\"file\": \"%s\"}}, {\"device\": \"ide0-hd1\"}, {\"device\": \"%s\", "
        "\"inserted\": {\"node-name\": \"#block1\", \"file\": \"%s\", "
        "\"ro\": %s}}]",
        path, device, path, strstr(file, ".iso") ? "true" : "false");
    const char *replies[] = { "{}", "{\"status\": \"running\"}", drive };
    int rc;

    start_monitor(replies, 3);
    rc = qemu_check_unplugged(&op, err);
    end_monitor();
    return rc;
}

static void an_emulated_disk_is_refused(void **state)
{
    struct xlsnap_error err = { 0 };

    make_image("a.qcow2");
    use("a.qcow2");
    assert_int_equal(check_unplugged("ide0-hd0", "a.qcow2", &err),
                     -XLSNAP_REFUSED);
    assert_string_equal(err.msg, "disk 'xvda': the guest has it as the "
                                 "emulated disk 'ide0-hd0' still; it has no "
                                 "PV drivers, or they have not taken over yet");
}

static void other_drives_are_fine(void **state)
{
    struct xlsnap_error err = { 0 };

    make_image("a.qcow2");
    make_image("cd.iso");
    use("a.qcow2");
    assert_int_equal(check_unplugged("ide1-cd0", "cd.iso", &err), 0);
    assert_int_equal(check_unplugged("ide1-cd0", "missing.iso", &err), 0);
    assert_int_equal(check_unplugged("", "a.qcow2", &err), 0);
}

static void a_drive_that_only_qemu_has_is_refused(void **state)
{
    struct xlsnap_error err = { 0 };

    make_image("a.qcow2");
    make_image("floppy.img");
    use("a.qcow2");
    assert_int_equal(check_unplugged("floppy0", "floppy.img", &err),
                     -XLSNAP_REFUSED);
    assert_ptr_equal(
        strstr(err.msg, "QEMU has the emulated drive 'floppy0' ('"), err.msg);
}

static void a_qemu_that_stands_still_is_refused(void **state)
{
    const char *const replies[] = { "{}", "{\"status\": \"suspended\"}" };
    struct xlsnap_error err = { 0 };

    start_monitor(replies, 2);
    assert_int_equal(qemu_check_unplugged(&op, &err), -XLSNAP_REFUSED);
    assert_string_equal(err.msg,
                        "QEMU does not run, but is in state 'suspended'");
    end_monitor();
}

static void a_qemu_that_cannot_be_asked_is_refused(void **state)
{
    const char *const replies[] = { "{}" };
    struct xlsnap_error err = { 0 };

    start_monitor(replies, 1);
    assert_int_equal(qemu_check_unplugged(&op, &err), -XLSNAP_REFUSED);
    assert_non_null(strstr(err.msg, "'query-status'"));
    end_monitor();
}

/* ---- tags ---- */

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
    const char *found = qemu_img_find_id(image, name, &n);

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

static void an_image_is_told_with_a_chain_below_it(void **state)
{
    const struct json *image;
    struct json *root;

    make_image("base.qcow2");
    RUN("qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b",
        "base.qcow2", "a.qcow2");
    image = image_info("a.qcow2", &root);
    assert_string_equal(json_get_string(image, "format"), "qcow2");
    assert_string_equal(json_get_string(image, "backing-filename"),
                        "base.qcow2");
    assert_int_equal(json_get_int(image, "virtual-size", 0), IMAGE_SIZE);
    json_free(root);
}

static void assert_info_fails(int code, const char *file, const char *format,
                              const char *message)
{
    struct xlsnap_error err = { 0 };
    struct json *root = NULL;

    assert_int_equal(qemu_img_info(file, format, &root, &err), -code);
    assert_null(root);
    if (!strstr(err.msg, message))
        assert_string_equal(err.msg, message);
}

static void a_chain_with_a_missing_link_is_told(void **state)
{
    make_image("base.qcow2");
    RUN("qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b",
        "base.qcow2", "a.qcow2");
    assert_int_equal(unlink("base.qcow2"), 0);
    assert_info_fails(XLSNAP_FAILED, "a.qcow2", "qcow2",
                      "No such file or directory");
}

static void a_chain_that_is_a_circle_is_told(void **state)
{
    RUN("qemu-img", "create", "-q", "-u", "-f", "qcow2", "-F", "qcow2", "-b",
        "b.qcow2", "a.qcow2", "1M");
    RUN("qemu-img", "create", "-q", "-u", "-f", "qcow2", "-F", "qcow2", "-b",
        "a.qcow2", "b.qcow2", "1M");
    assert_info_fails(XLSNAP_REFUSED, "a.qcow2", "qcow2",
                      "more than 200 images are below each other");
}

/* A guest may write the header of an image into a raw one. */
static void a_format_is_not_guessed(void **state)
{
    struct json *root;
    struct xlsnap_error err = { 0 };

    make_image("a.qcow2");
    if (qemu_img_info("a.qcow2", "raw", &root, &err))
        fail_msg("%s", err.msg);
    assert_string_equal(json_get_string(root, "format"), "raw");
    json_free(root);
    put("b.raw", "x");
    assert_int_equal(truncate("b.raw", IMAGE_SIZE), 0);
    assert_info_fails(XLSNAP_FAILED, "b.raw", "qcow2",
                      "Image is not in qcow2 format");
}

/* As images made before QEMU 6.1 may be: the extension becomes an unknown one. */
static void forget_backing_format(const char *file)
{
    cleanup_close int fd = open(file, O_RDWR | O_CLOEXEC);
    const unsigned char extension[] = { 0xe2, 0x79, 0x2a, 0xca };
    unsigned char header[4096];
    unsigned char *at;

    assert_int_equal(pread(fd, header, sizeof(header), 0), sizeof(header));
    at = memmem(header, sizeof(header), extension, sizeof(extension));
    assert_non_null(at);
    assert_int_equal(pwrite(fd, "abcd", 4, at - header), 4);
}

/* The base is raw; what the guest has written there names another one. */
static void a_base_whose_format_is_not_said_is_refused(void **state)
{
    struct json *root;

    RUN("qemu-img", "create", "-q", "-u", "-f", "qcow2", "-F", "raw", "-b",
        "/etc/secret", "base.raw", "1M");
    RUN("qemu-img", "create", "-q", "-u", "-f", "qcow2", "-F", "raw", "-b",
        "base.raw", "a.qcow2", "1M");
    RUN("qemu-img", "create", "-q", "-u", "-f", "qcow2", "-F", "qcow2", "-b",
        "a.qcow2", "b.qcow2", "1M");
    image_info("b.qcow2", &root);
    json_free(root);
    forget_backing_format("a.qcow2");
    assert_info_fails(XLSNAP_REFUSED, "a.qcow2", "qcow2",
                      "does not say which format its backing file 'base.raw' "
                      "has");
    assert_info_fails(XLSNAP_REFUSED, "b.qcow2", "qcow2",
                      "does not say which format its backing file 'base.raw' "
                      "has");
}

/* As QEMU gives it. */
static void the_chain_of_a_running_qemu_is_looked_through(void **state)
{
    struct xlsnap_error err = { 0 };
    struct json *image =
        parse("{\"filename\": \"/c\", \"backing-filename\": \"/b\", "
              "\"backing-filename-format\": \"qcow2\", \"backing-image\": "
              "{\"filename\": \"/b\", \"backing-filename\": \"/a\"}}");

    assert_int_equal(qemu_check_backing_chain(image, &err), -XLSNAP_REFUSED);
    assert_non_null(strstr(err.msg, "'/b' does not say which format its "
                                    "backing file '/a' has"));
    json_free(image);
}

static void the_formats_have_their_names_in_qemu(void **state)
{
    assert_string_equal(qemu_format(LIBXL_DISK_FORMAT_QCOW2), "qcow2");
    assert_string_equal(qemu_format(LIBXL_DISK_FORMAT_RAW), "raw");
    assert_string_equal(qemu_format(LIBXL_DISK_FORMAT_VHD), "vpc");
    assert_string_equal(qemu_format(LIBXL_DISK_FORMAT_QED), "qed");
}

static void an_image_that_is_not_there_is_told(void **state)
{
    struct xlsnap_error err = { 0 }, early = { 0 };

    assert_int_equal(qemu_img_sync("a.qcow2", &err), -XLSNAP_FAILED);
    assert_int_equal(err.errnum, ENOENT);
    assert_non_null(strstr(err.msg, "cannot write 'a.qcow2' to disk: "));
    assert_int_equal(qemu_flush_early("a.qcow2", &early), -XLSNAP_FAILED);
    assert_int_equal(early.errnum, ENOENT);
    assert_non_null(strstr(early.msg, "cannot flush 'a.qcow2': "));
    assert_info_fails(XLSNAP_FAILED, "a.qcow2", "qcow2",
                      "No such file or directory");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_node_is_found_by_its_vdev),
        TEST(the_node_of_an_overlay_is_found),
        TEST(another_name_is_not_taken_for_the_disks),
        TEST(a_disk_that_qemu_does_not_serve_is_refused),
        TEST(a_disk_that_qemu_has_twice_is_refused),
        TEST(a_reply_of_another_shape_is_refused),
        TEST(a_qemu_that_leaves_is_told_as_such),
        TEST(an_emulated_disk_is_refused),
        TEST(other_drives_are_fine),
        TEST(a_drive_that_only_qemu_has_is_refused),
        TEST(a_qemu_that_stands_still_is_refused),
        TEST(a_qemu_that_cannot_be_asked_is_refused),
        TEST(tags_of_a_node_are_found),
        TEST(the_id_of_a_tag_is_found),
        TEST(a_tag_that_is_there_twice_has_no_id),
        TEST(an_id_is_not_taken_for_a_tag),
        TEST(a_list_of_another_shape_has_no_id),
        TEST(an_image_is_told_with_a_chain_below_it),
        TEST(a_chain_with_a_missing_link_is_told),
        TEST(a_chain_that_is_a_circle_is_told),
        TEST(a_format_is_not_guessed),
        TEST(a_base_whose_format_is_not_said_is_refused),
        TEST(the_chain_of_a_running_qemu_is_looked_through),
        TEST(the_formats_have_their_names_in_qemu),
        TEST(an_image_that_is_not_there_is_told),
    };

    return cmocka_run_group_tests_name("qemu", tests, NULL, NULL);
}
