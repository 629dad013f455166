/* chain: the death of ten million objects by one decrement. */
#include "harness.h"
#include "objects.h"
#include "row.h"

#define LINKS 10000000u
#define LINKS_BYTES (LINKS * sizeof(struct pair *))

static double
time_drop(struct gyre_thread *self, struct pair *first)
{
    uint64_t start = bench_now(), end;
    gyre_decref(&first->head);
    end = bench_now();
    bench_expect_live(self->heap, 0);
    return (double)(end - start) / LINKS;
}

static double
run_drop(void)
{
    struct gyre_thread *self = bench_heap();
    struct pair *first = bench_pair(), *latest = first;
    for (size_t i = 1; i < LINKS; i++) {
        struct pair *next = bench_pair();
        gyre_slot_move(&latest->head, &latest->left, &next->head);
        latest = next;
    }
    return time_drop(self, first);
}

static double
run_drop_shuffled(void)
{
    struct gyre_thread *self = bench_heap();
    struct pair **links = bench_map(LINKS_BYTES), *first;
    for (size_t i = 0; i < LINKS; i++)
        links[i] = bench_pair();
    bench_shuffle((void **)links, LINKS);
    for (size_t i = 0; i + 1 < LINKS; i++)
        gyre_slot_move(&links[i]->head, &links[i]->left, &links[i + 1]->head);
    first = links[0];
    bench_unmap(links, LINKS_BYTES);
    return time_drop(self, first);
}

static const struct bench_row rows[] = {
    {.name = "drop",
     .unit = "ns/link",
     .what = "one decref that frees a chain of 10 million, made in order",
     .run = run_drop,
     .goal = 12},
    {.name = "drop_shuffled",
     .unit = "ns/link",
     .what = "the same, its links anywhere in memory",
     .run = run_drop_shuffled},
};

const struct bench_group bench_chain = BENCH_GROUP("chain", rows);
