/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A QMP client (QEMU Machine Protocol, docs/interop/qmp-spec.txt in QEMU).
 * The only user of the monitor's socket.
 *
 * Polite to libxl: a domain's QEMU has two monitors, qmp-libxl-DOMID, which
 * libxl uses under a lock of its own and waits for without end, and
 * qmp-libxenstat-DOMID, made for xentop (libxl_dm.c,
 * libxl__build_device_model_args_new).  Only the second is for us.  A monitor
 * serves one client at a time: until the other leaves, connect() succeeds but
 * no greeting comes; hence a time-out on everything, and short sessions.
 * Never hold a session across libxl_domain_resume of an HVM domain.
 *
 * Replies are foreign data: bounded in size and depth, checked before use.
 * Events may come between a command and its reply and are skipped.
 * After a time-out or a broken reply the session is dead: every further
 * command fails at once.
 */
#ifndef XLSNAP_QMP_H
#define XLSNAP_QMP_H

#include "error.h"
#include "json.h"

/*
 * Bytes of one line.  The longest seen from a sane QEMU is 1.2 MB (30 layers
 * on each of 16 disks); a tree takes up to 50 times its text.
 */
#define QMP_REPLY_MAX (8 << 20)
#define QMP_TIMEOUT_MS 10000

struct qmp;

/*
 * Connects to the unix socket, waits for the greeting, negotiates.
 * timeout_ms is for all of it.
 */
int qmp_connect(const char *socket_path, int timeout_ms, struct qmp **qmp_r,
                struct xlsnap_error *err);
/*
 * Sends a command and waits for its reply.  `arguments` is the text of a JSON
 * object or NULL.  *reply_r (may be NULL) gets the whole reply, to be freed
 * with json_free; qmp_result() finds the "return" member in it.
 * An error reply is -XLSNAP_FAILED:
 *     QMP command 'transaction' failed: GenericError: Node 'x' not found
 * A dead session, garbage or a time-out is -XLSNAP_FAILED too, with errnum
 * set (ETIMEDOUT, EPROTO, ECONNRESET): whether the command was carried out is
 * then unknown.  ENOTCONN: the session was dead before, nothing was sent.
 */
int qmp_command(struct qmp *qmp, const char *command, const char *arguments,
                int timeout_ms, struct json **reply_r,
                struct xlsnap_error *err);
/* The "return" member of a reply. */
const struct json *qmp_result(const struct json *reply);
/* QEMU's version from the greeting: major * 10000 + minor * 100 + micro. */
int qmp_version(const struct qmp *qmp);
void qmp_close(struct qmp *qmp); /* NULL is fine */

#endif
