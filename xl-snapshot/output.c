/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Results.  stdout carries nothing else, and nothing at all before the command
 * has succeeded; notes for people go to stderr and not with -q.
 */
#include "output.h"

#include <string.h>

#include "json.h"
#include "util.h"

static void put_json(struct json_writer *w)
{
    cleanup_free char *text = json_writer_finish(w);
    size_t len = strlen(text);

    fputs(text, stdout);
    if (!len || text[len - 1] != '\n')
        putchar('\n');
}

static void json_disks(struct json_writer *w, const struct xlsnap_snapshot *s)
{
    json_open_array(w, "disks");
    for (size_t i = 0; i < s->n_disks; i++) {
        const struct xlsnap_disk *disk = &s->disks[i];
        cleanup_free char *line = xlsnap_disk_config(disk);

        json_open_object(w, NULL);
        json_put_string(w, "vdev", disk->vdev);
        json_put_string(w, "snapshot", xlsnap_method_name(disk->method));
        json_put_string(w, "format", disk->format);
        json_put_string(w, "source", disk->source);
        json_put_string(w, "source_format",
                        disk->source_format ? disk->source_format
                                            : disk->format);
        json_put_string(w, "target", disk->target);
        json_put_string(w, "domain_config_disk", line);
        json_close_object(w);
    }
    json_close_array(w);
}

static void json_memory(struct json_writer *w,
                        const struct xlsnap_report *report)
{
    json_open_object(w, "memory");
    json_put_string(w, "path", report->snapshot.memory);
    json_put_int(w, "bytes", report->memory_bytes);
    json_put_int(w, "disk_bytes", report->memory_disk_bytes);
    json_put_string(w, "digest", report->snapshot.memory_digest);
    json_close_object(w);
}

static void json_report(const char *operation,
                        const struct xlsnap_report *report, bool create)
{
    const struct xlsnap_snapshot *s = &report->snapshot;
    struct json_writer *w = json_writer_new(true);

    json_open_object(w, NULL);
    json_put_string(w, "operation", operation);
    json_put_string(w, "name", s->name);
    json_put_string(w, "domain", s->domain);
    json_put_string(w, "uuid", s->uuid);
    json_put_int(w, "domid", report->domid);
    json_put_string(w, "description", s->description);
    json_put_string(w, "path", s->path);
    json_put_string(w, "config", report->config_path);
    json_put_int(w, "creation_time", s->creation_time);
    json_memory(w, report);
    json_disks(w, s);
    json_put_bool(w, "live", s->live == 1);
    json_put_bool(w, "paused", report->paused);
    if (create) {
        json_put_int(w, "rounds", report->rounds);
        json_put_int(w, "pause_ms", report->pause_ms);
        json_put_int(w, "disks_pause_ms", report->disks_pause_ms);
    } else {
        json_put_string(w, "discarded", report->discarded);
    }
    json_put_int(w, "total_ms", report->total_ms);
    json_close_object(w);
    put_json(w);
}

void output_plan(const struct cli *cli, const struct xlsnap_report *report)
{
    struct json_writer *w;

    if (!cli->json) {
        for (size_t i = 0; i < report->n_steps; i++)
            printf("%2zu. %s\n", i + 1, report->steps[i]);
        return;
    }
    w = json_writer_new(true);
    json_open_object(w, NULL);
    json_put_string(w, "operation", cli->command->name);
    json_put_bool(w, "dryrun", true);
    json_put_string(w, "config", report->config_path);
    json_open_array(w, "steps");
    for (size_t i = 0; i < report->n_steps; i++)
        json_put_string(w, NULL, report->steps[i]);
    json_close_array(w);
    json_close_object(w);
    put_json(w);
}

static double mib(uint64_t bytes)
{
    return (double)bytes / (1 << 20);
}

/* The only case in which the admin has something to change. */
static void put_overlays(const struct xlsnap_snapshot *s)
{
    for (size_t i = 0; i < s->n_disks; i++) {
        cleanup_free char *line = xlsnap_disk_config(&s->disks[i]);

        if (line)
            fprintf(stderr,
                    "the guest now writes to '%s': in the config of domain "
                    "'%s', disk '%s' must become '%s', or its next 'xl create' "
                    "starts from the frozen '%s' and spoils it\n",
                    s->disks[i].target, s->domain, s->disks[i].vdev, line,
                    s->disks[i].source);
    }
}

void output_create(const struct cli *cli, const struct xlsnap_report *report)
{
    const struct xlsnap_snapshot *s = &report->snapshot;

    if (cli->json) {
        json_report("create", report, true);
        return;
    }
    printf("%s\n", report->config_path);
    fflush(stdout);
    if (!cli->quiet) {
        fprintf(stderr,
                "snapshot '%s' of domain '%s': the guest stood still for "
                "%lld ms, %.1f s in all; memory image %.1f MiB, %.1f MiB on "
                "disk",
                s->name, s->domain, (long long)report->pause_ms,
                (double)report->total_ms / 1000, mib(report->memory_bytes),
                mib(report->memory_disk_bytes));
        if (report->rounds)
            fprintf(stderr, "; rounds of pre-copy: %u", report->rounds);
        fputc('\n', stderr);
    }
    put_overlays(s);
}

void output_revert(const struct cli *cli, const struct xlsnap_report *report)
{
    const struct xlsnap_snapshot *s = &report->snapshot;

    if (cli->json) {
        json_report("revert", report, false);
        return;
    }
    if (!cli->quiet)
        fprintf(stderr,
                "domain '%s' (domid %u) is back at snapshot '%s'%s, after "
                "%.1f s\n",
                s->domain, (unsigned)report->domid, s->name,
                report->paused ? " and paused" : "",
                (double)report->total_ms / 1000);
    if (!cli->quiet && report->discarded)
        fprintf(stderr, "the discarded state of its disks is kept as '%s'\n",
                report->discarded);
}

void output_recover(const struct cli *cli, const char *outcome)
{
    struct json_writer *w;

    if (!cli->json) {
        printf("%s\n", outcome);
        return;
    }
    w = json_writer_new(true);
    json_open_object(w, NULL);
    json_put_string(w, "operation", "recover");
    json_put_string(w, "outcome", outcome);
    json_close_object(w);
    put_json(w);
}

void output_error(const struct cli *cli, const struct xlsnap_error *err)
{
    struct json_writer *w;

    if (!cli->json)
        return;
    w = json_writer_new(true);
    json_open_object(w, NULL);
    json_put_string(w, "operation", cli->command ? cli->command->name : NULL);
    json_open_object(w, "error");
    json_put_int(w, "code", err->code);
    json_put_string(w, "message", err->msg);
    json_close_object(w);
    json_close_object(w);
    put_json(w);
}
