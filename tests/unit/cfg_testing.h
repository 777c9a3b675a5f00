/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the tests of cfg/ share: a config's text in, a message out. */
#ifndef CFG_TESTING_H
#define CFG_TESTING_H

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include "cfg.h"
#include "util.h"

#define KNOWN                                                                 \
    "(known: compress, description, disks, domain, live, memory, name, path," \
    " type)"

/* Reads a text that must be accepted; *snap is to be cleared. */
static inline void read_text(const char *text, struct xlsnap_snapshot *snap)
{
    struct xlsnap_error err = { 0 };

    xlsnap_snapshot_init(snap);
    if (cfg_read_text("web1.cfg", text, strlen(text), snap, NULL, &err))
        fail_msg("%s", err.msg);
}

static inline void refuse_bytes(const char *text, size_t len,
                                const char *message)
{
    struct xlsnap_error err = { 0 };
    struct xlsnap_snapshot snap;
    /* Exactly its length, for ASan to see a read behind its end. */
    cleanup_free char *copy = xcalloc(len, 1);
    int rc;

    memcpy(copy, text, len);
    xlsnap_snapshot_init(&snap);
    rc = cfg_read_text("web1.cfg", copy, len, &snap, NULL, &err);
    xlsnap_snapshot_clear(&snap);
    assert_string_equal(err.msg, message);
    assert_int_equal(rc, -XLSNAP_INVALID);
    assert_int_equal(err.code, XLSNAP_INVALID);
}

/* A text that must be refused with exactly this message. */
static inline void refuse(const char *text, const char *message)
{
    refuse_bytes(text, strlen(text), message);
}

/* The absolute path of a name in the current directory, to be freed. */
static inline char *here(const char *name)
{
    cleanup_free char *cwd = getcwd(NULL, 0);

    return xasprintf("%s/%s", cwd, name);
}

#define REPEAT_MAX 8192
/* `n` times `c`; one at a time. */
static inline const char *repeat(char c, size_t n)
{
    static char text[REPEAT_MAX + 1];

    memset(text, c, n);
    text[n] = '\0';
    return text;
}

#endif
