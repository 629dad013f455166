/* Rows, groups, and what their runs gave.
 *
 * A row is one figure: a function that does one run and returns the figure
 * of that run. A group is the rows of one file, run in turn. Work that is
 * measured over other allocators too has two functions, of one source. A
 * goal is information for the reader of the table, never a test. */
#ifndef GYRE_BENCH_ROW_H
#define GYRE_BENCH_ROW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "child.h"
#include "peer.h"

struct bench_tally;

struct bench_row {
    const char *name; /* without its group; "/1", "/2": so many threads. One
                       * that begins so is the group's own: "gcbench/1" */
    const char *unit;
    const char *what; /* for --list: what one run does */
    /* one of these three */
    const void *part; /* of what its group's `round` does */
    double (*run)(void);
    struct {
        double (*gyre)(unsigned threads);
        double (*malloc)(unsigned threads); /* NULL: gyre alone does it */
    } work;
    unsigned threads;  /* for `work` */
    bool more;         /* is better; else less is */
    bool together;     /* not a timing: columns may run side by side */
    double goal;       /* at most (`more`: at least) this; 0: none */
    double peer_goal;  /* the same, times the best peer's; 0: none */
    const char *base;  /* row of this group measured beside it: `goal` is in
                        * times its figure */
    const char *needs; /* a program of this build, see program.h; without it
                        * the row is left out */
    const char *set;   /* further name for `set` of groups and rows; those of
                        * one are not of "all" */
    double excess;     /* `goal` is also reached by being no worse than the
                        * first of `beside` by more; 0: it is not */
};

/* The same work done otherwise, for comparison. */
#define BENCH_BESIDE 2

struct bench_group {
    const char *name;
    const struct bench_row *rows;
    size_t count;
    /* Where one run gives figures of many rows: do a round, the `number`th,
     * of all selected rows of `tallies`, which has this group's alone. False
     * when a run failed. NULL: rows have runs of their own. */
    bool (*round)(struct bench_tally *tallies, size_t count, unsigned number,
                  FILE *progress);
    const char *beside[BENCH_BESIDE]; /* with `round`: what it measures too */
    bool apart;                       /* takes long: is no part of "all" */
};

#define BENCH_GROUP(title, table)                                             \
    {                                                                         \
        .name = title, .rows = table, .count = sizeof table / sizeof table[0] \
    }

/* The figures of one row over one allocator. */
struct bench_series {
    double *figures; /* `runs` of them, in the order of the rounds */
    unsigned runs;
    double median, min, max;    /* once all rounds are over */
    char failure[BENCH_REASON]; /* why the latest failed run failed, or "" */
};

/* One row's figures of one invocation. */
struct bench_tally {
    const struct bench_group *group;
    const struct bench_row *row;
    bool selected;
    struct bench_series own;
    struct bench_series peers[BENCH_PEERS];
    struct bench_series beside[BENCH_BESIDE];
    const char *left_out; /* why it is; else NULL */
};

/* One more run's figure. */
void bench_series_add(struct bench_series *series, double figure);

/* How a row's median compares. */
struct bench_verdict {
    const char *beside; /* base row or best peer; NULL: nothing */
    double beside_median;
    double factor; /* own median over that one's */
    bool has_goal, met;
};

/* All rows of all groups, in the order of the table. NULL: no memory. */
struct bench_tally *bench_tallies(size_t *count);
void bench_tallies_free(struct bench_tally *tallies, size_t count);

/* Select a group ("refcount"), a row ("refcount.orphan", with its base; for
 * all numbers of threads when it names none), a set ("collector"), or "all",
 * which is all that is of no set. False: there is none of that name. */
bool bench_select(struct bench_tally *tallies, size_t count, const char *name);
/* The row of exactly this name, or NULL. */
const struct bench_row *bench_row_of(const struct bench_tally *tallies,
                                     size_t count, const char *name);
/* Leave out what needs a program that is not there, and say so. */
void bench_leave_out(struct bench_tally *tallies, size_t count);
/* Is any row selected that peers do too? */
bool bench_needs_peers(const struct bench_tally *tallies, size_t count);

/* "alloc.replace_mixed/2"; `name` has BENCH_NAME bytes. */
#define BENCH_NAME 64
void bench_full_name(const struct bench_tally *tally, char *name);
void bench_name_in(const struct bench_group *group, const char *row,
                   char *name);

/* Do `runs` runs of each selected row and each of its peers, alternating
 * within a group. False when a run failed. `progress` (may be NULL) is told
 * where we are. */
bool bench_measure(struct bench_tally *tallies, size_t count, unsigned runs,
                   FILE *progress);

/* Compare what was measured. */
struct bench_verdict bench_judge(const struct bench_tally *tallies,
                                 size_t count, const struct bench_tally *tally);

#endif
