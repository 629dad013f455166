/* `gyre-stress tune`: the command. See tune.h. */
#include "tune.h"

#include <argp.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <gyre/config.h>

#include "arguments.h"
#include "progress.h"
#include "run.h"
#include "snapshot.h"
#include "trial.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#else
#define SANITIZED 0
#endif

#define OPTIONS_MOST 600    /* characters */
#define BUDGET_PRESET 300.0 /* seconds, when no time is given at all */

/* ---- arguments ---- */

enum {
    OPTION_SEED = 256,
    OPTION_BUDGET,
    OPTION_HTML,
    OPTION_CLOCK,
    OPTION_JSON,
    OPTION_OPTIONS
};

static const struct argp_option argp_options[] = {
    {"threads", 't', "LIST", 0,
     "numbers of threads to measure with, \"1,2,4\" (1, the processors there "
     "are, and powers of two between)",
     0},
    {"seconds", 's', "S", 0, "length of one measurement (by the budget)", 0},
    {"budget", OPTION_BUDGET, "S", 0,
     "seconds that all of it may take (300; no limit with --seconds)", 0},
    {"clock", OPTION_CLOCK, "NAME", 0,
     "what throughput is by: wall, or cpu, the processor time of the process, "
     "for a machine that others use too (wall)",
     0},
    {"seed", OPTION_SEED, "X", 0, "repeat the choices of another run", 0},
    {"options", OPTION_OPTIONS, "LIST", 0,
     "options that every measurement gets and that are not tuned, "
     "\"name=value,name=value\"",
     0},
    {"json", OPTION_JSON, "FILE", 0, "write all figures there", 0},
    {"html", OPTION_HTML, "FILE", 0,
     "write a page with plots there, which needs nothing else to be read", 0},
    {0}};

static void
parse_threads(struct tune *tune, char *text, struct argp_state *state)
{
    char *rest = NULL;
    tune->thread_counts = 0;
    for (char *part = strtok_r(text, ",", &rest); part != NULL;
         part = strtok_r(NULL, ",", &rest)) {
        unsigned threads = (unsigned)argument_number(state, part, 1,
                                                     THREADS_MOST, "--threads");
        unsigned at = tune->thread_counts;
        if (at == TUNE_THREADS_MOST)
            argp_error(state, "--threads: at most %d numbers",
                       TUNE_THREADS_MOST);
        if (at > 0 && threads <= tune->threads[at - 1])
            argp_error(state, "--threads: the numbers must rise");
        tune->threads[at] = threads;
        tune->thread_counts++;
    }
    if (tune->thread_counts == 0)
        argp_error(state, "--threads: no number");
}

