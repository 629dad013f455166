/* The set of suspects while the world runs: edges among members, components,
 * and who is dropped. The collecting thread's own.
 * Design: docs/design/concurrent.md .prove.exact .prove.parts */
#include "cycle.h"

#include "../../threads/yield.h"

/* Members whose headers, and words whose entries, are fetched ahead. */
#define WINDOW 16
/* Objects between two looks at what others want of this thread. */
#define BATCH 1024

/* ---- components ---- */

uint32_t
gyre_set_root(struct suspect *suspects, uint32_t index)
{
    while (suspects[index].parent != index) {
        /* path halving */
        uint32_t parent = suspects[index].parent;
        suspects[index].parent = suspects[parent].parent;
        index = suspects[index].parent;
    }
    return index;
}

static void
unite(struct suspect *suspects, uint32_t a, uint32_t b)
{
    a = gyre_set_root(suspects, a);
    b = gyre_set_root(suspects, b);
    if (a < b)
        suspects[b].parent = a;
    else
        suspects[a].parent = b;
}

/* ---- counting edges ---- */

struct edge_window {
    struct cycle *cycle;
    uint32_t from; /* the member whose edges come in */
    struct {
        uint32_t *word; /* NULL: none */
        uint32_t from;
    } places[WINDOW];
    unsigned at;
};

static inline void
count_edge(struct cycle *cycle, uint32_t from, uint32_t word)
{
    struct suspect *suspects = cycle->suspects;
    uint32_t to = word & GC_EDGES;
    if ((word & (GC_LIVE | GC_CANDIDATE)) != GC_CANDIDATE ||
        !suspect_is_member(&suspects[to]))
        return;
    suspects[to].edges++;
    if (cycle->parts && suspects[to].parent != suspects[from].parent)
        unite(suspects, from, to);
}

/* An edge within its page needs no fetch ahead. */
static inline bool
same_page(const void *a, const void *b)
{
    return (((uintptr_t)a ^ (uintptr_t)b) >> GYRE_PAGE_SHIFT) == 0;
}

static inline void
window_edge(struct edge_window *window, struct gyre_object *target)
{
    unsigned at = window->at++ & (WINDOW - 1);
    uint32_t *word = cycle_word_in(window->cycle->tables, target);
    if (window->places[at].word != NULL)
        count_edge(window->cycle, window->places[at].from,
                   *window->places[at].word);
    window->places[at].word = word;
    window->places[at].from = window->from;
    if (word != NULL)
        __builtin_prefetch(word);
}

static void
window_edge_fn(struct gyre_object *target, void *arg)
{
    if (target != NULL)
        window_edge(arg, target);
}

static void
window_settle(struct edge_window *window)
{
    for (unsigned i = 0; i < WINDOW; i++) {
        if (window->places[i].word != NULL)
            count_edge(window->cycle, window->places[i].from,
                       *window->places[i].word);
        window->places[i].word = NULL;
    }
}

static inline uint32_t
place_of(const struct gyre_object *obj)
{
    return *cycle_word(obj) & GC_EDGES;
}

static void
count_stopped(void *arg, struct gyre_object *obj)
{
    struct edge_window *window = arg;
    window->from = place_of(obj);
    gyre_cycle_trace(window->cycle, obj, gyre_type_of(obj), window_edge_fn,
                     window);
}

static inline void
count_run(struct edge_window *window, const struct gyre_object *obj,
          const struct gyre_type *type)
{
    const struct page *page = (const struct page *)gyre_page_record(obj);
    const struct gyre_slot *slot =
        (const struct gyre_slot *)((const char *)obj + type->first_slot);
    for (uint32_t left = type->run_slots; left > 0; left--, slot++) {
        /* acquire; pairs: gyre_slot_exchange(). See gyre_cycle_trace(). */
        struct gyre_object *ref = gyre_load_acquire(&slot->ref);
        if (same_page(ref, obj))
            count_edge(window->cycle, window->from,
                       page->gc[page_block_index(page, ref)]);
        else if (ref != NULL)
            window_edge(window, ref);
    }
}

