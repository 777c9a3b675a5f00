/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Writing the memory image: a process of ours between libxl's stream and the
 * file, so that holes and digest are made while libxl still copies pages, and
 * so that after the last page the guest need not wait for our part.
 *
 * The process is a fork without exec.  It touches nothing of libxl's, keeps no
 * descriptor but its three, drops root's privileges, ignores the signals a
 * terminal sends (it ends when its input does) and reports by one struct through
 * a pipe.
 */
#include "memory.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <xxhash.h>

#include "file.h"
#include "memory-format.h"
#include "process.h"
#include "pulse.h"
#include "util.h"

#define WRITER_BUFFER (1 << 20)
#define WRITER_BLOCK 4096

struct writer_result {
    int errnum;
    uint64_t bytes;
    XXH128_canonical_t digest;
};

struct memory_writer {
    char *path;
    int file_fd, pipe_fd, result_fd;
    pid_t pid; /* 0: reaped */
};

static bool is_zero(const unsigned char *p, size_t len)
{
    return !p[0] && !memcmp(p, p + 1, len - 1);
}

/* Writes the runs of blocks that hold something; `at` is block-aligned. */
static int write_sparse(int fd, const unsigned char *buf, size_t len, off_t at)
{
    size_t start = 0, pos = 0;

    while (pos < len) {
        size_t n = len - pos < WRITER_BLOCK ? len - pos : WRITER_BLOCK;
        bool zero = is_zero(buf + pos, n);

        if (zero) {
            if (pos > start &&
                file_pwrite_all(fd, buf + start, pos - start, at + start))
                return -1;
            start = pos + n;
        }
        pos += n;
    }
    return pos > start
               ? file_pwrite_all(fd, buf + start, pos - start, at + start)
               : 0;
}

/* Fills the buffer; short only at the end of the input. -1 on error. */
static ssize_t read_full(int fd, void *buf, size_t len)
{
    size_t got = 0;

    while (got < len) {
        ssize_t r = read(fd, (char *)buf + got, len - got);

        if (r < 0 && errno == EINTR)
            continue;
        if (r < 0)
            return -1;
        if (!r)
            break;
        got += r;
    }
    return got;
}

static int writer_copy(int in, int out, struct writer_result *res)
{
    unsigned char *buf = aligned_alloc(WRITER_BLOCK, WRITER_BUFFER);
    XXH3_state_t *xxh = XXH3_createState();
    ssize_t n;

    if (!buf || !xxh)
        return ENOMEM;
    XXH3_128bits_reset(xxh);
    while ((n = read_full(in, buf, WRITER_BUFFER)) > 0) {
        XXH3_128bits_update(xxh, buf, n);
        if (write_sparse(out, buf, n, res->bytes))
            return errno;
        res->bytes += n;
        pulse();
    }
    if (n < 0)
        return errno;
    XXH128_canonicalFromHash(&res->digest, XXH3_128bits_digest(xxh));
    return 0;
}

/* Only these three, moved to 0, 1 and 2, and nothing else. */
static void writer_keep_fds(int *in, int *out, int *result)
{
    int fds[3];

    fds[0] = fcntl(*in, F_DUPFD, 10);
    fds[1] = fcntl(*out, F_DUPFD, 10);
    fds[2] = fcntl(*result, F_DUPFD, 10);
    for (int i = 0; i < 3; i++)
        if (fds[i] < 0 || dup2(fds[i], i) < 0)
            _exit(1);
    closefrom(3);
    *in = 0;
    *out = 1;
    *result = 2;
}

static void __attribute__((noreturn))
writer_process(int in, int out, int result)
{
    struct writer_result res = { 0 };
    const int ignored[] = {
        SIGINT, SIGQUIT, SIGTERM, SIGHUP, SIGPIPE, SIGXFSZ
    };

    for (size_t i = 0; i < ARRAY_SIZE(ignored); i++)
        signal(ignored[i], SIG_IGN);
    signal(SIGCHLD, SIG_DFL);
    writer_keep_fds(&in, &out, &result);
    res.errnum = process_drop_privileges() ? errno : writer_copy(in, out, &res);
    if (file_write_all(result, &res, sizeof(res)))
        _exit(1);
    _exit(0);
}

static int writer_fork(struct memory_writer *w, struct xlsnap_error *err)
{
    int in[2], result[2];

    if (pipe2(in, O_CLOEXEC))
        return xlsnap_fail_errno(err, XLSNAP_FAILED, errno,
                                 "cannot make a pipe");
    if (pipe2(result, O_CLOEXEC)) {
        close(in[0]);
        close(in[1]);
        return xlsnap_fail_errno(err, XLSNAP_FAILED, errno,
                                 "cannot make a pipe");
    }
    fcntl(in[1], F_SETPIPE_SZ, WRITER_BUFFER);
    w->pid = fork();
    if (!w->pid)
        writer_process(in[0], w->file_fd, result[1]);
    close(in[0]);
    close(result[1]);
    w->pipe_fd = in[1];
    w->result_fd = result[0];
    if (w->pid < 0) {
        w->pid = 0;
        return xlsnap_fail_errno(err, XLSNAP_FAILED, errno,
                                 "cannot start the writer of the memory "
                                 "image");
    }
    return 0;
}

