/* Running `gyre-stress latency` and reading its report. See latency.h. */
#define _GNU_SOURCE
#include "latency.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <yajl/yajl_tree.h>

#include "harness.h"

#ifndef GYRE_BENCH_STRESS
#define GYRE_BENCH_STRESS "gyre-stress"
#endif

#define REPORT_MOST 16384
#define ARGUMENTS_MOST 32

/* ---- the process ---- */

static _Noreturn void
exec_stress(const char *const *arguments, int output)
{
    const char *all[ARGUMENTS_MOST + 4] = {"gyre-stress", "latency", "--json"};
    int count = 3;
    while (*arguments != NULL && count < ARGUMENTS_MOST + 3)
        all[count++] = *arguments++;
    dup2(output, STDOUT_FILENO);
    /* No handler, and kept over exec: a run that hangs is killed. */
    alarm(bench_settings.timeout_seconds);
    execvp(GYRE_BENCH_STRESS, (char *const *)all);
    _exit(127);
}

static size_t
read_all(int from, char *text, size_t size)
{
    size_t length = 0;
    for (;;) {
        ssize_t got = read(from, text + length, size - 1 - length);
        if (got > 0)
            length += (size_t)got;
        else if (got == 0 || errno != EINTR)
            break;
    }
    text[length] = '\0';
    return length;
}

static bool
ended_well(int status, char *reason)
{
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return true;
    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM)
        snprintf(reason, BENCH_REASON, "gyre-stress took more than %u s",
                 bench_settings.timeout_seconds);
    else if (WIFSIGNALED(status))
        snprintf(reason, BENCH_REASON, "gyre-stress ended by signal %d",
                 WTERMSIG(status));
    else if (WEXITSTATUS(status) == 127)
        snprintf(reason, BENCH_REASON, "%s can't be run", GYRE_BENCH_STRESS);
    else
        snprintf(reason, BENCH_REASON, "gyre-stress ended with status %d",
                 WEXITSTATUS(status));
    return false;
}

static bool
run(const char *const *arguments, char *text, char *reason)
{
    int ends[2], status = 0;
    pid_t child;
    if (pipe2(ends, O_CLOEXEC) != 0) {
        snprintf(reason, BENCH_REASON, "no pipe: %s", strerror(errno));
        return false;
    }
    fflush(NULL);
    child = fork();
    if (child == 0)
        exec_stress(arguments, ends[1]);
    close(ends[1]);
    if (child > 0) {
        (void)read_all(ends[0], text, REPORT_MOST);
        while (waitpid(child, &status, 0) < 0 && errno == EINTR)
            continue;
    }
    close(ends[0]);
    if (child < 0) {
        snprintf(reason, BENCH_REASON, "no child: %s", strerror(errno));
        return false;
    }
    return ended_well(status, reason);
}

/* ---- the report ---- */

struct latency_result *
latency_measure(const char *const *arguments, char *reason)
{
    char text[REPORT_MOST];
    yajl_val tree;
    if (!run(arguments, text, reason))
        return NULL;
    tree = yajl_tree_parse(text, NULL, 0);
    if (tree == NULL)
        snprintf(reason, BENCH_REASON, "gyre-stress printed no JSON");
    return (struct latency_result *)tree;
}

void
latency_free(struct latency_result *result)
{
    yajl_tree_free((yajl_val)result);
}

static yajl_val
look_up(const struct latency_result *result, const char *object,
        const char *key)
{
    const char *whole[] = {object, key, NULL};
    return yajl_tree_get((yajl_val)result, object != NULL ? whole : whole + 1,
                         yajl_t_number);
}

bool
latency_figure(const struct latency_result *result, const char *object,
               const char *key, double *figure)
{
    yajl_val value = look_up(result, object, key);
    yajl_val count = object != NULL ? look_up(result, object, "count") : NULL;
    if (value == NULL || (count != NULL && YAJL_GET_DOUBLE(count) == 0))
        return false;
    *figure = YAJL_GET_DOUBLE(value);
    return true;
}
