/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * libxl-snapshot: one instant of a running Xen domain (its memory and all its
 * disks), taken, proved and gone back to.
 *
 * The library is stateless, like `xl save`: a snapshot is the files and disk
 * snapshots that the caller named, plus one text file, snapshot.cfg, which
 * describes them.  Nothing is kept elsewhere but the record of an operation
 * that is under way (see xlsnap_recover).
 *
 * Calling sequence:
 *
 *     struct xlsnap_error err = { 0 };
 *     struct xlsnap *xs;
 *     struct xlsnap_settings settings = { .logger = logger,
 *         .helper = "/usr/sbin/xl-snapshot", .cancel_fd = -1 };
 *
 *     if (xlsnap_open(&settings, &xs, &err))
 *         die("%s", err.msg);
 *     rc = xlsnap_create(xs, &request, &options, &report, &err);
 *     ...
 *     xlsnap_report_clear(&report);
 *     xlsnap_close(xs);
 *
 * Rules that hold everywhere:
 * - A function that can fail returns 0, or minus one of the codes below, and
 *   has then filled *err (once: the first error wins).
 * - Strings in structures are malloc'ed and belong to the structure; NULL
 *   means "not given".  Sizes are bytes, durations milliseconds, moments
 *   seconds since the epoch (UTC).
 * - Out of memory aborts the process, as libxl does.
 * - One struct xlsnap is used by one thread at a time.
 */
#ifndef LIBXL_SNAPSHOT_H
#define LIBXL_SNAPSHOT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <xentoollog.h>

#define XLSNAP_PUBLIC __attribute__((visibility("default")))

/*
 * What a failure means for the caller.  The numbers are the exit statuses of
 * xl-snapshot and part of the interface.
 */
enum xlsnap_code {
    XLSNAP_OK = 0,
    XLSNAP_FAILED = 1,  /* tried, failed, and nothing has changed */
    XLSNAP_INVALID = 2, /* the request makes no sense: usage or config */
    XLSNAP_BUSY = 3,    /* another run holds the domain or one of its disks */
    XLSNAP_REFUSED = 4, /* a check said no; nothing was touched */
    XLSNAP_UNFINISHED = 5, /* xlsnap_recover must finish or undo the job */
};

/* Allocated by the caller, zeroed before the first use. */
struct xlsnap_error {
    int code;       /* enum xlsnap_code; 0: no error */
    int errnum;     /* errno of the cause, or 0 */
    char msg[1024]; /* one line, no newline at its end */
};

/* How a disk's frozen state is kept; see xl-snapshot.cfg(5). */
enum xlsnap_method {
    XLSNAP_METHOD_DEFAULT = 0, /* internal where the disk can, else external */
    XLSNAP_METHOD_INTERNAL,    /* inside the disk's own file */
    XLSNAP_METHOD_EXTERNAL,    /* under TARGET; the disk's path stays */
    XLSNAP_METHOD_OVERLAY,     /* TARGET becomes the active file (libvirt) */
    XLSNAP_METHOD_NO,          /* the disk takes no part */
};

enum xlsnap_compress {
    XLSNAP_COMPRESS_NONE = 0,
    XLSNAP_COMPRESS_ZSTD,
};

/* One disk of a snapshot. */
struct xlsnap_disk {
    char *vdev; /* as in the domain's config: xvda, hda, sdb1... */
    enum xlsnap_method method;
    char *format;  /* raw, qcow, qcow2, vhd, qed (libxl_disk_format) */
    char *target;  /* where an external snapshot goes */
    uint64_t size; /* LVM: bytes of copy-on-write space, 0: default; of a copy
                    * that was made, its length */
    unsigned size_percent; /* LVM: the same as % of the origin; 0: not given */
    char *source;          /* the disk's own path; filled in by create */
    char *source_format;   /* of the file there; NULL: ->format.  Filled in by
                            * create for overlays, whose ->format is TARGET's */
    char *options;         /* what else the domain's config says of it, for
                            * xlsnap_disk_config: ", no-discard".  Filled in by
                            * create for overlays; not in snapshot.cfg */
};

