/* The plan of `tune`: which settings there are, what a measurement takes,
 * and how much of it fits in the time. See tune.h. */
#include "tune.h"

#include <inttypes.h>
#include <string.h>

#include "progress.h"
#include "run.h"

const enum gyre_option knob_option[KNOB_COUNT] = {
    [KNOB_THREAD_CACHE] = GYRE_OPT_MEMORY_THREAD_CACHE,
    [KNOB_CLASS_CACHE] = GYRE_OPT_MEMORY_CLASS_CACHE,
    [KNOB_HEAP_CACHE] = GYRE_OPT_MEMORY_HEAP_CACHE,
    [KNOB_RETURN_DELAY] = GYRE_OPT_MEMORY_RETURN_DELAY,
    [KNOB_ARENA] = GYRE_OPT_MEMORY_ARENA,
    [KNOB_HUGE_PAGES] = GYRE_OPT_MEMORY_HUGE_PAGES,
    [KNOB_NUMA] = GYRE_OPT_MEMORY_NUMA,
};

/* ---- the grid ---- */

#define KIB UINT64_C(1024)
#define MIB (UINT64_C(1024) * 1024)

/* Bytes of memory.thread_cache; the preset is put in its place among them. */
static const uint64_t sizes[] = {0,         64 * KIB, 128 * KIB, 256 * KIB,
                                 512 * KIB, 1 * MIB,  2 * MIB,   4 * MIB,
                                 8 * MIB,   16 * MIB, 32 * MIB,  64 * MIB};
#define SIZES (sizeof sizes / sizeof sizes[0])

/* Values of the other options, each tried alone. memory.class_cache goes in
 * parts of memory.thread_cache, and is not here. */
static const struct {
    enum knob knob;
    uint64_t value;
} variants[] = {
    {KNOB_HEAP_CACHE, 0},
    {KNOB_HEAP_CACHE, 4 * MIB},
    {KNOB_HEAP_CACHE, 32 * MIB},
    {KNOB_HEAP_CACHE, 256 * MIB},
    {KNOB_RETURN_DELAY, 0},
    {KNOB_RETURN_DELAY, 20},
    {KNOB_RETURN_DELAY, 2000},
    {KNOB_ARENA, 16 * MIB},
    {KNOB_ARENA, 64 * MIB},
    {KNOB_HUGE_PAGES, 0},
    {KNOB_HUGE_PAGES, 1},
    {KNOB_NUMA, 0},
    {KNOB_NUMA, 1},
};
#define VARIANTS (sizeof variants / sizeof variants[0])
_Static_assert(4 + VARIANTS <= TUNE_VARIANTS_MOST &&
                   SIZES + 1 + 1 + 4 + VARIANTS + 2 <= TUNE_POINTS_MOST,
               "room for all points");

/* How much is measured; the first that the time allows is taken. */
static const struct level {
    unsigned stride; /* every such size */
    unsigned passes; /* runs of each cell in the first two stages */
    bool knobs;
    unsigned pairs; /* in the last */
} levels[] = {
    {1, 3, true, 7},  {1, 2, true, 6},  {2, 2, true, 5},
    {3, 2, false, 4}, {4, 1, false, 2},
};
#define LEVELS (sizeof levels / sizeof levels[0])
/* A level with shorter measurements than this is left for the next one. */
#define SECONDS_FAIR 0.1

/* Seconds of a measurement, at least and at most, when the budget says. */
#define SECONDS_LEAST 0.02
#define SECONDS_MOST 3.0

/* ---- settings ---- */

bool
tune_has_cell(const struct tune *tune, enum load load, unsigned threads)
{
    return tune->threads[threads] >= load_info[load].threads_least;
}

void
tune_bytes_text(uint64_t bytes, char *text, size_t size)
{
    static const char units[] = "\0kmg";
    unsigned unit = 0;
    while (unit < 3 && bytes != 0 && bytes % 1024 == 0) {
        bytes /= 1024;
        unit++;
    }
    snprintf(text, size, "%" PRIu64 "%.1s", bytes, &units[unit]);
}

void
tune_options_text(const struct tune *tune, const struct setting *setting,
                  char *text, size_t size)
{
    size_t length = (size_t)snprintf(text, size, "%s", tune->options);
    for (enum knob k = 0; k < KNOB_COUNT; k++) {
        const struct gyre_option_info *info = gyre_option_info(knob_option[k]);
        char value[32];
        if (tune->fixed[k] || setting->value[k] == info->preset)
            continue;
        tune_value_text(k, setting->value[k], value, sizeof value);
        if (length < size)
            length +=
                (size_t)snprintf(text + length, size - length, "%s%s=%s",
                                 length > 0 ? "," : "", info->name, value);
    }
}