static error_t
parse(int key, char *arg, struct argp_state *state)
{
    struct tune *tune = state->input;
    switch (key) {
    case 't':
        parse_threads(tune, arg, state);
        return 0;
    case 's':
        tune->seconds = argument_seconds(state, arg, "--seconds");
        return 0;
    case OPTION_BUDGET:
        tune->budget = argument_seconds(state, arg, "--budget");
        return 0;
    case OPTION_CLOCK:
        if (strcmp(arg, "wall") != 0 && strcmp(arg, "cpu") != 0)
            argp_error(state, "--clock: there is no '%s'", arg);
        tune->processor_time = strcmp(arg, "cpu") == 0;
        return 0;
    case OPTION_SEED:
        tune->seed = argument_number(state, arg, 0, UINT64_MAX, "--seed");
        return 0;
    case OPTION_OPTIONS:
        tune->options = arg;
        return 0;
    case OPTION_JSON:
        tune->json_file = arg;
        return 0;
    case OPTION_HTML:
        tune->html_file = arg;
        return 0;
    case ARGP_KEY_ARG:
        if (state->arg_num > 0)
            argp_error(state, "one heap at a time");
        tune->heap_file = arg;
        return 0;
    case ARGP_KEY_END:
        if (tune->heap_file == NULL)
            argp_error(state, "tune with what? Name a heap snapshot");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp argp = {
    argp_options,
    parse,
    "HEAP",
    "Measure what the memory options of a heap buy on this machine, by the "
    "replay of a V8 heap snapshot and by mixes of allocations, and recommend "
    "a GYRE_OPTIONS line.\v"
    "Exit status: 0 done, 1 a measurement failed, 2 wrong usage or input.",
    NULL,
    NULL,
    NULL};

/* ---- what it needs, and what it leaves ---- */

/* Powers of two up to the processors, and their number. */
static void
preset_threads(struct tune *tune)
{
    unsigned processors = tune->machine.processors, threads = 1;
    unsigned most = processors < THREADS_MOST ? processors : THREADS_MOST;
    for (; threads < most && tune->thread_counts < TUNE_THREADS_MOST - 1;
         threads *= 2)
        tune->threads[tune->thread_counts++] = threads;
    tune->threads[tune->thread_counts++] = most;
}

/* Which knobs `options` names; false, told: it names the one that is swept,
 * or gyre refuses it. */
static bool
read_options(struct tune *tune)
{
    const char *at = tune->options;
    char reason[200];
    if (strlen(at) > OPTIONS_MOST) {
        fprintf(stderr, "gyre-stress: --options is too long\n");
        return false;
    }
    if (!trial_options(tune->options, reason, sizeof reason)) {
        fprintf(stderr, "gyre-stress: options of the heap: %s\n", reason);
        return false;
    }
    while (*at != '\0') {
        size_t length;
        at += strspn(at, " \t\n,");
        length = strcspn(at, " \t\n=,");
        for (enum knob k = 0; k < KNOB_COUNT; k++) {
            const char *name = gyre_option_info(knob_option[k])->name;
            if (strlen(name) == length && strncmp(at, name, length) == 0)
                tune->fixed[k] = true;
        }
        at += strcspn(at, ",");
    }
    if (tune->fixed[KNOB_THREAD_CACHE]) {
        fprintf(stderr, "gyre-stress: --options: memory.thread_cache is what "
                        "is tuned; leave it out\n");
        return false;
    }
    return true;
}

/* A report that cannot be written is better known before the measurements. */
static bool
can_write(const char *file)
{
    FILE *out;
    if (file == NULL)
        return true;
    out = fopen(file, "ae");
    if (out == NULL) {
        fprintf(stderr, "gyre-stress: cannot write %s: %s\n", file,
                strerror(errno));
        return false;
    }
    fclose(out);
    return true;
}

static bool
prepare(struct tune *tune)
{
    time_t now = time(NULL);
    struct tm utc;
    if (tune->thread_counts == 0)
        preset_threads(tune);
    if (tune->budget == 0 && tune->seconds == 0)
        tune->budget = BUDGET_PRESET;
    for (enum knob k = 0; k < KNOB_COUNT; k++)
        tune->preset.value[k] = gyre_option_info(knob_option[k])->preset;
    strftime(tune->date, sizeof tune->date, "%Y-%m-%d %H:%M UTC",
             gmtime_r(&now, &utc));
    if (!can_write(tune->json_file) || !can_write(tune->html_file) ||
        (tune->html_file != NULL && !tune_page_possible()) ||
        !read_options(tune) || !snapshot_load(tune->heap_file, &run.graph))
        return false;
    tune->node_count = run.graph.node_count;
    tune->edge_count = run.graph.edge_count;
    tune->points = calloc(TUNE_POINTS_MOST, sizeof *tune->points);
    if (tune->points == NULL)
        fprintf(stderr, "gyre-stress: no memory\n");
    return tune->points != NULL;
}

static void
warn(void)
{
    if (getenv("GYRE_OPTIONS") != NULL)
        fprintf(stderr, "gyre-stress: GYRE_OPTIONS of the environment is set "
                        "aside; --options is for what is to stay\n");
    if (GYRE_CHECKING || GYRE_HARDENED || GYRE_YIELD || SANITIZED)
        fprintf(stderr, "gyre-stress: this build checks itself; only figures "
                        "of a release build say anything\n");
}

static bool
write_reports(const struct tune *tune)
{
    tune_report_table(tune, stdout);
    fflush(stdout);
    if (tune->json_file != NULL) {
        FILE *out = fopen(tune->json_file, "we");
        if (out == NULL)
            return can_write(tune->json_file);
        tune_report_json(tune, out);
        if (fclose(out) != 0) {
            fprintf(stderr, "gyre-stress: cannot write %s: %s\n",
                    tune->json_file, strerror(errno));
            return false;
        }
    }
    return tune->html_file == NULL || tune_page_write(tune);
}

/* What is recommended must be what gyre takes. */
static bool
recommended_is_taken(const struct tune *tune)
{
    char options[1024], reason[200];
    tune_options_text(tune, &tune->verdict.candidate, options, sizeof options);
    if (trial_options(options, reason, sizeof reason))
        return true;
    fprintf(stderr, "gyre-stress: GYRE_OPTIONS=\"%s\" is refused: %s\n",
            options, reason);
    return false;
}

int
tune(int argc, char **argv)
{
    static struct tune tune = {.options = ""};
    bool done;
    tune.seed = argument_seed();
    machine_describe(&tune.machine);
    argp_parse(&argp, argc, argv, 0, NULL, &tune);
    if (!prepare(&tune))
        return STATUS_BAD_INPUT;
    warn();
    fprintf(stderr, "gyre-stress: seed %" PRIu64 "\n", tune.seed);
    tune_plan_begin();
    if (!tune_calibrate(&tune))
        return 1;
    if (!tune_plan(&tune))
        return STATUS_BAD_INPUT;
    done = tune_sweep(&tune) && tune_vary(&tune) && tune_confirm(&tune);
    progress_end();
    tune.took = tune_elapsed();
    if (done) {
        tune_judge(&tune);
        done = recommended_is_taken(&tune) && write_reports(&tune);
    }
    free(tune.points);
    graph_free(&run.graph);
    return done ? 0 : 1;
}
