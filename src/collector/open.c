/* OPEN: choose the pages with candidates, give them side tables, move the
 * birth stamp on. In a stop.
 *   entry   queues are drained
 *   exit    every page that may hold a candidate has `gc`, zeroed; limbo and
 *           births know the cycle's stamps
 *   fails   GYRE_ERR_NOMEM, nothing changed
 * Design: docs/design/cycle.md .cycle.stamp */
#include "cycle.h"

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
    return page->kind == GYRE_PAGE_CONTAINER && page->state != PAGE_FREE &&
           page->state != PAGE_INTERIOR && page->state != PAGE_RETIRING;
}

/* A word for every block there may ever be: what is handed out while the
 * cycle is open is no candidate, but may be the target of an edge. Whole
 * cache lines; untouched ones cost nothing. */
static size_t
table_words(const struct page *page)
{
    return (page->capacity + 15) & ~(size_t)15;
}

static bool
list_pages_of(struct cycle *cycle, struct segment *segment)
{
    unsigned pages =
        segment->bytes == GYRE_SEGMENT_BYTES ? GYRE_SEGMENT_PAGES : 2;
    for (unsigned i = 1; i < pages; i++) {
        struct page *page = segment_page(segment, i);
        if ((segment->stamps[i] & cycle->stamps) == 0 || !has_objects(page))
            continue;
        if (!cycle_table_push(cycle, &cycle->pages, page))
            return false;
        cycle->table_words += table_words(page);
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

/* May an object in this page carry the age? Pages without containers may
 * have kept ages from when they had some. */
static bool
page_has_age(const struct segment *segment, unsigned index, unsigned age)
{
    if ((segment->stamps[index] & (1u << age)) == 0)
        return false;
    return has_objects(segment_page(segment, index));
}

/* Only to an age that no object carries: after an abandoned cycle, or where
 * a page is vaguer than it could be, some may. Then births keep their age,
 * and what is born while this cycle is open is told from its candidates by
 * the side tables alone. */
static void
move_birth_stamp(struct cycle *cycle)
{
    struct gyre_heap *heap = cycle->heap;
    unsigned next = (heap->collector.birth_stamp + 1) % 3;
    struct segment *segment = segment_first(&heap->memory);
    for (; segment != NULL; segment = segment_next(segment)) {
        unsigned pages =
            segment->bytes == GYRE_SEGMENT_BYTES ? GYRE_SEGMENT_PAGES : 2;
        for (unsigned i = 1; i < pages; i++)
            if (page_has_age(segment, i, next))
                return;
    }
    gyre_collector_set_birth_stamp(heap, next);
    cycle->stamps &= ~(1u << next);
}

enum gyre_status
gyre_phase_open(struct cycle *cycle)
{
    struct segment *segment;
    uint32_t *table;
    gyre_memory_pin(cycle->heap);
    cycle->pinned = true;
    segment = segment_first(&cycle->heap->memory);
    cycle->stamps = stamps_of(cycle->generation);
    cycle->next_age =
        cycle->generation == GYRE_GEN_YOUNG ? STAMP_MIDDLE : STAMP_OLD;
    /* The oldest first, which is the order they were filled in: what a sweep
     * in that order marks lies ahead of it, as a rule. By address it would
     * not: the system maps downwards. */
    while (segment != NULL && segment_next(segment) != NULL)
        segment = segment_next(segment);
    for (; segment != NULL; segment = segment_prev(segment))
        if (!list_pages_of(cycle, segment))
            return GYRE_ERR_NOMEM;
    if (cycle->table_words > 0) {
        cycle->tables = gyre_memory_table_new(
            cycle->heap, cycle->table_words * sizeof *cycle->tables);
        if (cycle->tables == NULL)
            return GYRE_ERR_NOMEM;
    }
    table = cycle->tables;
    for (size_t i = 0; i < cycle->pages.count; i++) {
        struct page *page = cycle->pages.items[i];
        give_table(cycle, page, table);
        table += table_words(page);
    }
    move_birth_stamp(cycle);
    return GYRE_OK;
}
