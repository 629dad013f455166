/* Comparing measured settings, and choosing one.
 *
 * A setting's throughput is the mean over its cells of the logarithm of its
 * ratio to another's, so that each load and number of threads counts alike,
 * whatever its unit; memory is a ratio of sums, as bytes add up. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tune.h"

/* Settings closer than this are equal to a user, whatever the noise. */
#define TOLERANCE_LEAST 0.01
/* With more noise than this the choice is a guess. */
#define TOLERANCE_POOR 0.08
/* When there is one run of each, and so no spread to see. */
#define TOLERANCE_UNKNOWN 0.03
/* Less memory saved is no reason to change an option. */
#define SAVING_LEAST 0.08
/* Speed that may be given for it, when noise hides whether it is. */
#define LOSS_MOST 0.02
/* And of the best, when there is one. */
#define LOSS_OF_BEST 0.05
#define LOG_LEAST 1e-9

/* ---- cells ---- */

typedef double (*figure_fn)(const struct measurement *run);

static double
figure_throughput(const struct measurement *run)
{
    return run->throughput;
}

static double
figure_peak(const struct measurement *run)
{
    return (double)run->peak;
}

static double
figure_end(const struct measurement *run)
{
    return (double)run->end;
}

static double
figure_memory(const struct measurement *run)
{
    return (double)run->peak + (double)run->end;
}

static double
figure_p50(const struct measurement *run)
{
    return (double)run->p50;
}

static double
figure_p99(const struct measurement *run)
{
    return (double)run->p99;
}

static double
figure_p999(const struct measurement *run)
{
    return (double)run->p999;
}

static double
figure_refills(const struct measurement *run)
{
    return run->allocations == 0
               ? 0
               : (double)run->refills * 1e6 / (double)run->allocations;
}

static int
compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static unsigned
sorted(const struct cell *cell, figure_fn figure, double *values)
{
    for (unsigned i = 0; i < cell->runs; i++)
        values[i] = figure(&cell->run[i]);
    qsort(values, cell->runs, sizeof *values, compare);
    return cell->runs;
}

static double
median(const struct cell *cell, figure_fn figure)
{
    double values[TUNE_RUNS_MOST];
    unsigned count = sorted(cell, figure, values);
    if (count == 0)
        return 0;
    return (values[(count - 1) / 2] + values[count / 2]) / 2;
}

struct summary
tune_summary(const struct cell *cell)
{
    double values[TUNE_RUNS_MOST];
    unsigned count = sorted(cell, figure_throughput, values);
    return (struct summary){.throughput = median(cell, figure_throughput),
                            .slowest = count ? values[0] : 0,
                            .fastest = count ? values[count - 1] : 0,
                            .peak = median(cell, figure_peak),
                            .end = median(cell, figure_end),
                            .p50 = median(cell, figure_p50),
                            .p99 = median(cell, figure_p99),
                            .p999 = median(cell, figure_p999),
                            .refills = median(cell, figure_refills)};
}

/* ---- points ---- */

static double
log_ratio(double value, double base)
{
    return value > LOG_LEAST && base > LOG_LEAST ? log(value / base) : 0;
}

double
tune_throughput(const struct tune *tune, const struct point *point,
                const struct point *base, unsigned threads)
{
    double sum = 0;
    unsigned cells = 0;
    for (unsigned t = 0; t < tune->thread_counts; t++) {
        if (threads != tune->thread_counts && threads != t)
            continue;
        for (enum load l = 0; l < LOAD_COUNT; l++) {
            if (!tune_has_cell(tune, l, t))
                continue;
            sum += log_ratio(median(&point->cells[l][t], figure_throughput),
                             median(&base->cells[l][t], figure_throughput));
            cells++;
        }
    }
    return cells ? sum / cells : 0;
}

double
tune_memory(const struct tune *tune, const struct point *point,
            const struct point *base)
{
    double sum = 0, base_sum = 0;
    for (unsigned t = 0; t < tune->thread_counts; t++) {
        for (enum load l = 0; l < LOAD_COUNT; l++) {
            sum += median(&point->cells[l][t], figure_memory);
            base_sum += median(&base->cells[l][t], figure_memory);
        }
    }
    return log_ratio(sum, base_sum);
}

