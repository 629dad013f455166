/* OPEN: choose the pages with candidates, give them side tables, move the
 * birth stamp on. In a stop.
 *   entry   queues are drained
 *   exit    every page that may hold a candidate has `gc`, zeroed; limbo and
 *           births know the cycle's stamps
 *   fails   GYRE_ERR_NOMEM, nothing changed
 * Design: docs/design/cycle.md .cycle.stamp */
#include "cycle.h"

#include "../../threads/yield.h"

static uint32_t
stamps_of(enum gyre_generation generation)
{
    uint32_t stamps = STAMPS_BORN;
    if (generation >= GYRE_GEN_MIDDLE)
        stamps |= 1u << STAMP_MIDDLE;
    if (generation >= GYRE_GEN_OLD)
        stamps |= 1u << STAMP_OLD;
    return stamps;
}

/* Containers, that is. */
static bool
has_objects(const struct page *page)
{
    /* relaxed: in a stop; or the page had ages before the last answer to a
     * handshake, and keeps its state but for what makes no difference here */
    unsigned state = gyre_load_relaxed(&page->state);
    return page->kind == GYRE_PAGE_CONTAINER && state != PAGE_FREE &&
           state != PAGE_INTERIOR && state != PAGE_RETIRING;
}

/* A word for every block there may ever be: what is handed out while the
 * cycle is open is no candidate, but may be the target of an edge. Whole
 * cache lines. */
static size_t
table_words(const struct page *page)
{
    return (page->capacity + 15) & ~(size_t)15;
}

/* The first page from `from` on of which an object may be of one of the ages,
 * by eight pages at a time, so that old ones cost next to nothing. NULL: no
 * further one. */
static struct page *
next_page_with(const struct segment *segment, uint32_t stamps, unsigned from)
{
    const uint64_t every_page = UINT64_C(0x0101010101010101);
    unsigned pages =
        segment->bytes == GYRE_SEGMENT_BYTES ? GYRE_SEGMENT_PAGES : 2;
    while (from < pages) {
        /* relaxed: as in page_stamps() */
        uint64_t found =
            gyre_load_relaxed(&segment->stamps[from / SEGMENT_STAMP_PAGES]) &
            every_page * stamps;
        struct page *page;
        found >>= from % SEGMENT_STAMP_PAGES * 8;
        if (found == 0) {
            from = (from / SEGMENT_STAMP_PAGES + 1) * SEGMENT_STAMP_PAGES;
            continue;
        }
        from += (unsigned)__builtin_ctzll(found) / 8;
        page = from < pages ? segment_page(segment, from) : NULL;
        /* Pages without containers may have kept ages from when they had
         * some. */
        if (page != NULL && has_objects(page))
            return page;
        from++;
    }
    return NULL;
}

static bool
list_pages_of(struct cycle *cycle, struct segment *segment)
{
    struct page *page = next_page_with(segment, cycle->stamps, 1);
    while (page != NULL) {
        if (!cycle_table_push(cycle, &cycle->pages, page))
            return false;
        cycle->table_words += table_words(page);
        page = next_page_with(segment, cycle->stamps, page_index(page) + 1);
    }
    return true;
}

/* The oldest first, which is the order they were filled in: what a sweep in
 * that order marks lies ahead of it, as a rule. By address it would not: the
 * system maps downwards. */
static bool
list_pages(struct cycle *cycle)
{
    struct segment *segment = NULL;
    while ((segment = gyre_memory_next_segment(cycle->heap, segment)) != NULL)
        if (!list_pages_of(cycle, segment)) {
            gyre_memory_end_walk(cycle->heap, segment);
            return false;
        }
    return true;
}

/* Every page of a span finds the table, so that an edge needs one look at
 * the record of the page it points to. */
static void
give_table(struct cycle *cycle, struct page *page, uint32_t *table)
{
    struct cycle_page *compact = cycle_page_of(page->blocks);
    size_t base = (size_t)(table - cycle->tables) + 1;
    page->gc = table;
    compact->base = CYCLE_PAGE_ASK;
    if (page->span_pages == 1 && page->reciprocal != 0 && base < CYCLE_PAGE_ASK)
        *compact = (struct cycle_page){(uint32_t)base, page->reciprocal};
    for (unsigned i = 1; i < page->span_pages; i++) {
        struct page *interior =
            (struct page *)((char *)page + (size_t)i * GYRE_PAGE_RECORD_BYTES);
        interior->gc = table;
        interior->blocks = page->blocks;
        interior->reciprocal = page->reciprocal;
        compact[i].base = CYCLE_PAGE_ASK;
    }
}

/* Only to an age that no object carries: after an abandoned cycle, or where
 * a page is vaguer than it could be, some may. Then births keep their age,
 * and what is born while this cycle is open is told from its candidates by
 * the side tables alone. */
static bool
next_birth_stamp(const struct cycle *cycle, unsigned *next)
{
    struct gyre_heap *heap = cycle->heap;
    struct segment *segment = NULL;
    *next = (gyre_load_relaxed(&heap->collector.birth_stamp) + 1) % 3;
    while ((segment = gyre_memory_next_segment(heap, segment)) != NULL)
        if (next_page_with(segment, 1u << *next, 1) != NULL) {
            gyre_memory_end_walk(heap, segment);
            return false;
        }
    return true;
}

