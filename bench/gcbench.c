/* gcbench: GCBench over gyre, beside libgc. See gcbench.h.
 *
 * Over gyre it is written as a runtime would: references move into slots,
 * and dropping a tree's root frees it by counts. Automatic collection is on:
 * it looks for cycles, of which there are none. */
#include "gcbench.h"

#include <stdio.h>

#include "harness.h"
#include "objects.h"
#include "program.h"
#include "row.h"

#define LIBGC "gyre-bench-libgc"

/* Two slots, two integers. */
struct tree {
    struct gyre_object head;
    struct gyre_slot left, right;
    int i, j;
};
static const uint32_t tree_slots[] = {offsetof(struct tree, left),
                                      offsetof(struct tree, right)};
static struct gyre_type tree_type = {
    .name = "tree",
    .size = sizeof(struct tree),
    .slots = tree_slots,
    .slot_count = 2,
};

static struct tree *
tree_new(void)
{
    struct tree *tree = GYRE_NEW(struct tree, &tree_type);
    if (GYRE_UNLIKELY(tree == NULL))
        bench_fail("out of memory");
    return tree;
}

static void
populate(struct gyre_thread *self, int depth, struct tree *tree)
{
    struct tree *left, *right;
    if (depth <= 0)
        return;
    gyre_safepoint(self);
    left = tree_new();
    gyre_slot_move(&tree->head, &tree->left, &left->head);
    right = tree_new();
    gyre_slot_move(&tree->head, &tree->right, &right->head);
    populate(self, depth - 1, left);
    populate(self, depth - 1, right);
}

static struct tree *
make_tree(struct gyre_thread *self, int depth)
{
    struct tree *tree, *left, *right;
    if (depth <= 0)
        return tree_new();
    gyre_safepoint(self);
    left = make_tree(self, depth - 1);
    right = make_tree(self, depth - 1);
    tree = tree_new();
    gyre_slot_move(&tree->head, &tree->left, &left->head);
    gyre_slot_move(&tree->head, &tree->right, &right->head);
    return tree;
}

static void
construct(struct gyre_thread *self, int depth)
{
    for (size_t n = gcbench_trees(depth); n > 0; n--) {
        struct tree *tree = tree_new();
        populate(self, depth, tree);
        gyre_decref(&tree->head);
    }
    for (size_t n = gcbench_trees(depth); n > 0; n--)
        gyre_decref(&make_tree(self, depth)->head);
}

static size_t
tree_count(const struct gyre_object *obj)
{
    const struct tree *tree = (const struct tree *)obj;
    return tree == NULL ? 0
                        : 1 + tree_count(gyre_slot_peek(&tree->left)) +
                              tree_count(gyre_slot_peek(&tree->right));
}

static void
gcbench(struct gyre_thread *self)
{
    struct tree *long_lived;
    double *array;
    gyre_decref(&make_tree(self, GCBENCH_STRETCH)->head);
    long_lived = tree_new();
    populate(self, GCBENCH_LONG_LIVED, long_lived);
    array = gyre_mem_calloc(GCBENCH_ARRAY, sizeof *array);
    if (array == NULL)
        bench_fail("out of memory");
    for (size_t i = 0; i < GCBENCH_ARRAY / 2; i++)
        array[i] = 1.0 / (double)(i + 1);
    for (int depth = GCBENCH_LEAST; depth <= GCBENCH_MOST; depth += 2)
        construct(self, depth);
    if (tree_count(&long_lived->head) !=
            gcbench_tree_size(GCBENCH_LONG_LIVED) ||
        array[1000] != 1.0 / 1001)
        bench_fail("what lived long has changed");
    gyre_mem_free(array);
    gyre_decref(&long_lived->head);
}

static void *
further_main(void *heap)
{
    struct gyre_thread *self = bench_attach(heap);
    gcbench(self);
    gyre_thread_leave(self);
    return NULL;
}

/* ---- rows ---- */

struct outcome {
    double seconds, mib;
};