bool
tune_same(const struct setting *a, const struct setting *b)
{
    return memcmp(a, b, sizeof *a) == 0;
}

const struct point *
tune_find(const struct tune *tune, enum tune_stage stage,
          const struct setting *setting)
{
    for (unsigned i = 0; i < tune->point_count; i++) {
        const struct point *point = &tune->points[i];
        if (point->stage == stage && tune_same(&point->setting, setting))
            return point;
    }
    return NULL;
}

unsigned
tune_add(struct tune *tune, enum tune_stage stage,
         const struct setting *setting, enum knob varied)
{
    struct point *point = &tune->points[tune->point_count];
    if (tune->point_count == TUNE_POINTS_MOST)
        return TUNE_POINTS_MOST - 1;
    point->stage = stage;
    point->setting = *setting;
    point->varied = varied;
    return tune->point_count++;
}

/* The caches of a thread, as large as `bytes` in all: one class may have the
 * same part of it as by default, but not less than a page. */
static struct setting
with_size(const struct tune *tune, uint64_t bytes)
{
    struct setting setting = tune->preset;
    uint64_t whole = tune->preset.value[KNOB_THREAD_CACHE];
    uint64_t part = tune->preset.value[KNOB_CLASS_CACHE];
    uint64_t page = 64 * KIB;
    setting.value[KNOB_THREAD_CACHE] = bytes;
    if (tune->fixed[KNOB_CLASS_CACHE] || bytes == whole)
        return setting;
    part = whole > 0 ? (uint64_t)((double)bytes * (double)part / (double)whole)
                     : bytes / 4;
    part = part / page * page;
    if (part < page)
        part = bytes < page ? bytes : page;
    setting.value[KNOB_CLASS_CACHE] = part;
    return setting;
}

/* ---- time ---- */

/* What a cell takes, by its runs so far: seconds beside what is measured;
 * for the replay, of a round in all. */
static struct {
    double overhead[LOAD_COUNT][TUNE_THREADS_MOST];
    double round[TUNE_THREADS_MOST]; /* measured seconds of a round */
    uint64_t begin_ns;
} cost;

void
tune_plan_begin(void)
{
    cost.begin_ns = clock_ns();
}

double
tune_elapsed(void)
{
    return (double)(clock_ns() - cost.begin_ns) / 1e9;
}

void
tune_plan_learn(enum load load, unsigned threads, double took,
                const struct measurement *run)
{
    if (load == LOAD_REPLAY) {
        cost.overhead[load][threads] = took;
        cost.round[threads] = run->seconds > 1e-6 ? run->seconds : 1e-6;
    } else {
        took -= run->seconds;
        cost.overhead[load][threads] = took > 0 ? took : 0;
    }
}

static uint64_t
rounds_for(unsigned threads, double seconds)
{
    double rounds = seconds / cost.round[threads] + 0.5;
    return rounds < 1 ? 1 : (uint64_t)rounds;
}

/* One run of every cell. */
double
tune_pass_seconds(const struct tune *tune, double seconds)
{
    double sum = 0;
    for (unsigned t = 0; t < tune->thread_counts; t++) {
        for (enum load l = 0; l < LOAD_COUNT; l++) {
            if (!tune_has_cell(tune, l, t))
                continue;
            sum += l == LOAD_REPLAY
                       ? cost.overhead[l][t] * (double)rounds_for(t, seconds)
                       : cost.overhead[l][t] + seconds;
        }
    }
    return sum;
}

unsigned
tune_cells(const struct tune *tune)
{
    unsigned cells = 0;
    for (unsigned t = 0; t < tune->thread_counts; t++) {
        for (enum load l = 0; l < LOAD_COUNT; l++)
            cells += tune_has_cell(tune, l, t);
    }
    return cells;
}

/* ---- the plan ---- */

static unsigned
sizes_of(const struct tune *tune, unsigned stride, uint64_t *out)
{
    uint64_t preset = tune->preset.value[KNOB_THREAD_CACHE];
    unsigned count = 0;
    bool placed = false;
    for (unsigned i = 0; i < SIZES; i++) {
        if (!placed && sizes[i] >= preset) {
            out[count++] = preset;
            placed = true;
        }
        if (i % stride == 0 && sizes[i] != preset)
            out[count++] = sizes[i];
    }
    if (!placed)
        out[count++] = preset;
    return count;
}

