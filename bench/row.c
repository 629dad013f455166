/* The registry of rows, their medians, and how they are printed. */
#include "row.h"

#include <stdlib.h>
#include <string.h>

#include "harness.h"

extern const struct bench_group bench_refcount, bench_slot, bench_safepoint,
    bench_handover, bench_memory, bench_alloc, bench_collect, bench_scan,
    bench_chain;

static const struct bench_group *const groups[] = {
    &bench_refcount, &bench_slot,   &bench_safepoint,
    &bench_handover, &bench_memory, &bench_alloc,
    &bench_collect,  &bench_scan,   &bench_chain,
};
#define GROUPS (sizeof groups / sizeof groups[0])

/* ---- selection ---- */

struct bench_tally *
bench_tallies(size_t *count)
{
    struct bench_tally *tallies;
    size_t total = 0, at = 0;
    for (size_t g = 0; g < GROUPS; g++)
        total += groups[g]->count;
    tallies = calloc(total, sizeof *tallies);
    if (tallies == NULL)
        return NULL;
    for (size_t g = 0; g < GROUPS; g++) {
        for (size_t r = 0; r < groups[g]->count; r++, at++) {
            tallies[at].group = groups[g];
            tallies[at].row = &groups[g]->rows[r];
        }
    }
    *count = total;
    return tallies;
}

const struct bench_tally *
bench_base_of(const struct bench_tally *tallies, size_t count,
              const struct bench_tally *tally)
{
    if (tally->row->base == NULL)
        return NULL;
    for (size_t i = 0; i < count; i++)
        if (tallies[i].group == tally->group &&
            strcmp(tallies[i].row->name, tally->row->base) == 0)
            return &tallies[i];
    return NULL;
}

static bool
names_row(const struct bench_tally *tally, const char *name)
{
    size_t length = strlen(tally->group->name);
    return strncmp(name, tally->group->name, length) == 0 &&
           name[length] == '.' &&
           strcmp(name + length + 1, tally->row->name) == 0;
}

bool
bench_select(struct bench_tally *tallies, size_t count, const char *name)
{
    bool found = false;
    for (size_t i = 0; i < count; i++) {
        struct bench_tally *tally = &tallies[i];
        if (strcmp(name, "all") == 0 || strcmp(name, tally->group->name) == 0) {
            tally->selected = found = true;
        } else if (names_row(tally, name)) {
            const struct bench_tally *base =
                bench_base_of(tallies, count, tally);
            tally->selected = found = true;
            if (base != NULL)
                tallies[base - tallies].selected = true;
        }
    }
    return found;
}

/* ---- runs ---- */

static int
compare_figures(const void *left, const void *right)
{
    double a = *(const double *)left, b = *(const double *)right;
    return (a > b) - (a < b);
}

static void
tally_close(struct bench_tally *tally)
{
    unsigned runs = tally->runs;
    double *sorted = malloc((runs + 1) * sizeof *sorted);
    if (runs == 0 || sorted == NULL) {
        free(sorted);
        return;
    }
    memcpy(sorted, tally->figures, runs * sizeof *sorted);
    qsort(sorted, runs, sizeof *sorted, compare_figures);
    tally->min = sorted[0];
    tally->max = sorted[runs - 1];
    tally->median = (sorted[(runs - 1) / 2] + sorted[runs / 2]) / 2;
    free(sorted);
}

/* One run of each selected row of a group. */
static bool
measure_round(struct bench_tally *tallies, size_t count,
              const struct bench_group *group, FILE *progress, unsigned round,
              unsigned rounds)
{
    bool clean = true;
    for (size_t i = 0; i < count; i++) {
        struct bench_tally *tally = &tallies[i];
        char reason[sizeof tally->failure];
        double figure;
        if (!tally->selected || tally->group != group)
            continue;
        if (progress != NULL)
            fprintf(progress, "\r\033[Kround %u of %u: %s.%s", round + 1,
                    rounds, group->name, tally->row->name);
        if (bench_run_in_child(tally->row->run, &figure, reason,
                               sizeof reason)) {
            tally->figures[tally->runs++] = figure;
        } else {
            memcpy(tally->failure, reason, sizeof reason);
            clean = false;
        }
    }
    return clean;
}

