/* Mixes of allocations: small objects in bursts, mixed sizes replaced at
 * random, blocks that another thread frees, threads that come and go.
 *
 * Each runs on the given number of threads ("seats") until its time is up.
 * A seat's record is its own thread's alone, but for the rings, and for the
 * end, when seat 0 reads all of them behind a meeting. docs/tuning.md says
 * what each mix stands for. */
#include "load.h"

#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <gyre/gyre.h>

#include "machine.h"
#include "random.h"
#include "ring.h"
#include "sampler.h"

#define TABLE_BLOCKS 131072u
#define BURST_LEAST 256u /* objects; doubled up to the whole table */
#define BURST_DOUBLINGS 10u
#define MIXED_BLOCKS 16384u
#define MIXED_STEP 4096u
#define MIXED_STEPS_BETWEEN 48u /* replacements before many go at once */
#define CHAIN_BLOCKS 64u
#define LIFE_BLOCKS 200u /* allocations of a thread that comes and goes */

const struct load_info load_info[LOAD_COUNT] = {
    [LOAD_REPLAY] = {"replay", "operations",
                     "the snapshot's heap, built, worked on by all threads "
                     "and torn down, in rounds, watched by the oracle",
                     1},
    [LOAD_SMALL] = {"small", "allocations",
                    "objects of 32 to 64 bytes in bursts of 256 to 131,072, "
                    "freed before the next burst",
                    1},
    [LOAD_MIXED] = {"mixed", "allocations",
                    "raw blocks of 16 to 512 bytes replaced at random in "
                    "16,384 places a thread, half of them emptied at times",
                    1},
    [LOAD_REMOTE] = {"remote", "allocations",
                     "raw blocks of 16 to 256 bytes, each freed by the thread "
                     "after the one that allocated it",
                     2},
    [LOAD_CHURN] = {"churn", "allocations",
                    "threads that live for 200 allocations and leave half of "
                    "them to the next one",
                    1},
};

/* ---- time ---- */

uint64_t
load_processor_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

double
load_throughput(const struct trial *trial, double operations, double seconds,
                double processor_seconds)
{
    if (trial->processor_time)
        seconds = processor_seconds / trial->threads;
    return operations / (seconds > 1e-9 ? seconds : 1e-9);
}

/* ---- what runs ---- */

struct seat {
    unsigned id;
    pthread_t thread;
    struct gyre_thread *self;
    uint64_t random;
    uint64_t allocations;
    uint64_t begin_ns, end_ns;
    bool refused;   /* memory was; ends the measurement */
    void **table;   /* [TABLE_BLOCKS] */
    uint32_t count; /* entries used, by the mixes that fill it in order */
    uint32_t turn;
    void *pending; /* remote: a chain that found its ring full */
    struct sampler sampler;
};

static struct {
    const struct trial *trial;
    struct gyre_heap *heap;
    struct seat *seats;
    struct ring *rings; /* [seat], from it to the next one */
    pthread_barrier_t barrier;
    /* seat 0's, written before a meeting */
    uint64_t deadline_ns;
    uint64_t processor_ns; /* at the begin, then what it took */
    struct measurement *out;
    uint64_t base;
} load;

static void
fail(const char *what, const char *why)
{
    load.out->ok = false;
    snprintf(load.out->reason, sizeof load.out->reason, "%s: %s", what, why);
}

/* ---- objects and blocks ---- */

struct pair {
    struct gyre_object head;
    struct gyre_slot left, right;
};
static const uint32_t pair_slots[] = {offsetof(struct pair, left),
                                      offsetof(struct pair, right)};
static struct gyre_type small_types[] = {
    {.name = "pair",
     .size = sizeof(struct pair),
     .slots = pair_slots,
     .slot_count = 2},
    {.name = "leaf/32", .size = 32, .flags = GYRE_TYPE_LEAF},
    {.name = "leaf/48", .size = 48, .flags = GYRE_TYPE_LEAF},
    {.name = "leaf/64", .size = 64, .flags = GYRE_TYPE_LEAF},
};
#define SMALL_TYPES (sizeof small_types / sizeof small_types[0])

