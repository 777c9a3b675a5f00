/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Fuzz target: the text of a config.
 *
 * Any bytes are either refused with a message of one line, or are a snapshot
 * that cfg_write can write and that is read back the same.  The same bytes are
 * tried as KEY=VALUE, too.  Leaks within libxlutil (its parser drops values
 * after an error) are not ours.
 */
#include "fuzzing.h"

#include "cfg.h"
#include "util.h"

/* The sanitizer's library looks for it. */
__attribute__((visibility("default"))) const char *__lsan_default_suppressions(
    void);

const char *__lsan_default_suppressions(void)
{
    return "leak:libxlutil\n";
}

static void check_round_trip(const struct xlsnap_snapshot *snap)
{
    cleanup_free char *text = cfg_write(snap, NULL), *again = NULL;
    struct xlsnap_error err = { 0 };
    struct xlsnap_snapshot copy;

    xlsnap_snapshot_init(&copy);
    if (cfg_read_text("again", text, strlen(text), &copy, NULL, &err))
        abort();
    again = cfg_write(&copy, NULL);
    if (strcmp(text, again))
        abort();
    xlsnap_snapshot_clear(&copy);
}

static void try_file(const char *text, size_t size)
{
    struct xlsnap_error err = { 0 };
    struct xlsnap_snapshot snap;
    int rc;

    xlsnap_snapshot_init(&snap);
    rc = cfg_read_text("fuzz.cfg", text, size, &snap, NULL, &err);
    if (rc)
        check_refusal(rc, &err, XLSNAP_INVALID);
    else
        check_round_trip(&snap);
    xlsnap_snapshot_clear(&snap);
}

static void try_override(const char *assignment)
{
    struct xlsnap_error err = { 0 };
    struct xlsnap_snapshot snap;
    struct cfg_origin origin;
    int rc;

    xlsnap_snapshot_init(&snap);
    cfg_origin_init(&origin);
    rc = cfg_override(assignment, &snap, &origin, &err);
    if (rc)
        check_refusal(rc, &err, XLSNAP_INVALID);
    else
        check_round_trip(&snap);
    cfg_origin_clear(&origin);
    xlsnap_snapshot_clear(&snap);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    cleanup_free char *text = xcalloc(size + 1, 1);

    memcpy(text, data, size);
    try_file(text, size);
    try_override(text);
    return 0;
}
