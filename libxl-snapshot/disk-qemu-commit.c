/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Merging an overlay into its base: the undo of a switch.
 *
 * While the guest runs it is a block-commit of QEMU's, ended by hand.  In the
 * status "pending" QEMU holds the guest's I/O, and overlay and base are the
 * same: the moment to give the base its name back.  A tool that dies there
 * leaves the guest waiting; so the guard lives through an undo, too, and ends
 * the job.
 */
#include "disk-qemu-chain.h"

#include <fcntl.h>

#include "run.h"
#include "util.h"

#define COMMIT_TIMEOUT_MS 300000 /* without coming nearer to the end */
#define COMMIT_END_MS 30000
#define COMMIT_IMG_TIMEOUT_MS INT32_MAX

static char *commit_job(const struct disk *disk)
{
    return xasprintf(QEMU_JOB "%s", disk->vdev);
}

struct commit_state {
    char *failed; /* the error with which it has ended, or NULL; to be freed */
    int64_t left; /* bytes that are still to be copied, at least */
};

/* Status of our job, to be freed; NULL: there is none. */
static char *commit_status(struct op *op, const struct disk *disk,
                           struct commit_state *state, struct xlsnap_error *err)
{
    cleanup_free char *id = commit_job(disk);
    struct json *reply = NULL;
    char *status = NULL;

    if (qemu_session(op, err) ||
        qmp_command(op->qmp, "query-jobs", NULL, QEMU_TRANSACTION_TIMEOUT_MS,
                    &reply, err))
        return NULL;
    for (size_t i = 0; i < json_array_len(qmp_result(reply)); i++) {
        const struct json *job = json_array_at(qmp_result(reply), i);
        const char *job_id = json_get_string(job, "id");

        if (!job_id || strcmp(job_id, id))
            continue;
        status = xstrdup(json_get_string(job, "status"));
        state->failed = xstrdup(json_get_string(job, "error"));
        state->left = json_get_int(job, "total-progress", 0);
        /* 0 until it has looked what there is to copy. */
        state->left =
            state->left ? state->left - json_get_int(job, "current-progress", 0)
                        : INT64_MAX;
    }
    json_free(reply);
    return status;
}

static int commit_tell(struct op *op, const struct disk *disk,
                       const char *command, struct xlsnap_error *err)
{
    cleanup_free char *id = commit_job(disk);
    struct json_writer *w = json_writer_new(false);
    cleanup_free char *arguments = NULL;
    int rc = qemu_session(op, err);

    json_open_object(w, NULL);
    json_put_string(w, "id", id);
    json_close_object(w);
    arguments = json_writer_finish(w);
    return rc ? rc
              : qmp_command(op->qmp, command, arguments,
                            QEMU_TRANSACTION_TIMEOUT_MS, NULL, err);
}

/* Waits for a status; a job that has failed, or ended instead, is an error. */
static int commit_wait(struct op *op, const struct disk *disk,
                       const char *wanted, int timeout_ms,
                       struct xlsnap_error *err)
{
    int64_t deadline = now_ms() + timeout_ms, best = INT64_MAX;

    do {
        struct commit_state state = { .failed = NULL };
        cleanup_free char *status = commit_status(op, disk, &state, err);
        cleanup_free char *failed = state.failed;

        if (!status)
            return err->code ? -err->code
                             : xlsnap_fail(err, XLSNAP_FAILED,
                                           "disk '%s': the commit has vanished",
                                           disk->vdev);
        if (!strcmp(status, wanted) && !failed)
            return 0;
        if (!strcmp(status, "concluded"))
            return xlsnap_fail(err, XLSNAP_FAILED,
                               "disk '%s': the commit failed: %s", disk->vdev,
                               failed ? failed : "no reason given");
        if (state.left < best) {
            best = state.left;
            deadline = now_ms() + timeout_ms;
        }
        usleep(2000);
    } while (now_ms() < deadline);
    return xlsnap_fail(err, XLSNAP_FAILED,
                       "disk '%s': the commit does not come nearer to its end "
                       "(the guest may write faster than it can be copied; "
                       "when it is shut down, recover merges, too)",
                       disk->vdev);
}

/*
 * Is this node, one of query-named-block-nodes, what was the disk before?  In
 * a QEMU that was started since, it has no name that we know, and is found by
 * its file, which that QEMU has opened under the name it has now.
 */
static bool commit_is_base(const struct json *node, const struct disk *disk,
                           const char *top)
{
    const char *name = json_get_string(node, "node-name");
    const char *driver = json_get_string(node, "drv");
    const char *file = json_get_string(node, "file");

    if (!name || !driver || !file || !strcmp(name, top))
        return false;
    return (disk->node && !strcmp(name, disk->node)) ||
           (name[0] == '#' && !strcmp(driver, qemu_format(disk->format)) &&
            file[0] == '/' && chain_name_is(file, &disk->id));
}