static struct outcome
over_gyre(const char *options, unsigned threads)
{
    pthread_t ids[GCBENCH_THREADS_MOST];
    struct gyre_thread *self;
    struct outcome outcome;
    uint64_t start;
    bench_unpin();
    if (gyre_type_ready(&tree_type) != GYRE_OK)
        bench_fail("type tree");
    self = bench_heap_with(options);
    start = bench_now_all();
    for (unsigned i = 1; i < threads; i++)
        ids[i] = bench_thread(further_main, self->heap);
    gcbench(self);
    for (unsigned i = 1; i < threads; i++)
        bench_join(self, ids[i]);
    outcome.seconds = (double)(bench_now_all() - start) / 1e9;
    outcome.mib = (double)bench_rss_peak() / (1 << 20);
    gyre_quiesce(self->heap);
    bench_expect_live(self->heap, 0);
    return outcome;
}

static struct outcome
over_libgc(unsigned threads)
{
    struct bench_program program;
    char number[16];
    char *arguments[] = {LIBGC, number, NULL};
    bool cpu = bench_settings.clock == BENCH_CPU;
    snprintf(number, sizeof number, "%u", threads);
    bench_unpin();
    bench_program_run(arguments, &program);
    return (struct outcome){
        bench_program_number(&program, cpu ? "cpu_seconds" : "seconds"),
        bench_program_number(&program, "peak_bytes") / (1 << 20)};
}

static double
concurrent(unsigned threads)
{
    return over_gyre("gc.concurrent=1", threads).seconds;
}

static double
concurrent_peak(unsigned threads)
{
    return over_gyre("gc.concurrent=1", threads).mib;
}

static double
stop(unsigned threads)
{
    return over_gyre("gc.concurrent=0", threads).seconds;
}

static double
stop_peak(unsigned threads)
{
    return over_gyre("gc.concurrent=0", threads).mib;
}

static double
libgc(unsigned threads)
{
    return over_libgc(threads).seconds;
}

static double
libgc_peak(unsigned threads)
{
    return over_libgc(threads).mib;
}

/* A row of time and one of memory for each number of threads. */
#define BESIDE_LIBGC(title, count, what_it_does, function, limit)    \
    {                                                                \
        .name = title "/" #count, .unit = "s", .what = what_it_does, \
        .work = {.gyre = function}, .threads = count, .goal = limit, \
        .base = "libgc/" #count, .needs = LIBGC, .set = "collector"  \
    }
#define MEMORY_BESIDE_LIBGC(title, count, what_it_does, function, limit) \
    {                                                                    \
        .name = title "/" #count, .unit = "MiB", .what = what_it_does,   \
        .work = {.gyre = function}, .threads = count, .goal = limit,     \
        .base = "libgc_peak/" #count, .needs = LIBGC, .set = "collector" \
    }

static const struct bench_row rows[] = {
    BESIDE_LIBGC("", 1, "GCBench by a thread, gc.concurrent", concurrent, 0.7),
    BESIDE_LIBGC("", 2, "by two threads, all of it each", concurrent, 0.7),
    BESIDE_LIBGC("stop", 1, "the same, collected in stops", stop, 0),
    BESIDE_LIBGC("stop", 2, "the same by two threads", stop, 0),
    {.name = "libgc/1",
     .unit = "s",
     .what = "the same over libgc",
     .work = {.gyre = libgc},
     .threads = 1,
     .needs = LIBGC,
     .set = "collector"},
    {.name = "libgc/2",
     .unit = "s",
     .what = "the same by two threads",
     .work = {.gyre = libgc},
     .threads = 2,
     .needs = LIBGC,
     .set = "collector"},
    MEMORY_BESIDE_LIBGC("peak", 1, "resident at the peak of gcbench/1",
                        concurrent_peak, 1),
    MEMORY_BESIDE_LIBGC("peak", 2, "and of gcbench/2", concurrent_peak, 1),
    MEMORY_BESIDE_LIBGC("stop_peak", 1, "and of gcbench.stop/1", stop_peak, 0),
    MEMORY_BESIDE_LIBGC("stop_peak", 2, "and of gcbench.stop/2", stop_peak, 0),
    {.name = "libgc_peak/1",
     .unit = "MiB",
     .what = "and of gcbench.libgc/1",
     .work = {.gyre = libgc_peak},
     .threads = 1,
     .needs = LIBGC,
     .set = "collector"},
    {.name = "libgc_peak/2",
     .unit = "MiB",
     .what = "and of gcbench.libgc/2",
     .work = {.gyre = libgc_peak},
     .threads = 2,
     .needs = LIBGC,
     .set = "collector"},
};

const struct bench_group bench_gcbench = BENCH_GROUP("gcbench", rows);
