/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The command's logger: messages and progress on stderr, in xl's manner. */
#ifndef XL_SNAPSHOT_LOG_H
#define XL_SNAPSHOT_LOG_H

#include <xentoollog.h>

#include "cli.h"

/* *cli must live as long as the logger and may still change.
 * Progress is one line rewritten, on a terminal or with -t; none with -q. */
xentoollog_logger *log_new(const struct cli *cli);
/* Ends a progress line that may stand there; before anything else is printed
 * on stderr. */
void log_flush(xentoollog_logger *logger);

#endif