static void *
seat_take(struct seat *seat, size_t size)
{
    void *block;
    seat->allocations++;
    if (!sampler_due(&seat->sampler)) {
        block = gyre_mem_alloc(size);
    } else {
        uint64_t begin = sampler_clock();
        block = gyre_mem_alloc(size);
        sampler_add(&seat->sampler, begin);
    }
    if (block == NULL)
        seat->refused = true;
    else
        *(volatile char *)block = 1; /* as its user would */
    return block;
}

static void *
seat_new(struct seat *seat, const struct gyre_type *type)
{
    void *object;
    seat->allocations++;
    if (!sampler_due(&seat->sampler)) {
        object = gyre_new(type);
    } else {
        uint64_t begin = sampler_clock();
        object = gyre_new(type);
        sampler_add(&seat->sampler, begin);
    }
    if (object == NULL)
        seat->refused = true;
    return object;
}

static uint32_t
random_size(struct seat *seat, uint32_t most)
{
    return 16 + random_below(&seat->random, most - 15);
}

static void
seat_free_run(struct seat *seat, uint32_t from, uint32_t count)
{
    for (uint32_t i = from; i < from + count; i++) {
        gyre_mem_free(seat->table[i]);
        seat->table[i] = NULL;
    }
}

/* ---- small: objects in bursts ---- */

/* Give up a burst in the order it was made, the other way round, or in
 * strides, by turns. `count` is a power of two. */
static void
small_drop(struct seat *seat, uint32_t count)
{
    uint32_t turn = seat->turn++ % 3;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t at = turn == 0   ? i
                      : turn == 1 ? count - 1 - i
                                  : i * 7919u & (count - 1);
        if (seat->table[at] != NULL)
            gyre_decref(seat->table[at]);
        seat->table[at] = NULL;
        if (i % 64 == 0)
            gyre_safepoint(seat->self);
    }
}

static void
small_step(struct seat *seat)
{
    uint32_t count = BURST_LEAST
                     << random_below(&seat->random, BURST_DOUBLINGS);
    for (uint32_t i = 0; i < count && !seat->refused; i++) {
        uint32_t dice = random_below(&seat->random, 2 * SMALL_TYPES);
        const struct gyre_type *type =
            &small_types[dice < SMALL_TYPES ? dice : 0];
        seat->table[i] = seat_new(seat, type);
        if (i % 64 == 0)
            gyre_safepoint(seat->self);
    }
    small_drop(seat, count);
}

/* ---- mixed: replacement ---- */

static void
mixed_step(struct seat *seat)
{
    for (uint32_t i = 0; i < MIXED_STEP && !seat->refused; i++) {
        uint32_t at = random_below(&seat->random, MIXED_BLOCKS);
        gyre_mem_free(seat->table[at]);
        seat->table[at] = seat_take(seat, random_size(seat, 512));
    }
    if (++seat->turn % MIXED_STEPS_BETWEEN == 0)
        seat_free_run(seat, random_below(&seat->random, MIXED_BLOCKS / 2),
                      MIXED_BLOCKS / 2);
}

static void
mixed_end(struct seat *seat)
{
    seat_free_run(seat, 0, MIXED_BLOCKS);
}

/* ---- remote: the next thread frees ---- */

static void
chain_free(void *chain)
{
    while (chain != NULL) {
        void *next = *(void **)chain;
        gyre_mem_free(chain);
        chain = next;
    }
}

static void *
chain_make(struct seat *seat)
{
    void *chain = NULL;
    for (uint32_t i = 0; i < CHAIN_BLOCKS; i++) {
        void *block = seat_take(seat, random_size(seat, 256));
        if (block == NULL)
            break;
        *(void **)block = chain;
        chain = block;
    }
    return chain;
}

static bool
chain_receive(struct seat *seat)
{
    unsigned threads = load.trial->threads;
    struct ring *ring = &load.rings[(seat->id + threads - 1) % threads];
    struct ring_entry entry;
    if (!ring_pop(ring, &entry))
        return false;
    chain_free(entry.obj);
    return true;
}

