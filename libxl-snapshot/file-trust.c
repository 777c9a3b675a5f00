/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* May root go by this name?  See file.h. */
#include "file.h"

#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>

#include "util.h"

#define LINKS_MAX 40 /* as the kernel's MAXSYMLINKS */

struct trust {
    int at;     /* the directory so far (O_PATH) */
    char *done; /* its name, for messages; "" is the root */
    char *todo; /* the names that come yet */
    int links;
};

static int trust_check(const char *name, const struct stat *st,
                       struct xlsnap_error *err)
{
    if (st->st_uid && st->st_uid != geteuid())
        return xlsnap_fail(err, XLSNAP_REFUSED,
                           "'%s' belongs to user %u, who could put something "
                           "else in its place",
                           *name ? name : "/", st->st_uid);
    /* In a sticky one nobody can touch what is root's. */
    if (!S_ISLNK(st->st_mode) && (st->st_mode & (S_IWGRP | S_IWOTH)) &&
        !(S_ISDIR(st->st_mode) && (st->st_mode & S_ISVTX)))
        return xlsnap_fail(err, XLSNAP_REFUSED,
                           "'%s' can be written to by others (mode %04o)",
                           *name ? name : "/", st->st_mode & 07777);
    return 0;
}

static int trust_follow(struct trust *t, int link, struct xlsnap_error *err)
{
    char to[PATH_MAX];
    ssize_t n = readlinkat(link, "", to, sizeof(to) - 1);
    char *todo;

    if (n < 0 || ++t->links > LINKS_MAX)
        return xlsnap_fail_errno(err, XLSNAP_REFUSED, n < 0 ? errno : ELOOP,
                                 "cannot follow '%s'", t->done);
    to[n] = '\0';
    todo = xasprintf("%s/%s", to, t->todo);
    free(t->todo);
    t->todo = todo;
    if (*to == '/') {
        close(t->at);
        t->at = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
        *t->done = '\0';
    } else {
        *strrchr(t->done, '/') = '\0';
    }
    return 0;
}

/* One name further. */
static int trust_step(struct trust *t, struct xlsnap_error *err)
{
    const char *name = t->todo + strspn(t->todo, "/");
    size_t len = strcspn(name, "/");
    cleanup_free char *one = xasprintf("%.*s", (int)len, name);
    cleanup_close int fd = -1;
    char *done = xasprintf("%s/%s", t->done, one), *todo = xstrdup(name + len);
    struct stat st;

    free(t->done);
    free(t->todo);
    t->done = done;
    t->todo = todo;
    if (!*one)
        return 0;
    fd = openat(t->at, one, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT) {
        *t->todo = '\0'; /* the rest is ours to make */
        return 0;
    }
    if (fd < 0 || fstat(fd, &st))
        return xlsnap_fail_errno(err, XLSNAP_REFUSED, errno,
                                 "cannot look at '%s'", t->done);
    if (trust_check(t->done, &st, err))
        return -err->code;
    if (S_ISLNK(st.st_mode))
        return trust_follow(t, fd, err);
    close(t->at);
    t->at = fd;
    fd = -1;
    return 0;
}

int file_check_trusted(const char *path, struct xlsnap_error *err)
{
    struct trust t = { .at = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC),
                       .done = xstrdup(""),
                       .todo = file_absolute(path) };
    struct stat st;
    int rc;

    rc = t.at < 0 || fstat(t.at, &st)
             ? xlsnap_fail_errno(err, XLSNAP_REFUSED, errno, "cannot open '/'")
             : trust_check("", &st, err);
    while (!rc && *t.todo)
        rc = trust_step(&t, err);
    if (t.at >= 0)
        close(t.at);
    free(t.done);
    free(t.todo);
    return rc;
}
