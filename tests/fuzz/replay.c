/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Runs a fuzz target over files: `make check` replays the corpora with it, by
 * any compiler.  A target that fails aborts.
 */
#include <err.h>

#include "util.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void replay(const char *path)
{
    uint8_t *data = NULL;
    size_t size = 0, n;
    FILE *f = fopen(path, "r");

    if (!f)
        err(1, "%s", path);
    do {
        data = xrealloc(data, size + 65536, 1);
        n = fread(data + size, 1, 65536, f);
        size += n;
    } while (n > 0);
    if (ferror(f))
        err(1, "%s", path);
    fclose(f);
    /* Exactly its size, for AddressSanitizer to see an overrun. */
    data = xrealloc(data, size, 1);
    LLVMFuzzerTestOneInput(data, size);
    free(data);
}

int main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++)
        replay(argv[i]);
    return argc > 1 ? 0 : 1;
}
