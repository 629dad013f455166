/* Rows, groups, and what their runs gave.
 *
 * A row is one figure: a function that does one run and returns the figure
 * of that run. A group is the rows of one file, run in turn. A goal is
 * information for the reader of the table, never a test. */
#ifndef GYRE_BENCH_ROW_H
#define GYRE_BENCH_ROW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

struct bench_row {
    const char *name; /* without its group */
    const char *unit;
    const char *what; /* for --list: what one run does */
    double (*run)(void);
    double goal;      /* at most this, or times `base`; 0: only reported */
    const char *base; /* row of this group that is measured beside it */
};

struct bench_group {
    const char *name;
    const struct bench_row *rows;
    size_t count;
};

#define BENCH_GROUP(title, table)                                             \
    {                                                                         \
        .name = title, .rows = table, .count = sizeof table / sizeof table[0] \
    }

/* One row's figures of one invocation. */
struct bench_tally {
    const struct bench_group *group;
    const struct bench_row *row;
    bool selected;
    double *figures; /* `runs` of them, in the order of the rounds */
    unsigned runs;
    double median, min, max; /* from bench_tally_close() on */
    char failure[200];       /* why the latest failed run failed, or "" */
};

/* All rows of all groups, in the order of the table. NULL: no memory. */
struct bench_tally *bench_tallies(size_t *count);

/* Select a group ("refcount"), a row ("refcount.orphan", with its base) or
 * "all". False: there is none of that name. */
bool bench_select(struct bench_tally *tallies, size_t count, const char *name);

/* Do `runs` runs of each selected row, alternating within a group. False
 * when a run failed. `progress` (may be NULL) is told where we are. */
bool bench_measure(struct bench_tally *tallies, size_t count, unsigned runs,
                   FILE *progress);

/* The row measured beside this one, or NULL. */
const struct bench_tally *bench_base_of(const struct bench_tally *tallies,
                                        size_t count,
                                        const struct bench_tally *tally);

/* One JSON object, no newline. */
void bench_print_json(FILE *to, const struct bench_tally *tally,
                      const struct bench_tally *base);
/* The readable table of what was selected. */
void bench_print_table(FILE *to, const struct bench_tally *tallies,
                       size_t count);
/* Groups and rows with their goals. */
void bench_print_list(FILE *to, const struct bench_tally *tallies,
                      size_t count);

#endif
