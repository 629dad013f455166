/* Hand-over queues: one for each ordered pair of workers.
 *
 * Bounded, one producer, one consumer. What is sent takes its reference, and
 * where it says so the right to write the object's slots, to the receiver;
 * the queue's order is what carries the object's shadow slots over. */
#ifndef GYRE_STRESS_RING_H
#define GYRE_STRESS_RING_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define RING_ENTRIES 64u

enum ring_kind {
    RING_PLAIN,
    RING_RIGHT,   /* with the right to write */
    RING_DISCARD, /* to be dropped at once */
    RING_WEAK     /* a weak reference; `index` is its record */
};

struct gyre_object;

struct ring_entry {
    struct gyre_object *obj;
    uint32_t index;
    uint32_t kind;
};

struct ring {
    _Atomic uint32_t head; /* the consumer writes */
    char apart[60];
    _Atomic uint32_t tail; /* the producer writes */
    char apart2[60];
    struct ring_entry entries[RING_ENTRIES];
};

/* False: full. The producer only. */
static inline bool
ring_push(struct ring *ring, struct ring_entry entry)
{
    /* relaxed: our own last store */
    uint32_t tail = atomic_load_explicit(&ring->tail, memory_order_relaxed);
    /* acquire: the consumer has read the entry we are about to overwrite.
     * pairs: ring_pop() */
    uint32_t head = atomic_load_explicit(&ring->head, memory_order_acquire);
    if (tail - head == RING_ENTRIES)
        return false;
    ring->entries[tail % RING_ENTRIES] = entry;
    /* release: the entry, and the shadow slots of what it names, are there
     * for whoever sees the new tail. pairs: ring_pop() */
    atomic_store_explicit(&ring->tail, tail + 1, memory_order_release);
    return true;
}

/* False: empty. The consumer only. */
static inline bool
ring_pop(struct ring *ring, struct ring_entry *entry)
{
    /* relaxed: our own last store */
    uint32_t head = atomic_load_explicit(&ring->head, memory_order_relaxed);
    /* acquire: see what came with the entry. pairs: ring_push() */
    uint32_t tail = atomic_load_explicit(&ring->tail, memory_order_acquire);
    if (head == tail)
        return false;
    *entry = ring->entries[head % RING_ENTRIES];
    /* release: the entry has been read. pairs: ring_push() */
    atomic_store_explicit(&ring->head, head + 1, memory_order_release);
    return true;
}

static inline uint32_t
ring_count(const struct ring *ring)
{
    /* relaxed: a hint, or nothing runs */
    return atomic_load_explicit(&ring->tail, memory_order_relaxed) -
           atomic_load_explicit(&ring->head, memory_order_relaxed);
}

#endif
