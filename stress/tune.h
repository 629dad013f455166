/* `gyre-stress tune`: what the memory options of a heap buy on this machine.
 *
 * A setting of the options is measured on every load and number of threads;
 * each of these is a cell with some runs. Three stages: the size of the
 * thread caches swept finely; the other options one at a time around the
 * best size; the outcome against the defaults, in pairs. docs/tuning.md.
 *
 * tune.c is the command, tune_plan.c fits it into the time, tune_stage.c
 * measures, tune_score.c compares and chooses, tune_report.c and tune_page.c
 * tell. One process, one thread; what is measured runs in
 * children (trial.c). */
#ifndef GYRE_STRESS_TUNE_H
#define GYRE_STRESS_TUNE_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include <gyre/options.h>

#include "load.h"
#include "machine.h"

#define TUNE_THREADS_MOST 6 /* entries of --threads */
#define TUNE_RUNS_MOST 8    /* of a cell */
#define TUNE_POINTS_MOST 64
#define TUNE_VARIANTS_MOST 20 /* settings next to one */

/* The options that are tuned. */
enum knob {
    KNOB_THREAD_CACHE,
    KNOB_CLASS_CACHE,
    KNOB_HEAP_CACHE,
    KNOB_RETURN_DELAY,
    KNOB_ARENA,
    KNOB_HUGE_PAGES,
    KNOB_NUMA,
    KNOB_COUNT
};
extern const enum gyre_option knob_option[KNOB_COUNT];

struct setting {
    uint64_t value[KNOB_COUNT];
};

enum tune_stage { TUNE_SIZES, TUNE_KNOBS, TUNE_CONFIRM };

/* What was measured of one setting, load and number of threads. */
struct cell {
    unsigned runs;
    struct measurement run[TUNE_RUNS_MOST];
};

/* A setting in a stage. */
struct point {
    enum tune_stage stage;
    struct setting setting;
    enum knob varied; /* TUNE_KNOBS: against the best size; KNOB_COUNT: none */
    bool refused;     /* memory was, in one of its runs: no more is measured */
    struct cell cells[LOAD_COUNT][TUNE_THREADS_MOST];
};

/* A ratio less one, and the interval that holds it with 95 %. */
struct gain {
    double mean, low, high;
};

/* What a cell says, medians over its runs. */
struct summary {
    double throughput, slowest, fastest; /* a second */
    double peak, end;                    /* bytes */
    double p50, p99, p999;               /* ns */
    double refills;                      /* per million allocations */
};

/* The outcome: a candidate, and what it buys against the defaults. */
struct verdict {
    struct setting candidate;
    bool measured; /* it differs from the defaults, and was confirmed */
    bool keep;     /* the defaults: nothing beyond noise was gained */
    char why[320]; /* for people */
    struct gain throughput, peak, end, p99, refills;
};

struct tune {
    /* asked for */
    const char *heap_file;
    unsigned threads[TUNE_THREADS_MOST];
    unsigned thread_counts;
    double seconds; /* of a measurement; 0: by the budget */
    double budget;  /* 0: none */
    uint64_t seed;
    const char *options; /* that all measurements have; may be "" */
    const char *html_file, *json_file;
    bool processor_time;    /* throughput by processor time */
    bool fixed[KNOB_COUNT]; /* named in `options` */

    /* as it was planned and done */
    struct machine machine;
    uint32_t node_count, edge_count;
    char date[32];
    unsigned sizes, passes, pairs;
    bool knobs;
    uint64_t rounds[TUNE_THREADS_MOST]; /* of the replay */
    double took;                        /* seconds, all of it */
    double tolerance;                   /* what counts as equal, log ratio */
    unsigned measurements;

    struct setting preset;
    struct point *points;
    unsigned point_count;
    unsigned best_size; /* index of a point of TUNE_SIZES */
    struct verdict verdict;
};

/* The command; returns the exit status. */
int tune(int argc, char **argv);

/* ---- tune_plan.c ---- */
/* Does this load run with that number of threads? */
bool tune_has_cell(const struct tune *tune, enum load load, unsigned threads);
unsigned tune_cells(const struct tune *tune);
/* `setting` as a value of GYRE_OPTIONS: what differs from the defaults, and
 * the options that all measurements have. */
void tune_options_text(const struct tune *tune, const struct setting *setting,
                       char *text, size_t size);
/* "64k", "1m": as gyre reads it. */
void tune_bytes_text(uint64_t bytes, char *text, size_t size);
bool tune_same(const struct setting *a, const struct setting *b);
/* The point of a stage with that setting, or NULL. */
const struct point *tune_find(const struct tune *tune, enum tune_stage stage,
                              const struct setting *setting);
/* A new point; returns its index. */
unsigned tune_add(struct tune *tune, enum tune_stage stage,
                  const struct setting *setting, enum knob varied);
/* The settings next to `best`, and the option in which each differs: returns
 * how many. `out` may be NULL. */
unsigned tune_variants(const struct tune *tune, const struct setting *best,
                       struct setting *out, enum knob *varied);
/* From here the time counts. */
void tune_plan_begin(void);
double tune_elapsed(void);
/* A measurement of that cell, of one round if it is the replay, took so many
 * seconds in all. */
void tune_plan_learn(enum load load, unsigned threads, double took,
                     const struct measurement *run);
/* Seconds that one run of every cell takes, of that length. */
double tune_pass_seconds(const struct tune *tune, double seconds);
/* Choose how much is measured, how long each, and make the points of the
 * first stage. False, told: the time is not enough. */
bool tune_plan(struct tune *tune);

/* ---- tune_stage.c ---- */
/* Each returns false when a measurement failed; that was told. */
bool tune_calibrate(struct tune *tune);
bool tune_sweep(struct tune *tune);
bool tune_vary(struct tune *tune);
bool tune_confirm(struct tune *tune);

/* ---- tune_score.c ---- */
struct summary tune_summary(const struct cell *cell);
/* Mean log ratio of `point` to `base`, over loads and, when `threads` is not
 * thread_counts, of that entry of the list alone: throughput; memory, which
 * is peak and end together. */
double tune_throughput(const struct tune *tune, const struct point *point,
                       const struct point *base, unsigned threads);
double tune_memory(const struct tune *tune, const struct point *point,
                   const struct point *base);
/* What two settings of a stage may differ by and still be called equal, by
 * the spread of all runs so far. */
double tune_noise(const struct tune *tune, enum tune_stage stage);
/* Of `count` points the one to take: among the fastest, as far as noise
 * tells, the one with least memory; `base` unless something is gained. */
unsigned tune_pick(const struct tune *tune, const unsigned *points,
                   unsigned count, unsigned base);
/* Gains of one cell of the confirming stage, and of all. */
struct gain tune_cell_gain(const struct cell *candidate,
                           const struct cell *preset);
void tune_judge(struct tune *tune);

/* All cells of a point in one line: means, of p99 and refills the geometric
 * ones. */
struct line {
    double peak, end; /* bytes */
    double p99;       /* ns */
    double refills;   /* per million allocations */
};
struct line tune_line(const struct tune *tune, const struct point *point);

/* ---- tune_report.c ---- */
/* A knob's value with the unit that gyre reads. */
void tune_value_text(enum knob knob, uint64_t value, char *text, size_t size);
void tune_report_table(const struct tune *tune, FILE *out);
void tune_report_json(const struct tune *tune, FILE *out);

/* ---- tune_page.c ---- */
/* Can the page be made? False, with a line on standard error: Debian's
 * libjs-chart.js is not there. */
bool tune_page_possible(void);
/* False, with a line on standard error. */
bool tune_page_write(const struct tune *tune);

#endif