/* Names of the nodes, to be freed, of the overlay and of its base. */
static int commit_find(struct op *op, const struct disk *disk, char **top_r,
                       char **base_r, struct xlsnap_error *err)
{
    struct json *blocks = NULL, *nodes = NULL;
    const struct json *top;
    int rc = qemu_query_block(op, &blocks, err);

    if (!rc) {
        top = qemu_find_node(op, qmp_result(blocks), disk, err);
        *top_r = top ? xstrdup(json_get_string(top, "node-name")) : NULL;
        rc = top ? 0 : -err->code;
    }
    if (!rc)
        rc = qmp_command(op->qmp, "query-named-block-nodes", "{\"flat\": true}",
                         QEMU_TRANSACTION_TIMEOUT_MS, &nodes, err);
    for (size_t i = 0; !rc && i < json_array_len(qmp_result(nodes)); i++) {
        const struct json *node = json_array_at(qmp_result(nodes), i);

        if (!*base_r && commit_is_base(node, disk, *top_r))
            *base_r = xstrdup(json_get_string(node, "node-name"));
    }
    if (!rc && !*base_r)
        rc = xlsnap_fail(err, XLSNAP_FAILED,
                         "disk '%s': QEMU has no node below '%s'", disk->vdev,
                         *top_r);
    json_free(blocks);
    json_free(nodes);
    return rc;
}

static int commit_start(struct op *op, const struct disk *disk,
                        struct xlsnap_error *err)
{
    cleanup_free char *top = NULL, *base = NULL, *id = commit_job(disk);
    cleanup_free char *arguments = NULL;
    struct json_writer *w;
    int rc = commit_find(op, disk, &top, &base, err);

    if (rc)
        return rc;
    w = json_writer_new(false);
    json_open_object(w, NULL);
    json_put_string(w, "job-id", id);
    json_put_string(w, "device", top);
    json_put_string(w, "base-node", base);
    json_put_bool(w, "auto-finalize", false);
    json_put_bool(w, "auto-dismiss", false);
    json_close_object(w);
    arguments = json_writer_finish(w);
    return qmp_command(op->qmp, "block-commit", arguments,
                       QEMU_TRANSACTION_TIMEOUT_MS, NULL, err);
}

/* TARGET and the disk's path change places: both files keep a name, so that
 * QEMU may yet refuse. */
static int commit_exchange(const struct disk *disk, struct xlsnap_error *err)
{
    int rc = renameat2(AT_FDCWD, disk->target, AT_FDCWD, disk->path,
                       RENAME_EXCHANGE);

    if (rc && (errno == EINVAL || errno == ENOSYS) &&
        chain_name_is(disk->target, &disk->id))
        rc = rename(disk->target, disk->path);
    if (rc)
        return xlsnap_fail_errno(err, XLSNAP_FAILED, errno,
                                 "cannot rename '%s' to '%s'", disk->target,
                                 disk->path);
    if (file_fsync_dir_of(disk->path, err))
        return -err->code;
    return file_same_dir(disk->path, disk->target)
               ? 0
               : file_fsync_dir_of(disk->target, err);
}

/*
 * In the status "pending" QEMU holds the guest's I/O, and overlay and base are
 * the same: the moment to give the base its name back, or an overlay's base its
 * place in libxl's configuration.  From here on it goes forward only.
 */
static int commit_names(struct op *op, struct disk *disk,
                        struct xlsnap_error *err)
{
    int rc;

    if (chain_is_external(disk) && !(chain_name_is(disk->path, &disk->made) &&
                                     chain_name_is(disk->target, &disk->id)))
        return xlsnap_fail(err, XLSNAP_FAILED,
                           "disk '%s': '%s' and '%s' are not the overlay and "
                           "what is below it",
                           disk->vdev, disk->path, disk->target);
    if (chain_is_external(disk))
        return commit_exchange(disk, err);
    rc = domain_store_disk(op->xs, &op->dom, disk->vdev, disk->source,
                           disk->format, err);
    return rc ? rc : chain_note_merged(op, disk, true, err);
}

/* Has commit_names been done? */
static bool commit_goes_forward(const struct disk *disk)
{
    return chain_is_external(disk) ? chain_name_is(disk->path, &disk->id)
                                   : disk->merged;
}

/* QEMU has not let go of the overlay after all. */
static int commit_names_back(struct op *op, struct disk *disk,
                             struct xlsnap_error *err)
{
    int rc;

    if (chain_is_external(disk))
        return chain_name_is(disk->path, &disk->id) &&
                       chain_name_is(disk->target, &disk->made)
                   ? commit_exchange(disk, err)
                   : 0;
    /* Both, whatever becomes of the other. */
    rc = domain_store_disk(op->xs, &op->dom, disk->vdev, disk->target,
                           LIBXL_DISK_FORMAT_QCOW2, err);
    return chain_note_merged(op, disk, false, err) ? -err->code : rc;
}

/*
 * In a QEMU that was started since the snapshot the overlay is a node that
 * Xen's block backend has made itself, and keeps after the merge, with the base
 * below: which then is no root node, and so takes no internal snapshot.
 * blockdev-del refuses while the disk uses it.
 */
