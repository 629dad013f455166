/* The registry of rows, and how their figures compare. */
#include "row.h"

#include <stdlib.h>
#include <string.h>

#include "program.h"

extern const struct bench_group bench_refcount, bench_slot, bench_safepoint,
    bench_handover, bench_memory, bench_alloc, bench_collect, bench_scan,
    bench_chain, bench_pause, bench_throughput, bench_gcbench, bench_overhead;

static const struct bench_group *const groups[] = {
    &bench_refcount, &bench_slot,       &bench_safepoint, &bench_handover,
    &bench_memory,   &bench_alloc,      &bench_collect,   &bench_scan,
    &bench_chain,    &bench_throughput, &bench_gcbench,   &bench_overhead,
    &bench_pause,
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

void
bench_name_in(const struct bench_group *group, const char *row, char *name)
{
    snprintf(name, BENCH_NAME, "%s%s%s", group->name, row[0] == '/' ? "" : ".",
             row);
}

void
bench_full_name(const struct bench_tally *tally, char *name)
{
    bench_name_in(tally->group, tally->row->name, name);
}

const struct bench_row *
bench_row_of(const struct bench_tally *tallies, size_t count, const char *name)
{
    for (size_t i = 0; i < count; i++) {
        char full[BENCH_NAME];
        bench_full_name(&tallies[i], full);
        if (strcmp(full, name) == 0)
            return tallies[i].row;
    }
    return NULL;
}

static const struct bench_tally *
base_of(const struct bench_tally *tallies, size_t count,
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

/* The whole name, or what is before its number of threads. */
static bool
names_row(const struct bench_tally *tally, const char *name)
{
    size_t length = strlen(name);
    char full[BENCH_NAME];
    bench_full_name(tally, full);
    return strncmp(full, name, length) == 0 &&
           (full[length] == '\0' || full[length] == '/');
}

bool
bench_select(struct bench_tally *tallies, size_t count, const char *name)
{
    bool found = false;
    for (size_t i = 0; i < count; i++) {
        struct bench_tally *tally = &tallies[i];
        const char *set = tally->row->set;
        bool in_all = set == NULL && !tally->group->apart;
        if ((in_all && strcmp(name, "all") == 0) ||
            (set != NULL && strcmp(name, set) == 0) ||
            strcmp(name, tally->group->name) == 0) {
            tally->selected = found = true;
        } else if (names_row(tally, name)) {
            const struct bench_tally *base = base_of(tallies, count, tally);
            tally->selected = found = true;
            if (base != NULL)
                tallies[base - tallies].selected = true;
        }
    }
    return found;
}

void
bench_leave_out(struct bench_tally *tallies, size_t count)
{
    const char *told = NULL;
    for (size_t i = 0; i < count; i++) {
        const char *needs = tallies[i].row->needs;
        if (!tallies[i].selected || needs == NULL ||
            bench_program_is_there(needs))
            continue;
        tallies[i].selected = false;
        if (told == NULL || strcmp(told, needs) != 0)
            fprintf(stderr,
                    "gyre-bench: rows that need %s are left out: it is not "
                    "built\n",
                    needs);
        told = needs;
    }
}

bool
bench_needs_peers(const struct bench_tally *tallies, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (tallies[i].selected && tallies[i].row->work.malloc != NULL)
            return true;
    return false;
}

/* ---- comparison ---- */

static bool
reaches(const struct bench_row *row, double figure, double goal)
{
    return row->more ? figure >= goal : figure <= goal;
}

/* The peer with the best median, or NULL. */
static const struct bench_series *
best_peer(const struct bench_tally *tally)
{
    const struct bench_series *best = NULL;
    for (size_t i = 0; i < BENCH_PEERS; i++) {
        const struct bench_series *peer = &tally->peers[i];
        if (peer->runs > 0 && !bench_peers[i].is_gyre &&
            (best == NULL || reaches(tally->row, peer->median, best->median)))
            best = peer;
    }
    return best;
}

static void
judge_goals(const struct bench_row *row, double figure,
            struct bench_verdict *verdict)
{
    bool compares = verdict->beside != NULL;
    verdict->met = true;
    if (row->base != NULL) {
        verdict->has_goal = row->goal > 0 && compares;
        verdict->met = compares && reaches(row, verdict->factor, row->goal);
        return;
    }
    if (row->goal > 0) {
        verdict->has_goal = true;
        verdict->met = reaches(row, figure, row->goal) ||
                       (row->excess > 0 && compares &&
                        figure - verdict->beside_median <= row->excess);
    }
    if (row->peer_goal > 0 && compares) {
        verdict->has_goal = true;
        verdict->met &= reaches(row, verdict->factor, row->peer_goal);
    }
}

struct bench_verdict
bench_judge(const struct bench_tally *tallies, size_t count,
            const struct bench_tally *tally)
{
    const struct bench_tally *base = base_of(tallies, count, tally);
    const struct bench_series *beside = best_peer(tally);
    struct bench_verdict verdict = {.beside = NULL};
    if (tally->own.runs == 0)
        return verdict;
    if (base != NULL && base->own.runs > 0) {
        beside = &base->own;
        verdict.beside = base->row->name;
    } else if (tally->beside[0].runs > 0) {
        beside = &tally->beside[0];
        verdict.beside = tally->group->beside[0];
    } else if (beside != NULL) {
        verdict.beside = bench_peers[beside - tally->peers].name;
    }
    if (verdict.beside != NULL && beside->median > 0) {
        verdict.beside_median = beside->median;
        verdict.factor = tally->own.median / beside->median;
    } else {
        verdict.beside = NULL;
    }
    judge_goals(tally->row, tally->own.median, &verdict);
    return verdict;
}
