/* gyre-bench: all measurements of gyre, by group.
 *
 * Exit status 0 when every run gave a figure, whatever the figure; 1 when a
 * run failed; 2 for wrong usage. */
#include <argp.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <gyre/gyre.h>

#include "harness.h"
#include "record.h"
#include "table.h"

enum {
    OPTION_JSON = 0x100,
    OPTION_RUNS,
    OPTION_PIN,
    OPTION_CLOCK,
    OPTION_RECORD,
    OPTION_TIMEOUT,
    OPTION_PEERS,
    OPTION_SECONDS,
    OPTION_HEAP,
    OPTION_WORKER
};

struct invocation {
    struct bench_tally *tallies;
    size_t count;
    unsigned runs;
    unsigned selected;
    bool json, list;
    const char *record;
    const char *worker; /* column and pipe, when this process is a worker */
    const char *work;   /* and the row it runs */
};

static const struct argp_option options[] = {
    {"json", OPTION_JSON, NULL, 0, "One JSON object a row, one row a line", 0},
    {"runs", OPTION_RUNS, "N", 0, "Runs of each row (7)", 0},
    {"pin", OPTION_PIN, "CPUS", OPTION_ARG_OPTIONAL,
     "CPUs to pin threads to, as 0,1; \"no\": none (all, in order)", 0},
    {"clock", OPTION_CLOCK, "NAME", 0,
     "wall, or cpu: of the measuring thread, for a machine that others use "
     "too (wall)",
     0},
    {"record", OPTION_RECORD, "DIR", 0,
     "Keep the figures, machine and commit in a file there", 0},
    {"timeout", OPTION_TIMEOUT, "S", 0,
     "Seconds after which a run has failed (120; 0: never)", 0},
    {"peers", OPTION_PEERS, "NAMES", 0,
     "Measure beside these allocators, as glibc,mimalloc; \"no\": none (all "
     "that are installed)",
     0},
    {"seconds", OPTION_SECONDS, "S", 0, "What a run of `pause` takes (10)", 0},
    {"heap", OPTION_HEAP, "FILE", 0,
     "A heap snapshot, for the rows of `pause` that drop one", 0},
    {"worker", OPTION_WORKER, "COLUMN,PIPE", OPTION_HIDDEN, NULL, 0},
    {"list", 'l', NULL, 0, "Name groups, sets and rows, with their goals", 0},
    {0}};

static unsigned
number(struct argp_state *state, const char *text, unsigned least,
       unsigned most)
{
    char *end;
    unsigned long value = strtoul(text, &end, 10);
    if (end == text || *end != '\0' || value < least || value > most)
        argp_error(state, "%s: a number from %u to %u is wanted", text, least,
                   most);
    return (unsigned)value;
}

static void
choose_clock(struct argp_state *state, const char *name)
{
    if (strcmp(name, "wall") == 0)
        bench_settings.clock = BENCH_WALL;
    else if (strcmp(name, "cpu") == 0)
        bench_settings.clock = BENCH_CPU;
    else
        argp_error(state, "%s: wall or cpu is wanted", name);
}

