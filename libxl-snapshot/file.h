/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Files and directories: reading whole, writing durably, identity.
 * All descriptors are O_CLOEXEC; nothing depends on the umask.
 */
#ifndef XLSNAP_FILE_H
#define XLSNAP_FILE_H

#include <sys/stat.h>
#include <sys/types.h>

#include "error.h"

/* What a file is, whatever its name: two names, one file, one file_id. */
struct file_id {
    dev_t dev; /* of a block device: 0, and ino is its st_rdev */
    ino_t ino;
    bool block; /* a block device, identified by st_rdev */
};

struct file_id file_id_of(const struct stat *st);
/* Follows symlinks.  -XLSNAP_FAILED with errnum if it cannot be stat'ed. */
int file_id(const char *path, struct file_id *id_r, struct xlsnap_error *err);
/* The same by another process, so that a file system that does not answer holds up
 * nobody for longer. */
int file_id_within(const char *path, int timeout_ms, struct file_id *id_r,
                   struct xlsnap_error *err);
int file_fd_id(int fd, struct file_id *id_r, struct xlsnap_error *err);
bool file_id_equal(const struct file_id *a, const struct file_id *b);

/* When, or how often, a file or a block device was last written to. */
struct file_stamp {
    ino_t ino; /* of a block device: its st_rdev; 0: not known */
    /* A file: st_mtim in nanoseconds.  A block device: sectors written since it
     * is there (/sys/dev/block/M:N/stat, Linux Documentation/block/stat.rst). */
    int64_t written;
};

/* Follows symlinks; {0} if it cannot be found out. */
struct file_stamp file_stamp(const char *path);
/*
 * Has somebody written to it since `then`?  Of a block device that was made anew
 * since (`same_boot` false, or another number): since it is there.  False when
 * in doubt: `then` not known, or no such file.
 */
bool file_was_written(const char *path, const struct file_stamp *then,
                      bool same_boot);

/*
 * Reads a regular file of at most `max` bytes.  *data_r is NUL-terminated
 * (the NUL not counted in *len_r, which may be NULL) and to be freed.
 * Directories, devices, larger files: an error that says so.
 */
int file_read(const char *path, size_t max, char **data_r, size_t *len_r,
              struct xlsnap_error *err);

/*
 * Writes all, retrying short writes and EINTR.  0 or -1 with errno.
 */
int file_write_all(int fd, const void *data, size_t len);
/* The same at an offset. */
int file_pwrite_all(int fd, const void *data, size_t len, off_t at);

/*
 * Makes `path` hold exactly this, mode 0600, durably and at one stroke: an
 * O_EXCL temporary file beside it, fsync, rename, fsync of the directory.  An
 * existing file is replaced only if `replace`; otherwise it is an error with
 * errnum EEXIST and stays as it is (link/renameat2, no race).  After a failure
 * there is no temporary file; that of the last fsync leaves `path` in place.
 */
int file_write_durable(const char *path, const void *data, size_t len,
                       bool replace, struct xlsnap_error *err);

/*
 * A new empty file, 0600, nobody else's, open for writing.  -1 and err.  What another
 * program is to write into it gets it as /proc/PID/fd/FD: the name may be somebody
 * else's by then, who watches the directory.
 */
int file_make_empty(const char *path, struct xlsnap_error *err);
/*
 * Opens a regular file under its name, without following a link: the one with this
 * id, or, if that is NULL, one that a program has just made for us, which so has no
 * other names.  -1 and err.
 */
int file_open_known(const char *path, int flags, const struct file_id *id,
                    struct xlsnap_error *err);
/*
 * Gives the file `to`, for messages `to_name`, the owner, the permissions to read and
 * write, the ACL, SELinux's context and the user's attributes of `from`: nothing that
 * would give a program powers.  An attribute that the file system of `to` does not know
 * is passed over.
 */
int file_copy_attributes(const char *from, int to, const char *to_name,
                         struct xlsnap_error *err);

/* As rename(2), errno too, but replaces nothing (EEXIST). */
int file_rename_noreplace(const char *from, const char *to);
/* Renames durably: no replacing of `to` (errnum EEXIST), directory fsync. */
int file_rename_new(const char *from, const char *to, struct xlsnap_error *err);
/* Unlinks durably; absence is success. */
int file_unlink(const char *path, struct xlsnap_error *err);
int file_fsync_dir_of(const char *path, struct xlsnap_error *err);
/* The directory part of a path; to be freed. */
char *file_dir_of(const char *path);
/* Are both in the same directory, whatever it is called? */
bool file_same_dir(const char *a, const char *b);
/*
 * Are both reached by the same mount?  link(2) and rename(2) ask for that, even of
 * one file system.  Kernels before 5.8 do not tell: true.
 */
bool file_same_mount(const char *a, const char *b);

/*
 * file-trust.c: -XLSNAP_REFUSED if anybody but root (or who we are) could make this name
 * lead somewhere else, or change what is there: each directory on the way, symbolic
 * links followed, and what is at its end must be root's and nobody else's to write to; a
 * directory may also be sticky.  What does not exist yet is fine.
 */
int file_check_trusted(const char *path, struct xlsnap_error *err);

/*
 * Makes directory `path` with its missing parents, 0700 each and fsynced.
 * *made_r (may be NULL) is then the topmost directory that was made, to be
 * freed, or NULL.  An existing last component must be a directory (not a
 * symlink), root's (the caller's effective user) and not writable by others
 * (its group included), else -XLSNAP_REFUSED with the reason.  A failure
 * leaves no directory made.
 */
int file_make_dir(const char *path, char **made_r, struct xlsnap_error *err);
/* Undo of file_make_dir: removes path and parents up to `made`, if empty. */
void file_remove_dirs(const char *path, const char *made);

/* Absolute form of `path`, relative to the current directory, without double
 * or trailing slashes and "."; lexical, the file need not exist; to be freed.
 * ".." stays: behind a symlink it is not what it looks like. */
char *file_absolute(const char *path);

/*
 * `path` with all symlinks resolved, as realpath, but the file itself may be
 * missing: also one that a symlink names.  NULL with errno: its directory is
 * missing, or the symlinks go in a circle.  To be freed.
 */
char *file_resolve(const char *path);

/*
 * The processes that have the file open (any /proc/PID/fd whose target has
 * this identity), except `except` (0: none excepted), by what the kernel knows: no
 * server of a file system is asked.  Returns the number, and the first one's pid in
 * *pid_r (may be NULL); -1 without /proc.  Needs root to be complete.  The kernel's
 * own users (a loop device) and mappings without a descriptor are not seen.
 */
int file_users(const struct file_id *id, pid_t except, pid_t *pid_r);
/* The same, of those only that have it open for writing. */
int file_writers(const struct file_id *id, pid_t except, pid_t *pid_r);
/*
 * Waits until the descriptor is readable, or (a pidfd) its process has ended:
 * at most timeout_ms, signals notwithstanding.  False on time-out.
 */
bool file_wait_readable(int fd, int timeout_ms);
/* How many descriptors this process has of the file. */
int file_opened_in(const struct file_id *id, pid_t pid);
/* Has it any? */
bool file_is_open_in(const struct file_id *id, pid_t pid);

#endif
