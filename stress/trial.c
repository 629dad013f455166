/* One measured point, in a child process. See trial.h.
 *
 * The child begins with the loaded snapshot and nothing of gyre, so that no
 * measurement sees memory, threads or counters of another. */
#include "trial.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "machine.h"
#include "run.h"

/* Seconds that a child may take, and how many times its measured time. */
#define PATIENCE 60
#define PATIENCE_TIMES 20

/* ---- the replay ---- */

static void
replay_sum_up(const struct trial *trial, uint64_t began,
              struct measurement *out)
{
    struct gyre_histogram *all = calloc(1, sizeof *all);
    uint64_t peak = machine_peak(), base = run.begin_resident;
    uint64_t ns = run.end_ns - run.start_ns - run.verify_ns;
    uint64_t processor_ns = load_processor_ns() - run.verify_processor_ns;
    if (all == NULL) {
        snprintf(out->reason, sizeof out->reason, "no memory");
        return;
    }
    for (unsigned i = 0; i < run.settings.threads; i++)
        gyre_histogram_merge(all, &run.workers[i]->sampler.histogram);
    out->seconds = (double)ns / 1e9;
    out->operations = report_sum(TALLY_OPERATIONS);
    out->allocations = report_sum(TALLY_BUILT);
    out->processor_seconds = (double)(processor_ns - began) / 1e9;
    out->throughput = load_throughput(trial, (double)out->operations,
                                      out->seconds, out->processor_seconds);
    out->refills = run.statistics.page_refills;
    out->end = run.end_resident > base ? run.end_resident - base : 0;
    out->peak = peak > base ? peak - base : 0;
    if (out->peak < out->end)
        out->peak = out->end; /* the system's counters lag */
    out->samples = all->count;
    out->p50 = gyre_histogram_quantile(all, 0.5);
    out->p99 = gyre_histogram_quantile(all, 0.99);
    out->p999 = gyre_histogram_quantile(all, 0.999);
    out->ok = true;
    free(all);
}

/* The oracle has named the failure on standard error. */
static void
on_failure(void)
{
}

static void
measure_replay(const struct trial *trial, struct measurement *out)
{
    uint64_t began;
    bool made;
    run.settings = (struct settings){.threads = trial->threads,
                                     .mix = MIX_ALL,
                                     .mix_name = "all",
                                     .patience = PATIENCE,
                                     .seed = trial->seed,
                                     .rounds = trial->rounds,
                                     .trial = true,
                                     .concurrent = true,
                                     .pinned = trial->pinned};
    oracle_on_failure = on_failure;
    made = replay_make();
    began = load_processor_ns();
    if (!made || !replay_work()) {
        snprintf(out->reason, sizeof out->reason, "the replay did not begin");
        return;
    }
    replay_sum_up(trial, began, out);
    if (oracle_failures_all() > 0) {
        out->ok = false;
        snprintf(out->reason, sizeof out->reason,
                 "the replay's oracle found a failure");
    } else if (report_sum(TALLY_REFUSED) > 0) {
        out->ok = false;
        out->refused = true;
        snprintf(out->reason, sizeof out->reason,
                 "memory: an allocation was refused");
    }
}

/* ---- the child ---- */

/* It must not outlive its parent, nor print a report of its own. */
static void
child_begin(const char *options, unsigned seconds)
{
    int nothing = open("/dev/null", O_WRONLY | O_CLOEXEC);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    alarm(seconds);
    if (nothing >= 0)
        dup2(nothing, STDOUT_FILENO);
    setenv("GYRE_OPTIONS", options, 1);
}

static void
child_answer(int to, const void *answer, size_t size)
{
    const char *at = answer;
    while (size > 0) {
        ssize_t written = write(to, at, size);
        if (written < 0 && errno == EINTR)
            continue;
        if (written <= 0)
            _exit(1);
        at += written;
        size -= (size_t)written;
    }
    /* without tearing the heap down: the system does that faster */
    _exit(0);
}

static bool
read_answer(int from, void *answer, size_t size)
{
    char *at = answer;
    while (size > 0) {
        ssize_t got = read(from, at, size);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return false;
        at += got;
        size -= (size_t)got;
    }
    return true;
}

static void
describe_death(int status, char *reason, size_t size)
{
    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM)
        snprintf(reason, size, "it hung");
    else if (WIFSIGNALED(status))
        snprintf(reason, size, "ended by signal %d (%s)", WTERMSIG(status),
                 strsignal(WTERMSIG(status)));
    else
        snprintf(reason, size, "ended with status %d", WEXITSTATUS(status));
}

/* Fork; the child gets 0 and its end of the pipe, the parent the child. */
static pid_t
fork_with_pipe(int *end, char *reason, size_t size)
{
    int ends[2];
    pid_t child;
    if (pipe(ends) != 0) {
        snprintf(reason, size, "no pipe: %s", strerror(errno));
        return -1;
    }
    fflush(NULL);
    child = fork();
    if (child < 0)
        snprintf(reason, size, "no child: %s", strerror(errno));
    *end = ends[child == 0];
    close(ends[child != 0]);
    if (child < 0)
        close(*end);
    return child;
}

static bool
collect_answer(pid_t child, int from, struct measurement *out)
{
    int status = 0;
    bool answered = read_answer(from, out, sizeof *out);
    close(from);
    while (waitpid(child, &status, 0) < 0 && errno == EINTR)
        continue;
    if (!answered) {
        memset(out, 0, sizeof *out);
        describe_death(status, out->reason, sizeof out->reason);
    }
    return out->ok;
}

bool
trial_measure(const struct trial *trial, struct measurement *out)
{
    int end;
    pid_t child;
    memset(out, 0, sizeof *out);
    child = fork_with_pipe(&end, out->reason, sizeof out->reason);
    if (child < 0)
        return false;
    if (child == 0) {
        child_begin(trial->options,
                    (unsigned)(PATIENCE + PATIENCE_TIMES * trial->seconds));
        if (trial->load == LOAD_REPLAY)
            measure_replay(trial, out);
        else
            load_run(trial, out);
        child_answer(end, out, sizeof *out);
    }
    return collect_answer(child, end, out);
}

bool
trial_options(const char *options, char *reason, size_t size)
{
    struct measurement out = {0};
    int end;
    pid_t child = fork_with_pipe(&end, reason, size);
    if (child < 0)
        return false;
    if (child == 0) {
        struct gyre_heap *heap;
        child_begin(options, PATIENCE);
        out.ok = gyre_heap_create(NULL, &heap) == GYRE_OK;
        if (!out.ok)
            snprintf(out.reason, sizeof out.reason, "%s", gyre_option_error());
        child_answer(end, &out, sizeof out);
    }
    if (!collect_answer(child, end, &out))
        snprintf(reason, size, "%s", out.reason);
    return out.ok;
}