static error_t
parse_option(int key, char *arg, struct argp_state *state)
{
    struct invocation *call = state->input;
    switch (key) {
    case OPTION_JSON:
        call->json = true;
        break;
    case OPTION_RUNS:
        call->runs = number(state, arg, 1, 1000000);
        break;
    case OPTION_PIN:
        if (arg != NULL && !bench_settings_pin(arg))
            argp_error(state, "%s: not a list of CPUs this process may use",
                       arg);
        break;
    case OPTION_CLOCK:
        choose_clock(state, arg);
        break;
    case OPTION_RECORD:
        call->record = arg;
        break;
    case OPTION_TIMEOUT:
        bench_settings.timeout_seconds = number(state, arg, 0, 86400);
        break;
    case OPTION_PEERS:
        if (!bench_peers_choose(arg))
            argp_error(state, "%s: no list of peers; see --help", arg);
        break;
    case OPTION_SECONDS:
        bench_settings.seconds = number(state, arg, 1, 3600);
        break;
    case OPTION_HEAP:
        bench_settings.heap_file = arg;
        break;
    case OPTION_WORKER:
        call->worker = arg;
        break;
    case 'l':
        call->list = true;
        break;
    case ARGP_KEY_ARG:
        if (call->worker != NULL)
            call->work = arg;
        else if (!bench_select(call->tallies, call->count, arg))
            argp_error(state, "%s: no such group or row; --list names them",
                       arg);
        call->selected++;
        break;
    case ARGP_KEY_END:
        if (call->selected == 0 && !call->list && call->work == NULL)
            argp_error(state, "name a group, or \"all\"; --list names them");
        break;
    default:
        return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

static const struct argp argp = {
    .options = options,
    .parser = parse_option,
    .args_doc = "GROUP...",
    .doc = "Measure gyre: groups of rows, or single rows as GROUP.ROW. Runs "
           "of a group's rows alternate, each in a process of its own. \"all\" "
           "is everything but the group \"pause\" and the set \"collector\", "
           "which "
           "take some minutes.",
};

static void
print_results(const struct invocation *call)
{
    if (!call->json) {
        bench_print_table(stdout, call->tallies, call->count);
        return;
    }
    for (size_t i = 0; i < call->count; i++) {
        const struct bench_tally *tally = &call->tallies[i];
        if (!tally->selected)
            continue;
        if (tally->left_out != NULL)
            fprintf(stderr, "gyre-bench: %s.%s is left out: %s\n",
                    tally->group->name, tally->row->name, tally->left_out);
        if (tally->own.failure[0] != '\0')
            fprintf(stderr, "gyre-bench: %s.%s failed: %s\n",
                    tally->group->name, tally->row->name, tally->own.failure);
        if (tally->own.runs == 0)
            continue;
        bench_print_json(stdout, call->tallies, call->count, tally);
        putchar('\n');
    }
}

/* One run over one allocator, for the process that started us. */
static void
work(const struct invocation *call)
{
    const struct bench_row *row =
        bench_row_of(call->tallies, call->count, call->work);
    const struct bench_peer *peer;
    char column[32];
    int pipe;
    if (sscanf(call->worker, "%31[^,],%d", column, &pipe) != 2)
        exit(2);
    bench_child_begin(pipe);
    peer = bench_peer_of(column);
    if (peer != NULL && strcmp(call->work, "probe") == 0)
        bench_peer_probe(peer);
    if (row == NULL || row->work.gyre == NULL)
        bench_fail("%s: no such work", call->work);
    if (peer == NULL)
        bench_child_end(row->work.gyre(row->threads), NULL);
    bench_peer_check(peer);
    bench_child_end(row->work.malloc(row->threads), NULL);
}

int
main(int argc, char **argv)
{
    struct invocation call = {.runs = 7};
    bool clean;
    argp_err_exit_status = 2;
    bench_settings_preset();
    call.tallies = bench_tallies(&call.count);
    if (call.tallies == NULL) {
        fprintf(stderr, "gyre-bench: out of memory\n");
        return 1;
    }
    argp_parse(&argp, argc, argv, 0, NULL, &call);
    if (call.work != NULL)
        work(&call);
    if (call.list) {
        bench_print_list(stdout, call.tallies, call.count);
        bench_tallies_free(call.tallies, call.count);
        return 0;
    }
    if (GYRE_CHECKING)
        fprintf(stderr, "gyre-bench: a checking build: the figures say "
                        "nothing about a release\n");
    bench_leave_out(call.tallies, call.count);
    if (bench_needs_peers(call.tallies, call.count))
        bench_peers_find();
    clean = bench_measure(call.tallies, call.count, call.runs,
                          isatty(STDERR_FILENO) ? stderr : NULL);
    print_results(&call);
    if (call.record != NULL && call.record[0] != '\0')
        clean &= bench_record(call.record, call.tallies, call.count);
    bench_tallies_free(call.tallies, call.count);
    return clean ? 0 : 1;
}
