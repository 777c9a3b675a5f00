/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the tests of the memory image share: images made by hand, as xl, libxl
 * and libxc write those of an HVM domain (see memory-format.h for the facts).
 */
#ifndef MEMORY_TESTING_H
#define MEMORY_TESTING_H

#include <endian.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <sys/stat.h>
#include <cmocka.h>

#include "memory.h"
#include "memory-format.h"
#include "util.h"

#define CONFIG "{\"c_info\": {\"name\": \"web1\"}}"
#define PAGE 4096

static char dir[] = "/tmp/memory_test.XXXXXX";

static inline int remove_one(const char *path, const struct stat *st, int type,
                             struct FTW *ftw)
{
    return remove(path);
}

static inline int setup(void **state)
{
    strcpy(dir + strlen(dir) - 6, "XXXXXX");
    return mkdtemp(dir) && !chdir(dir) ? 0 : -1;
}

static inline int teardown(void **state)
{
    return chdir("/") || nftw(dir, remove_one, 9, FTW_DEPTH | FTW_PHYS);
}

/* ---- images ---- */

/* Where its parts begin, for tests to break them. */
struct image {
    unsigned char *data;
    size_t len;
    size_t stream;  /* libxl's */
    size_t context; /* LIBXC_CONTEXT */
    size_t libxc;   /* libxc's stream */
    size_t records; /* libxc's first record */
    size_t rest;    /* libxl's records after libxc's END */
};

static inline void image_put(struct image *im, const void *data, size_t len)
{
    im->data = xrealloc(im->data, im->len + len, 1);
    memcpy(im->data + im->len, data, len);
    im->len += len;
}

/* A record with a body that is not all zeros, padded. */
static inline void image_record(struct image *im, uint32_t type, uint32_t len)
{
    struct sr_record rec = { type, len };
    size_t padded = (len + 7) & ~7U;
    cleanup_free unsigned char *body = xcalloc(padded, 1);

    for (uint32_t i = 0; i < len; i++)
        body[i] = type + i * 7;
    image_put(im, &rec, sizeof(rec));
    image_put(im, body, padded);
}

/* PAGE_DATA: page i is zeros, unless i is odd. */
static inline void image_pages(struct image *im, uint32_t n)
{
    struct sr_record rec = { 1, 8 + n * (8 + PAGE) };
    uint32_t hdr[2] = { n, 0 };
    unsigned char page[PAGE];

    image_put(im, &rec, sizeof(rec));
    image_put(im, hdr, sizeof(hdr));
    for (uint64_t pfn = 0; pfn < n; pfn++)
        image_put(im, &pfn, sizeof(pfn));
    for (uint32_t i = 0; i < n; i++) {
        memset(page, i % 2 ? i : 0, sizeof(page));
        image_put(im, page, sizeof(page));
    }
}

static inline void image_xl(struct image *im, const void *config, uint32_t len)
{
    struct xl_save_header hdr = {
        .magic = XL_SAVE_MAGIC,
        .byteorder = XL_SAVE_BYTEORDER,
        .mandatory_flags = XL_SAVE_FLAG_JSON | XL_SAVE_FLAG_STREAMV2,
        .optional_data_len = sizeof(len) + len,
    };

    image_put(im, &hdr, sizeof(hdr));
    image_put(im, &len, sizeof(len));
    image_put(im, config, len);
}

static inline void image_libxl(struct image *im)
{
    struct libxl_stream_header hdr = {
        .ident = htobe64(LIBXL_STREAM_IDENT),
        .version = htobe32(LIBXL_STREAM_VERSION),
    };

    im->stream = im->len;
    image_put(im, &hdr, sizeof(hdr));
    im->context = im->len;
}

static inline void image_libxc(struct image *im, uint32_t n_pages)
{
    struct libxc_image_header ihdr = {
        .marker = LIBXC_STREAM_MARKER,
        .id = htobe32(LIBXC_STREAM_ID),
        .version = htobe32(LIBXC_STREAM_VERSION),
    };
    struct libxc_domain_header dhdr = {
        .type = htole32(LIBXC_DOMAIN_HVM),
        .page_shift = htole16(12),
        .xen_major = htole32(4),
        .xen_minor = htole32(17),
    };

    image_record(im, LIBXL_RECORD_LIBXC_CONTEXT, 0);
    im->libxc = im->len;
    image_put(im, &ihdr, sizeof(ihdr));
    image_put(im, &dhdr, sizeof(dhdr));
    im->records = im->len;
    image_record(im, 0x11, 24); /* X86_CPUID_POLICY */
    image_record(im, 0x12, 16); /* X86_MSR_POLICY */
    image_record(im, 0x10, 0);  /* STATIC_DATA_END */
    if (n_pages)
        image_pages(im, n_pages);
    image_record(im, 8, 24);   /* TSC_INFO */
    image_record(im, 9, 37);   /* HVM_CONTEXT: any length */
    image_record(im, 0xa, 40); /* HVM_PARAMS */
    image_record(im, SR_RECORD_END, 0);
}

/* libxl's records after the memory. */
static inline void image_rest(struct image *im)
{
    im->rest = im->len;
    image_record(im, 3, 21); /* EMULATOR_CONTEXT */
    image_record(im, SR_RECORD_END, 0);
}

static inline void image_make_with(struct image *im, const void *config,
                                   uint32_t len, uint32_t n_pages)
{
    memset(im, 0, sizeof(*im));
    image_xl(im, config, len);
    image_libxl(im);
    image_libxc(im, n_pages);
    image_rest(im);
}

static inline void image_make(struct image *im, uint32_t n_pages)
{
    image_make_with(im, CONFIG, sizeof(CONFIG), n_pages);
}

static inline void image_free(struct image *im)
{
    free(im->data);
    memset(im, 0, sizeof(*im));
}

static inline void put_file(const char *path, const void *data, size_t len)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    const char *p = data;

    assert_true(fd >= 0);
    for (ssize_t n; len; p += n, len -= n) {
        n = write(fd, p, len);
        assert_true(n > 0);
    }
    assert_int_equal(close(fd), 0);
}

/* The whole file, to be freed. */
static inline unsigned char *get_file(const char *path, size_t *len_r)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    unsigned char *data;
    struct stat st;
    size_t got = 0;

    assert_true(fd >= 0);
    assert_int_equal(fstat(fd, &st), 0);
    data = xcalloc(st.st_size, 1);
    for (ssize_t n = 1; n > 0; got += n) {
        n = read(fd, data + got, st.st_size - got);
        assert_true(n >= 0);
    }
    assert_int_equal(got, st.st_size);
    close(fd);
    *len_r = got;
    return data;
}

static inline void assert_content(const char *path, const void *data,
                                  size_t len)
{
    size_t got;
    cleanup_free unsigned char *content = get_file(path, &got);

    assert_int_equal(got, len);
    assert_memory_equal(content, data, len);
}

/* The digest as memory.h documents it, by other means than the library. */
static inline void digest_of(const void *data, size_t len, char *text)
{
    XXH128_hash_t hash = XXH3_128bits(data, len);

    snprintf(text, MEMORY_DIGEST_LEN + 1, "xxh3-128:%016llx%016llx",
             (unsigned long long)hash.high64, (unsigned long long)hash.low64);
}

#endif