static int writer_put_header(struct memory_writer *w, const char *config_json,
                             struct xlsnap_error *err)
{
    uint32_t config_len = strlen(config_json) + 1;
    struct xl_save_header hdr = {
        .magic = XL_SAVE_MAGIC,
        .byteorder = XL_SAVE_BYTEORDER,
        .mandatory_flags = XL_SAVE_FLAG_JSON | XL_SAVE_FLAG_STREAMV2,
        .optional_data_len = sizeof(config_len) + config_len,
    };

    if (file_write_all(w->pipe_fd, &hdr, sizeof(hdr)) ||
        file_write_all(w->pipe_fd, &config_len, sizeof(config_len)) ||
        file_write_all(w->pipe_fd, config_json, config_len))
        return xlsnap_fail_errno(err, XLSNAP_FAILED, errno,
                                 "cannot write memory image '%s'", w->path);
    return 0;
}

int memory_writer_start(const char *path, const char *config_json,
                        struct memory_writer **writer_r,
                        struct xlsnap_error *err)
{
    struct memory_writer *w = xcalloc(1, sizeof(*w));
    int rc;

    w->path = xstrdup(path);
    w->pipe_fd = w->result_fd = -1;
    *writer_r = w;
    w->file_fd =
        open(path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (w->file_fd < 0 || fchmod(w->file_fd, 0600))
        return xlsnap_fail_errno(err, XLSNAP_FAILED, errno,
                                 "cannot create memory image '%s'", path);
    rc = writer_fork(w, err);
    return rc ? rc : writer_put_header(w, config_json, err);
}

int memory_writer_fd(const struct memory_writer *w)
{
    return w->pipe_fd;
}

void memory_writer_id(const struct memory_writer *w, struct file_id *id_r)
{
    struct stat st;

    memset(id_r, 0, sizeof(*id_r));
    if (!fstat(w->file_fd, &st)) {
        id_r->dev = st.st_dev;
        id_r->ino = st.st_ino;
    }
}

void memory_writer_eof(struct memory_writer *w)
{
    if (w->pipe_fd >= 0)
        close(w->pipe_fd);
    w->pipe_fd = -1;
}

static void writer_reap(struct memory_writer *w)
{
    while (w->pid && waitpid(w->pid, NULL, 0) < 0 && errno == EINTR)
        ;
    w->pid = 0;
}

int memory_writer_finish(struct memory_writer *w,
                         struct memory_written *written_r,
                         struct xlsnap_error *err)
{
    struct writer_result res;
    ssize_t n;
    struct stat st;

    memory_writer_eof(w);
    n = read_full(w->result_fd, &res, sizeof(res));
    writer_reap(w);
    if (n != sizeof(res))
        return xlsnap_fail(err, XLSNAP_FAILED,
                           "the writer of memory image '%s' died", w->path);
    if (res.errnum)
        return xlsnap_fail_errno(err, XLSNAP_FAILED, res.errnum,
                                 "cannot write memory image '%s'", w->path);
    /* A hole at the end; a FUSE file system lets only its own user do so. */
    if (ftruncate(w->file_fd, res.bytes))
        return xlsnap_fail_errno(err, XLSNAP_FAILED, errno,
                                 "cannot write memory image '%s'", w->path);
    if (fstat(w->file_fd, &st))
        return xlsnap_fail_errno(err, XLSNAP_FAILED, errno,
                                 "cannot stat memory image '%s'", w->path);
    written_r->bytes = res.bytes;
    written_r->disk_bytes = (uint64_t)st.st_blocks * 512;
    memory_format_digest(&res.digest, written_r->digest);
    return 0;
}

int memory_writer_sync(struct memory_writer *w, struct xlsnap_error *err)
{
    if (fsync(w->file_fd))
        return xlsnap_fail_errno(err, XLSNAP_FAILED, errno,
                                 "cannot write memory image '%s' to disk",
                                 w->path);
    return 0;
}

void memory_writer_free(struct memory_writer *w)
{
    if (!w)
        return;
    memory_writer_eof(w);
    if (w->pid)
        kill(w->pid, SIGKILL);
    writer_reap(w);
    if (w->file_fd >= 0)
        close(w->file_fd);
    if (w->result_fd >= 0)
        close(w->result_fd);
    free(w->path);
    free(w);
}
