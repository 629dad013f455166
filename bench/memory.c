/* memory: what is resident: for a live object, at a full collection's peak,
 * of what was freed, and in a process that does little. */
#include "harness.h"
#include "objects.h"
#include "replay.h"
#include "row.h"
#include "work.h"

#define OBJECTS 5000000u
/* Objects that a right slot may name, so that edges go everywhere at hand. */
#define WINDOW 4096u

/* A chain through the left slots keeps all alive from one reference; each
 * right slot names one of the latest objects, so that a collection has a
 * graph to walk, not a list. */
static struct pair *
make_graph(size_t count)
{
    struct pair *window[WINDOW];
    struct pair *latest = NULL;
    for (size_t i = 0; i < count; i++) {
        struct pair *next = bench_pair();
        if (i >= WINDOW)
            gyre_slot_set(&next->head, &next->right,
                          &window[bench_random(WINDOW)]->head);
        if (latest != NULL)
            gyre_slot_move(&next->head, &next->left, &latest->head);
        window[i % WINDOW] = next;
        latest = next;
    }
    return latest;
}

static double
run_object2(void)
{
    uint64_t before = bench_rss(), after;
    struct gyre_thread *self = bench_heap();
    struct pair *graph = make_graph(OBJECTS);
    after = bench_rss();
    bench_expect_live(self->heap, OBJECTS);
    if (gyre_reference_count(&graph->head) != 1)
        bench_fail("the graph's head is not ours");
    return (double)(after - before) / OBJECTS;
}

static double
run_full_collection_peak(void)
{
    uint64_t before = bench_rss(), peak;
    struct gyre_thread *self = bench_heap();
    make_graph(OBJECTS);
    if (gyre_collect(self->heap, GYRE_GEN_OLD) != GYRE_OK)
        bench_fail("the collection failed");
    peak = bench_rss_peak();
    bench_expect_live(self->heap, OBJECTS);
    return (double)(peak - before) / OBJECTS;
}

static double
replay_peak(const char *collector)
{
    struct bench_program program;
    bench_replay(collector, &program);
    return bench_program_number(&program, "peak_rss_bytes") / (1 << 20);
}

static double
run_replay_peak(void)
{
    return replay_peak("concurrent");
}

static double
run_replay_peak_stop(void)
{
    return replay_peak("stop");
}

static const struct bench_row rows[] = {
    {.name = "object2",
     .unit = "bytes/object",
     .what = "resident, 5 million live objects of 2 slots",
     .run = run_object2,
     .goal = 32.5},
    {.name = "full_collection_peak",
     .unit = "bytes/object",
     .what = "resident at the peak, while these are collected in full",
     .run = run_full_collection_peak,
     .goal = 42},
    {.name = "held_same_thread",
     .unit = "MiB",
     .what = "more than before, of 260 MiB of 64-byte blocks that their thread "
             "freed, after a second in which the process is idle",
     .work = BENCH_WORK(held_same_thread),
     .threads = 1,
     .together = true,
     .goal = 8},
    {.name = "held_owner_exited",
     .unit = "MiB",
     .what = "the same, another thread having freed them after theirs exited",
     .work = BENCH_WORK(held_owner_exited),
     .threads = 1,
     .together = true,
     .goal = 8},
    {.name = "held_one_in_64",
     .unit = "MiB",
     .what = "the same for sizes 16 to 512, freed in random order but for one "
             "of 64, after an explicit trim",
     .work = BENCH_WORK(held_one_in_64),
     .threads = 1,
     .together = true,
     .goal = 66},
    {.name = "small_process",
     .unit = "MiB",
     .what = "resident in all of a process with 1000 objects of 32 bytes and "
             "as many blocks",
     .work = BENCH_WORK(small_process),
     .threads = 1,
     .together = true,
     .goal = 4},
    {.name = "replay_peak",
     .unit = "MiB",
     .what = "resident at the peak of throughput.replay",
     .run = run_replay_peak,
     .goal = 1.25,
     .base = "replay_peak_stop",
     .needs = BENCH_REPLAY,
     .set = "collector"},
    {.name = "replay_peak_stop",
     .unit = "MiB",
     .what = "and of throughput.replay_stop",
     .run = run_replay_peak_stop,
     .needs = BENCH_REPLAY,
     .set = "collector"},
};

const struct bench_group bench_memory = BENCH_GROUP("memory", rows);
