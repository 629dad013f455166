/* handover: objects made by one thread and dropped by another.
 *
 * The figure is CPU time of the whole process from before the first drop to
 * after the last object is free, so that work moved to the other thread or
 * to a collector's is counted too. Threads wait blocked, at no cost. */
#include <semaphore.h>

#include "harness.h"
#include "objects.h"
#include "row.h"

#define OBJECTS 1000000u

struct handover {
    struct gyre_heap *heap;
    struct gyre_object **objects; /* OBJECTS of them */
    sem_t ready, go, dropped, over;
};

static void
await(sem_t *semaphore)
{
    while (sem_wait(semaphore) != 0)
        continue; /* a signal came between */
}

static void
handover_init(struct handover *shared, struct gyre_heap *heap)
{
    shared->heap = heap;
    shared->objects = bench_map(OBJECTS * sizeof *shared->objects);
    sem_init(&shared->ready, 0, 0);
    sem_init(&shared->go, 0, 0);
    sem_init(&shared->dropped, 0, 0);
    sem_init(&shared->over, 0, 0);
}

static void
make_all(struct gyre_object **objects)
{
    for (size_t i = 0; i < OBJECTS; i++)
        objects[i] = &bench_pair()->head;
}

static BENCH_LOOP void
drop_all(struct gyre_object **objects)
{
    for (size_t i = 0; i < OBJECTS; i++)
        gyre_decref(objects[i]);
}

/* Thread B: drops what A made, then waits detached, as A's handshake must
 * not need it. */
static void *
dropper_main(void *arg)
{
    struct handover *shared = arg;
    struct gyre_thread *self;
    bench_pin(1);
    self = bench_attach(shared->heap);
    sem_post(&shared->ready);
    await(&shared->go);
    drop_all(shared->objects);
    gyre_detach_begin(self);
    sem_post(&shared->dropped);
    await(&shared->over);
    gyre_detach_end(self);
    gyre_thread_leave(self);
    return NULL;
}

/* A is attached and blocks without a poll while B drops, so the merging is
 * all A's, at its next safepoint. */
static double
run_alive(void)
{
    struct gyre_thread *self = bench_heap();
    struct handover shared;
    pthread_t dropper;
    uint64_t start, end;
    handover_init(&shared, self->heap);
    make_all(shared.objects);
    dropper = bench_thread(dropper_main, &shared);
    await(&shared.ready);
    start = bench_process_cpu();
    sem_post(&shared.go);
    await(&shared.dropped);
    gyre_safepoint(self);
    gyre_quiesce(self->heap);
    end = bench_process_cpu();
    bench_expect_live(self->heap, 0);
    sem_post(&shared.over);
    bench_join(self, dropper);
    return (double)(end - start) / OBJECTS;
}

static void *
maker_main(void *arg)
{
    struct handover *shared = arg;
    struct gyre_thread *self;
    bench_pin(1);
    self = bench_attach(shared->heap);
    make_all(shared->objects);
    gyre_thread_leave(self);
    return NULL;
}

/* We attach before the maker does, so its number is not ours afterwards. */
static double
run_exited(void)
{
    struct gyre_thread *self = bench_heap();
    struct handover shared;
    uint64_t start, end;
    handover_init(&shared, self->heap);
    bench_join(self, bench_thread(maker_main, &shared));
    start = bench_process_cpu();
    drop_all(shared.objects);
    gyre_safepoint(self);
    gyre_quiesce(self->heap);
    end = bench_process_cpu();
    bench_expect_live(self->heap, 0);
    return (double)(end - start) / OBJECTS;
}

static const struct bench_row rows[] = {
    {.name = "alive",
     .unit = "ns/object",
     .what = "a million objects of a thread that lives, CPU of both sides",
     .run = run_alive,
     .goal = 28},
    {.name = "exited",
     .unit = "ns/object",
     .what = "a million objects of a thread that exited",
     .run = run_exited,
     .goal = 28},
};

const struct bench_group bench_handover = BENCH_GROUP("handover", rows);
