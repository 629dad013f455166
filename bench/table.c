/* The tables, the list, and JSON. */
#include "table.h"

#include <string.h>

/* ---- JSON ---- */

static void
print_series(FILE *to, const struct bench_series *series)
{
    fprintf(to, "\"median\":%.4f,\"min\":%.4f,\"max\":%.4f,\"runs\":%u",
            series->median, series->min, series->max, series->runs);
}

static void
print_peers_json(FILE *to, const struct bench_tally *tally)
{
    const char *separator = "";
    fputs(",\"peers\":{", to);
    for (size_t i = 0; i < BENCH_PEERS; i++) {
        if (tally->peers[i].runs == 0)
            continue;
        fprintf(to, "%s\"%s\":{", separator, bench_peers[i].name);
        print_series(to, &tally->peers[i]);
        fputc('}', to);
        separator = ",";
    }
    fputc('}', to);
}

static void
print_beside_json(FILE *to, const struct bench_tally *tally)
{
    const char *separator = "";
    fputs(",\"beside\":{", to);
    for (size_t i = 0; i < BENCH_BESIDE; i++) {
        if (tally->beside[i].runs == 0)
            continue;
        fprintf(to, "%s\"%s\":{", separator, tally->group->beside[i]);
        print_series(to, &tally->beside[i]);
        fputc('}', to);
        separator = ",";
    }
    fputc('}', to);
}

void
bench_print_json(FILE *to, const struct bench_tally *tallies, size_t count,
                 const struct bench_tally *tally)
{
    const struct bench_row *row = tally->row;
    struct bench_verdict verdict = bench_judge(tallies, count, tally);
    char name[BENCH_NAME];
    bench_full_name(tally, name);
    fprintf(to, "{\"bench\":\"%s\",\"unit\":\"%s\",\"better\":\"%s\",", name,
            row->unit, row->more ? "more" : "less");
    print_series(to, &tally->own);
    if (row->work.malloc != NULL)
        print_peers_json(to, tally);
    if (row->part != NULL)
        print_beside_json(to, tally);
    if (verdict.beside != NULL && row->part == NULL) {
        if (row->base == NULL)
            snprintf(name, sizeof name, "%s", verdict.beside);
        else
            bench_name_in(tally->group, verdict.beside, name);
        fprintf(to, ",\"peer\":\"%s\"", name);
        fprintf(to, ",\"peer_median\":%.4f,\"ratio\":%.4f",
                verdict.beside_median, verdict.factor);
    }
    if (row->goal > 0)
        fprintf(to, ",\"%s\":%g", row->base == NULL ? "goal" : "ratio_goal",
                row->goal);
    if (row->peer_goal > 0)
        fprintf(to, ",\"ratio_goal\":%g", row->peer_goal);
    if (row->excess > 0)
        fprintf(to, ",\"excess\":%g", row->excess);
    if (verdict.has_goal)
        fprintf(to, ",\"met\":%s", verdict.met ? "true" : "false");
    fputc('}', to);
}

/* ---- tables ---- */

#define NAME_WIDTH 32

/* What a group measured beside a row. Returns what comes before a goal. */
static const char *
print_beside(FILE *to, const struct bench_tally *tally)
{
    const char *separator = "  ";
    for (size_t i = 0; i < BENCH_BESIDE; i++) {
        if (tally->beside[i].runs == 0)
            continue;
        fprintf(to, "%s%s %.3f (%.3f to %.3f)", separator,
                tally->group->beside[i], tally->beside[i].median,
                tally->beside[i].min, tally->beside[i].max);
        separator = ", ";
    }
    return separator;
}

static void
print_goal(FILE *to, const struct bench_tally *tally,
           const struct bench_verdict *verdict)
{
    const struct bench_row *row = tally->row;
    const char *separator = print_beside(to, tally);
    if (verdict->beside != NULL && row->part == NULL) {
        fprintf(to, "  %.2f x %s", verdict->factor, verdict->beside);
        if (row->base == NULL)
            fprintf(to, " (%.2f)", verdict->beside_median);
        separator = ", ";
    }
    if (!verdict->has_goal)
        return;
    fprintf(to, "%sgoal ", separator);
    if (row->base != NULL)
        fprintf(to, "%.2f x", row->goal);
    else if (row->goal > 0)
        fprintf(to, "%g", row->goal);
    if (row->peer_goal > 0)
        fprintf(to, "%s%.2f x", row->goal > 0 ? " and " : "", row->peer_goal);
    if (row->excess > 0)
        fprintf(to, " or %s + %g", tally->group->beside[0], row->excess);
    fputs(verdict->met ? ": met" : ": missed", to);
}