static bool
variant_counts(const struct tune *tune, enum knob knob, uint64_t value,
               const struct setting *best)
{
    const struct gyre_option_info *info = gyre_option_info(knob_option[knob]);
    return !tune->fixed[knob] && value != best->value[knob] &&
           value >= info->least && value <= info->most &&
           (knob != KNOB_NUMA || tune->machine.nodes > 1);
}

/* The settings next to `best`; `out` may be NULL. */
unsigned
tune_variants(const struct tune *tune, const struct setting *best,
              struct setting *out, enum knob *varied)
{
    uint64_t whole = best->value[KNOB_THREAD_CACHE];
    const uint64_t parts[] = {whole / 8, whole / 4, whole / 2, whole};
    unsigned count = 0;
    for (unsigned i = 0; i < 4 + VARIANTS; i++) {
        enum knob knob = i < 4 ? KNOB_CLASS_CACHE : variants[i - 4].knob;
        uint64_t value = i < 4 ? parts[i] : variants[i - 4].value;
        if (!variant_counts(tune, knob, value, best) ||
            (i > 0 && i < 4 && parts[i] == parts[i - 1]))
            continue;
        if (out != NULL) {
            out[count] = *best;
            out[count].value[knob] = value;
            varied[count] = knob;
        }
        count++;
    }
    return count;
}

/* Settings measured once each, over all stages. */
static unsigned
settings_of(const struct tune *tune, const struct level *level)
{
    uint64_t list[SIZES + 1];
    unsigned count = sizes_of(tune, level->stride, list) * level->passes;
    if (level->knobs)
        count += (tune_variants(tune, &tune->preset, NULL, NULL) + 1) *
                 level->passes;
    return count + 2 * level->pairs;
}

/* The longest measurement that fits; 0: none does. */
static double
length_for(const struct tune *tune, unsigned settings, double left)
{
    double low = SECONDS_LEAST, high = SECONDS_MOST;
    if (settings * tune_pass_seconds(tune, low) > left)
        return 0;
    for (unsigned i = 0; i < 20; i++) {
        double middle = (low + high) / 2;
        if (settings * tune_pass_seconds(tune, middle) <= left)
            low = middle;
        else
            high = middle;
    }
    return low;
}

static const struct level *
choose_level(struct tune *tune)
{
    double left = tune->budget - tune_elapsed();
    for (unsigned i = 0; i < LEVELS; i++) {
        unsigned settings = settings_of(tune, &levels[i]);
        if (tune->seconds > 0) {
            if (tune->budget == 0 ||
                settings * tune_pass_seconds(tune, tune->seconds) <= left)
                return &levels[i];
        } else {
            double length = length_for(tune, settings, left);
            if (length >= SECONDS_FAIR || (length > 0 && i == LEVELS - 1)) {
                tune->seconds = length;
                return &levels[i];
            }
        }
    }
    return NULL;
}

/* False: the time is not enough; told. */
bool
tune_plan(struct tune *tune)
{
    const struct level *level = choose_level(tune);
    uint64_t list[SIZES + 1];
    unsigned settings;
    if (level == NULL) {
        double least = tune->seconds > 0 ? tune->seconds : SECONDS_LEAST;
        fprintf(stderr,
                "gyre-stress: --budget: %g s are not enough, the least that "
                "says something takes about %.0f s\n",
                tune->budget,
                1 + tune_elapsed() +
                    settings_of(tune, &levels[LEVELS - 1]) *
                        tune_pass_seconds(tune, least));
        return false;
    }
    tune->sizes = sizes_of(tune, level->stride, list);
    tune->passes = level->passes;
    tune->pairs = level->pairs;
    tune->knobs = level->knobs;
    for (unsigned t = 0; t < tune->thread_counts; t++)
        tune->rounds[t] = rounds_for(t, tune->seconds);
    for (unsigned i = 0; i < tune->sizes; i++) {
        struct setting setting = with_size(tune, list[i]);
        tune_add(tune, TUNE_SIZES, &setting, KNOB_COUNT);
    }
    settings = settings_of(tune, level);
    progress_begin(settings * tune_cells(tune),
                   settings * tune_pass_seconds(tune, tune->seconds));
    fprintf(stderr,
            "gyre-stress: %u measurements of %.2g s, about %.0f s in all\n",
            settings * tune_cells(tune), tune->seconds,
            settings * tune_pass_seconds(tune, tune->seconds));
    return true;
}
