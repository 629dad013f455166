/* SUSPECT: the gc_refs scan. Count the edges among candidates; one with more
 * references than edges is held from outside, and what those reach is live.
 * The rest is the set. With the world stopped it is exact: garbage, all of
 * it, and nothing else.
 *
 * Objects are read in order of address and side tables at random, behind a
 * window of prefetches. What is marked ahead of the sweep is traced when the
 * sweep gets there; what it has passed is traced from a stack, through a
 * queue of objects fetched ahead [CHV04]. Design: docs/design/cycle.md
 * .cycle.suspect */
#include "cycle.h"

#include "../../threads/yield.h"
#include "../fault.h"

/* So many fetches are under way at most; a power of two. More than the
 * processor can have is of no use. */
#define WINDOW 32
/* After so many words the sweep has all that its windows hold marked, lest it
 * is past that before. */
#define SETTLE_WORDS 256
/* Bytes that the sweep fetches ahead: over the boundaries of the system's
 * pages the processor does not do it by itself. */
#define AHEAD 1024

/* ---- edges of one object ---- */

/* An edge within its page, which is what most are where objects are made
 * together, needs neither the page's record again nor a fetch ahead. */
static inline bool
same_page(const void *a, const void *b)
{
    return (((uintptr_t)a ^ (uintptr_t)b) >> GYRE_PAGE_SHIFT) == 0;
}

/* ---- counting edges ---- */

/* Words to be counted up, fetched ahead. */
struct count_window {
    const struct cycle *cycle;
    uint32_t *tables;
    uint32_t *words[WINDOW];
    unsigned at;
};

static inline void
count_up(uint32_t *word)
{
    if (GYRE_LIKELY((*word & GC_EDGES) != GC_EDGES))
        ++*word;
}

static inline void
window_count(struct count_window *window, struct gyre_object *target)
{
    uint32_t **place = &window->words[window->at++ & (WINDOW - 1)];
    uint32_t *word = cycle_word_in(window->tables, target);
    if (word == NULL)
        return;
    __builtin_prefetch(word, 1);
    if (*place != NULL)
        count_up(*place);
    *place = word;
}

static void
window_count_edge(struct gyre_object *target, void *arg)
{
    if (target != NULL)
        window_count(arg, target);
}

static void
window_flush(struct count_window *window)
{
    for (unsigned i = 0; i < WINDOW; i++) {
        if (window->words[i] != NULL)
            count_up(window->words[i]);
        window->words[i] = NULL;
    }
}

static inline void
window_count_object(struct count_window *window, const struct page *page,
                    struct gyre_object *obj, const struct gyre_type *type)
{
    if (GYRE_LIKELY(type->traits & TYPE_RUN)) {
        const struct gyre_slot *slot =
            (const struct gyre_slot *)((char *)obj + type->first_slot);
        uint32_t left = type->run_slots;
        if (FAULT_DUE(FAULT_EDGE_NOT_TRACED, 512) && left > 0)
            left--;
        for (; left > 0; left--, slot++) {
            /* acquire; pairs: gyre_slot_exchange(). See gyre_cycle_trace(). */
            struct gyre_object *ref = gyre_load_acquire(&slot->ref);
            if (same_page(ref, obj))
                count_up(&page->gc[page_block_index(page, ref)]);
            else if (ref != NULL)
                window_count(window, ref);
        }
    } else {
        gyre_cycle_trace(window->cycle, obj, type, window_count_edge, window);
    }
}

void
gyre_suspect_count_edges(struct cycle *cycle, struct gyre_object *obj)
{
    struct count_window window = {.cycle = cycle, .tables = cycle->tables};
    window_count_object(&window, page_of(obj), obj, gyre_type_of(obj));
    window_flush(&window);
}

/* Of a collected age, alive or not yet freed. */
static inline bool
is_of_age(const struct cycle *cycle, uint64_t word0)
{
    return word0_is_object(word0) &&
           (cycle->stamps & (1u << word0_stamp(word0))) != 0;
}

