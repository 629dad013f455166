/* slot: storing a reference, with its two counts and the armed test. */
#include "harness.h"
#include "objects.h"
#include "row.h"

#define SETS 16000000u
#define HOLDERS 256u /* they and their values fit the first-level cache */

static BENCH_LOOP void
set_slots(struct pair **holders, struct gyre_object **values, uint64_t sets)
{
    while (sets-- > 0) {
        struct pair *holder = holders[sets % HOLDERS];
        /* another value than last time, so that no store is a repetition */
        gyre_slot_set(&holder->head, &holder->left,
                      values[(sets + sets / HOLDERS) % HOLDERS]);
        bench_fence();
    }
}

static double
run_set(void)
{
    struct pair *holders[HOLDERS];
    struct gyre_object *values[HOLDERS];
    uint64_t start;
    bench_heap();
    for (size_t i = 0; i < HOLDERS; i++) {
        holders[i] = bench_pair();
        values[i] = &bench_leaf()->head;
    }
    set_slots(holders, values, SETS / 8);
    start = bench_now();
    set_slots(holders, values, SETS);
    return (double)(bench_now() - start) / SETS;
}

static const struct bench_row rows[] = {
    {.name = "set",
     .unit = "ns",
     .what = "gyre_slot_set over a reference: 256 holders and values",
     .run = run_set,
     .goal = 3},
};

const struct bench_group bench_slot = BENCH_GROUP("slot", rows);