static bool
count_member(struct edge_window *window, uint32_t index)
{
    struct cycle *cycle = window->cycle;
    struct gyre_object *obj = cycle->suspects[index].obj;
    const struct gyre_type *type = suspect_type(obj);
    if (type == NULL)
        return true; /* its flag is off as well */
    if (cycle_type_waits(cycle, type))
        return cycle_table_push(cycle, &cycle->later, obj);
    window->from = index;
    if (GYRE_LIKELY(type->traits & TYPE_RUN))
        count_run(window, obj, type);
    else
        gyre_cycle_trace(cycle, obj, type, window_edge_fn, window);
    return true;
}

bool
gyre_set_count(struct cycle *cycle)
{
    struct edge_window window = {.cycle = cycle};
    struct suspect *suspects = cycle->suspects;
    /* as they were made, the first time */
    for (uint32_t i = 0; cycle->counted && i < cycle->suspect_count; i++) {
        suspects[i].edges = 0;
        if (suspect_is_member(&suspects[i]))
            suspects[i].parent = i;
    }
    cycle->counted = true;
    for (uint32_t i = 0; i < cycle->suspect_count; i++) {
        if (i + WINDOW < cycle->suspect_count)
            __builtin_prefetch(suspects[i + WINDOW].obj);
        if (i % BATCH == 0 && !gyre_cycle_goes_on(cycle))
            return false;
        if (suspect_is_member(&suspects[i]) && !count_member(&window, i))
            return gyre_cycle_give_up(cycle, GYRE_ERR_NOMEM);
        GYRE_YIELD_POINT("count member");
    }
    if (!gyre_slices_trace(cycle, count_stopped, &window))
        return false;
    window_settle(&window);
    return true;
}

/* ---- dropping ---- */

void
gyre_set_drop(struct cycle *cycle, uint32_t index)
{
    struct suspect *suspect = &cycle->suspects[index];
    *cycle_word(suspect->obj) |= GC_LIVE;
    suspect->parent = SUSPECT_DROPPED;
    /* No memory: what it reaches is found unbalanced by the next pass. */
    (void)cycle_table_push(cycle, &cycle->marks, suspect->obj);
}

static void
drop_edge_fn(struct gyre_object *target, void *arg)
{
    struct cycle *cycle = arg;
    uint32_t *word =
        target != NULL ? cycle_word_in(cycle->tables, target) : NULL;
    if (word != NULL && (*word & (GC_LIVE | GC_CANDIDATE)) == GC_CANDIDATE &&
        suspect_is_member(&cycle->suspects[*word & GC_EDGES]))
        gyre_set_drop(cycle, *word & GC_EDGES);
}

static void
drop_stopped(void *arg, struct gyre_object *obj)
{
    gyre_cycle_trace(arg, obj, gyre_type_of(obj), drop_edge_fn, arg);
}

/* Slots may be changing meanwhile, so this saves passes and proves nothing. */
bool
gyre_set_drop_reached(struct cycle *cycle)
{
    struct cycle_table *marks = &cycle->marks;
    unsigned steps = 0;
    do {
        while (marks->count > 0) {
            struct gyre_object *obj = marks->items[--marks->count];
            const struct gyre_type *type = suspect_type(obj);
            if (++steps % BATCH == 0 && !gyre_cycle_goes_on(cycle))
                return false;
            if (type == NULL)
                continue;
            if (cycle_type_waits(cycle, type))
                (void)cycle_table_push(cycle, &cycle->later, obj);
            else
                gyre_cycle_trace(cycle, obj, type, drop_edge_fn, cycle);
        }
        if (!gyre_slices_trace(cycle, drop_stopped, cycle))
            return false;
    } while (marks->count > 0);
    return true;
}

/* ---- references ---- */

bool
gyre_set_take(struct gyre_object *obj)
{
    uint32_t shared = gyre_load_relaxed(&obj->rc_shared);
    do {
        if (!(shared & GYRE_RC_IS_ARMED) ||
            gyre_rc_shared_count(shared) >= RC_SATURATED - 1)
            return false;
        GYRE_YIELD_POINT("take member");
        /* relaxed: untouched since a stop. The flag is there, so it lives:
         * killing it would have taken the flag off. */
    } while (!gyre_cas_weak_relaxed(&obj->rc_shared, &shared,
                                    (shared & ~(uint32_t)GYRE_RC_IS_ARMED) +
                                        GYRE_RC_SHARED_UNIT));
    return true;
}

/* ---- gc.check ---- */