static bool
count_page(struct cycle *cycle, struct page *page, struct count_window *window)
{
    size_t step = page->fast.block_size;
    unsigned char *block = page->blocks;
    uint32_t traits = cycle->traits, fresh = gyre_load_relaxed(&page->fresh);
    uint64_t candidates = 0;
    for (uint32_t i = 0; i < fresh; i++, block += step) {
        struct gyre_object *obj = (struct gyre_object *)block;
        /* acquire; pairs: gyre_track(). Late, it may be in this cycle. */
        uint64_t word0 = gyre_load_acquire(&obj->word0);
        const struct gyre_type *type;
        __builtin_prefetch(block + AHEAD);
        if (!is_of_age(cycle, word0))
            continue;
        if (GYRE_UNLIKELY(!(word0 & GYRE_WORD0_TRACKED) ||
                          gyre_load_relaxed(&obj->rc_shared) & GYRE_RC_DEAD)) {
            /* not collected, but ages: the dead too, which wait in a cascade
             * for their end */
            if (cycle->beside)
                page->gc[i] |= GC_LIVE;
            else
                gyre_generation_promote(cycle, obj);
            continue;
        }
        type = (const struct gyre_type *)(uintptr_t)(word0 & GYRE_WORD0_TYPE);
        traits |= type->traits;
        page->gc[i] |= GC_CANDIDATE;
        candidates++;
        if (!cycle_type_waits(cycle, type))
            window_count_object(window, page, obj, type);
        else if (!cycle_table_push(cycle, &cycle->later, obj))
            return false;
    }
    cycle->traits = traits;
    cycle->candidates += candidates;
    return true;
}

static void
count_stopped(void *arg, struct gyre_object *obj)
{
    window_count_object(arg, page_of(obj), obj, gyre_type_of(obj));
    window_flush(arg);
}

/* ---- marking what is held from outside ---- */

bool
gyre_suspect_is_held(const struct cycle *cycle, const struct gyre_object *obj,
                     uint32_t word)
{
    uint32_t local = gyre_load_relaxed(&obj->rc_local);
    uint32_t shared = gyre_load_relaxed(&obj->rc_shared);
    int64_t count = gyre_rc_shared_count(shared), edges = word & GC_EDGES;
    if (!(shared & GYRE_RC_MERGED) && rc_owner_is_thread(local))
        count += rc_local_count(local);
    if (GYRE_UNLIKELY((local & 0xffff) == GYRE_RC_IMMORTAL ||
                      edges == GC_EDGES ||
                      gyre_rc_shared_count(shared) >= RC_SATURATED))
        return true;
    /* With the world running both are guesses: PROVE knows. */
    if (GYRE_CHECKING && cycle->beside)
        return count > edges;
    if (GYRE_CHECKING)
        GYRE_CHECK(edges <= count,
                   "collect: %s object %p has %ld references, and slots that "
                   "name it %ld times",
                   gyre_type_of(obj)->name, (const void *)obj, (long)count,
                   (long)edges);
    /* Fewer references than edges can't be; keeping it is the safe answer. */
    return count != edges;
}

/* An object to mark, and its word. */
struct target {
    struct gyre_object *obj; /* NULL: none */
    uint32_t *word;
};

/* What marking fetches ahead: targets whose table word, then objects whose
 * slots are on their way to the cache. */
struct mark_window {
    struct cycle *cycle;
    struct target targets[WINDOW];
    struct gyre_object *objects[WINDOW];
    unsigned target_at, object_at;
    unsigned objects_waiting;
    bool ok;
};

/* A target's word has arrived: mark it the first time. It is traced when the
 * sweep gets to it, or from the stack when the sweep has passed. */
static inline void
mark_target(struct mark_window *window, struct gyre_object *obj, uint32_t *word)
{
    struct cycle *cycle = window->cycle;
    if ((*word & (GC_LIVE | GC_CANDIDATE)) != GC_CANDIDATE)
        return;
    *word |= GC_LIVE;
    if (word <= cycle->cursor && !cycle_table_push(cycle, &cycle->marks, obj))
        window->ok = false;
}

