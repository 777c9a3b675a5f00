/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Reading a memory image: the proof, before a domain is destroyed for it, that
 * it is whole.  A walk from record header to record header finds truncation,
 * garbage and junk after the end in about one read per 4 MiB of guest memory;
 * the digest finds everything else.
 *
 * The file is foreign data: no length is believed before it is compared with
 * what is left of the file.
 */
#include "memory.h"

#include <endian.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "json.h"
#include "memory-format.h"
#include "util.h"

#define CONFIG_MAX (16 << 20) /* of 128 vCPUs, each pinned to 384: 1 MB */
#define DIGEST_BUFFER (1 << 20)

struct walk {
    const char *path;
    struct memory_image *image;
    off_t pos;
    off_t at;         /* of what was read last */
    const char *what; /* the part we are in, for messages */
    bool have_pages;  /* libxc's stream has been seen: once, no more */
};

static int walk_bad(const struct walk *w, struct xlsnap_error *err,
                    const char *what)
{
    return xlsnap_fail(err, XLSNAP_REFUSED,
                       "memory image '%s' is damaged: %s at byte %lld", w->path,
                       what, (long long)w->at);
}

static int walk_truncated(const struct walk *w, struct xlsnap_error *err)
{
    return xlsnap_fail(err, XLSNAP_REFUSED,
                       "memory image '%s' is truncated: it ends in the %s, at "
                       "byte %llu",
                       w->path, w->what, (unsigned long long)w->image->bytes);
}

static int walk_read(struct walk *w, void *buf, size_t len,
                     struct xlsnap_error *err)
{
    ssize_t r;

    if (len > w->image->bytes - w->pos)
        return walk_truncated(w, err);
    do
        r = pread(w->image->fd, buf, len, w->pos);
    while (r < 0 && errno == EINTR);
    if (r < 0)
        return xlsnap_fail_errno(err, XLSNAP_FAILED, errno,
                                 "cannot read memory image '%s'", w->path);
    if ((size_t)r != len)
        return walk_truncated(w, err);
    w->at = w->pos;
    w->pos += len;
    return 0;
}

static int walk_skip(struct walk *w, uint64_t len, struct xlsnap_error *err)
{
    uint64_t padded = (len + 7) & ~7ULL;

    if (padded > w->image->bytes - w->pos)
        return walk_truncated(w, err);
    w->pos += padded;
    return 0;
}

/* libxl's parser has no limits, and takes the square of the depth. */
static int walk_check_config(const struct walk *w, size_t len,
                             struct xlsnap_error *err)
{
    struct xlsnap_error wrong = { 0 };
    struct json *json;

    if (json_parse(w->image->config_json, len, "the domain's configuration",
                   &json, &wrong))
        return walk_bad(w, err, wrong.msg);
    json_free(json);
    return 0;
}

static int walk_config(struct walk *w, uint32_t optional_len,
                       struct xlsnap_error *err)
{
    off_t end = w->pos + optional_len;
    uint32_t len;
    int rc;

    if (optional_len < sizeof(len) || optional_len > CONFIG_MAX)
        return walk_bad(w, err, "no configuration of the domain");
    rc = walk_read(w, &len, sizeof(len), err);
    if (rc)
        return rc;
    if (!len || len > optional_len - sizeof(len))
        return walk_bad(w, err, "wrong length of the configuration");
    w->image->config_json = xcalloc(len + 1, 1);
    rc = walk_read(w, w->image->config_json, len, err);
    if (rc)
        return rc;
    if (memchr(w->image->config_json, 0, len) !=
        w->image->config_json + len - 1)
        return walk_bad(w, err, "a configuration that does not end in a NUL");
    w->pos = end;
    return walk_check_config(w, len - 1, err);
}