static void
remote_step(struct seat *seat)
{
    bool sent;
    if (seat->pending == NULL)
        seat->pending = chain_make(seat);
    sent = ring_push(&load.rings[seat->id],
                     (struct ring_entry){.obj = seat->pending});
    if (sent)
        seat->pending = NULL;
    /* both ways at once: who falls behind frees more than it makes */
    if (!chain_receive(seat) && !sent)
        sched_yield();
    else
        chain_receive(seat);
    gyre_safepoint(seat->self);
}

static void
remote_end(struct seat *seat)
{
    while (chain_receive(seat))
        continue;
    chain_free(seat->pending);
    seat->pending = NULL;
}

/* ---- churn: short lives ---- */

/* Frees what the thread before it left, allocates, frees half. */
static void *
life_main(void *arg)
{
    struct seat *seat = arg;
    struct gyre_thread *self;
    if (gyre_thread_attach(load.heap, &self) != GYRE_OK) {
        seat->refused = true;
        return NULL;
    }
    seat_free_run(seat, 0, seat->count);
    seat->count = 0;
    while (seat->count < LIFE_BLOCKS && !seat->refused)
        seat->table[seat->count++] = seat_take(seat, random_size(seat, 256));
    for (uint32_t i = 0; i < seat->count; i += 2) {
        gyre_mem_free(seat->table[i]);
        seat->table[i] = NULL;
    }
    gyre_thread_leave(self);
    return NULL;
}

static void
churn_step(struct seat *seat)
{
    pthread_t thread;
    gyre_detach_begin(seat->self);
    if (pthread_create(&thread, NULL, life_main, seat) == 0)
        pthread_join(thread, NULL);
    else
        seat->refused = true;
    gyre_detach_end(seat->self);
}

static void
churn_end(struct seat *seat)
{
    seat_free_run(seat, 0, seat->count);
    seat->count = 0;
}

/* ---- a measurement ---- */

static void
no_end(struct seat *seat)
{
    (void)seat;
}

static const struct {
    void (*step)(struct seat *);
    /* free what is left; the time is up for all */
    void (*end)(struct seat *);
} bodies[LOAD_COUNT] = {
    [LOAD_SMALL] = {small_step, no_end},
    [LOAD_MIXED] = {mixed_step, mixed_end},
    [LOAD_REMOTE] = {remote_step, remote_end},
    [LOAD_CHURN] = {churn_step, churn_end},
};

static void
seat_meet(struct seat *seat)
{
    gyre_detach_begin(seat->self);
    pthread_barrier_wait(&load.barrier);
    gyre_detach_end(seat->self);
}

/* Seat 0, the others at a meeting: memory first, before anything else makes
 * work; then the counters. */
static void
read_heap(void)
{
    struct measurement *out = load.out;
    struct gyre_statistics *statistics = calloc(1, sizeof *statistics);
    uint64_t end = machine_resident_exact(), peak = machine_peak();
    out->end = end > load.base ? end - load.base : 0;
    out->peak = peak > load.base ? peak - load.base : 0;
    if (out->peak < out->end)
        out->peak = out->end; /* the system's counters lag */
    gyre_quiesce(load.heap);
    if (statistics != NULL) {
        gyre_statistics_get(load.heap, statistics);
        out->refills = statistics->page_refills;
    }
    free(statistics);
}