static inline void
window_mark(struct mark_window *window, struct gyre_object *target)
{
    struct target *place;
    uint32_t *word = cycle_word_in(window->cycle->tables, target);
    if (word == NULL)
        return;
    __builtin_prefetch(word, 1);
    place = &window->targets[window->target_at++ & (WINDOW - 1)];
    if (place->obj != NULL)
        mark_target(window, place->obj, place->word);
    *place = (struct target){target, word};
}

static void
window_mark_edge(struct gyre_object *target, void *arg)
{
    if (target != NULL)
        window_mark(arg, target);
}

/* Trace a live object, and let it age while its header is at hand. */
static inline void
mark_edges_of(struct mark_window *window, struct gyre_object *obj)
{
    struct cycle *cycle = window->cycle;
    const struct page *page = (struct page *)gyre_page_record(obj);
    uint64_t word0 = gyre_load_relaxed(&obj->word0);
    const struct gyre_type *type =
        (const struct gyre_type *)(uintptr_t)(word0 & GYRE_WORD0_TYPE);
    cycle->survivors++;
    if (cycle->beside) {
        /* It may have died since it was marked; CLOSE lets it age. */
        if (!word0_is_object(word0))
            return;
        if (cycle_type_waits(cycle, type)) {
            if (!cycle_table_push(cycle, &cycle->later, obj))
                window->ok = false;
            return;
        }
    } else if (word0_stamp(word0) != cycle->next_age)
        /* relaxed: world stopped, as in gyre_generation_promote() */
        gyre_store_relaxed(&obj->word0,
                           word0_with_stamp(word0, cycle->next_age));
    if (GYRE_LIKELY(type->traits & TYPE_RUN)) {
        const struct gyre_slot *slot =
            (const struct gyre_slot *)((char *)obj + type->first_slot);
        for (uint32_t left = type->run_slots; left > 0; left--, slot++) {
            /* acquire; pairs: gyre_slot_exchange(). See gyre_cycle_trace(). */
            struct gyre_object *ref = gyre_load_acquire(&slot->ref);
            if (same_page(ref, obj))
                mark_target(window, ref,
                            &page->gc[page_block_index(page, ref)]);
            else if (ref != NULL)
                window_mark(window, ref);
        }
    } else {
        gyre_cycle_trace(cycle, obj, type, window_mark_edge, window);
    }
}

/* What had to wait for a stop. */
static void
mark_stopped(void *arg, struct gyre_object *obj)
{
    const struct mark_window *window = arg;
    gyre_cycle_trace(window->cycle, obj, gyre_type_of(obj), window_mark_edge,
                     arg);
}

static void
mark_flush_targets(struct mark_window *window)
{
    for (unsigned i = 0; i < WINDOW; i++) {
        struct target target = window->targets[i];
        window->targets[i].obj = NULL;
        if (target.obj != NULL)
            mark_target(window, target.obj, target.word);
    }
}

/* Trace until nothing marked waits on the stack. */
static bool
mark_all(struct mark_window *window)
{
    struct cycle_table *marks = &window->cycle->marks;
    while (window->ok) {
        struct gyre_object **place, *obj;
        if (marks->count == 0 && window->objects_waiting == 0) {
            mark_flush_targets(window);
            if (marks->count == 0)
                break;
        }
        place = &window->objects[window->object_at++ & (WINDOW - 1)];
        obj = *place;
        *place = NULL;
        if (marks->count > 0) {
            *place = marks->items[--marks->count];
            __builtin_prefetch(*place, 1);
            __builtin_prefetch((char *)*place + 40); /* the next line too */
            window->objects_waiting++;
        }
        if (obj != NULL) {
            window->objects_waiting--;
            mark_edges_of(window, obj);
        }
    }
    return window->ok;
}

bool
gyre_suspect_mark_live(struct cycle *cycle, struct gyre_object *obj)
{
    struct mark_window window = {.cycle = cycle, .ok = true};
    mark_target(&window, obj, cycle_word(obj));
    return mark_all(&window);
}

