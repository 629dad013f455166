/* The heap and the types that the groups measure. */
#include <pthread.h>

#include "harness.h"
#include "objects.h"

static const uint32_t pair_slots[] = {offsetof(struct pair, left),
                                      offsetof(struct pair, right)};
static const uint32_t node_slots[] = {offsetof(struct node, left),
                                      offsetof(struct node, right),
                                      offsetof(struct node, parent)};

struct gyre_type bench_pair_type = {
    .name = "pair",
    .size = sizeof(struct pair),
    .slots = pair_slots,
    .slot_count = 2,
};

struct gyre_type bench_node_type = {
    .name = "node",
    .size = sizeof(struct node),
    .slots = node_slots,
    .slot_count = 3,
};

struct gyre_type bench_leaf_type = {
    .name = "leaf",
    .size = sizeof(struct leaf),
    .flags = GYRE_TYPE_LEAF,
};

static void
expect_ok(enum gyre_status status, const char *what)
{
    if (status != GYRE_OK)
        bench_fail("%s: %s", what, gyre_status_text(status));
}

struct gyre_thread *
bench_attach(struct gyre_heap *heap)
{
    struct gyre_thread *self;
    expect_ok(gyre_thread_attach(heap, &self), "attach");
    return self;
}

struct gyre_thread *
bench_heap_with(const char *options)
{
    struct gyre_heap *heap;
    expect_ok(gyre_type_ready(&bench_pair_type), "type pair");
    expect_ok(gyre_type_ready(&bench_node_type), "type node");
    expect_ok(gyre_type_ready(&bench_leaf_type), "type leaf");
    expect_ok(gyre_heap_create(options, &heap), "heap");
    return bench_attach(heap);
}

struct gyre_thread *
bench_heap(void)
{
    return bench_heap_with("gc.automatic=no");
}

struct gyre_thread *
bench_heap_stopping(void)
{
    return bench_heap_with("gc.automatic=no,gc.concurrent=0");
}

void
bench_join(struct gyre_thread *self, pthread_t thread)
{
    gyre_detach_begin(self);
    pthread_join(thread, NULL);
    gyre_detach_end(self);
}

static void *
expect_object(void *object)
{
    if (object == NULL)
        bench_fail("no object: %s", gyre_status_text(gyre_last_status()));
    return object;
}

struct pair *
bench_pair(void)
{
    return expect_object(GYRE_NEW(struct pair, &bench_pair_type));
}

struct node *
bench_node(void)
{
    return expect_object(GYRE_NEW(struct node, &bench_node_type));
}

struct leaf *
bench_leaf(void)
{
    return expect_object(GYRE_NEW(struct leaf, &bench_leaf_type));
}

uint64_t
bench_live(struct gyre_heap *heap)
{
    struct gyre_statistics statistics;
    gyre_statistics_get(heap, &statistics);
    return statistics.blocks_in_use[GYRE_PAGE_CONTAINER] +
           statistics.blocks_in_use[GYRE_PAGE_LEAF];
}

void
bench_expect_live(struct gyre_heap *heap, uint64_t expected)
{
    uint64_t live = bench_live(heap);
    if (live != expected)
        bench_fail("%llu objects live after it instead of %llu",
                   (unsigned long long)live, (unsigned long long)expected);
}