/*
 * A snapshot: as a request (what is not given is 0 or NULL and gets its
 * default) and as snapshot.cfg describes it (everything filled in).
 * The meaning of each field is that of the key of its name in
 * xl-snapshot.cfg(5).
 */
struct xlsnap_snapshot {
    char *domain; /* name or id; in snapshot.cfg always the name */
    char *name;   /* see xlsnap_name_check */
    char *description;
    char *path;              /* absolute directory */
    char *memory;            /* absolute path of the memory image */
    enum xlsnap_method type; /* of disks that do not say */
    int live;                /* 0, 1, or -1: not given */
    int compress;            /* enum xlsnap_compress, or -1: not given */
    struct xlsnap_disk *disks;
    size_t n_disks;
    /* Only in snapshot.cfg; NULL or 0 marks a mere request. */
    char *uuid;          /* of the domain, 8-4-4-4-12 hex digits */
    char *memory_digest; /* "xxh3-128:" and 32 hex digits, of the image file */
    int64_t creation_time;
};

/* All fields "not given". */
XLSNAP_PUBLIC void xlsnap_snapshot_init(struct xlsnap_snapshot *snap);
/* Frees what the structure owns and leaves it as _init does. */
XLSNAP_PUBLIC void xlsnap_snapshot_clear(struct xlsnap_snapshot *snap);
XLSNAP_PUBLIC void xlsnap_snapshot_copy(struct xlsnap_snapshot *dst,
                                        const struct xlsnap_snapshot *src);
/* Appends an empty disk and returns it; valid until the next append. */
XLSNAP_PUBLIC struct xlsnap_disk *xlsnap_snapshot_add_disk(
    struct xlsnap_snapshot *snap);
/* The disk of that vdev, or NULL. */
XLSNAP_PUBLIC struct xlsnap_disk *xlsnap_snapshot_find_disk(
    const struct xlsnap_snapshot *snap, const char *vdev);

/*
 * A name becomes a qcow2 tag, an LV's suffix and a part of file names:
 * [A-Za-z0-9_.+-]{1,64}, not starting with '-' or '.', not all digits
 * (qemu-img takes those for a snapshot's ID).  0 or -XLSNAP_INVALID.
 */
XLSNAP_PUBLIC int xlsnap_name_check(const char *name, struct xlsnap_error *err);

/*
 * After an overlay the domain's own xl.cfg must name the new file: the entry
 * for its list of disks (xl-disk-configuration(5)), to be freed.  NULL: the
 * disk is no overlay, and the config stays as it is.
 */
XLSNAP_PUBLIC char *xlsnap_disk_config(const struct xlsnap_disk *disk);

/* "internal", "external", "overlay", "no"; XLSNAP_METHOD_DEFAULT: "". */
XLSNAP_PUBLIC const char *xlsnap_method_name(enum xlsnap_method method);
/* 0, or -1 if the word is none of them. */
XLSNAP_PUBLIC int xlsnap_method_parse(const char *word,
                                      enum xlsnap_method *method_r);

/* The library's handle: a libxl context and where things are. */
struct xlsnap;

struct xlsnap_settings {
    xentoollog_logger *logger; /* progress and messages go here; required */
    /*
     * The xl-snapshot binary, absolute: run as `HELPER guard ...` and
     * `HELPER monitor ...` for the processes that outlive the caller.
     */
    const char *helper;
    /*
     * A descriptor that becomes readable when the operation shall be
     * cancelled (a self-pipe written by signal handlers; do not block the
     * signals, libxl's helper would inherit that).  -1: cannot be cancelled.
     */
    int cancel_fd;
    /* NULL: the defaults below. */
    const char *snapshot_dir;
    const char *state_dir;
    const char *run_dir;
};
#define XLSNAP_SNAPSHOT_DIR "/var/lib/xen/snapshots" /* DOMAIN/NAME/... */
#define XLSNAP_STATE_DIR "/var/lib/xen/xl-snapshot"  /* pending records */
#define XLSNAP_RUN_DIR "/run/xl-snapshot"            /* lock files */

/*
 * 0, or -XLSNAP_REFUSED when this is not a Xen host or libxl is of another
 * version than the running hypervisor.
 */