static void *
seat_main(void *arg)
{
    struct seat *seat = arg;
    enum load which = load.trial->load;
    if (load.trial->pinned)
        machine_pin(seat->id);
    if (gyre_thread_attach(load.heap, &seat->self) != GYRE_OK) {
        /* the others wait for it: there is no way on */
        fprintf(stderr, "gyre-stress: a thread cannot attach\n");
        _Exit(1);
    }
    sampler_create(&seat->sampler, seat->random);
    seat_meet(seat);
    if (seat->id == 0) {
        load.deadline_ns =
            sampler_clock() + (uint64_t)(load.trial->seconds * 1e9);
        load.processor_ns = load_processor_ns();
    }
    seat_meet(seat);
    seat->begin_ns = sampler_clock();
    do {
        bodies[which].step(seat);
        gyre_safepoint(seat->self);
        seat->end_ns = sampler_clock();
    } while (seat->end_ns < load.deadline_ns && !seat->refused);
    seat_meet(seat);
    if (seat->id == 0)
        load.processor_ns = load_processor_ns() - load.processor_ns;
    bodies[which].end(seat);
    seat_meet(seat);
    if (seat->id == 0)
        read_heap();
    seat_meet(seat);
    gyre_thread_leave(seat->self);
    return NULL;
}

/* Resident at once, so that it is part of what was there before. */
static void *
map_now(size_t bytes)
{
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    return memory == MAP_FAILED ? NULL : memory;
}

static bool
make_seats(void)
{
    const struct trial *trial = load.trial;
    load.seats = map_now(trial->threads * sizeof *load.seats);
    load.rings = map_now(trial->threads * sizeof *load.rings);
    if (load.seats == NULL || load.rings == NULL ||
        pthread_barrier_init(&load.barrier, NULL, trial->threads) != 0)
        return false;
    for (unsigned i = 0; i < trial->threads; i++) {
        struct seat *seat = &load.seats[i];
        seat->id = i;
        seat->random = random_hash(trial->seed, i + 1);
        seat->table = map_now(TABLE_BLOCKS * sizeof *seat->table);
        if (seat->table == NULL)
            return false;
    }
    return true;
}

static void
sum_up(void)
{
    struct measurement *out = load.out;
    struct gyre_histogram *all = calloc(1, sizeof *all);
    if (all == NULL) {
        fail("measure", "no memory");
        return;
    }
    out->ok = true;
    for (unsigned i = 0; i < load.trial->threads; i++) {
        const struct seat *seat = &load.seats[i];
        double seconds = (double)(seat->end_ns - seat->begin_ns) / 1e9;
        out->allocations += seat->allocations;
        out->seconds += seconds / load.trial->threads;
        gyre_histogram_merge(all, &seat->sampler.histogram);
        if (seat->refused) {
            fail("memory", "an allocation was refused");
            out->refused = true;
        }
    }
    out->operations = out->allocations;
    out->processor_seconds = (double)load.processor_ns / 1e9;
    out->throughput = load_throughput(load.trial, (double)out->operations,
                                      out->seconds, out->processor_seconds);
    out->samples = all->count;
    out->p50 = gyre_histogram_quantile(all, 0.5);
    out->p99 = gyre_histogram_quantile(all, 0.99);
    out->p999 = gyre_histogram_quantile(all, 0.999);
    free(all);
}

void
load_run(const struct trial *trial, struct measurement *out)
{
    enum gyre_status status;
    load.trial = trial;
    load.out = out;
    for (unsigned i = 0; i < SMALL_TYPES; i++) {
        if (gyre_type_ready(&small_types[i]) != GYRE_OK)
            fprintf(stderr, "gyre-stress: type %s is refused\n",
                    small_types[i].name);
    }
    if (!make_seats()) {
        fail("set up", "no memory");
        return;
    }
    load.base = machine_resident_exact();
    machine_peak_restart();
    status = gyre_heap_create(NULL, &load.heap);
    if (status != GYRE_OK) {
        fail("options", status == GYRE_ERR_NOMEM ? "no memory for a heap"
                                                 : gyre_option_error());
        out->refused = status == GYRE_ERR_NOMEM;
        return;
    }
    for (unsigned i = 0; i < trial->threads; i++) {
        if (pthread_create(&load.seats[i].thread, NULL, seat_main,
                           &load.seats[i]) != 0) {
            /* those that run wait for the others */
            fprintf(stderr, "gyre-stress: cannot start thread %u\n", i);
            _Exit(1);
        }
    }
    for (unsigned i = 0; i < trial->threads; i++)
        pthread_join(load.seats[i].thread, NULL);
    sum_up();
}