bool
bench_measure(struct bench_tally *tallies, size_t count, unsigned runs,
              FILE *progress)
{
    bool clean = true;
    for (size_t i = 0; i < count; i++) {
        tallies[i].figures = calloc(runs, sizeof(double));
        if (tallies[i].figures == NULL)
            return false;
    }
    /* Alternated, so that a slow minute of the machine falls on all rows of
     * a group alike and their ratios stand. */
    for (size_t g = 0; g < GROUPS; g++)
        for (unsigned round = 0; round < runs; round++)
            clean &=
                measure_round(tallies, count, groups[g], progress, round, runs);
    if (progress != NULL)
        fprintf(progress, "\r\033[K");
    for (size_t i = 0; i < count; i++)
        tally_close(&tallies[i]);
    return clean;
}

/* ---- printing ---- */

static bool
has_ratio(const struct bench_tally *tally, const struct bench_tally *base)
{
    return base != NULL && base->runs > 0 && tally->runs > 0 &&
           base->median > 0;
}

void
bench_print_json(FILE *to, const struct bench_tally *tally,
                 const struct bench_tally *base)
{
    fprintf(to,
            "{\"bench\":\"%s.%s\",\"unit\":\"%s\",\"median\":%.4f,"
            "\"min\":%.4f,\"max\":%.4f,\"runs\":%u",
            tally->group->name, tally->row->name, tally->row->unit,
            tally->median, tally->min, tally->max, tally->runs);
    if (has_ratio(tally, base))
        fprintf(to, ",\"peer\":\"%s.%s\",\"peer_median\":%.4f,\"ratio\":%.4f",
                base->group->name, base->row->name, base->median,
                tally->median / base->median);
    fputc('}', to);
}

static void
print_goal(FILE *to, const struct bench_tally *tally,
           const struct bench_tally *base)
{
    const struct bench_row *row = tally->row;
    double figure = tally->median;
    if (row->base != NULL) {
        if (!has_ratio(tally, base))
            return;
        figure /= base->median;
        fprintf(to, "  %.2f x %s", figure, row->base);
        if (row->goal > 0)
            fprintf(to, ", goal %.2f", row->goal);
    } else if (row->goal > 0) {
        fprintf(to, "  goal %g", row->goal);
    }
    if (row->goal > 0)
        fputs(figure <= row->goal ? ": met" : ": missed", to);
}

static void
print_row(FILE *to, const struct bench_tally *tally,
          const struct bench_tally *base)
{
    char name[64];
    snprintf(name, sizeof name, "%s.%s", tally->group->name, tally->row->name);
    if (tally->runs == 0) {
        fprintf(to, "%-28s failed: %s\n", name, tally->failure);
        return;
    }
    fprintf(to, "%-28s %9.2f %9.2f %9.2f  %-13s", name, tally->median,
            tally->min, tally->max, tally->row->unit);
    print_goal(to, tally, base);
    if (tally->failure[0] != '\0')
        fprintf(to, "  (%u runs; others failed: %s)", tally->runs,
                tally->failure);
    fputc('\n', to);
}

void
bench_print_table(FILE *to, const struct bench_tally *tallies, size_t count)
{
    fprintf(to, "%-28s %9s %9s %9s  %-13s  %s\n", "bench", "median", "min",
            "max", "unit", "beside it, and the goal");
    for (size_t i = 0; i < count; i++)
        if (tallies[i].selected)
            print_row(to, &tallies[i],
                      bench_base_of(tallies, count, &tallies[i]));
}

void
bench_print_list(FILE *to, const struct bench_tally *tallies, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const struct bench_row *row = tallies[i].row;
        char name[64];
        snprintf(name, sizeof name, "%s.%s", tallies[i].group->name, row->name);
        fprintf(to, "%-28s %-13s %s", name, row->unit, row->what);
        if (row->goal > 0 && row->base != NULL)
            fprintf(to, " (at most %.2f x %s)", row->goal, row->base);
        else if (row->goal > 0)
            fprintf(to, " (at most %g)", row->goal);
        fputc('\n', to);
    }
}
