/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * xl with our commands: `xl snapshot-create` runs xl-snapshot, everything else
 * the real xl.  xl has no plugins, so this stands under the name `xl` before
 * the real one on PATH.  It becomes the other program by exec: arguments,
 * signals, descriptors and the exit status pass untouched.
 *
 * The real xl is the first one on PATH that is no dispatcher: neither this
 * file under whatever name (device and inode), nor a copy of it (it carries
 * the mark below).  It is run under the path it was found by, symlinks not
 * resolved: Debian's is a script that looks at its own name.
 *
 * Only absolute directories of PATH count: root's `xl` must not depend on
 * where root happens to stand.
 */
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <limits.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* Also what `make install-xl` and `make uninstall` know us by. */
#define MARK "xl-snapshot dispatcher of xl"
#define MARKED_SIZE_MAX (1 << 20)

/* How many dispatchers there were before us. */
#define GUARD "XL_SNAPSHOT_DISPATCHED"
#define GUARD_MAX 8

/* When PATH is poor, as under cron. */
#define FALLBACK_PATH "/usr/sbin:/sbin:/usr/local/sbin"
#define FALLBACK_GLOB "/usr/lib/xen-*/bin/xl"

/* As shells have it. */
enum { EXIT_NOT_EXECUTABLE = 126, EXIT_NOT_FOUND = 127 };

static bool is_program(const char *path)
{
    struct stat st;

    return !stat(path, &st) && S_ISREG(st.st_mode) && !access(path, X_OK);
}

static bool is_this_file(const char *path)
{
    struct stat self, st;

    return !stat("/proc/self/exe", &self) && !stat(path, &st) &&
           self.st_dev == st.st_dev && self.st_ino == st.st_ino;
}

static bool carries_mark(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    char *data = malloc(MARKED_SIZE_MAX);
    size_t len = 0;
    ssize_t n;
    bool found;

    if (fd < 0 || !data) {
        free(data);
        return false;
    }
    while (len < MARKED_SIZE_MAX &&
           (n = read(fd, data + len, MARKED_SIZE_MAX - len)) > 0)
        len += n;
    close(fd);
    found = memmem(data, len, MARK, strlen(MARK));
    free(data);
    return found;
}

static bool is_real_xl(const char *path)
{
    return is_program(path) && !is_this_file(path) && !carries_mark(path);
}

/* The first PATH/name that fits, to be freed; or NULL. */
static char *find(const char *path, const char *name,
                  bool (*fits)(const char *path))
{
    for (size_t len; path && *path; path += len + !!path[len]) {
        char *file;

        len = strcspn(path, ":");
        if (*path != '/' ||
            asprintf(&file, "%.*s/%s", (int)len, path, name) < 0)
            continue;
        if (fits(file))
            return file;
        free(file);
    }
    return NULL;
}

/* Of several versions the last; one that matches the hypervisor is chosen by
 * what stands in /usr/sbin. */
static char *find_in_xen_dirs(void)
{
    char *found = NULL;
    glob_t files;

    if (glob(FALLBACK_GLOB, 0, NULL, &files))
        return NULL;
    for (size_t i = files.gl_pathc; i > 0 && !found; i--)
        if (is_real_xl(files.gl_pathv[i - 1]))
            found = strdup(files.gl_pathv[i - 1]);
    globfree(&files);
    return found;
}

static char *find_real_xl(void)
{
    char *found = find(getenv("PATH"), "xl", is_real_xl);

    if (!found)
        found = find(FALLBACK_PATH, "xl", is_real_xl);
    return found ? found : find_in_xen_dirs();
}

static char *find_xl_snapshot(void)
{
    char *found = find(SBINDIR, "xl-snapshot", is_program);

    return found ? found : find(getenv("PATH"), "xl-snapshot", is_program);
}

static int run(const char *program, char **argv)
{
    int status;

    execv(program, argv);
    status = errno == ENOENT ? EXIT_NOT_FOUND : EXIT_NOT_EXECUTABLE;
    fprintf(stderr, "xl-dispatch: cannot run '%s': %s\n", program,
            strerror(errno));
    return status;
}