static void
print_row(FILE *to, const struct bench_tally *tallies, size_t count,
          const struct bench_tally *tally)
{
    const struct bench_series *own = &tally->own;
    struct bench_verdict verdict = bench_judge(tallies, count, tally);
    int digits = tally->row->part != NULL ? 3 : 2;
    char name[BENCH_NAME];
    bench_full_name(tally, name);
    if (own->runs == 0) {
        fprintf(to, "%-*s %s: %s\n", NAME_WIDTH, name,
                tally->left_out != NULL ? "left out" : "failed",
                tally->left_out != NULL ? tally->left_out : own->failure);
        return;
    }
    fprintf(to, "%-*s %9.*f %9.*f %9.*f  %-13s", NAME_WIDTH, name, digits,
            own->median, digits, own->min, digits, own->max, tally->row->unit);
    print_goal(to, tally, &verdict);
    if (own->failure[0] != '\0')
        fprintf(to, "  (%u runs; others failed: %s)", own->runs, own->failure);
    fputc('\n', to);
}

static void
print_peer_figures(FILE *to, const struct bench_tally *tally)
{
    char name[BENCH_NAME];
    bench_full_name(tally, name);
    fprintf(to, "%-*s %9.2f", NAME_WIDTH, name, tally->own.median);
    for (size_t i = 0; i < BENCH_PEERS; i++) {
        if (!bench_peers[i].found)
            continue;
        if (tally->peers[i].runs > 0)
            fprintf(to, " %11.2f", tally->peers[i].median);
        else
            fprintf(to, " %11s", "failed");
    }
    fprintf(to, "  %s\n", tally->row->unit);
    for (size_t i = 0; i < BENCH_PEERS; i++)
        if (tally->peers[i].failure[0] != '\0')
            fprintf(to, "  %s: %u runs; others failed: %s\n",
                    bench_peers[i].name, tally->peers[i].runs,
                    tally->peers[i].failure);
}

static bool
any_peer(void)
{
    for (size_t i = 0; i < BENCH_PEERS; i++)
        if (bench_peers[i].found)
            return true;
    return false;
}

static void
print_peers(FILE *to, const struct bench_tally *tallies, size_t count)
{
    fprintf(to, "\n%-*s %9s", NAME_WIDTH, "medians", BENCH_GYRE);
    for (size_t i = 0; i < BENCH_PEERS; i++)
        if (bench_peers[i].found)
            fprintf(to, " %11s", bench_peers[i].name);
    fputc('\n', to);
    for (size_t i = 0; i < count; i++)
        if (tallies[i].selected && tallies[i].row->work.malloc != NULL)
            print_peer_figures(to, &tallies[i]);
    for (size_t i = 0; i < BENCH_PEERS; i++)
        if (bench_peers[i].found)
            fprintf(to, "%s: %s%s%s\n", bench_peers[i].name,
                    bench_peers[i].version,
                    bench_peers[i].preload[0] == '\0' ? "" : ", ",
                    bench_peers[i].preload);
}

void
bench_print_table(FILE *to, const struct bench_tally *tallies, size_t count)
{
    fprintf(to, "%-*s %9s %9s %9s  %-13s  %s\n", NAME_WIDTH, "bench", "median",
            "min", "max", "unit", "beside it, and the goal");
    for (size_t i = 0; i < count; i++)
        if (tallies[i].selected)
            print_row(to, tallies, count, &tallies[i]);
    if (any_peer())
        print_peers(to, tallies, count);
}

void
bench_print_list(FILE *to, const struct bench_tally *tallies, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const struct bench_row *row = tallies[i].row;
        const char *bound = row->more ? "at least" : "at most";
        char name[BENCH_NAME];
        bench_full_name(&tallies[i], name);
        fprintf(to, "%-*s %-13s %s", NAME_WIDTH, name, row->unit, row->what);
        if (row->goal > 0 && row->base != NULL)
            fprintf(to, " (%s %.2f x %s)", bound, row->goal, row->base);
        else if (row->goal > 0)
            fprintf(to, " (%s %g)", bound, row->goal);
        if (row->excess > 0)
            fprintf(to, " (or %s + %g)", tallies[i].group->beside[0],
                    row->excess);
        if (row->peer_goal > 0)
            fprintf(to, " (%s %.2f x the best peer)", bound, row->peer_goal);
        fputc('\n', to);
    }
}
