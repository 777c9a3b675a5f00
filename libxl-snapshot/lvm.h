/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * LVM: what it says of a volume group, and commands that change one.
 *
 * Every command is told not to wait for locks (global/wait_for_locks=0) and
 * tried again here (lvm_set_patience): one that waits itself would have to be
 * killed, and nobody could tell whether it had begun its work.
 */
#ifndef XLSNAP_LVM_H
#define XLSNAP_LVM_H

#include <sys/types.h>

#include "error.h"

#define LVM_LOCK_MS 10000
#define LVM_LOCK_PATIENT_MS 120000
#define LVM_TIMEOUT_MS 60000
#define LVM_REMOVE_TIMEOUT_MS \
    600000 /* a thin LV's blocks are freed one by one */

/* As in lvs(8) and lvmreport(7); "" where LVM says nothing. */
struct lvm_lv {
    char *name;
    char *layout;     /* words with commas between: "linear", "thin,sparse" */
    char *role;       /* words: "public,snapshot,thicksnapshot" */
    char *origin;     /* name */
    char *pool;       /* name of a thin LV's pool */
    char *tags;       /* words */
    char *health;     /* "": good */
    char *read_ahead; /* "auto", or bytes */
    dev_t dev;        /* 0: not active */
    uint64_t size;
    int data, metadata; /* used, in 1/100 %; -1: not said */
    bool writable, merging, invalid, needs_check, skips_activation, fixed_minor;
};

struct lvm_vg {
    char *name;
    struct lvm_lv *lvs; /* hidden ones, too */
    size_t n;
    uint64_t extent_size, extents_free;
    bool shared; /* between hosts: lvmlockd or clustered */
    bool exported, partial, writable;
};

/* Asks `lvs`; the VG must have an LV. */
int lvm_look(const char *vg, struct lvm_vg *vg_r, struct xlsnap_error *err);
/* What lvm_look does with the answer. */
int lvm_parse(const char *text, const char *vg, struct lvm_vg *vg_r,
              struct xlsnap_error *err);
void lvm_vg_clear(struct lvm_vg *vg);
const struct lvm_lv *lvm_find(const struct lvm_vg *vg, const char *name);
const struct lvm_lv *lvm_find_dev(const struct lvm_vg *vg, dev_t dev);
/* Is it one of the words with commas between? */
bool lvm_has_word(const char *words, const char *word);

/*
 * Runs argv (lvcreate ...) with this added to its --config ("": nothing).
 * -XLSNAP_FAILED also when the VG's lock could not be had.
 */
int lvm_run(const char *const argv[], const char *config, int timeout_ms,
            struct xlsnap_error *err);
/*
 * How long the VG's lock is waited for: LVM_LOCK_MS, while a guest stands still or
 * nothing is done yet; LVM_LOCK_PATIENT_MS, when giving up would leave a domain
 * down or a snapshot behind.  For all LVM commands from here on; the old one back.
 */
int lvm_set_patience(int ms);
/* As lvm_run; what it prints, to be freed. */
int lvm_output(const char *const argv[], const char *config, int timeout_ms,
               char **out_r, struct xlsnap_error *err);
/*
 * Waits until no LVM command is at work that has the tag within an
 * argument, or this one ("VG/LV"; NULL: none): one that a killed tool has left
 * behind.  Kills it when it is not done within timeout_ms.  One that was killed,
 * but of which the kernel does not let go, is waited for as long only if one
 * insists: while a guest stands still there is no time for that.
 */
void lvm_wait_commands(const char *argument, const char *tag, int timeout_ms,
                       bool insist);

/* Why LVM would not have an LV of that name in that VG; NULL: it would. */
const char *lvm_name_problem(const char *vg, const char *lv);
/* /dev/VG/LV; the parts are to be freed. */
bool lvm_split_path(const char *path, char **vg_r, char **lv_r);
/* The same of a name of device mapper: "my--vg-lv". */
bool lvm_split_dm(const char *name, char **vg_r, char **lv_r);
/*
 * The LV's name if the path leads to an LV of that VG by its name (/dev/VG/LV,
 * /dev/mapper/VG-LV, a symbolic link to them...), also if it is not there, and
 * so would lead to another LV that gets the name; else NULL.  To be freed.
 */
char *lvm_name_of_path(const char *path, const char *vg);
/* The VG that the LV with this device number is in; -XLSNAP_REFUSED if it is
 * none.  To be freed. */
int lvm_vg_of_device(dev_t dev, char **vg_r, struct xlsnap_error *err);

#endif