struct line
tune_line(const struct tune *tune, const struct point *point)
{
    struct line line = {0, 0, 0, 0};
    unsigned cells = 0;
    for (unsigned t = 0; t < tune->thread_counts; t++) {
        for (enum load l = 0; l < LOAD_COUNT; l++) {
            struct summary s = tune_summary(&point->cells[l][t]);
            if (point->cells[l][t].runs == 0)
                continue;
            line.peak += s.peak;
            line.end += s.end;
            line.p99 += log(s.p99 > 1 ? s.p99 : 1);
            line.refills += log(s.refills > 0.1 ? s.refills : 0.1);
            cells++;
        }
    }
    if (cells == 0)
        return line;
    line.peak /= cells;
    line.end /= cells;
    line.p99 = exp(line.p99 / cells);
    line.refills = exp(line.refills / cells);
    return line;
}

/* How much a run's throughput of this load and number of threads varies: the
 * standard deviation of its logarithm, 0 when no cell ran twice. From the
 * median of the differences between runs of a cell, which a few runs that
 * something got in the way of do not move. */
static double
deviation(const struct tune *tune, enum load l, unsigned t)
{
    double differences[TUNE_POINTS_MOST * TUNE_RUNS_MOST];
    unsigned count = 0;
    for (unsigned i = 0; i < tune->point_count; i++) {
        const struct cell *cell = &tune->points[i].cells[l][t];
        for (unsigned k = 1; k < cell->runs; k++)
            differences[count++] = fabs(log_ratio(cell->run[k].throughput,
                                                  cell->run[k - 1].throughput));
    }
    if (count == 0)
        return 0;
    qsort(differences, count, sizeof *differences, compare);
    /* of normal errors half of the differences are below 0.954 of one */
    return differences[count / 2] / 0.954;
}

double
tune_noise(const struct tune *tune, enum tune_stage stage)
{
    double sum = 0, tolerance;
    unsigned cells = 0, runs = 0, points = 0;
    for (unsigned t = 0; t < tune->thread_counts; t++) {
        for (enum load l = 0; l < LOAD_COUNT; l++) {
            double of_run = deviation(tune, l, t);
            if (!tune_has_cell(tune, l, t))
                continue;
            sum += of_run * of_run;
            cells++;
            for (unsigned i = 0; i < tune->point_count; i++) {
                if (tune->points[i].stage == stage)
                    runs += tune->points[i].cells[l][t].runs;
            }
        }
    }
    for (unsigned i = 0; i < tune->point_count; i++)
        points += tune->points[i].stage == stage && !tune->points[i].refused;
    if (sum == 0 || runs == 0)
        return TOLERANCE_UNKNOWN;
    /* three standard errors of a difference: many settings are compared, and
     * the best of many equals looks better than it is */
    tolerance = 3 * sqrt(2 * sum / cells * points / runs);
    return tolerance > TOLERANCE_LEAST ? tolerance : TOLERANCE_LEAST;
}

static double
least_of(double a, double b)
{
    return a < b ? a : b;
}

unsigned
tune_pick(const struct tune *tune, const unsigned *points, unsigned count,
          unsigned base)
{
    const struct point *from = &tune->points[base];
    double best = 0, slowest, least;
    unsigned pick = base;
    for (unsigned i = 0; i < count; i++) {
        double speed = tune_throughput(tune, &tune->points[points[i]], from,
                                       tune->thread_counts);
        if (speed > best)
            best = speed;
    }
    if (best > tune->tolerance) {
        /* `base` is left for speed; of what is as fast, the smallest */
        slowest = best - least_of(tune->tolerance, LOSS_OF_BEST);
        least = INFINITY;
    } else {
        /* for memory, if that costs nothing that can be seen */
        slowest = -least_of(tune->tolerance, LOSS_MOST);
        least = -SAVING_LEAST;
    }
    for (unsigned i = 0; i < count; i++) {
        const struct point *point = &tune->points[points[i]];
        double memory = tune_memory(tune, point, from);
        if (memory < least && tune_throughput(tune, point, from,
                                              tune->thread_counts) >= slowest) {
            pick = points[i];
            least = memory;
        }
    }
    return pick;
}

/* ---- the confirming stage ---- */

/* Quantiles of Student's distribution, 97.5 %, by degrees of freedom. */
static const double student[] = {0,     12.71, 4.303, 3.182,
                                 2.776, 2.571, 2.447, 2.365};

static struct gain
gain_of(const double *log_ratios, unsigned count)
{
    double sum = 0, squares = 0, mean, half = INFINITY;
    for (unsigned i = 0; i < count; i++)
        sum += log_ratios[i];
    mean = count ? sum / count : 0;
    for (unsigned i = 0; i < count; i++)
        squares += (log_ratios[i] - mean) * (log_ratios[i] - mean);
    if (count >= 2)
        half = student[count - 1] * sqrt(squares / (count - 1) / count);
    return (struct gain){exp(mean) - 1, exp(mean - half) - 1,
                         exp(mean + half) - 1};
}
_Static_assert(sizeof student / sizeof student[0] >= TUNE_RUNS_MOST,
               "a quantile for each number of pairs");

