/* The stages of `tune`, and the measurements that they are made of. See
 * tune.h. */
#include "tune.h"

#include <stdio.h>
#include <string.h>

#include "progress.h"
#include "random.h"
#include "trial.h"

/* What a stage may run over what was planned, rather than be cut short. */
#define BUDGET_SLACK 1.1
#define CALIBRATION_SECONDS 0.05

/* ---- one measurement ---- */

static const char *const stage_names[] = {"cache sizes", "other options",
                                          "against the defaults"};

/* False: the program ends, the reason has been told. */
static bool
measure(struct tune *tune, unsigned number, enum load load, unsigned threads,
        uint64_t seed, struct measurement *out)
{
    struct point *point = &tune->points[number];
    char options[1024];
    struct trial trial = {.load = load,
                          .threads = tune->threads[threads],
                          .pinned = tune->threads[threads] <=
                                    tune->machine.processors,
                          .seconds = tune->seconds,
                          .rounds = tune->rounds[threads],
                          .seed = seed,
                          .processor_time = tune->processor_time,
                          .options = options};
    tune_options_text(tune, &point->setting, options, sizeof options);
    progress_show(stage_names[point->stage], load_info[load].name,
                  tune->threads[threads], options);
    tune->measurements++;
    if (trial_measure(&trial, out))
        return true;
    progress_end();
    fprintf(stderr,
            "gyre-stress: %s, %u thread%s, GYRE_OPTIONS=\"%s\": failed: %s\n",
            load_info[load].name, trial.threads, trial.threads == 1 ? "" : "s",
            options, out->reason);
    return out->refused;
}

struct job {
    unsigned point, threads;
    enum load load;
};

static void
shuffle(struct job *jobs, unsigned count, uint64_t seed)
{
    for (unsigned i = count; i > 1; i--) {
        unsigned k = random_below(&seed, i);
        struct job job = jobs[i - 1];
        jobs[i - 1] = jobs[k];
        jobs[k] = job;
    }
}

/* Every cell of these points once more, in random order, so that a slow
 * minute of the machine falls on all alike. */
static bool
run_pass(struct tune *tune, const unsigned *points, unsigned count,
         unsigned pass)
{
    struct job jobs[TUNE_POINTS_MOST * LOAD_COUNT * TUNE_THREADS_MOST];
    unsigned job_count = 0;
    uint64_t seed = random_hash(tune->seed, pass + 1);
    for (unsigned i = 0; i < count; i++) {
        for (unsigned t = 0; t < tune->thread_counts; t++) {
            for (enum load l = 0; l < LOAD_COUNT; l++) {
                if (tune_has_cell(tune, l, t))
                    jobs[job_count++] = (struct job){points[i], t, l};
            }
        }
    }
    shuffle(jobs, job_count, seed);
    for (unsigned i = 0; i < job_count; i++) {
        struct point *point = &tune->points[jobs[i].point];
        struct cell *cell = &point->cells[jobs[i].load][jobs[i].threads];
        if (point->refused)
            continue;
        if (!measure(tune, jobs[i].point, jobs[i].load, jobs[i].threads, seed,
                     &cell->run[cell->runs]))
            return false;
        if (cell->run[cell->runs].ok)
            cell->runs++;
        else
            point->refused = true;
        progress_step();
    }
    return true;
}

/* As many passes as planned, and as the budget still allows when `reserve`
 * seconds are kept for what comes after. */
static bool
run_passes(struct tune *tune, const unsigned *points, unsigned count,
           double reserve)
{
    for (unsigned pass = 0; pass < tune->passes; pass++) {
        double next = count * tune_pass_seconds(tune, tune->seconds);
        if (pass > 0 && tune->budget > 0 &&
            tune_elapsed() + next + reserve > BUDGET_SLACK * tune->budget) {
            progress_drop((tune->passes - pass) * count * tune_cells(tune));
            break;
        }
        if (!run_pass(tune, points, count, pass))
            return false;
    }
    return true;
}

/* Those of which memory was refused are out. */
static unsigned
kept(const struct tune *tune, unsigned *points, unsigned count)
{
    unsigned left = 0;
    for (unsigned i = 0; i < count; i++) {
        if (!tune->points[points[i]].refused)
            points[left++] = points[i];
    }
    return left;
}

/* ---- the stages ---- */

/* Each cell once with the defaults: warms the machine up and says what a
 * measurement takes. Its figures are not used. */
