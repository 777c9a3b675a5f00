/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The memory image: a file in xl's own save format, which a stock `xl restore`
 * reads.  Layout (Xen's tools/xl/xl.h, docs/specs/libxl-migration-stream and
 * libxc-migration-stream):
 *
 *     48 bytes   xl's header: magic, byte order, flags, length of what follows
 *     n bytes    u32 length and the domain's config as libxl JSON with its NUL
 *     ...        libxl's stream (big-endian header), holding libxc's stream
 *     8 bytes    libxl's END record, at the end of the file
 *
 * The format has no checksum, so a digest of the whole file is computed on the
 * way and kept in snapshot.cfg.  Pages of zeros become holes of the file; what
 * a reader sees is the same.
 */
#ifndef XLSNAP_MEMORY_H
#define XLSNAP_MEMORY_H

#include <sys/types.h>

#include "file.h"

#define MEMORY_DIGEST_PREFIX "xxh3-128:"
#define MEMORY_DIGEST_LEN (sizeof(MEMORY_DIGEST_PREFIX) - 1 + 32)

/* ---- writing ---- */

struct memory_writer;

struct memory_written {
    uint64_t bytes;      /* length of the file */
    uint64_t disk_bytes; /* blocks it takes */
    char digest[MEMORY_DIGEST_LEN + 1];
};

/*
 * Creates `path` (it must not exist; 0600, whatever the umask) and starts a
 * process that writes to it all that comes through memory_writer_fd(),
 * beginning with the header, written here.  The process gives no way of its
 * own to the signals of the terminal and ends at end of file.
 * *writer_r is to be freed after a failure, too.
 */
int memory_writer_start(const char *path, const char *config_json,
                        struct memory_writer **writer_r,
                        struct xlsnap_error *err);
/* The pipe for libxl's stream. */
int memory_writer_fd(const struct memory_writer *w);
/* Which file it is. */
void memory_writer_id(const struct memory_writer *w, struct file_id *id_r);
/* Our end of the pipe is closed: the writer sees the end once libxl's save
 * helper is gone, too.  Does not wait. */
void memory_writer_eof(struct memory_writer *w);
/* Waits for the writer's end.  Errors are the writer's (ENOSPC, say). */
int memory_writer_finish(struct memory_writer *w,
                         struct memory_written *written_r,
                         struct xlsnap_error *err);
/* fsync of the file; after memory_writer_finish. */
int memory_writer_sync(struct memory_writer *w, struct xlsnap_error *err);
/* Ends the process if it still runs and frees; NULL is fine.  The file stays. */
void memory_writer_free(struct memory_writer *w);

/* ---- reading ---- */

struct memory_image {
    int fd; /* at no particular offset; -1: none */
    uint64_t bytes;
    uint64_t disk_bytes;
    off_t stream; /* where libxl's stream begins */
    char *config_json;
    unsigned xen_major, xen_minor;      /* of the Xen that saved it */
    char digest[MEMORY_DIGEST_LEN + 1]; /* after memory_image_check_digest */
};

/*
 * (memory_image_close is due after a failure, too.)
 * Opens an image and walks it from record to record: every length must fit
 * and the last END must be the file's end.  Reads headers only.
 */
int memory_image_open(const char *path, struct memory_image *image,
                      struct xlsnap_error *err);
/* Reads all of it and compares with `digest` (NULL: only computes). */
int memory_image_check_digest(struct memory_image *image, const char *path,
                              const char *digest, struct xlsnap_error *err);
void memory_image_close(struct memory_image *image);

#endif