XLSNAP_PUBLIC int xlsnap_open(const struct xlsnap_settings *settings,
                              struct xlsnap **xs_r, struct xlsnap_error *err);
XLSNAP_PUBLIC void xlsnap_close(struct xlsnap *xs);

/* What an operation did, or with dryrun would do. */
struct xlsnap_report {
    struct xlsnap_snapshot snapshot; /* everything filled in */
    char *config_path;               /* snapshot.cfg */
    char **steps;                    /* the plan, a line each */
    size_t n_steps;
    uint64_t memory_bytes;      /* length of the memory image */
    uint64_t memory_disk_bytes; /* what it takes on disk (holes excluded) */
    uint32_t domid;             /* after the operation */
    bool paused;                /* the domain was left paused */
    char *discarded;  /* revert with ->keep: tag of the state given up */
    unsigned rounds;  /* create, live: of pre-copy, libxl's; 0: not known */
    int64_t pause_ms; /* create: how long the guest stood still */
    int64_t disks_pause_ms; /* of that, after memory was saved: for the disks */
    int64_t total_ms;
};
XLSNAP_PUBLIC void xlsnap_report_clear(struct xlsnap_report *report);

struct xlsnap_create_options {
    bool dryrun; /* check everything, report the steps, change nothing */
    bool paused; /* leave the domain paused afterwards */
    bool force;  /* what xl-snapshot(1) lists under create, -f */
};

/*
 * Takes a snapshot.  On success it is durable (on disk, not in a cache).  On
 * -XLSNAP_FAILED the guest runs as before and no file of the snapshot is
 * left.  The guest runs again after every way out, unless ->paused.
 */
XLSNAP_PUBLIC int xlsnap_create(struct xlsnap *xs,
                                const struct xlsnap_snapshot *request,
                                const struct xlsnap_create_options *options,
                                struct xlsnap_report *report,
                                struct xlsnap_error *err);

struct xlsnap_revert_options {
    bool dryrun;
    bool paused;             /* leave the domain paused after the restore */
    bool no_monitor;         /* start no monitor, as xl restore -e */
    bool keep;               /* keep the discarded disk states */
    bool force;              /* what xl-snapshot(1) lists under revert, -f */
    const char *config_path; /* file *snap was read from; NULL: that of its
                              * ->path.  Recovery reads it again. */
};

/*
 * Goes back to a snapshot, `snap` being what its snapshot.cfg says.  Every
 * input is proved before the running domain is destroyed; after that the
 * operation goes forward only, and if it cannot: -XLSNAP_UNFINISHED, nothing
 * lost, xlsnap_recover continues it.
 *
 * Moves the calling process into the control group of the domain's QEMU, or into
 * /xl-snapshot, for the new one to be in it, and does not move it back; not if no
 * domain runs.
 */
XLSNAP_PUBLIC int xlsnap_revert(struct xlsnap *xs,
                                const struct xlsnap_snapshot *snap,
                                const struct xlsnap_revert_options *options,
                                struct xlsnap_report *report,
                                struct xlsnap_error *err);

struct xlsnap_recover_options {
    bool abandon; /* drop the record, leave everything as it is */
};

/*
 * Finishes or undoes what a killed run or a host crash left of an operation on
 * `domain` (name, id or uuid; NULL: whichever is pending).  *outcome_r (to be
 * freed) says in one line what was found and done; "nothing pending" is 0.
 * Can be repeated.
 */
XLSNAP_PUBLIC int xlsnap_recover(struct xlsnap *xs, const char *domain,
                                 const struct xlsnap_recover_options *options,
                                 char **outcome_r, struct xlsnap_error *err);

/*
 * The processes that outlive an operation, for the helper binary only:
 *     HELPER guard NAME DOMID UUID MONITOR FD   (socket on fd 3; FD: pulse.h)
 *     HELPER monitor NAME DOMID                 (pipe on fd 3)
 * Both return an exit status.
 */
XLSNAP_PUBLIC int xlsnap_guard_process(struct xlsnap *xs, uint32_t domid,
                                       const char *uuid, const char *monitor,
                                       int pulse_fd);
XLSNAP_PUBLIC int xlsnap_monitor_process(struct xlsnap *xs, uint32_t domid);

#endif
