/* refcount: an increment and a decrement, by whom and how often at once.
 *
 * Every loop reaches its counts in the same way, through a pointer that the
 * compiler knows nothing of, with memory clobbered after each operation, so
 * a ratio compares the operations alone. */
#include "harness.h"
#include "objects.h"
#include "row.h"

#define PAIRS 16000000u
#define SHARED_PAIRS 8000000u /* where each is a locked instruction or two */
#define MANY 1024u
#define CONTENDED_NS 40000000u
#define CONTENDED_BATCH 256u

/* What the baselines count in: spaced like objects of 2 slots. */
struct counter {
    uint32_t count;
    uint32_t spacing[7];
};

typedef void (*pairs_fn)(void **counted, uint64_t pairs);

/* ---- the measured loops: one object, and many in turn ---- */

#define PAIR_LOOPS(name, type, up, down)                               \
    static BENCH_LOOP void name##_hot(void **counted, uint64_t pairs)  \
    {                                                                  \
        type *one = counted[0];                                        \
        while (pairs-- > 0) {                                          \
            up(one);                                                   \
            bench_fence();                                             \
            down(one);                                                 \
            bench_fence();                                             \
        }                                                              \
    }                                                                  \
    static BENCH_LOOP void name##_many(void **counted, uint64_t pairs) \
    {                                                                  \
        while (pairs-- > 0) {                                          \
            type *one = counted[pairs % MANY];                         \
            up(one);                                                   \
            bench_fence();                                             \
            down(one);                                                 \
            bench_fence();                                             \
        }                                                              \
    }

/* Load, add, store, each an instruction: the compiler may not fold them. */
static inline void
plain_add(struct counter *counter, uint32_t change)
{
    volatile uint32_t *count = &counter->count;
    uint32_t value = *count;
    __asm__ volatile("" : "+r"(value));
    *count = value + change;
}

static inline void
plain_up(struct counter *counter)
{
    plain_add(counter, 1);
}

static inline void
plain_down(struct counter *counter)
{
    plain_add(counter, UINT32_MAX);
}

static inline void
atomic_up(struct counter *counter)
{
    /* relaxed: only the cost of the instruction is of interest */
    gyre_fetch_add_relaxed(&counter->count, 1);
}

static inline void
atomic_down(struct counter *counter)
{
    /* relaxed: as in atomic_up() */
    gyre_fetch_sub_relaxed(&counter->count, 1);
}

PAIR_LOOPS(plain, struct counter, plain_up, plain_down)
PAIR_LOOPS(atomic, struct counter, atomic_up, atomic_down)
PAIR_LOOPS(object, struct gyre_object, gyre_incref, gyre_decref)

/* ---- timing ---- */

static double
time_pairs(pairs_fn pairs_of, void **counted, uint64_t pairs)
{
    uint64_t start;
    pairs_of(counted, pairs / 8); /* caches and branch predictor */
    start = bench_now();
    pairs_of(counted, pairs);
    return (double)(bench_now() - start) / (double)pairs;
}

static void
make_counters(void **counters)
{
    struct counter *all = bench_map(MANY * sizeof *all);
    for (size_t i = 0; i < MANY; i++)
        counters[i] = &all[i];
}

static void
make_objects(void **objects)
{
    for (size_t i = 0; i < MANY; i++)
        objects[i] = bench_pair();
}

/* Each object must still have the one reference it was born with. */
static void
expect_single(void **objects)
{
    for (size_t i = 0; i < MANY; i++)
        if (gyre_reference_count(objects[i]) != 1)
            bench_fail("object %zu has %lld references instead of 1", i,
                       (long long)gyre_reference_count(objects[i]));
}

static double
run_counters(pairs_fn pairs_of, uint64_t pairs)
{
    void *counters[MANY];
    make_counters(counters);
    return time_pairs(pairs_of, counters, pairs);
}

static double
run_owner(pairs_fn pairs_of)
{
    void *objects[MANY];
    double figure;
    bench_heap();
    make_objects(objects);
    figure = time_pairs(pairs_of, objects, PAIRS);
    expect_single(objects);
    return figure;
}

static double
run_plain(void)
{
    return run_counters(plain_hot, PAIRS);
}

static double
run_plain_1024(void)
{
    return run_counters(plain_many, PAIRS);
}

static double
run_atomic(void)
{
    return run_counters(atomic_hot, SHARED_PAIRS);
}

static double
run_atomic_1024(void)
{
    return run_counters(atomic_many, SHARED_PAIRS);
}

static double
run_owner_hot(void)
{
    return run_owner(object_hot);
}

static double
run_owner_1024(void)
{
    return run_owner(object_many);
}

static double
run_immortal(void)
{
    void *objects[MANY];
    bench_heap();
    make_objects(objects);
    gyre_make_immortal(objects[0]);
    return time_pairs(object_hot, objects, PAIRS);
}

/* ---- by another thread ---- */

struct other {
    struct gyre_heap *heap;
    pairs_fn pairs_of;
    void *objects[MANY];
    double figure;
};

static void *
other_main(void *arg)
{
    struct other *other = arg;
    struct gyre_thread *self = bench_attach(other->heap);
    bench_pin(1);
    other->figure = time_pairs(other->pairs_of, other->objects, SHARED_PAIRS);
    gyre_thread_leave(self);
    return NULL;
}

/* The owner is alive, but detached. */
static double
run_other(pairs_fn pairs_of)
{
    struct gyre_thread *self = bench_heap();
    struct other other = {.heap = self->heap, .pairs_of = pairs_of};
    make_objects(other.objects);
    bench_join(self, bench_thread(other_main, &other));
    expect_single(other.objects);
    return other.figure;
}

