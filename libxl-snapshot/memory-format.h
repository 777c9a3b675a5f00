/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The on-disk structures of a memory image.  Facts from Xen 4.17: tools/xl/xl.h
 * (struct save_file_header), tools/libs/light/libxl_sr_stream_format.h,
 * tools/libs/guest/xg_sr_stream_format.h and docs/specs.
 */
#ifndef XLSNAP_MEMORY_FORMAT_H
#define XLSNAP_MEMORY_FORMAT_H

#include <stdint.h>
#include <xxhash.h>

/* 32 bytes: the string and its NUL, a blank, a CR. */
#define XL_SAVE_MAGIC "Xen saved domain, xl format\n \0 \r"
#define XL_SAVE_BYTEORDER 0x01020304U
#define XL_SAVE_FLAG_JSON (1U << 0)
#define XL_SAVE_FLAG_STREAMV2 (1U << 1)
#define XL_SAVE_FLAGS_KNOWN (XL_SAVE_FLAG_JSON | XL_SAVE_FLAG_STREAMV2)

struct xl_save_header { /* native byte order */
    char magic[32] __attribute__((nonstring));
    uint32_t byteorder;
    uint32_t mandatory_flags;
    uint32_t optional_flags;
    uint32_t optional_data_len;
};

/* Both streams are made of these; the body is padded to 8 bytes. */
struct sr_record {
    uint32_t type;
    uint32_t length; /* of the body, without the padding */
};
#define SR_RECORD_END 0U

#define LIBXL_STREAM_IDENT 0x4c6962786c466d74ULL /* "LibxlFmt" */
#define LIBXL_STREAM_VERSION 2U
struct libxl_stream_header { /* big-endian */
    uint64_t ident;
    uint32_t version;
    uint32_t options; /* bit 0: big-endian records; bit 1: legacy */
};
#define LIBXL_RECORD_LIBXC_CONTEXT 1U /* length 0; libxc's stream follows */
#define LIBXL_RECORD_MAX_TYPE 3U      /* 4 and 5 are Remus' and COLO's */

#define LIBXC_STREAM_MARKER 0xffffffffffffffffULL
#define LIBXC_STREAM_ID 0x58454e46U /* "XENF" */
#define LIBXC_STREAM_VERSION 3U
struct libxc_image_header { /* big-endian */
    uint64_t marker;
    uint32_t id;
    uint32_t version;
    uint16_t options; /* bit 0: big-endian records */
    uint16_t reserved1;
    uint32_t reserved2;
};
#define LIBXC_DOMAIN_PV 1U
#define LIBXC_DOMAIN_HVM 2U  /* and PVH */
struct libxc_domain_header { /* little-endian */
    uint32_t type;
    uint16_t page_shift;
    uint16_t reserved;
    uint32_t xen_major;
    uint32_t xen_minor;
};
#define LIBXC_RECORD_MAX_LENGTH (128U << 20)

/* "xxh3-128:" and 32 hex digits; buf holds MEMORY_DIGEST_LEN + 1 bytes. */
void memory_format_digest(const XXH128_canonical_t *digest, char *buf);

#endif
