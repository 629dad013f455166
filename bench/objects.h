/* The heap and the types that the groups measure. Child processes only. */
#ifndef GYRE_BENCH_OBJECTS_H
#define GYRE_BENCH_OBJECTS_H

#include <gyre/gyre.h>

/* Two slots and nothing else: 32 bytes. */
struct pair {
    struct gyre_object head;
    struct gyre_slot left, right;
};

/* A tree's node: three slots. */
struct node {
    struct gyre_object head;
    struct gyre_slot left, right, parent;
};

/* No slots: never visited by the collector. */
struct leaf {
    struct gyre_object head;
    uint64_t value;
};

extern struct gyre_type bench_pair_type, bench_node_type, bench_leaf_type;

/* Make a heap without automatic collections, attach the calling thread, make
 * the types ready. Fails the run when it can't. */
struct gyre_thread *bench_heap(void);
/* The same, collected in one stop. */
struct gyre_thread *bench_heap_stopping(void);
/* The same with options of the caller's. */
struct gyre_thread *bench_heap_with(const char *options);
/* Attach a further thread to `heap`. */
struct gyre_thread *bench_attach(struct gyre_heap *heap);

/* Join an unattached or leaving thread while others need not wait for us. */
void bench_join(struct gyre_thread *self, pthread_t thread);

/* An object, or a failed run. */
struct pair *bench_pair(void);
struct node *bench_node(void);
struct leaf *bench_leaf(void);

/* Live blocks of objects in the whole heap. */
uint64_t bench_live(struct gyre_heap *heap);
/* Fail the run unless that is `expected`: what was measured did its work. */
void bench_expect_live(struct gyre_heap *heap, uint64_t expected);

#endif