static int run_xl_snapshot(char **argv)
{
    char *program = find_xl_snapshot();

    if (program)
        return run(program, argv);
    fprintf(stderr,
            "xl-dispatch: xl-snapshot is neither in " SBINDIR " nor on PATH\n");
    return EXIT_NOT_FOUND;
}

/*
 * A wrapper called `xl` may call us again instead of the real xl.  A script
 * that the real xl starts may well call xl, too, but not to such a depth.
 */
static bool guard_is_loop(void)
{
    const char *before = getenv(GUARD);
    int depth = before ? atoi(before) : 0;
    char text[16];

    if (depth < 0 || depth >= GUARD_MAX)
        return true;
    snprintf(text, sizeof(text), "%d", depth + 1);
    return setenv(GUARD, text, 1) != 0;
}

static bool is_called(const char *argv0, const char *name)
{
    const char *slash = strrchr(argv0, '/');

    return !strcmp(slash ? slash + 1 : argv0, name);
}

static int run_real_xl(char **argv)
{
    char *program = find_real_xl();

    if (!program) {
        fprintf(stderr, "xl-dispatch: there is no other 'xl' on PATH: is Xen's "
                        "toolstack installed?\n");
        return EXIT_NOT_FOUND;
    }
    if (guard_is_loop()) {
        fprintf(stderr,
                "xl-dispatch: called in a loop: '%s' is no real xl, it "
                "calls xl again\n",
                program);
        return EXIT_NOT_FOUND;
    }
    if (!is_called(argv[0], "xl"))
        argv[0] = program;
    return run(program, argv);
}

/* Runs it as a child; its exit status, as shells have it. */
static int wait_for(int (*run_it)(char **argv), char **argv)
{
    pid_t pid = fork();
    int status;

    if (pid < 0) {
        fprintf(stderr, "xl-dispatch: cannot fork: %s\n", strerror(errno));
        return EXIT_NOT_EXECUTABLE;
    }
    if (pid == 0)
        _exit(run_it(argv));
    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR)
            return EXIT_NOT_EXECUTABLE;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/* What the real xl has to say, then ours; bash completion reads this, too. */
static int run_both_helps(char **argv)
{
    char *help[] = { (char *)"xl-snapshot", (char *)"help", NULL };
    int status;

    signal(SIGCHLD, SIG_DFL); /* if ignored, there is nothing to wait for */
    status = wait_for(run_real_xl, argv);
    if (status >= EXIT_NOT_EXECUTABLE)
        return status;
    putchar('\n');
    fflush(stdout);
    wait_for(run_xl_snapshot, help);
    return status;
}

/* Of the first argument that is no global option of xl's (getopt "+vftTN"). */
static int command_index(char **argv)
{
    for (int i = 1; argv[i]; i++) {
        if (!strcmp(argv[i], "--"))
            return argv[i + 1] ? i + 1 : 0;
        if (argv[i][0] != '-' || !argv[i][1] ||
            argv[i][1 + strspn(argv[i] + 1, "vftTN")])
            return i;
    }
    return 0;
}

static bool is_ours(const char *word)
{
    return word && !strncmp(word, "snapshot-", strlen("snapshot-"));
}

static bool is_help(const char *word)
{
    return !strcmp(word, "help") || !strcmp(word, "--help") ||
           !strcmp(word, "-h");
}

int main(int argc, char **argv)
{
    static char *const no_arguments[] = { (char *)"xl", NULL };
    int i;

    if (argc < 1)
        argv = (char **)no_arguments;
    i = command_index(argv);
    if (i && is_ours(argv[i]))
        return run_xl_snapshot(argv);
    if (i && !strcmp(argv[i], "help") && is_ours(argv[i + 1]))
        return run_xl_snapshot(argv);
    if (!i || (is_help(argv[i]) && !argv[i + 1]))
        return run_both_helps(argv);
    return run_real_xl(argv);
}