bool
tune_calibrate(struct tune *tune)
{
    double asked = tune->seconds;
    unsigned point = tune_add(tune, TUNE_SIZES, &tune->preset, KNOB_COUNT);
    bool done = true;
    tune->seconds = CALIBRATION_SECONDS;
    for (unsigned t = 0; t < tune->thread_counts && done; t++) {
        tune->rounds[t] = 1;
        for (enum load l = 0; l < LOAD_COUNT && done; l++) {
            struct measurement out;
            double begin = tune_elapsed();
            if (!tune_has_cell(tune, l, t))
                continue;
            done = measure(tune, point, l, t, tune->seed, &out) && out.ok;
            tune_plan_learn(l, t, tune_elapsed() - begin, &out);
        }
    }
    tune->seconds = asked;
    tune->point_count = tune->measurements = 0;
    return done;
}

bool
tune_sweep(struct tune *tune)
{
    unsigned points[TUNE_POINTS_MOST], count = 0, preset = 0;
    double pass = tune_pass_seconds(tune, tune->seconds);
    double reserve = 2 * tune->pairs * pass;
    for (unsigned i = 0; i < tune->point_count; i++) {
        points[count++] = i;
        if (tune_same(&tune->points[i].setting, &tune->preset))
            preset = i;
    }
    if (tune->knobs)
        reserve += tune_variants(tune, &tune->preset, NULL, NULL) * pass;
    if (!run_passes(tune, points, count, reserve))
        return false;
    count = kept(tune, points, count);
    tune->tolerance = tune_noise(tune, TUNE_SIZES);
    tune->best_size = tune_pick(tune, points, count, preset);
    tune->verdict.candidate = tune->points[tune->best_size].setting;
    return !tune->points[preset].refused;
}

/* Each other option alone; what gains goes into the candidate together. */
bool
tune_vary(struct tune *tune)
{
    struct setting best = tune->verdict.candidate;
    struct setting settings[TUNE_VARIANTS_MOST];
    enum knob varied[TUNE_VARIANTS_MOST];
    unsigned points[1 + TUNE_VARIANTS_MOST], count, base, others;
    if (!tune->knobs)
        return true;
    base = points[0] = tune_add(tune, TUNE_KNOBS, &best, KNOB_COUNT);
    count = 1;
    others = tune_variants(tune, &best, settings, varied);
    for (unsigned i = 0; i < others; i++)
        points[count++] = tune_add(tune, TUNE_KNOBS, &settings[i], varied[i]);
    if (!run_passes(tune, points, count,
                    2 * tune->pairs * tune_pass_seconds(tune, tune->seconds)))
        return false;
    count = kept(tune, points, count);
    tune->tolerance = tune_noise(tune, TUNE_KNOBS);
    for (enum knob k = 0; k < KNOB_COUNT; k++) {
        unsigned of_knob[TUNE_VARIANTS_MOST], of_count = 0, pick;
        for (unsigned i = 0; i < count; i++) {
            if (tune->points[points[i]].varied == k)
                of_knob[of_count++] = points[i];
        }
        pick = tune_pick(tune, of_knob, of_count, base);
        tune->verdict.candidate.value[k] = tune->points[pick].setting.value[k];
    }
    return true;
}

/* The candidate against the defaults: pairs, by turns one and the other
 * first. */
bool
tune_confirm(struct tune *tune)
{
    unsigned pair[2];
    unsigned done = 0;
    if (tune_same(&tune->verdict.candidate, &tune->preset))
        return true;
    pair[0] = tune_add(tune, TUNE_CONFIRM, &tune->preset, KNOB_COUNT);
    pair[1] =
        tune_add(tune, TUNE_CONFIRM, &tune->verdict.candidate, KNOB_COUNT);
    for (; done < tune->pairs; done++) {
        uint64_t seed = random_hash(tune->seed, 1000 + done);
        for (unsigned t = 0; t < tune->thread_counts; t++) {
            for (enum load l = 0; l < LOAD_COUNT; l++) {
                for (unsigned i = 0; i < 2; i++) {
                    unsigned which = pair[(i + done + l) % 2];
                    struct cell *cell = &tune->points[which].cells[l][t];
                    if (!tune_has_cell(tune, l, t))
                        continue;
                    if (!measure(tune, which, l, t, seed,
                                 &cell->run[cell->runs]) ||
                        !cell->run[cell->runs].ok)
                        return false;
                    cell->runs++;
                    progress_step();
                }
            }
        }
    }
    return true;
}