static int walk_header(struct walk *w, struct xlsnap_error *err)
{
    static const char magic[32] = XL_SAVE_MAGIC;
    struct xl_save_header hdr;
    int rc;

    w->what = "header";
    rc = walk_read(w, &hdr, sizeof(hdr), err);
    if (rc)
        return rc;
    if (memcmp(hdr.magic, magic, sizeof(magic)))
        return xlsnap_fail(err, XLSNAP_REFUSED,
                           "'%s' is not a memory image in xl's save format",
                           w->path);
    if (hdr.byteorder != XL_SAVE_BYTEORDER)
        return walk_bad(w, err, "a foreign byte order");
    if (hdr.mandatory_flags & ~XL_SAVE_FLAGS_KNOWN)
        return walk_bad(w, err, "flags of a newer xl");
    if ((hdr.mandatory_flags & XL_SAVE_FLAGS_KNOWN) != XL_SAVE_FLAGS_KNOWN)
        return walk_bad(w, err, "an old format (no JSON config or stream 1)");
    w->what = "domain's configuration";
    if (hdr.optional_data_len > w->image->bytes - w->pos)
        return walk_truncated(w, err);
    return walk_config(w, hdr.optional_data_len, err);
}

static int walk_libxc_headers(struct walk *w, struct xlsnap_error *err)
{
    struct libxc_image_header ihdr;
    struct libxc_domain_header dhdr;
    int rc = walk_read(w, &ihdr, sizeof(ihdr), err);

    if (rc)
        return rc;
    if (ihdr.marker != LIBXC_STREAM_MARKER ||
        be32toh(ihdr.id) != LIBXC_STREAM_ID ||
        be32toh(ihdr.version) != LIBXC_STREAM_VERSION ||
        be16toh(ihdr.options) != 0)
        return walk_bad(w, err, "no libxc stream of version 3");
    rc = walk_read(w, &dhdr, sizeof(dhdr), err);
    if (rc)
        return rc;
    if (le32toh(dhdr.type) != LIBXC_DOMAIN_PV &&
        le32toh(dhdr.type) != LIBXC_DOMAIN_HVM)
        return walk_bad(w, err, "an unknown kind of domain");
    if (le16toh(dhdr.page_shift) != 12)
        return walk_bad(w, err, "a wrong page size");
    w->image->xen_major = le32toh(dhdr.xen_major);
    w->image->xen_minor = le32toh(dhdr.xen_minor);
    return 0;
}

static int walk_libxc(struct walk *w, struct xlsnap_error *err)
{
    struct sr_record rec;
    int rc;

    w->what = "domain's pages";
    rc = walk_libxc_headers(w, err);
    if (rc)
        return rc;
    do {
        rc = walk_read(w, &rec, sizeof(rec), err);
        if (rc)
            return rc;
        if (rec.length > LIBXC_RECORD_MAX_LENGTH)
            return walk_bad(w, err, "a record of impossible length");
        rc = walk_skip(w, rec.length, err);
        if (rc)
            return rc;
    } while (rec.type != SR_RECORD_END);
    return rec.length ? walk_bad(w, err, "an END record with a body") : 0;
}

static int walk_libxl_record(struct walk *w, struct sr_record *rec,
                             struct xlsnap_error *err)
{
    int rc = walk_read(w, rec, sizeof(*rec), err);

    if (rc)
        return rc;
    if (rec->type > LIBXL_RECORD_MAX_TYPE)
        return walk_bad(w, err, "a record of unknown type");
    if (rec->type != LIBXL_RECORD_LIBXC_CONTEXT)
        return walk_skip(w, rec->length, err);
    if (rec->length || w->have_pages)
        return walk_bad(w, err, "a wrong record");
    rc = walk_libxc(w, err);
    w->have_pages = true;
    w->what = "device model's state";
    return rc;
}

static int walk_libxl(struct walk *w, struct xlsnap_error *err)
{
    struct libxl_stream_header hdr;
    struct sr_record rec;
    int rc;

    w->what = "stream's header";
    w->image->stream = w->pos;
    rc = walk_read(w, &hdr, sizeof(hdr), err);
    if (rc)
        return rc;
    if (be64toh(hdr.ident) != LIBXL_STREAM_IDENT ||
        be32toh(hdr.version) != LIBXL_STREAM_VERSION ||
        be32toh(hdr.options) != 0)
        return walk_bad(w, err, "no libxl stream of version 2");
    do {
        rc = walk_libxl_record(w, &rec, err);
        if (rc)
            return rc;
    } while (rec.type != SR_RECORD_END);
    if (rec.length)
        return walk_bad(w, err, "an END record with a body");
    if (!w->have_pages)
        return walk_bad(w, err, "an end without the domain's pages");
    w->at = w->pos;
    if ((uint64_t)w->pos != w->image->bytes)
        return walk_bad(w, err, "something after the end of the stream");
    return 0;
}

