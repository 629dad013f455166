/* Other programs of this build. See program.h. */
#define _GNU_SOURCE
#include "program.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "child.h"
#include "harness.h"

/* Beside us, or where our build puts gyre-stress. */
static const char *const places[] = {"", "../stress/"};

bool
bench_path_beside(const char *folder, const char *name, char *path, size_t size)
{
    char self[PATH_MAX];
    ssize_t length = readlink("/proc/self/exe", self, sizeof self - 1);
    char *slash;
    if (length < 0)
        return false;
    self[length] = '\0';
    slash = strrchr(self, '/');
    if (slash == NULL)
        return false;
    slash[1] = '\0';
    return (size_t)snprintf(path, size, "%s%s%s", self, folder, name) < size &&
           access(path, R_OK) == 0;
}

static bool
find(const char *name, char *path, size_t size)
{
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++)
        if (bench_path_beside(places[i], name, path, size) &&
            access(path, X_OK) == 0)
            return true;
    return false;
}

bool
bench_program_is_there(const char *name)
{
    char path[PATH_MAX];
    return find(name, path, sizeof path);
}

/* ---- in a child of gyre-bench ---- */

static uint64_t
wall_ns(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

/* All it prints is read, what does not fit forgotten. */
static void
read_output(int from, char *output, size_t size)
{
    char rest[4096];
    size_t at = 0;
    ssize_t got;
    do {
        bool full = at == size - 1;
        got = read(from, full ? rest : output + at,
                   full ? sizeof rest : size - 1 - at);
        if (got > 0 && !full)
            at += (size_t)got;
    } while (got > 0 || (got < 0 && errno == EINTR));
    output[at] = '\0';
}

void
bench_program_run(char *const *arguments, struct bench_program *out)
{
    char path[PATH_MAX];
    struct rusage usage;
    uint64_t start;
    int ends[2], status = 0;
    pid_t child;
    if (!find(arguments[0], path, sizeof path))
        bench_fail("%s is not built", arguments[0]);
    if (pipe2(ends, 0) != 0)
        bench_fail("no pipe: %s", strerror(errno));
    start = wall_ns();
    child = fork();
    if (child < 0)
        bench_fail("no child: %s", strerror(errno));
    if (child == 0) {
        /* It is to end with us, should our time be up. */
        alarm(bench_settings.timeout_seconds);
        dup2(ends[1], STDOUT_FILENO);
        close(ends[0]);
        close(ends[1]);
        execv(path, arguments);
        _exit(127);
    }
    close(ends[1]);
    read_output(ends[0], out->output, sizeof out->output);
    close(ends[0]);
    while (wait4(child, &status, 0, &usage) < 0 && errno == EINTR)
        continue;
    out->wall_ns = wall_ns() - start;
    out->peak_bytes = (uint64_t)usage.ru_maxrss * 1024;
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        bench_fail("%s ended with status %d", path, status);
}

double
bench_program_number(const struct bench_program *program, const char *key)
{
    char quoted[64], *end;
    const char *at;
    double number;
    snprintf(quoted, sizeof quoted, "\"%s\":", key);
    at = strstr(program->output, quoted);
    if (at == NULL)
        bench_fail("the program printed no %s", key);
    number = strtod(at + strlen(quoted), &end);
    if (end == at + strlen(quoted))
        bench_fail("the program printed no number for %s", key);
    return number;
}
