/* gyre-stress: puts a real program's heap through gyre.
 *
 * Reads a heap snapshot, builds it again as gyre objects, and lets threads
 * work on it while an oracle knows what must be alive. docs/stress.md. */
#include <argp.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "arguments.h"
#include "latency.h"
#include "run.h"
#include "snapshot.h"
#include "tune.h"

const char *argp_program_version = "gyre-stress of gyre 0.1.0";

enum {
    OPTION_ROUNDS = 256,
    OPTION_SEED,
    OPTION_MIX,
    OPTION_COPIES,
    OPTION_VERIFY,
    OPTION_JSON,
    OPTION_OPTIONS,
    OPTION_PATIENCE,
    OPTION_COLLECTOR
};

static const struct argp_option argp_options[] = {
    {"threads", 't', "N", 0, "threads that work on the heap (2)", 0},
    {"seconds", 's', "S", 0, "how long (10)", 0},
    {"rounds", OPTION_ROUNDS, "R", 0,
     "how often the heap is built, worked on and torn down", 0},
    {"seed", OPTION_SEED, "X", 0, "repeat the choices of another run", 0},
    {"mix", OPTION_MIX, "NAME", 0,
     "private, handover, shared, weak, finalize, cut, churn or all (all)", 0},
    {"copies", OPTION_COPIES, NULL, 0, "a copy of the heap for each thread", 0},
    {"verify", OPTION_VERIFY, NULL, 0,
     "compare every count and check every structure at quiescent points", 0},
    {"json", OPTION_JSON, NULL, 0, "print the report as one JSON object", 0},
    {"options", OPTION_OPTIONS, "LIST", 0,
     "options of the heap, \"name=value,name=value\"", 0},
    {"collector", OPTION_COLLECTOR, "MODE", 0,
     "concurrent or stop: how the heap is collected (concurrent)", 0},
    {"patience", OPTION_PATIENCE, "S", 0,
     "seconds without any progress that count as a failure (120)", 0},
    {0}};

static error_t
parse(int key, char *arg, struct argp_state *state)
{
    struct settings *set = state->input;
    switch (key) {
    case 't':
        set->threads =
            (unsigned)argument_number(state, arg, 1, THREADS_MOST, "--threads");
        return 0;
    case 's':
        set->seconds = argument_seconds(state, arg, "--seconds");
        return 0;
    case OPTION_ROUNDS:
        set->rounds = argument_number(state, arg, 1, UINT64_MAX, "--rounds");
        return 0;
    case OPTION_SEED:
        set->seed = argument_number(state, arg, 0, UINT64_MAX, "--seed");
        return 0;
    case OPTION_MIX:
        if (!mix_by_name(arg, &set->mix))
            argp_error(state, "--mix: there is no '%s'", arg);
        set->mix_name = arg;
        return 0;
    case OPTION_COPIES:
        set->copies = true;
        return 0;
    case OPTION_VERIFY:
        set->verify = true;
        return 0;
    case OPTION_JSON:
        set->json = true;
        return 0;
    case OPTION_OPTIONS:
        set->options = arg;
        return 0;
    case OPTION_PATIENCE:
        set->patience =
            (unsigned)argument_number(state, arg, 1, 1u << 20, "--patience");
        return 0;
    case OPTION_COLLECTOR:
        set->concurrent = strcmp(arg, "concurrent") == 0;
        if (!set->concurrent && strcmp(arg, "stop") != 0)
            argp_error(state,
                       "--collector: '%s' is neither concurrent nor "
                       "stop",
                       arg);
        return 0;
    case ARGP_KEY_ARG:
        if (state->arg_num == 0 && strcmp(arg, "tune") == 0)
            argp_error(state, "'tune' comes before its options");
        else if (state->arg_num == 0 && strcmp(arg, "latency") == 0)
            argp_error(state, "'latency' comes before its options");
        else if (state->arg_num == 0 && strcmp(arg, "replay") != 0)
            argp_error(state, "there is no command '%s'", arg);
        else if (state->arg_num == 1)
            set->heap_file = arg;
        else if (state->arg_num > 1)
            argp_error(state, "one heap at a time");
        return 0;
    case ARGP_KEY_END:
        if (set->heap_file == NULL)
            argp_error(state, "replay what? Name a heap snapshot");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp argp = {
    argp_options,
    parse,
    "replay HEAP\ntune HEAP\nlatency",
    "Build a V8 heap snapshot (.heapsnapshot or .gz) as gyre objects, let "
    "threads work on it, and compare with an oracle. To measure what "
    "the memory options buy with such a heap: gyre-stress tune --help; how "
    "long a program is held up: gyre-stress latency --help.\v"
    "Exit status: 0 clean, 1 failed, 2 wrong usage or input.",
    NULL,
    NULL,
    NULL};

/* ---- a replay, or another command ---- */

static int
replay(int argc, char **argv)
{
    int status;
    run.settings = (struct settings){.threads = 2,
                                     .mix = MIX_ALL,
                                     .mix_name = "all",
                                     .concurrent = true,
                                     .patience = 120,
                                     .seed = argument_seed()};
    argp_parse(&argp, argc, argv, 0, NULL, &run.settings);
    if (run.settings.seconds == 0 && run.settings.rounds == 0)
        run.settings.seconds = 10;
    if (!snapshot_load(run.settings.heap_file, &run.graph))
        return STATUS_BAD_INPUT;
    if (!replay_make())
        return STATUS_BAD_INPUT;
    if (!run.settings.json)
        fprintf(stderr, "gyre-stress: seed %" PRIu64 "\n", run.settings.seed);
    oracle_on_failure = report_failure;
    report_create();
    if (!replay_work())
        return 1;
    report_progress_end();
    replay_end();
    status = report_print();
    replay_unmake();
    return status;
}

int
main(int argc, char **argv)
{
    argp_err_exit_status = STATUS_BAD_INPUT;
    if (argc > 1 && strcmp(argv[1], "tune") == 0) {
        /* argp names the program in its messages by the first argument */
        static char name[] = "gyre-stress tune";
        argv[1] = name;
        return tune(argc - 1, argv + 1);
    }
    if (argc > 1 && strcmp(argv[1], "latency") == 0) {
        static char name[] = "gyre-stress latency";
        argv[1] = name;
        return latency(argc - 1, argv + 1);
    }
    return replay(argc, argv);
}