static double
run_other_hot(void)
{
    return run_other(object_hot);
}

static double
run_other_1024(void)
{
    return run_other(object_many);
}

static void *
orphan_main(void *arg)
{
    struct other *other = arg;
    struct gyre_thread *self = bench_attach(other->heap);
    make_objects(other->objects);
    gyre_thread_leave(self);
    return NULL;
}

/* We attach before the owner does: its number is not ours afterwards. */
static double
run_orphan(void)
{
    struct gyre_thread *self = bench_heap();
    struct other other = {.heap = self->heap};
    double figure;
    bench_join(self, bench_thread(orphan_main, &other));
    figure = time_pairs(object_hot, other.objects, SHARED_PAIRS);
    expect_single(other.objects);
    return figure;
}

/* ---- two threads on one ---- */

struct contest {
    struct gyre_heap *heap; /* NULL: on counters */
    pairs_fn pairs_of;
    void **counted;
    pthread_barrier_t start;
    int stop; /* atomic */
};

struct contender {
    struct contest *contest;
    int index;
    uint64_t pairs, nanoseconds;
};

/* Pairs in batches, until one of the two has had its time. */
static void
contend(struct contender *own)
{
    struct contest *contest = own->contest;
    uint64_t start = bench_now(), now = start;
    /* relaxed: a hint; a stale zero costs one batch */
    while (gyre_load_relaxed(&contest->stop) == 0) {
        contest->pairs_of(contest->counted, CONTENDED_BATCH);
        own->pairs += CONTENDED_BATCH;
        now = bench_now();
        if (now - start > CONTENDED_NS)
            /* relaxed: nothing else is read by whoever sees it */
            gyre_store_relaxed(&contest->stop, 1);
    }
    own->nanoseconds = now - start;
}

static void *
contender_main(void *arg)
{
    struct contender *own = arg;
    struct gyre_thread *self = NULL;
    bench_pin(own->index);
    if (own->contest->heap != NULL)
        self = bench_attach(own->contest->heap);
    pthread_barrier_wait(&own->contest->start);
    contend(own);
    if (self != NULL)
        gyre_thread_leave(self);
    return NULL;
}

/* Nanoseconds of one thread's time for one of its pairs. */
static double
run_contest(struct contest *contest, struct gyre_thread *self)
{
    struct contender both[2] = {{.contest = contest, .index = 0},
                                {.contest = contest, .index = 1}};
    pthread_t threads[2];
    pthread_barrier_init(&contest->start, NULL, 2);
    for (int i = 0; i < 2; i++)
        threads[i] = bench_thread(contender_main, &both[i]);
    for (int i = 0; i < 2; i++) {
        if (self != NULL)
            bench_join(self, threads[i]);
        else
            pthread_join(threads[i], NULL);
    }
    return (double)(both[0].nanoseconds + both[1].nanoseconds) /
           (double)(both[0].pairs + both[1].pairs);
}

static double
run_contended(void)
{
    void *objects[MANY];
    struct gyre_thread *self = bench_heap();
    struct contest contest = {
        .heap = self->heap, .pairs_of = object_hot, .counted = objects};
    double figure;
    make_objects(objects);
    figure = run_contest(&contest, self);
    expect_single(objects);
    return figure;
}

static double
run_contended_atomic(void)
{
    void *counters[MANY];
    struct contest contest = {.pairs_of = atomic_hot, .counted = counters};
    make_counters(counters);
    return run_contest(&contest, NULL);
}

static const struct bench_row rows[] = {
    {.name = "plain",
     .unit = "ns/pair",
     .what = "load, add, store, and back, on one counter",
     .run = run_plain},
    {.name = "plain_1024",
     .unit = "ns/pair",
     .what = "the same over 1024 counters",
     .run = run_plain_1024},
    {.name = "atomic",
     .unit = "ns/pair",
     .what = "fetch_add and fetch_sub on one counter",
     .run = run_atomic},
    {.name = "atomic_1024",
     .unit = "ns/pair",
     .what = "the same over 1024 counters",
     .run = run_atomic_1024},
    {.name = "owner_hot",
     .unit = "ns/pair",
     .what = "incref and decref by the owner of one object",
     .run = run_owner_hot,
     .goal = 1.6,
     .base = "plain"},
    {.name = "owner_1024",
     .unit = "ns/pair",
     .what = "by the owner of 1024 objects in turn",
     .run = run_owner_1024,
     .goal = 2.6,
     .base = "plain_1024"},
    {.name = "other_hot",
     .unit = "ns/pair",
     .what = "by another thread on one object",
     .run = run_other_hot,
     .goal = 1.45,
     .base = "atomic"},
    {.name = "other_1024",
     .unit = "ns/pair",
     .what = "by another thread on 1024 objects in turn",
     .run = run_other_1024,
     .goal = 1.15,
     .base = "atomic_1024"},
    {.name = "contended",
     .unit = "ns/pair",
     .what = "by two other threads at once on one object",
     .run = run_contended,
     .goal = 1.6,
     .base = "contended_atomic"},
    {.name = "contended_atomic",
     .unit = "ns/pair",
     .what = "fetch_add and fetch_sub by two threads on one counter",
     .run = run_contended_atomic},
    {.name = "orphan",
     .unit = "ns/pair",
     .what = "on one object of a thread that exited",
     .run = run_orphan,
     .goal = 1.45,
     .base = "atomic"},
    {.name = "immortal",
     .unit = "ns/pair",
     .what = "on an immortal object",
     .run = run_immortal,
     .goal = 1.5},
};

const struct bench_group bench_refcount = BENCH_GROUP("refcount", rows);
