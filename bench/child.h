/* A child process for each run, so that no run sees the pages, counters or
 * threads of another: a fork, or for work that is measured over several
 * allocators gyre-bench once more, with one of them loaded before it. */
#ifndef GYRE_BENCH_CHILD_H
#define GYRE_BENCH_CHILD_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#define BENCH_REASON 400 /* bytes of a failure's text */

struct bench_child {
    pid_t id; /* 0: none was started */
    int answer;
};

/* Start one run in a forked child. False, with one line that says why in
 * `reason` (BENCH_REASON bytes). */
bool bench_child_fork(struct bench_child *child, double (*run)(void),
                      char *reason);
/* The same in a new gyre-bench that gets the option --worker=COLUMN,PIPE and
 * the argument `row`, with `preload` in LD_PRELOAD (NULL, "": nothing). */
bool bench_child_exec(struct bench_child *child, const char *column,
                      const char *row, const char *preload, char *reason);
/* Wait for it. True: the figure, and the text it sent (or ""); false: the
 * reason. */
bool bench_child_finish(struct bench_child *child, double *figure,
                        char *reason);

/* ---- the child's side ---- */

/* What bench_child_exec() started calls this first. */
void bench_child_begin(int pipe);
/* Send the figure and a text (may be NULL), and end. No heap is torn down:
 * that is not what is measured, and the system does it faster. */
void bench_child_end(double figure, const char *text) __attribute__((noreturn));

#endif
