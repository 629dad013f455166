/* Generations: which one is due, and how survivors age.
 * Design: docs/design/cycle.md .cycle.stamp, .policy */
#include "cycle.h"

/* ---- ages ---- */

void
gyre_collector_set_birth_stamp(struct gyre_heap *heap, unsigned stamp)
{
    struct participant *part = gyre_load_relaxed(&heap->world.participants);
    gyre_store_relaxed(&heap->collector.birth_stamp, stamp); /* in a stop */
    for (; part != NULL; part = part->next)
        gyre_memory_birth_stamp(&mutator_of_part(part)->fast, stamp);
}

void
gyre_collector_thread_init(struct mutator *self)
{
    /* relaxed: after the state that says RUNNING .open.shake */
    gyre_memory_birth_stamp(
        &self->fast,
        gyre_load_relaxed(&self->fast.heap->collector.birth_stamp));
}

void
gyre_collector_follow(struct mutator *self)
{
    /* relaxed: as above; or the phase that the poster moved on was read */
    unsigned stamp = gyre_load_relaxed(&self->fast.heap->collector.birth_stamp);
    gyre_memory_limbo_follow(&self->fast);
    if (self->fast.birth_stamp != (uint64_t)stamp << GYRE_WORD0_STAMP_SHIFT)
        gyre_memory_birth_stamp(&self->fast, stamp);
}

void
gyre_generation_promote(struct cycle *cycle, struct gyre_object *obj)
{
    uint64_t word0 = gyre_load_relaxed(&obj->word0);
    /* relaxed: world stopped, and a waiter for the object's lock wrote its
     * bit before it was stopped */
    gyre_store_relaxed(&obj->word0, word0_with_stamp(word0, cycle->next_age));
    page_stamps_add(page_of(obj), 1u << cycle->next_age);
}

void
gyre_generation_forget(struct cycle *cycle, struct page *page)
{
    /* Births go on, and with an age of this cycle's when the birth stamp
     * could not move on: in this page too, since OPEN. */
    uint32_t kept =
        1u << cycle->next_age |
        1u << gyre_load_relaxed(&cycle->heap->collector.birth_stamp);
    page_stamps_keep(page, ~cycle->stamps | kept);
}

void
gyre_generation_forget_set(struct cycle *cycle)
{
    const struct page *last = NULL;
    for (size_t i = 0; i < cycle->set.count; i++) {
        struct page *page = page_of(cycle->set.items[i]);
        if (page != last)
            gyre_generation_forget(cycle, page);
        last = page;
    }
}

void
gyre_generation_recall(struct cycle *cycle)
{
    for (size_t k = 0; k < cycle->pages.count; k++) {
        struct page *page = cycle->pages.items[k];
        unsigned char *block = page->blocks;
        uint32_t seen = 0;
        for (uint32_t i = 0; i < page->fresh; i++) {
            const struct gyre_object *obj = (const struct gyre_object *)block;
            uint64_t word0 = gyre_load_relaxed(&obj->word0);
            if (word0_is_object(word0))
                seen |= 1u << word0_stamp(word0);
            block += page->fast.block_size;
        }
        if (page->state == PAGE_CURRENT)
            seen |=
                1u << gyre_load_relaxed(&cycle->heap->collector.birth_stamp);
        page_stamps_set(page, seen);
    }
}

/* ---- what is due ---- */

/* So many times what an old collection looks at is looked at by shorter ones
 * until it is due for that alone: it adds an eighth to their work at most. */
#define WORK_BETWEEN_OLD 8

/* An old collection costs what lives; it is worth that only when enough came
 * to live since the last, or a heap that grows would be scanned quadratically;
 * or when that cost is little beside that of shorter ones, or what died old
 * would be there for ever where nothing new comes to live. */
static bool
old_is_worth_it(const struct collector *collector)
{
    uint64_t lived = gyre_load_relaxed(&collector->long_lived);
    return gyre_load_relaxed(&collector->long_lived_pending) > lived / 4 ||
           gyre_load_relaxed(&collector->looked_at_since_old) /
                   WORK_BETWEEN_OLD >
               lived;
}

enum gyre_generation
gyre_generation_due(struct gyre_heap *heap)
{
    struct collector *collector = &heap->collector;
    uint64_t middle = gyre_load_relaxed(&collector->middle_since_old);
    uint64_t young = gyre_load_relaxed(&collector->young_since_middle);
    if (middle > heap_option(heap, GYRE_OPT_GC_THRESHOLD2) &&
        old_is_worth_it(collector))
        return GYRE_GEN_OLD;
    if (young > heap_option(heap, GYRE_OPT_GC_THRESHOLD1))
        return GYRE_GEN_MIDDLE;
    return GYRE_GEN_YOUNG;
}

void
gyre_generation_collected(struct gyre_heap *heap,
                          enum gyre_generation generation, uint64_t candidates,
                          uint64_t survivors)
{
    struct collector *collector = &heap->collector;
    /* relaxed, all: one collection at a time writes them, statistics read */
    uint64_t young = gyre_load_relaxed(&collector->young_since_middle);
    uint64_t middle = gyre_load_relaxed(&collector->middle_since_old);
    uint64_t pending = gyre_load_relaxed(&collector->long_lived_pending);
    uint64_t looked_at = gyre_load_relaxed(&collector->looked_at_since_old);
    gyre_store_relaxed(&collector->looked_at_since_old,
                       generation == GYRE_GEN_OLD ? 0 : looked_at + candidates);
    gyre_fetch_add_relaxed(&collector->collections[generation], 1);
    gyre_store_relaxed(&collector->young_since_middle,
                       generation == GYRE_GEN_YOUNG ? young + 1 : 0);
    if (generation == GYRE_GEN_MIDDLE) {
        gyre_store_relaxed(&collector->middle_since_old, middle + 1);
        gyre_store_relaxed(&collector->long_lived_pending, pending + survivors);
    } else if (generation == GYRE_GEN_OLD) {
        gyre_store_relaxed(&collector->middle_since_old, 0);
        gyre_store_relaxed(&collector->long_lived_pending, 0);
        gyre_store_relaxed(&collector->long_lived, survivors);
    }
}
