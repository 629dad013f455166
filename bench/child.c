/* Child processes that do one run and answer through a pipe. */
#define _GNU_SOURCE
#include "child.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "harness.h"

/* What a child sends its parent: one write, below PIPE_BUF. */
struct answer {
    bool ok;
    double figure;
    char text[BENCH_REASON];
};

/* The child's end of the pipe. */
static int answer_pipe = -1;

/* ---- the child's side ---- */

static _Noreturn void
answer_and_exit(const struct answer *answer)
{
    ssize_t written = write(answer_pipe, answer, sizeof *answer);
    _exit(written == (ssize_t)sizeof *answer ? 0 : 1);
}

void
bench_fail(const char *format, ...)
{
    struct answer answer = {.ok = false};
    va_list args;
    va_start(args, format);
    vsnprintf(answer.text, sizeof answer.text, format, args);
    va_end(args);
    answer_and_exit(&answer);
}

void
bench_child_begin(int pipe)
{
    answer_pipe = pipe;
    /* No handler: the run is killed, and the parent says that it hung. */
    alarm(bench_settings.timeout_seconds);
    bench_pin(0);
}

void
bench_child_end(double figure, const char *text)
{
    struct answer answer = {.ok = true, .figure = figure};
    snprintf(answer.text, sizeof answer.text, "%s", text == NULL ? "" : text);
    answer_and_exit(&answer);
}

/* The settings of this invocation, as a worker's options. */
static void
exec_worker(const char *column, const char *row)
{
    char worker[64], pin[512] = "--pin=no", timeout[32], clock[16];
    char *arguments[] = {"gyre-bench", worker,      pin, timeout,
                         clock,        (char *)row, NULL};
    const struct bench_settings *set = &bench_settings;
    int at = (int)strlen("--pin=");
    snprintf(worker, sizeof worker, "--worker=%s,%d", column, answer_pipe);
    for (int i = 0; set->pinned && i < set->cpu_count; i++)
        at += snprintf(pin + at, sizeof pin - (size_t)at, "%s%d",
                       i == 0 ? "" : ",", set->cpus[i]);
    snprintf(timeout, sizeof timeout, "--timeout=%u", set->timeout_seconds);
    snprintf(clock, sizeof clock, "--clock=%s",
             set->clock == BENCH_CPU ? "cpu" : "wall");
    execv("/proc/self/exe", arguments);
}

/* ---- the parent's side ---- */

/* A pipe and a fork: 1 in the parent, 0 in the child, -1 with the reason. */
static int
start(struct bench_child *child, char *reason)
{
    int ends[2];
    child->id = 0;
    if (pipe2(ends, O_CLOEXEC) != 0) {
        snprintf(reason, BENCH_REASON, "no pipe: %s", strerror(errno));
        return -1;
    }
    fflush(NULL);
    child->id = fork();
    if (child->id < 0) {
        snprintf(reason, BENCH_REASON, "no child: %s", strerror(errno));
        child->id = 0;
        close(ends[0]);
        close(ends[1]);
        return -1;
    }
    child->answer = ends[0];
    if (child->id == 0) {
        close(ends[0]);
        answer_pipe = ends[1];
        return 0;
    }
    close(ends[1]);
    return 1;
}

bool
bench_child_fork(struct bench_child *child, double (*run)(void), char *reason)
{
    int side = start(child, reason);
    if (side == 0) {
        bench_child_begin(answer_pipe);
        bench_child_end(run(), NULL);
    }
    return side > 0;
}

bool
bench_child_exec(struct bench_child *child, const char *column, const char *row,
                 const char *preload, char *reason)
{
    int side = start(child, reason);
    if (side == 0) {
        fcntl(answer_pipe, F_SETFD, 0);
        if (preload != NULL && preload[0] != '\0')
            setenv("LD_PRELOAD", preload, 1);
        else
            unsetenv("LD_PRELOAD");
        exec_worker(column, row);
        bench_fail("can't run gyre-bench again: %s", strerror(errno));
    }
    return side > 0;
}

static bool
read_answer(int from, struct answer *answer)
{
    ssize_t got;
    do
        got = read(from, answer, sizeof *answer);
    while (got < 0 && errno == EINTR);
    return got == (ssize_t)sizeof *answer;
}

static void
describe_death(int status, char *reason)
{
    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM)
        snprintf(reason, BENCH_REASON, "took more than %u s",
                 bench_settings.timeout_seconds);
    else if (WIFSIGNALED(status))
        snprintf(reason, BENCH_REASON, "ended by signal %d (%s)",
                 WTERMSIG(status), strsignal(WTERMSIG(status)));
    else
        snprintf(reason, BENCH_REASON, "ended with status %d and no figure",
                 WEXITSTATUS(status));
}

bool
bench_child_finish(struct bench_child *child, double *figure, char *reason)
{
    struct answer answer;
    int status = 0;
    bool answered = read_answer(child->answer, &answer);
    close(child->answer);
    while (waitpid(child->id, &status, 0) < 0 && errno == EINTR)
        continue;
    child->id = 0;
    if (!answered) {
        describe_death(status, reason);
        return false;
    }
    *figure = answer.figure;
    memcpy(reason, answer.text, BENCH_REASON);
    return answer.ok;
}
