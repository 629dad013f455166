/* Runs in rounds, and their medians. */
#include <stdlib.h>
#include <string.h>

#include "row.h"

/* The columns of a row: gyre, the peers, what a group measures beside it. */
#define COLUMNS (1 + BENCH_PEERS + BENCH_BESIDE)

static struct bench_series *
series_of(struct bench_tally *tally, unsigned column)
{
    if (column > BENCH_PEERS)
        return &tally->beside[column - 1 - BENCH_PEERS];
    return column == 0 ? &tally->own : &tally->peers[column - 1];
}

static bool
has_column(const struct bench_tally *tally, unsigned column)
{
    return column == 0 ||
           (column <= BENCH_PEERS && tally->row->work.malloc != NULL &&
            bench_peers[column - 1].found);
}

static const char *
column_name(unsigned column)
{
    return column == 0 ? BENCH_GYRE : bench_peers[column - 1].name;
}

/* ---- runs ---- */

void
bench_series_add(struct bench_series *series, double figure)
{
    series->figures[series->runs++] = figure;
}

static bool
begin_run(const struct bench_tally *tally, unsigned column,
          struct bench_child *child, char *reason)
{
    const char *preload = NULL;
    char name[BENCH_NAME];
    if (tally->row->run != NULL)
        return bench_child_fork(child, tally->row->run, reason);
    bench_full_name(tally, name);
    if (column > 0)
        preload = bench_peers[column - 1].preload;
    return bench_child_exec(child, column_name(column), name, preload, reason);
}

static bool
end_run(struct bench_series *series, struct bench_child *child, char *reason)
{
    double figure;
    if (child->id != 0 && bench_child_finish(child, &figure, reason)) {
        bench_series_add(series, figure);
        return true;
    }
    memcpy(series->failure, reason, BENCH_REASON);
    return false;
}

static void
show(FILE *progress, const struct bench_tally *tally, unsigned column,
     unsigned round, unsigned rounds)
{
    char name[BENCH_NAME];
    if (progress == NULL)
        return;
    bench_full_name(tally, name);
    fprintf(progress, "\r\033[Kround %u of %u: %s", round + 1, rounds, name);
    if (tally->row->work.malloc != NULL)
        fprintf(progress, " (%s)", column_name(column));
}

/* A row over each allocator. Another begins each round, so that none is
 * always the one after the slowest. */
static bool
measure_row(struct bench_tally *tally, FILE *progress, unsigned round,
            unsigned rounds)
{
    struct bench_child children[COLUMNS] = {{0}};
    char reasons[COLUMNS][BENCH_REASON] = {{0}};
    bool together = tally->row->together, clean = true;
    for (unsigned c = 0; c < COLUMNS; c++) {
        unsigned column = (c + round) % COLUMNS;
        if (!has_column(tally, column))
            continue;
        show(progress, tally, column, round, rounds);
        (void)begin_run(tally, column, &children[column], reasons[column]);
        if (!together)
            clean &= end_run(series_of(tally, column), &children[column],
                             reasons[column]);
    }
    for (unsigned column = 0; together && column < COLUMNS; column++)
        if (has_column(tally, column))
            clean &= end_run(series_of(tally, column), &children[column],
                             reasons[column]);
    return clean;
}

/* ---- medians ---- */

static int
compare_figures(const void *left, const void *right)
{
    double a = *(const double *)left, b = *(const double *)right;
    return (a > b) - (a < b);
}

static void
series_close(struct bench_series *series)
{
    unsigned runs = series->runs;
    double *sorted = malloc((runs + 1) * sizeof *sorted);
    if (runs == 0 || sorted == NULL) {
        free(sorted);
        return;
    }
    memcpy(sorted, series->figures, runs * sizeof *sorted);
    qsort(sorted, runs, sizeof *sorted, compare_figures);
    series->min = sorted[0];
    series->max = sorted[runs - 1];
    series->median = (sorted[(runs - 1) / 2] + sorted[runs / 2]) / 2;
    free(sorted);
}

/* The group that comes after `group` in the table, or NULL. */
static const struct bench_group *
next_group(const struct bench_tally *tallies, size_t count,
           const struct bench_group *group)
{
    bool seen = group == NULL;
    for (size_t i = 0; i < count; i++) {
        if (tallies[i].group == group)
            seen = true;
        else if (seen)
            return tallies[i].group;
    }
    return NULL;
}

void
bench_tallies_free(struct bench_tally *tallies, size_t count)
{
    for (size_t i = 0; i < count; i++)
        for (unsigned column = 0; column < COLUMNS; column++)
            free(series_of(&tallies[i], column)->figures);
    free(tallies);
}

/* A round of a group's rows. */
static bool
measure_round(struct bench_tally *tallies, size_t count,
              const struct bench_group *group, FILE *progress, unsigned round,
              unsigned rounds)
{
    bool clean = true;
    for (size_t i = 0; i < count; i++) {
        if (tallies[i].group != group)
            continue;
        if (group->round != NULL)
            return group->round(&tallies[i], group->count, round, progress);
        if (tallies[i].selected)
            clean &= measure_row(&tallies[i], progress, round, rounds);
    }
    return clean;
}

bool
bench_measure(struct bench_tally *tallies, size_t count, unsigned runs,
              FILE *progress)
{
    const struct bench_group *group = NULL;
    bool clean = true;
    for (size_t i = 0; i < count; i++) {
        for (unsigned column = 0; column < COLUMNS; column++) {
            struct bench_series *series = series_of(&tallies[i], column);
            series->figures = calloc(runs, sizeof(double));
            if (series->figures == NULL)
                return false;
        }
    }
    /* Alternated, so that a slow minute of the machine falls on all rows of
     * a group alike and their ratios stand. */
    while ((group = next_group(tallies, count, group)) != NULL)
        for (unsigned round = 0; round < runs; round++)
            clean &=
                measure_round(tallies, count, group, progress, round, runs);
    if (progress != NULL)
        fprintf(progress, "\r\033[K");
    for (size_t i = 0; i < count; i++)
        for (unsigned column = 0; column < COLUMNS; column++)
            series_close(series_of(&tallies[i], column));
    return clean;
}
