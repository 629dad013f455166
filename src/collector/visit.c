/* What looks at every object with the world stopped: walks, checks, freezing
 * and unfreezing. Design: docs/design/cycle.md .cycle.walk */
#include "cycle.h"

/* Stop the world under the collector lock; the caller undoes both. */
static enum gyre_status
stop_for_visit(struct gyre_heap *heap)
{
    struct mutator *self = mutator_in(heap);
    enum gyre_status status;
    if (self == NULL)
        return GYRE_ERR_STATE;
    if (!gyre_collector_lock(self))
        return GYRE_ERR_STATE;
    status = gyre_world_stop(&heap->world, &self->part,
                             heap_option(heap, GYRE_OPT_THREAD_STOP_TIMEOUT));
    if (status != GYRE_OK)
        gyre_collector_unlock(self);
    return status;
}

static void
resume_after_visit(struct gyre_heap *heap)
{
    gyre_world_resume(&heap->world);
    gyre_report_histogram_add(heap, GYRE_HIST_VISIT,
                              heap->world.resumed_ns -
                                  heap->world.stop_began_ns);
    gyre_collector_unlock(mutator_of(gyre_self));
    gyre_safepoint(gyre_self);
}

/* ---- walking ---- */

struct walk {
    gyre_walk_fn visit;
    void *arg;
    bool ended;
};

static bool
walk_page(struct page *page, void *arg)
{
    struct walk *walk = arg;
    for (uint32_t i = 0; i < page->fresh && !walk->ended; i++) {
        struct gyre_object *obj =
            (struct gyre_object *)(page->blocks +
                                   (size_t)i * page->fast.block_size);
        if (!word0_is_object(gyre_load_relaxed(&obj->word0)) ||
            (gyre_load_relaxed(&obj->rc_shared) &
             (GYRE_RC_DEAD | GYRE_RC_DYING)))
            continue;
        walk->ended = walk->visit(obj, walk->arg) != 0;
    }
    return !walk->ended;
}

enum gyre_status
gyre_heap_walk(struct gyre_heap *heap, gyre_walk_fn visit, void *arg)
{
    struct walk walk = {visit, arg, false};
    enum gyre_status status = stop_for_visit(heap);
    if (status != GYRE_OK)
        return status;
    gyre_memory_each_page_while(
        heap, (1u << GYRE_PAGE_CONTAINER) | (1u << GYRE_PAGE_LEAF), walk_page,
        &walk);
    resume_after_visit(heap);
    return GYRE_OK;
}

enum gyre_status
gyre_heap_walk_blocks(struct gyre_heap *heap, gyre_block_fn visit, void *arg)
{
    enum gyre_status status = stop_for_visit(heap);
    if (status != GYRE_OK)
        return status;
    gyre_memory_each_block(heap, visit, arg);
    resume_after_visit(heap);
    return GYRE_OK;
}

enum gyre_status
gyre_heap_check(struct gyre_heap *heap)
{
    enum gyre_status status = stop_for_visit(heap);
    if (status != GYRE_OK)
        return status;
    gyre_world_check(&heap->world, &mutator_of(gyre_self)->part);
    gyre_memory_check(heap);
    gyre_weak_check(heap);
    gyre_collector_check(heap);
    resume_after_visit(heap);
    return GYRE_OK;
}

/* ---- freezing ---- */

struct restamp {
    struct gyre_heap *heap;
    uint32_t from; /* ages */
    unsigned to;
    uint64_t tracked;
};

static void
restamp_page(struct page *page, void *arg)
{
    struct restamp *restamp = arg;
    uint32_t seen = 0;
    for (uint32_t i = 0; i < page->fresh; i++) {
        struct gyre_object *obj =
            (struct gyre_object *)(page->blocks +
                                   (size_t)i * page->fast.block_size);
        uint64_t word0 = gyre_load_relaxed(&obj->word0);
        if (!word0_is_object(word0))
            continue;
        if ((restamp->from & (1u << word0_stamp(word0))) &&
            (word0 & GYRE_WORD0_TRACKED) &&
            !(gyre_load_relaxed(&obj->rc_shared) & GYRE_RC_DEAD)) {
            word0 = word0_with_stamp(word0, restamp->to);
            /* relaxed: world stopped, as in gyre_generation_restamp() */
            gyre_store_relaxed(&obj->word0, word0);
            restamp->tracked++;
        }
        seen |= 1u << word0_stamp(word0);
    }
    if (page->state == PAGE_CURRENT)
        seen |= 1u << gyre_load_relaxed(&restamp->heap->collector.birth_stamp);
    page_stamps_set(page, seen);
}

static enum gyre_status
restamp_all(struct gyre_heap *heap, uint32_t from, unsigned to)
{
    struct restamp restamp = {heap, from, to, 0};
    struct collector *collector = &heap->collector;
    enum gyre_status status = stop_for_visit(heap);
    if (status != GYRE_OK)
        return status;
    gyre_memory_each_page(heap, 1u << GYRE_PAGE_CONTAINER, restamp_page,
                          &restamp);
    /* relaxed: under the collector lock */
    gyre_store_relaxed(&collector->frozen,
                       to == STAMP_FROZEN ? restamp.tracked : 0);
    resume_after_visit(heap);
    return GYRE_OK;
}

enum gyre_status
gyre_freeze(struct gyre_heap *heap)
{
    return restamp_all(heap, STAMPS_ALL, STAMP_FROZEN);
}

enum gyre_status
gyre_unfreeze(struct gyre_heap *heap)
{
    return restamp_all(heap, 1u << STAMP_FROZEN, STAMP_OLD);
}

uint64_t
gyre_frozen_count(struct gyre_heap *heap)
{
    /* Restamped as what they are, and counted meanwhile: some may have died
     * since they were frozen. */
    (void)restamp_all(heap, 1u << STAMP_FROZEN, STAMP_FROZEN);
    return gyre_load_relaxed(&heap->collector.frozen);
}