int memory_image_open(const char *path, struct memory_image *image,
                      struct xlsnap_error *err)
{
    struct walk w = { .path = path, .image = image };
    struct stat st;
    int rc;

    memset(image, 0, sizeof(*image));
    image->fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (image->fd < 0 || fstat(image->fd, &st))
        return xlsnap_fail_errno(err, XLSNAP_REFUSED, errno,
                                 "cannot open memory image '%s'", path);
    if (!S_ISREG(st.st_mode))
        return xlsnap_fail(err, XLSNAP_REFUSED,
                           "memory image '%s' is not a regular file", path);
    image->bytes = st.st_size;
    image->disk_bytes = (uint64_t)st.st_blocks * 512;
    rc = walk_header(&w, err);
    return rc ? rc : walk_libxl(&w, err);
}

/* Hashes [pos, end) without reading what is a hole. */
static int digest_range(struct memory_image *image, XXH3_state_t *xxh,
                        unsigned char *buf, off_t pos, off_t end, bool hole)
{
    if (hole) /* small holes are many */
        memset(buf, 0, end - pos < DIGEST_BUFFER ? end - pos : DIGEST_BUFFER);
    while (pos < end) {
        size_t n = end - pos < DIGEST_BUFFER ? end - pos : DIGEST_BUFFER;
        ssize_t r = hole ? (ssize_t)n : pread(image->fd, buf, n, pos);

        if (r < 0 && errno == EINTR)
            continue;
        if (r <= 0)
            return r ? -1 : (errno = EIO, -1);
        XXH3_128bits_update(xxh, buf, r);
        pos += r;
    }
    return 0;
}

static int digest_file(struct memory_image *image, XXH3_state_t *xxh,
                       unsigned char *buf)
{
    off_t size = image->bytes, pos = 0;

    while (pos < size) {
        off_t data = lseek(image->fd, pos, SEEK_DATA);
        off_t hole;

        if (data < 0 && errno != ENXIO)
            return -1;
        if (data < 0 || data > size)
            data = size;
        if (digest_range(image, xxh, buf, pos, data, true))
            return -1;
        if (data == size)
            break;
        hole = lseek(image->fd, data, SEEK_HOLE);
        if (hole < 0 || hole > size)
            hole = size;
        if (digest_range(image, xxh, buf, data, hole, false))
            return -1;
        pos = hole;
    }
    return 0;
}

int memory_image_check_digest(struct memory_image *image, const char *path,
                              const char *digest, struct xlsnap_error *err)
{
    cleanup_free unsigned char *buf = xcalloc(1, DIGEST_BUFFER);
    XXH3_state_t *xxh = XXH3_createState();
    XXH128_canonical_t canonical;
    int r;

    if (!xxh)
        abort();
    XXH3_128bits_reset(xxh);
    r = digest_file(image, xxh, buf);
    XXH128_canonicalFromHash(&canonical, XXH3_128bits_digest(xxh));
    XXH3_freeState(xxh);
    if (r)
        return xlsnap_fail_errno(err, XLSNAP_FAILED, errno,
                                 "cannot read memory image '%s'", path);
    memory_format_digest(&canonical, image->digest);
    if (digest && strcmp(digest, image->digest))
        return xlsnap_fail(err, XLSNAP_REFUSED,
                           "memory image '%s' is damaged: its digest is %s, "
                           "but snapshot.cfg says %s",
                           path, image->digest, digest);
    return 0;
}

void memory_image_close(struct memory_image *image)
{
    if (image->fd >= 0)
        close(image->fd);
    free(image->config_json);
    memset(image, 0, sizeof(*image));
    image->fd = -1;
}

void memory_format_digest(const XXH128_canonical_t *digest, char *buf)
{
    char *p = buf + sprintf(buf, "%s", MEMORY_DIGEST_PREFIX);

    for (size_t i = 0; i < sizeof(digest->digest); i++)
        p += sprintf(p, "%02x", digest->digest[i]);
}