/* Sweep one page: trace what is marked already, and what is held. */
static bool
mark_page(struct cycle *cycle, struct page *page, struct mark_window *window)
{
    size_t step = page->fast.block_size;
    unsigned char *block = page->blocks;
    uint32_t flags = 0, fresh = gyre_load_relaxed(&page->fresh);
    for (uint32_t i = 0; i < fresh; i++, block += step) {
        struct gyre_object *obj = (struct gyre_object *)block;
        uint32_t word;
        if (i % SETTLE_WORDS == 0 && !mark_all(window))
            return false;
        word = page->gc[i];
        if (!(word & GC_CANDIDATE))
            continue;
        cycle->cursor = &page->gc[i];
        __builtin_prefetch(block + AHEAD, 1);
        /* marked: by an edge from before, and not traced then */
        if (!(word & GC_LIVE)) {
            if (!gyre_suspect_is_held(cycle, obj, word)) {
                flags |= gyre_load_relaxed(&obj->rc_shared);
                continue;
            }
            page->gc[i] = word | GC_LIVE;
        }
        mark_edges_of(window, obj);
        /* The stack is traced while its neighbourhood is warm. */
        if (cycle->marks.count >= WINDOW && !mark_all(window))
            return false;
    }
    cycle->flags |= rc_flags_of(flags);
    return window->ok;
}

/* ---- the set ---- */

/* Must members be looked at again before they are freed? */
static bool
must_list(const struct cycle *cycle)
{
    const uint32_t asking = TYPE_FINALIZES | TYPE_UNCLEARABLE | TYPE_TRACES;
    return (cycle->traits & asking) != 0 ||
           (cycle->flags & (GYRE_RC_WEAK | GYRE_RC_PUBLISHED)) != 0 ||
           heap_option(cycle->heap, GYRE_OPT_GC_SAVE_ALL) != 0;
}

static struct gyre_object *
page_object(const struct page *page, uint32_t index)
{
    return (struct gyre_object *)(page->blocks +
                                  (size_t)index * page->fast.block_size);
}

/* The members in `page`, and which ages it holds from now on. */
static bool
gather_page(struct cycle *cycle, struct page *page)
{
    uint64_t members = 0, survivors = 0;
    for (uint32_t i = 0; i < page->fresh; i++) {
        uint32_t word = page->gc[i];
        if (!(word & GC_CANDIDATE))
            continue;
        if (word & GC_LIVE) {
            survivors++;
            continue;
        }
        members++;
        if (cycle->lists_set &&
            !cycle_table_push(cycle, &cycle->set, page_object(page, i)))
            return false;
    }
    /* Of the collected ages only the survivors', which what is not tracked
     * has as well: it stays when nobody survives, to no harm. A listed set's
     * ages go when it is given up. */
    if (members == 0 || !cycle->lists_set)
        gyre_generation_forget(cycle, page);
    if (survivors > 0)
        page_stamps_add(page, 1u << cycle->next_age);
    cycle->members += members;
    return members == 0 || cycle_table_push(cycle, &cycle->garbage_pages, page);
}

void
gyre_suspect_compact(struct cycle *cycle)
{
    size_t kept = 0;
    for (size_t i = 0; i < cycle->set.count; i++) {
        struct gyre_object *obj = cycle->set.items[i];
        if (cycle_is_member(obj))
            cycle->set.items[kept++] = obj;
    }
    cycle->set.count = kept;
}

/* Both sweeps. False: no memory, or the cycle is to be abandoned. */
static bool
sweep(struct cycle *cycle, struct count_window *counting,
      struct mark_window *marking)
{
    for (size_t i = 0; i < cycle->pages.count; i++)
        if (!count_page(cycle, cycle->pages.items[i], counting) ||
            !gyre_cycle_goes_on(cycle))
            return false;
    window_flush(counting);
    if (cycle->later.count > 0 &&
        !gyre_slices_trace(cycle, count_stopped, counting))
        return false;
    for (size_t i = 0; i < cycle->pages.count; i++)
        if (!mark_page(cycle, cycle->pages.items[i], marking) ||
            !gyre_cycle_goes_on(cycle))
            return false;
    if (!mark_all(marking))
        return false;
    /* The sweep is over: what is marked later comes off the stack. */
    cycle->cursor = (const uint32_t *)UINTPTR_MAX;
    while (cycle->later.count > 0)
        if (!gyre_slices_trace(cycle, mark_stopped, marking) ||
            !mark_all(marking) || !gyre_cycle_goes_on(cycle))
            return false;
    return true;
}