struct gain
tune_cell_gain(const struct cell *candidate, const struct cell *preset)
{
    double logs[TUNE_RUNS_MOST];
    for (unsigned i = 0; i < candidate->runs; i++)
        logs[i] =
            log_ratio(candidate->run[i].throughput, preset->run[i].throughput);
    return gain_of(logs, candidate->runs);
}

/* Pair by pair: the mean of the cells' log ratios, or the log ratio of their
 * sums. */
static struct gain
gain_of_all(const struct tune *tune, const struct point *candidate,
            const struct point *preset, figure_fn figure, bool summed)
{
    double logs[TUNE_RUNS_MOST] = {0};
    for (unsigned i = 0; i < tune->pairs; i++) {
        double sum = 0, base = 0, ratios = 0;
        unsigned cells = 0;
        for (unsigned t = 0; t < tune->thread_counts; t++) {
            for (enum load l = 0; l < LOAD_COUNT; l++) {
                const struct cell *a = &candidate->cells[l][t];
                const struct cell *b = &preset->cells[l][t];
                if (i >= a->runs || i >= b->runs)
                    continue;
                sum += figure(&a->run[i]);
                base += figure(&b->run[i]);
                ratios += log_ratio(figure(&a->run[i]), figure(&b->run[i]));
                cells++;
            }
        }
        if (cells > 0)
            logs[i] = summed ? log_ratio(sum, base) : ratios / cells;
    }
    return gain_of(logs, tune->pairs);
}

/* A word about a machine that cannot tell much. */
static const char *
noise_hint(const struct tune *tune)
{
    if (tune->tolerance < TOLERANCE_POOR)
        return "";
    return tune->processor_time
               ? " The noise is high: an idle machine or more time may say "
                 "more."
               : " The noise is high: an idle machine, more time or --clock "
                 "cpu may say more.";
}

static void
say_why(const struct tune *tune, struct verdict *verdict)
{
    bool faster = verdict->throughput.low > 0;
    bool slower = verdict->throughput.high < 0;
    bool smaller =
        (verdict->peak.high < 0 && verdict->peak.mean < -SAVING_LEAST) ||
        (verdict->end.high < 0 && verdict->end.mean < -SAVING_LEAST);
    /* a wide interval must not hide a loss */
    smaller = smaller && verdict->throughput.mean > -LOSS_MOST;
    verdict->keep = slower || (!faster && !smaller);
    if (slower)
        snprintf(verdict->why, sizeof verdict->why,
                 "The best of the sweep lost when it was measured again, in "
                 "pairs with the defaults: keep the defaults.");
    else if (verdict->keep)
        snprintf(verdict->why, sizeof verdict->why,
                 "The best of the sweep gains nothing beyond noise when it is "
                 "measured in pairs with the defaults: keep the defaults.%s",
                 noise_hint(tune));
    else if (faster && smaller)
        snprintf(verdict->why, sizeof verdict->why,
                 "Faster than the defaults, and smaller, both beyond noise.");
    else if (faster)
        snprintf(verdict->why, sizeof verdict->why,
                 "Faster than the defaults, beyond noise.");
    else
        snprintf(verdict->why, sizeof verdict->why,
                 "As fast as the defaults as far as noise tells, and smaller "
                 "beyond noise.");
}

void
tune_judge(struct tune *tune)
{
    struct verdict *verdict = &tune->verdict;
    const struct point *candidate, *preset;
    candidate = tune_find(tune, TUNE_CONFIRM, &verdict->candidate);
    preset = tune_find(tune, TUNE_CONFIRM, &tune->preset);
    verdict->measured = candidate != NULL && candidate != preset;
    if (!verdict->measured) {
        verdict->keep = true;
        snprintf(verdict->why, sizeof verdict->why,
                 "Nothing that was measured is faster than the defaults "
                 "beyond noise, or as fast with less memory: keep them.%s",
                 noise_hint(tune));
        return;
    }
    verdict->throughput =
        gain_of_all(tune, candidate, preset, figure_throughput, false);
    verdict->peak = gain_of_all(tune, candidate, preset, figure_peak, true);
    verdict->end = gain_of_all(tune, candidate, preset, figure_end, true);
    verdict->p99 = gain_of_all(tune, candidate, preset, figure_p99, false);
    verdict->refills =
        gain_of_all(tune, candidate, preset, figure_refills, true);
    say_why(tune, verdict);
}
