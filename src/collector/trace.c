/* The edges of one object, and whether what its type's `trace` reports can be
 * edges. Slots are written by the library's own functions, which look at what
 * they are given; `trace` is the runtime's alone.
 * Design: docs/design/cycle.md .cycle.trace */
#include "cycle.h"

#include "../memory/page.h"
#include "../memory/segment.h"

/* In any build: an address that looks like no block of this heap must not be
 * looked up in side tables, which lie where its segment would. */
static bool
is_in_heap(const struct cycle *cycle, const struct gyre_object *target)
{
    return gyre_segment_is_mapped(target) &&
           segment_of(target)->heap == cycle->heap;
}

/* A listed page is what it was at OPEN. Of others, the record is read in a
 * stop alone. */
static bool
is_start_of_block(const struct page *page, const struct gyre_object *target)
{
    size_t offset;
    page = page->head;
    if (page->kind != GYRE_PAGE_CONTAINER && page->kind != GYRE_PAGE_LEAF)
        return false;
    offset = (size_t)((const unsigned char *)target - page->blocks);
    if (page->size_class == PAGE_CLASS_LARGE)
        return offset == 0;
    return offset / page->fast.block_size < gyre_load_relaxed(&page->fresh) &&
           offset % page->fast.block_size == 0;
}

static const char *
fault_of(const struct cycle *cycle, const struct gyre_object *target)
{
    const struct page *page;
    uint64_t word0;
    if (!is_in_heap(cycle, target))
        return "which is not of this heap";
    page = (const struct page *)gyre_page_record(target);
    if (!cycle->stopped && page->gc == NULL)
        return NULL;
    if (page_index(page) == 0 || !page_has_blocks(page->head) ||
        !is_start_of_block(page, target))
        return "which is no object";
    /* It may die while the world runs; with a reference counted it does not. */
    word0 = gyre_load_relaxed(&target->word0);
    if (cycle->stopped &&
        (!word0_is_object(word0) ||
         (gyre_load_relaxed(&target->rc_shared) & GYRE_RC_DEAD) != 0))
        return "which is dead";
    return NULL;
}

struct traced {
    const struct cycle *cycle;
    const struct gyre_object *holder;
    gyre_edge_fn edge;
    void *arg;
};

static void
pass_on(struct gyre_object *target, void *arg)
{
    const struct traced *traced = arg;
    if (target == NULL)
        return;
    if (GYRE_CHECKING) {
        const char *fault = fault_of(traced->cycle, target);
        if (fault != NULL)
            gyre_fatal("trace: %s object %p reports %p, %s",
                       gyre_type_of(traced->holder)->name,
                       (const void *)traced->holder, (void *)target, fault);
    }
    if (is_in_heap(traced->cycle, target))
        traced->edge(target, traced->arg);
}

void
gyre_cycle_trace(const struct cycle *cycle, struct gyre_object *obj,
                 const struct gyre_type *type, gyre_edge_fn edge, void *arg)
{
    OBJECT_EACH_SLOT(obj, type, slot, {
        /* acquire; pairs: gyre_slot_exchange(). In a stop it would not be
         * needed. Else: who reads a flag after this sees that it was taken
         * off before what this found was stored, and the target's page. */
        struct gyre_object *ref = gyre_load_acquire(&slot->ref);
        if (ref != NULL)
            edge(ref, arg);
    });
    if (type->trace != NULL) {
        struct traced traced = {cycle, obj, edge, arg};
        type->trace(obj, pass_on, &traced);
    }
}