static void commit_drop_merged(struct op *op, const struct disk *disk)
{
    cleanup_free char *arguments =
        xasprintf("{\"node-name\": \"%s-qcow2\"}", disk->vdev);
    struct xlsnap_error ignored = { 0 };

    if (!qemu_session(op, &ignored))
        qmp_command(op->qmp, "blockdev-del", arguments,
                    QEMU_TRANSACTION_TIMEOUT_MS, NULL, &ignored);
}

/* Has the job ended with an error? */
static bool commit_has_failed(struct op *op, const struct disk *disk)
{
    struct commit_state state = { .failed = NULL };
    struct xlsnap_error ignored = { 0 };
    cleanup_free char *status = commit_status(op, disk, &state, &ignored);
    cleanup_free char *failed = state.failed;

    return status && !strcmp(status, "concluded") && failed;
}

/* Ends a job in whatever status, the disk's names deciding which way. */
static int commit_finish(struct op *op, struct disk *disk, const char *status,
                         struct xlsnap_error *err)
{
    bool pending = !strcmp(status, "pending");
    int rc = 0;

    if (pending && commit_goes_forward(disk))
        rc = commit_tell(op, disk, "job-finalize", err);
    else if (pending && chain_is_external(disk) &&
             !chain_name_is(disk->path, &disk->made))
        rc = xlsnap_fail(err, XLSNAP_FAILED,
                         "disk '%s': it cannot be seen whether '%s' is the "
                         "overlay or what is below it (is its file system "
                         "there?), so the guest's requests wait for the end "
                         "of the merge",
                         disk->vdev, disk->path);
    else if (strcmp(status, "concluded"))
        rc = commit_tell(op, disk, "job-cancel", err);
    if (!rc)
        rc = commit_wait(op, disk, "concluded", COMMIT_END_MS, err);
    /* Cancelled, or failed: QEMU is on the overlay as before. */
    if (rc && commit_has_failed(op, disk)) {
        memset(err, 0, sizeof(*err));
        rc = commit_names_back(op, disk, err);
    }
    return rc ? rc : commit_tell(op, disk, "job-dismiss", err);
}

int chain_commit_end(struct op *op, struct disk *disk, struct xlsnap_error *err)
{
    struct commit_state state = { .failed = NULL };
    cleanup_free char *status = NULL, *failed = NULL;
    int rc = 0;

    status = commit_status(op, disk, &state, err);
    failed = state.failed;
    if (!status && err->code)
        return -err->code;
    if (status)
        rc = commit_finish(op, disk, status, err);
    if (!rc)
        commit_drop_merged(op, disk);
    return rc;
}

int chain_commit_live(struct op *op, struct disk *disk,
                      struct xlsnap_error *err)
{
    struct xlsnap_error ignored = { 0 };
    int rc = commit_start(op, disk, err);

    if (rc)
        return rc;
    rc = commit_wait(op, disk, "ready", COMMIT_TIMEOUT_MS, err);
    if (!rc)
        rc = commit_tell(op, disk, "job-complete", err);
    if (!rc)
        rc = commit_wait(op, disk, "pending", COMMIT_END_MS, err);
    if (!rc)
        rc = commit_names(op, disk, err);
    if (!rc)
        rc = commit_tell(op, disk, "job-finalize", err);
    if (!rc)
        rc = commit_wait(op, disk, "concluded", COMMIT_END_MS, err);
    if (!rc)
        rc = commit_tell(op, disk, "job-dismiss", err);
    if (rc) {
        qemu_session_end(op); /* it may be dead */
        chain_commit_end(op, disk, &ignored);
    } else {
        commit_drop_merged(op, disk);
    }
    return rc;
}

/* What the overlay's header calls its base; to be freed, NULL: it is not the disk. */
static char *commit_find_base(const struct disk *disk, const char *overlay,
                              struct xlsnap_error *err)
{
    struct json *root = NULL;
    const char *base;
    char *found = NULL;

    if (qemu_img_info(overlay, "qcow2", &root, err))
        return NULL;
    base = json_get_string(root, "full-backing-filename");
    if (base && chain_name_is(base, &disk->id))
        found = xstrdup(base);
    else
        xlsnap_fail(err, XLSNAP_FAILED,
                    "disk '%s': '%s' is based on '%s', which is not what the "
                    "disk was",
                    disk->vdev, overlay, base ? base : "nothing");
    json_free(root);
    return found;
}

/* The base is told: the header may be another one by then, of an overlay whose owner
 * is not root. */
int chain_commit_offline(const struct disk *disk, const char *overlay,
                         struct xlsnap_error *err)
{
    cleanup_free char *base = commit_find_base(disk, overlay, err);
    cleanup_free char *image =
        base ? qemu_img_arg_on(overlay, base, qemu_format(disk->format)) : NULL;
    const char *argv[] = { "qemu-img", "commit", "-q", "-d", image, NULL };

    return base ? run_ok(argv, COMMIT_IMG_TIMEOUT_MS, err) : -err->code;
}
