/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * cfg_write: its text, and that cfg_read of it gives the snapshot again.  The
 * random snapshots are those of a fixed seed, or of the environment's
 * CFG_TEST_SEED; a failure prints the seed of its snapshot.
 */
#include "cfg_testing.h"

#include "file.h"

#define SNAPSHOTS 3000
#define SEED 20261121

static struct xlsnap_snapshot snap; /* cleared after each test */

static int clear_snap(void **state)
{
    xlsnap_snapshot_clear(&snap);
    return 0;
}

static void assert_written(const char *comment, const char *expected)
{
    cleanup_free char *text = cfg_write(&snap, comment);

    assert_string_equal(text, expected);
}

static void a_snapshot_of_nothing(void **state)
{
    assert_written(NULL, "snapshot_format = 1\n");
}

static void a_whole_snapshot(void **state)
{
    const char *text =
        "snapshot_format = 1\n"
        "domain = \"web1\"\n"
        "uuid = \"0f7c8a2e-5b1d-4c3e-9a6f-1b2c3d4e5f60\"\n"
        "name = \"before-upgrade\"\n"
        "description = \"a \\\"b\\\" 'c' \\\\,\\n\\td\\r\"\n"
        "creation_time = 1794963301\n"
        "path = \"/s\"\n"
        "memory = \"/s/memory.save\"\n"
        "memory_digest = \"xxh3-128:0123456789abcdef0123456789abcdef\"\n"
        "compress = \"none\"\n"
        "live = 0\n"
        "type = \"external\"\n"
        "disks = [\n"
        "    \"vdev=xvda,snapshot=internal,format=qcow2,source=/a,,\\\"b\",\n"
        "    \"vdev=xvdb,snapshot=external,size=20%ORIGIN,target=lv=1\",\n"
        "    \"vdev=xvdc,snapshot=overlay,format=qcow2,target=/t,source=/c,"
        "source_format=raw\",\n"
        "]\n";

    read_text(text, &snap);
    assert_written(NULL, text);
}

static void sizes_are_written_short(void **state)
{
    read_text("disks = ['vdev=xvda,size=2048G', 'vdev=xvdb,size=1025',"
              "'vdev=xvdc,size=1024000', 'vdev=xvdd,size=4096T']",
              &snap);
    assert_written(NULL, "snapshot_format = 1\n"
                         "disks = [\n"
                         "    \"vdev=xvda,snapshot=external,size=2T\",\n"
                         "    \"vdev=xvdb,snapshot=external,size=1025\",\n"
                         "    \"vdev=xvdc,snapshot=external,size=1000K\",\n"
                         "    \"vdev=xvdd,snapshot=external,size=4096T\",\n"
                         "]\n");
}

static void a_comment(void **state)
{
    assert_written("made by xl-snapshot", "# made by xl-snapshot\n"
                                          "snapshot_format = 1\n");
}

static void a_comment_of_several_lines(void **state)
{
    assert_written("one\n\ntwo\n", "# one\n#\n# two\nsnapshot_format = 1\n");
}

static void an_empty_comment(void **state)
{
    assert_written("", "snapshot_format = 1\n");
}

static void a_comment_with_what_no_config_can_hold(void **state)
{
    assert_written("a\x1b\xff\xc3\xa9\r", "# a??\xc3\xa9?\n"
                                          "snapshot_format = 1\n");
}

static void what_no_config_can_hold_is_refused_by_cfg_read(void **state)
{
    cleanup_free char *text = NULL;

    snap.domain = xstrdup("a\x01");
    text = cfg_write(&snap, NULL);
    refuse(text, "web1.cfg:2: control character 0x01");
}

/* Random snapshots. */

static uint64_t rng;

/* 0 to n - 1 (xorshift64*) */
static unsigned below(unsigned n)
{
    rng ^= rng >> 12;
    rng ^= rng << 25;
    rng ^= rng >> 27;
    return (rng * 2685821657736338717u >> 33) % n;
}

#define ONE_LINE                                                           \
    "a", "Z", "0", "7", " ", ",", ",,", "=", "\"", "'", "\\", "\\\\", "%", \
        "%s", "#", ";", "[", "]", "+=", "\\n", "\\x41", "\\1", "$",        \
        "name=", "\xc3\xa9", "\xe2\x82\xac", "\xf0\x9f\x90\xa7", "/", ".."

/* A text of up to 20 pieces; of at least one. */
static char *random_text(const char *const *pieces, size_t n)
{
    char text[20 * 8 + 1] = "";

    for (unsigned i = 1 + below(20); i > 0; i--)
        strcat(text, pieces[below(n)]);
    return xstrdup(text);
}

static char *random_line(void)
{
    static const char *const pieces[] = { ONE_LINE };

    return random_text(pieces, ARRAY_SIZE(pieces));
}

static char *random_lines(void)
{
    static const char *const pieces[] = { ONE_LINE, "\n", "\t", "\r", "\r\n" };

    return below(8) ? random_text(pieces, ARRAY_SIZE(pieces)) : xstrdup("");
}

static char *random_path(void)
{
    cleanup_free char *line = random_line();
    cleanup_free char *path = xasprintf("/%s", line);

    return file_absolute(path);
}

static char *random_target(int number)
{
    cleanup_free char *line = random_line();
    cleanup_free char *path = xasprintf("/%d/%s", number, line);

    return below(2) ? file_absolute(path) : xasprintf("lv,%d", number);
}