static void
check_edge_fn(struct gyre_object *target, void *arg)
{
    struct cycle *cycle = arg;
    uint32_t *word =
        target != NULL ? cycle_word_in(cycle->tables, target) : NULL;
    if (word != NULL && (*word & (GC_LIVE | GC_CANDIDATE)) == GC_CANDIDATE &&
        suspect_is_member(&cycle->suspects[*word & GC_EDGES]))
        cycle->suspects[*word & GC_EDGES].next++;
}

/* Who was touched since the proof, and with it its component: by a weak get,
 * which COMMIT will find as well. Marked in `edges` of the root. */
#define TOUCHED UINT32_MAX

static void
mark_touched(struct cycle *cycle)
{
    struct suspect *suspects = cycle->suspects;
    for (uint32_t i = 0; i < cycle->suspect_count; i++)
        if (suspect_is_member(&suspects[i]) &&
            !(gyre_load_relaxed(&suspects[i].obj->rc_shared) &
              GYRE_RC_IS_ARMED))
            suspects[gyre_set_root(suspects, i)].edges = TOUCHED;
}

static void
check_member(struct cycle *cycle, uint32_t index)
{
    struct suspect *suspects = cycle->suspects;
    const struct suspect *s = &suspects[index];
    if (suspects[gyre_set_root(suspects, index)].edges == TOUCHED)
        return;
    GYRE_CHECK(gyre_object_count(s->obj) == s->armed && s->next == s->armed,
               "gc.check: %s object %p was proved with count %u and %u edges; "
               "with the world stopped it has count %ld and %u edges",
               gyre_type_of(s->obj)->name, (void *)s->obj, s->armed, s->edges,
               (long)gyre_object_count(s->obj), s->next);
}

bool
gyre_set_check(struct cycle *cycle)
{
    struct suspect *suspects = cycle->suspects;
    if (!gyre_slice_begin(cycle))
        return false;
    mark_touched(cycle);
    for (uint32_t i = 0; i < cycle->suspect_count; i++)
        suspects[i].next = 0;
    for (uint32_t i = 0; i < cycle->suspect_count; i++) {
        struct gyre_object *obj = suspects[i].obj;
        const struct gyre_type *type = suspect_type(obj);
        /* A touched one may have died: its flag is off. */
        if (suspect_is_member(&suspects[i]) && type != NULL &&
            !(gyre_load_relaxed(&obj->rc_shared) & GYRE_RC_DEAD))
            gyre_cycle_trace(cycle, obj, type, check_edge_fn, cycle);
    }
    for (uint32_t i = 0; i < cycle->suspect_count; i++)
        if (suspect_is_member(&suspects[i]))
            check_member(cycle, i);
    gyre_slice_end(cycle);
    return true;
}

static void
check_committed_edge(struct gyre_object *target, void *arg)
{
    struct cycle *cycle = arg;
    const uint32_t *word =
        target != NULL ? cycle_word_in(cycle->tables, target) : NULL;
    if (word != NULL && (*word & (GC_LIVE | GC_CANDIDATE)) == GC_CANDIDATE &&
        cycle->suspects[*word & GC_EDGES].parent == SUSPECT_COMMITTED)
        cycle->suspects[*word & GC_EDGES].next++;
}

bool
gyre_set_check_committed(struct cycle *cycle)
{
    struct suspect *suspects = cycle->suspects;
    if (!gyre_slice_begin(cycle))
        return false;
    for (uint32_t i = 0; i < cycle->suspect_count; i++)
        suspects[i].next = 0;
    for (uint32_t i = 0; i < cycle->suspect_count; i++)
        if (suspects[i].parent == SUSPECT_COMMITTED)
            gyre_cycle_trace(cycle, suspects[i].obj,
                             gyre_type_of(suspects[i].obj),
                             check_committed_edge, cycle);
    for (uint32_t i = 0; i < cycle->suspect_count; i++) {
        const struct suspect *s = &suspects[i];
        if (s->parent == SUSPECT_COMMITTED)
            GYRE_CHECK(gyre_object_count(s->obj) == s->armed &&
                           s->next == s->armed,
                       "gc.check: %s object %p was given up with count %u; "
                       "with the world stopped it has count %ld and %u edges",
                       gyre_type_of(s->obj)->name, (void *)s->obj, s->armed,
                       (long)gyre_object_count(s->obj), s->next);
    }
    gyre_slice_end(cycle);
    return true;
}