enum gyre_status
gyre_phase_suspect(struct cycle *cycle)
{
    struct count_window counting = {.cycle = cycle, .tables = cycle->tables};
    struct mark_window marking = {.cycle = cycle, .ok = true};
    if (!sweep(cycle, &counting, &marking))
        return GYRE_ERR_NOMEM;
    cycle->lists_set = must_list(cycle);
    for (size_t i = 0; i < cycle->pages.count; i++)
        if (!gather_page(cycle, cycle->pages.items[i]))
            return GYRE_ERR_NOMEM;
    return GYRE_OK;
}

/* ---- with the world running ---- */

/* gc.check: some of the living are suspected as well, single ones and whole
 * pages, so that proofs have something to refuse: they hold for any set. How
 * many. */
static uint64_t
suspect_at_random(const struct page *page)
{
    uint64_t more = 0;
    uint32_t fresh = gyre_load_relaxed(&page->fresh);
    uint64_t dice = gyre_clock_ns() * UINT64_C(0x9e3779b97f4a7c15);
    bool whole = dice >> 61 == 0;
    for (uint32_t i = 0; i < fresh; i++) {
        dice = dice * UINT64_C(6364136223846793005) + 1;
        if ((page->gc[i] & (GC_LIVE | GC_CANDIDATE)) ==
                (GC_LIVE | GC_CANDIDATE) &&
            (whole || dice >> 59 == 0)) {
            page->gc[i] &= ~GC_LIVE;
            more++;
        }
    }
    return more;
}

/* The suspects of a page, to the next places of the table. */
static void
gather_suspects(struct cycle *cycle, const struct page *page)
{
    uint32_t fresh = gyre_load_relaxed(&page->fresh);
    uint32_t at = cycle->suspect_count;
    for (uint32_t i = 0; i < fresh; i++) {
        uint32_t word = page->gc[i];
        if ((word & (GC_LIVE | GC_CANDIDATE)) != GC_CANDIDATE)
            continue;
        cycle->suspects[at] =
            (struct suspect){.obj = page_object(page, i), .parent = at};
        page->gc[i] = GC_CANDIDATE | at++;
    }
    cycle->suspect_count = at;
}

bool
gyre_phase_suspect_beside(struct cycle *cycle)
{
    struct count_window counting = {.cycle = cycle, .tables = cycle->tables};
    struct mark_window marking = {.cycle = cycle, .ok = true};
    uint64_t count;
    GYRE_YIELD_POINT("suspect");
    if (!sweep(cycle, &counting, &marking))
        return gyre_cycle_give_up(cycle, GYRE_ERR_NOMEM);
    /* each that is LIVE was traced once */
    count = cycle->candidates - cycle->survivors;
    if (heap_option(cycle->heap, GYRE_OPT_GC_CHECK) != 0)
        for (size_t i = 0; i < cycle->pages.count; i++)
            count += suspect_at_random(cycle->pages.items[i]);
    if (count == 0)
        return true;
    cycle->suspects_bytes = count * sizeof *cycle->suspects;
    cycle->suspects = count > SUSPECTS_MOST
                          ? NULL
                          : gyre_spare_take(cycle->heap, SPARE_SUSPECTS,
                                            &cycle->suspects_bytes);
    if (cycle->suspects == NULL)
        return gyre_cycle_give_up(cycle, GYRE_ERR_NOMEM);
    for (size_t i = 0; i < cycle->pages.count; i++)
        gather_suspects(cycle, cycle->pages.items[i]);
    GYRE_ASSERT(cycle->suspect_count == count);
    /* relaxed: a statistic */
    gyre_fetch_add_relaxed(&cycle->heap->collector.suspected, count);
    return true;
}
