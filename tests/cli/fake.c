/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Stands for xl or xl-snapshot: prints its path ($0 is lost on scripts) and
 * its arguments, each followed by a NUL; ends with FAKE_STATUS, by FAKE_SIGNAL,
 * or with FAKE_WAIT set not at all.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    const char *text;
    char path[4096] = "";

    if (readlink("/proc/self/exe", path, sizeof(path) - 1) > 0)
        printf("%s", path);
    putchar(0);
    for (int i = 0; i < argc; i++)
        printf("%s%c", argv[i], 0);
    fflush(stdout);
    if (getenv("FAKE_WAIT"))
        for (;;)
            pause();
    text = getenv("FAKE_SIGNAL");
    if (text)
        raise(atoi(text));
    text = getenv("FAKE_STATUS");
    return text ? atoi(text) : 0;
}