static void
move_birth_stamp(struct cycle *cycle)
{
    unsigned next;
    if (!next_birth_stamp(cycle, &next))
        return;
    gyre_collector_set_birth_stamp(cycle->heap, next);
    cycle->stamps &= ~(1u << next);
}

/* Tables for the pages that are listed. */
static bool
give_tables(struct cycle *cycle)
{
    uint32_t *table;
    if (cycle->table_words > 0) {
        cycle->tables_bytes = cycle->table_words * sizeof *cycle->tables;
        cycle->tables =
            gyre_spare_take(cycle->heap, SPARE_WORDS, &cycle->tables_bytes);
        if (cycle->tables == NULL)
            return false;
    }
    table = cycle->tables;
    for (size_t i = 0; i < cycle->pages.count; i++) {
        struct page *page = cycle->pages.items[i];
        give_table(cycle, page, table);
        table += table_words(page);
    }
    gyre_memory_pages_listed(cycle->heap, true);
    return true;
}

enum gyre_status
gyre_phase_open(struct cycle *cycle)
{
    gyre_memory_pin(cycle->heap);
    cycle->pinned = true;
    /* relaxed: a heuristic */
    cycle->net_at_open = gyre_load_relaxed(&cycle->heap->collector.net);
    cycle->stamps = stamps_of(cycle->generation);
    cycle->next_age =
        cycle->generation == GYRE_GEN_YOUNG ? STAMP_MIDDLE : STAMP_OLD;
    if (!list_pages(cycle) || !give_tables(cycle))
        return GYRE_ERR_NOMEM;
    move_birth_stamp(cycle);
    return GYRE_OK;
}

/* ---- with the world running ---- */

/* Rounds in which everyone drains, before candidates are chosen: for an
 * automatic collection, and for one that was asked for by name, which waits
 * for what is released in portions besides. */
#define DRAINS_AUTOMATIC 1
#define DRAINS_ASKED 8

static bool
shake(struct cycle *cycle)
{
    struct mutator *self = cycle->self;
    struct gyre_heap *heap = cycle->heap;
    enum gyre_status status;
    gyre_merge_publish(self);
    gyre_merge_drain(self);
    gyre_cascade_run(self, true);
    gyre_merge_publish(self);
    GYRE_YIELD_POINT("shake");
    status =
        gyre_handshake_soft(&heap->world, &self->part,
                            heap_option(heap, GYRE_OPT_THREAD_STOP_TIMEOUT));
    gyre_merge_drain(self);
    gyre_cascade_run(self, true);
    return status == GYRE_OK || gyre_cycle_give_up(cycle, status);
}

/* What queues and cascades hold looks alive. A round is two handshakes: after
 * the first everything is published, after the second it is drained. The
 * first of all also has everyone done with the last cycle, and know of the
 * pin. */
static bool
drain(struct cycle *cycle)
{
    struct drain_rounds rounds = gyre_drain_rounds(
        cycle->heap, cycle->automatic ? DRAINS_AUTOMATIC : DRAINS_ASKED,
        !cycle->automatic);
    do {
        if (!shake(cycle))
            return false;
        gyre_drain_published(&rounds, cycle->heap);
        if (!shake(cycle) || !gyre_cycle_goes_on(cycle))
            return false;
    } while (gyre_drain_again(&rounds, cycle->heap));
    return true;
}

/* Entries that got lost for want of memory are found in a stop. */
static bool
find_lost(struct cycle *cycle)
{
    struct mutator *self = cycle->self;
    /* relaxed: one that gets lost now is found by the next cycle */
    if (gyre_load_relaxed(&cycle->heap->object.lost_queued) == 0)
        return true;
    if (!gyre_slice_begin(cycle))
        return false;
    gyre_merge_drain_all(self);
    gyre_merge_find_lost(self);
    gyre_slice_end(cycle);
    gyre_cascade_run(self, true);
    gyre_merge_publish(self);
    return true;
}

/* Births get an age that is not collected. When none is free, after cycles
 * that were abandoned, they keep theirs, and what has it waits for the next. */
static void
choose_stamps(struct cycle *cycle)
{
    struct collector *collector = &cycle->heap->collector;
    unsigned next;
    cycle->net_at_open = gyre_load_relaxed(&collector->net); /* a heuristic */
    cycle->stamps = stamps_of(cycle->generation);
    cycle->next_age =
        cycle->generation == GYRE_GEN_YOUNG ? STAMP_MIDDLE : STAMP_OLD;
    if (next_birth_stamp(cycle, &next)) {
        /* relaxed: taken over by a handshake .open.shake */
        gyre_store_relaxed(&collector->birth_stamp, next);
    } else {
        next = gyre_load_relaxed(&collector->birth_stamp);
    }
    cycle->stamps &= ~(1u << next);
}

bool
gyre_phase_open_beside(struct cycle *cycle)
{
    gyre_memory_pin(cycle->heap);
    cycle->pinned = true;
    if (!drain(cycle) || !find_lost(cycle))
        return false;
    choose_stamps(cycle);
    cycle->limbo = true;
    gyre_memory_limbo_begin(cycle->heap, cycle->stamps);
    gyre_collector_follow(cycle->self);
    if (!shake(cycle))
        return false;
    if (!list_pages(cycle) || !give_tables(cycle))
        return gyre_cycle_give_up(cycle, GYRE_ERR_NOMEM);
    return true;
}