static void random_disk(struct xlsnap_disk *disk, int number)
{
    static const char *const formats[] = { "raw", "qcow", "qcow2", "vhd",
                                           "qed" };

    disk->vdev = xasprintf("xvd%c", 'a' + number);
    disk->method = below(5);
    if (below(2))
        disk->format = xstrdup(formats[below(5)]);
    if (below(2))
        disk->source = random_line();
    if (below(2))
        disk->source_format = xstrdup(formats[below(5)]);
    if (disk->method == XLSNAP_METHOD_OVERLAY ||
        (disk->method == XLSNAP_METHOD_EXTERNAL && below(8)))
        disk->target = random_target(number);
    if (disk->method != XLSNAP_METHOD_EXTERNAL)
        return;
    if (below(2))
        disk->size = (uint64_t)(1 + below(5000)) << below(50);
    else if (below(2))
        disk->size_percent = 1 + below(1000);
}

static void random_proof(struct xlsnap_snapshot *s)
{
    s->uuid =
        xasprintf("%08x-%04x-%04x-%04x-%012x", below(UINT32_MAX), below(65536),
                  below(65536), below(65536), below(UINT32_MAX));
    s->memory_digest =
        xasprintf("xxh3-128:%016x%016x", below(UINT32_MAX), below(UINT32_MAX));
    s->creation_time = 1 + below(UINT32_MAX);
}

static void random_snapshot(struct xlsnap_snapshot *s)
{
    if (below(2))
        s->domain = random_line();
    if (below(2))
        s->name = xasprintf("n%u", below(100));
    if (below(2))
        s->description = random_lines();
    if (below(2))
        s->path = random_path();
    if (below(2))
        s->memory = random_path();
    s->type = below(3);
    s->live = (int)below(3) - 1;
    s->compress = (int)below(3) - 1;
    if (below(2))
        random_proof(s);
    for (unsigned i = below(5); i > 0; i--)
        random_disk(xlsnap_snapshot_add_disk(s), i);
}

static bool same_text(const char *a, const char *b)
{
    return a && b ? !strcmp(a, b) : a == b;
}

static bool same_disk(const struct xlsnap_disk *a, const struct xlsnap_disk *b)
{
    return same_text(a->vdev, b->vdev) && a->method == b->method &&
           same_text(a->format, b->format) && same_text(a->target, b->target) &&
           a->size == b->size && a->size_percent == b->size_percent &&
           same_text(a->source, b->source) &&
           same_text(a->source_format, b->source_format);
}

static bool same_snapshot(const struct xlsnap_snapshot *a,
                          const struct xlsnap_snapshot *b)
{
    for (size_t i = 0; i < a->n_disks && i < b->n_disks; i++)
        if (!same_disk(&a->disks[i], &b->disks[i]))
            return false;
    return same_text(a->domain, b->domain) && same_text(a->name, b->name) &&
           same_text(a->description, b->description) &&
           same_text(a->path, b->path) && same_text(a->memory, b->memory) &&
           a->type == b->type && a->live == b->live &&
           a->compress == b->compress && a->n_disks == b->n_disks &&
           same_text(a->uuid, b->uuid) &&
           same_text(a->memory_digest, b->memory_digest) &&
           a->creation_time == b->creation_time;
}

static void round_trip(uint64_t seed)
{
    struct xlsnap_error err = { 0 };
    struct xlsnap_snapshot copy;
    cleanup_free char *text = NULL;

    rng = seed * 0x9e3779b97f4a7c15u; /* never 0; far from the next */
    random_snapshot(&snap);
    text = cfg_write(&snap, NULL);
    xlsnap_snapshot_init(&copy);
    if (cfg_read_text("written", text, strlen(text), &copy, NULL, &err))
        fail_msg("CFG_TEST_SEED=%llu: %s\n%s", (unsigned long long)seed,
                 err.msg, text);
    if (!same_snapshot(&snap, &copy))
        fail_msg("CFG_TEST_SEED=%llu: another snapshot is read from\n%s",
                 (unsigned long long)seed, text);
    xlsnap_snapshot_clear(&copy);
    xlsnap_snapshot_clear(&snap);
}

static void any_snapshot_is_read_back_as_it_was(void **state)
{
    const char *chosen = getenv("CFG_TEST_SEED");
    uint64_t seed = chosen ? strtoull(chosen, NULL, 10) : SEED;

    for (unsigned i = 0; i < SNAPSHOTS; i++)
        round_trip(seed + i);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(a_snapshot_of_nothing, clear_snap),
        cmocka_unit_test_teardown(a_whole_snapshot, clear_snap),
        cmocka_unit_test_teardown(sizes_are_written_short, clear_snap),
        cmocka_unit_test_teardown(a_comment, clear_snap),
        cmocka_unit_test_teardown(a_comment_of_several_lines, clear_snap),
        cmocka_unit_test_teardown(an_empty_comment, clear_snap),
        cmocka_unit_test_teardown(a_comment_with_what_no_config_can_hold,
                                  clear_snap),
        cmocka_unit_test_teardown(
            what_no_config_can_hold_is_refused_by_cfg_read, clear_snap),
        cmocka_unit_test_teardown(any_snapshot_is_read_back_as_it_was,
                                  clear_snap),
    };

    xlsnap_snapshot_init(&snap);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
