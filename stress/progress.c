/* The progress of `tune`. See progress.h. */
#include "progress.h"

#include <stdbool.h>
#include <stdio.h>
#include <unistd.h>

#include "run.h"

#define WIDTH 24u

static struct {
    unsigned steps, done;
    double estimate; /* seconds for all, as planned */
    uint64_t begin_ns;
    unsigned told; /* tenths, where there is no terminal */
    bool shown;
} progress;

static bool
on_terminal(void)
{
    return isatty(STDERR_FILENO);
}

/* The plan's estimate counts less, the more of it is done. */
static double
seconds_left(void)
{
    double elapsed = (double)(clock_ns() - progress.begin_ns) / 1e9;
    double part = (double)progress.done / progress.steps;
    double by_plan = progress.estimate * (1 - part);
    double by_pace = part > 0 ? elapsed * (1 - part) / part : by_plan;
    return by_plan * (1 - part) + by_pace * part;
}

void
progress_begin(unsigned steps, double seconds)
{
    progress_end();
    progress.steps = steps;
    progress.estimate = seconds;
    progress.begin_ns = clock_ns();
}

void
progress_show(const char *stage, const char *load, unsigned threads,
              const char *options)
{
    char bar[WIDTH + 1] = "";
    double left;
    if (!on_terminal())
        return;
    progress.shown = true;
    if (progress.steps == 0) {
        fprintf(stderr, "\r\033[Kcalibrating: %s, %u thread%s", load, threads,
                threads == 1 ? "" : "s");
        return;
    }
    for (unsigned i = 0; i < WIDTH; i++)
        bar[i] = i * progress.steps < progress.done * WIDTH ? '#' : '.';
    left = seconds_left();
    fprintf(stderr, "\r\033[K[%s] %u/%u  %u:%02u left  %s: %s/%u %.28s", bar,
            progress.done, progress.steps, (unsigned)left / 60,
            (unsigned)left % 60, stage, load, threads, options);
}

void
progress_step(void)
{
    unsigned tenth;
    progress.done++;
    tenth = progress.done * 10 / progress.steps;
    if (on_terminal() || tenth == progress.told || tenth == 10)
        return;
    progress.told = tenth;
    fprintf(stderr, "gyre-stress: %u of %u measured, about %.0f s left\n",
            progress.done, progress.steps, seconds_left());
}

void
progress_drop(unsigned steps)
{
    progress.steps -= steps < progress.steps ? steps : progress.steps;
}

void
progress_end(void)
{
    if (progress.shown)
        fprintf(stderr, "\r\033[K");
    progress.shown = false;
}
