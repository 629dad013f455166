/* What happened to blocks and pages: noted when a page changes hands, by
 * whoever has it then, in counters of its own thread; summed up for whoever
 * asks. Design: docs/design/memory.md .mem.births .mem.counts */
#include "counts.h"

#include "../heap.h"
#include "batch.h"
#include "cache.h"
#include "remote.h"

/* ---- noting ---- */

void
gyre_page_note(struct gyre_thread *self, struct page *page)
{
    struct memory_thread *thread = &mutator_of(self)->memory;
    struct class_counts *counts = &thread->counts.of[counts_index(page)];
    uint32_t live = gyre_memory_page_live(page);
    uint32_t births = page->fast.allocated - page->noted_allocated;
    int64_t net = (int64_t)live - (int64_t)page->noted_used;
    uint64_t deaths = (uint64_t)((int64_t)births - net);
    page->noted_used = live;
    page->noted_allocated = page->fast.allocated;
    if (deaths != 0)
        count_add(&counts->frees, deaths);
    if (births != 0)
        /* release; pairs: add_counts(). Who sees the births sees those of them
         * that died. One writer. */
        gyre_store_release(&counts->allocations,
                           gyre_load_relaxed(&counts->allocations) + births);
    if (net != 0 && page->kind == GYRE_PAGE_CONTAINER)
        /* relaxed: for pacing; one writer */
        gyre_store_relaxed(&thread->container_net,
                           gyre_load_relaxed(&thread->container_net) + net);
}

void
gyre_counts_page_made(struct gyre_thread *self, const struct page *page)
{
    struct memory_counts *counts = &mutator_of(self)->memory.counts;
    count_add(&counts->of[page_alloc_index(page)].pages, page->span_pages);
}

void
gyre_counts_page_gone(struct gyre_thread *self, const struct page *page)
{
    struct memory_counts *counts = &mutator_of(self)->memory.counts;
    count_add(&counts->of[page_alloc_index(page)].pages,
              0 - (uint64_t)page->span_pages);
}

/* In a stop: births and deaths of a page whose blocks no running thread
 * knows. Large blocks are noted as they come and go. Page lock held, because
 * of the threads that no stop waits for: closed pages stand still then, and
 * their open ones are their own. */
static void
note_readable(struct page *page)
{
    if (page_has_blocks(page) && page_state(page) != PAGE_LARGE &&
        !gyre_page_is_restless(page))
        gyre_page_note(gyre_self, page);
}

static void
note_segment(struct memory_heap *memory, struct segment *segment)
{
    unsigned i;
    for (i = 1; i < GYRE_SEGMENT_PAGES; i++) {
        pthread_mutex_lock(&memory->page_lock);
        note_readable(segment_page(segment, i));
        pthread_mutex_unlock(&memory->page_lock);
    }
}

void
gyre_memory_note_all(struct gyre_heap *heap)
{
    struct memory_thread *own = &mutator_of(gyre_self)->memory;
    /* relaxed, here and below: counts for pacing */
    int64_t net = gyre_load_relaxed(&own->container_net);
    struct participant *part;
    struct segment *segment;
    gyre_memory_pin(heap); /* no segment goes meanwhile */
    /* acquire; pairs: gyre_world_enter(). Those listed are made. */
    for (part = gyre_load_acquire(&heap->world.participants); part != NULL;
         part = part->next)
        memory_pending_flush(&mutator_of_part(part)->fast);
    segment = segment_first(&heap->memory);
    for (; segment != NULL; segment = segment_next(segment))
        if (segment->bytes == GYRE_SEGMENT_BYTES)
            note_segment(&heap->memory, segment);
    gyre_memory_unpin(heap);
    /* What others had at hand does not pass for the caller's own births. */
    net = gyre_load_relaxed(&own->container_net) - net;
    gyre_store_relaxed(&own->container_net,
                       gyre_load_relaxed(&own->container_net) - net);
    gyre_fetch_add_relaxed(&heap->memory.container_net_gone, net);
    /* acquire; pairs: gyre_world_enter(). Those listed are made. */
    for (part = gyre_load_acquire(&heap->world.participants); part != NULL;
         part = part->next)
        gyre_cache_look(&mutator_of_part(part)->fast);
}

/* ---- summing up ---- */

/* Do something for each record of a thread, past or present. */
#define EACH_THREAD(heap, mutator, ...)                                      \
    do {                                                                     \
        struct mutator *mutator;                                             \
        struct participant *each_;                                           \
        /* acquire; pairs: gyre_world_enter(). Those listed are made. */     \
        for (each_ = gyre_load_acquire(&(heap)->world.participants);         \
             each_ != NULL; each_ = each_->next) {                           \
            mutator = mutator_of_part(each_);                                \
            __VA_ARGS__                                                      \
        }                                                                    \
        /* acquire; pairs: list_new() */                                     \
        for (mutator = gyre_load_acquire(&(heap)->raw.all); mutator != NULL; \
             mutator = mutator->next_raw) {                                  \
            __VA_ARGS__                                                      \
        }                                                                    \
    } while (0)

/* Sums of counters that others change meanwhile may come out below zero for
 * a moment. */
static uint64_t
at_least_zero(uint64_t sum)
{
    return (int64_t)sum < 0 ? 0 : sum;
}

/* relaxed, here and below: each is a counter by itself */
static void
add_counts(struct class_counts *sum, const struct class_counts *counts)
{
    /* acquire; pairs: gyre_page_note(). Or more would seem to live than ever
     * did, when a page's births and deaths are noted together meanwhile. */
    sum->allocations += gyre_load_acquire(&counts->allocations);
    sum->frees += gyre_load_relaxed(&counts->frees);
    sum->refills += gyre_load_relaxed(&counts->refills);
    sum->remote_frees += gyre_load_relaxed(&counts->remote_frees);
    sum->pages += gyre_load_relaxed(&counts->pages);
}

uint64_t
gyre_counts_blocks(struct gyre_heap *heap, unsigned kind)
{
    struct class_counts sum = {0};
    EACH_THREAD(heap, mutator, {
        const struct class_counts *of = mutator->memory.counts.of;
        for (uint32_t i = 0; i < GYRE_SIZE_CLASSES; i++)
            add_counts(&sum, &of[kind * GYRE_SIZE_CLASSES + i]);
        add_counts(&sum, &of[GYRE_ALLOC_INDEXES + kind]);
    });
    return at_least_zero(sum.allocations - sum.frees);
}

/* The calling thread's own pages are noted first, so that it finds what it
 * did itself. In a detached region they may be another's to change. */
static void
note_own(struct gyre_heap *heap)
{
    struct gyre_thread *self = gyre_self;
    if (self == NULL || self->heap != heap ||
        (!thread_is_raw(self) && gyre_thread_is_detached(self)))
        return;
    gyre_memory_note_births(self);
    gyre_cache_look(self);
}

void
gyre_memory_statistics(struct gyre_heap *heap, struct gyre_statistics *out)
{
    struct memory_heap *memory = &heap->memory;
    uint64_t cached = 0, listed = 0;
    unsigned kind;
    note_own(heap);
    EACH_THREAD(heap, mutator, {
        const struct memory_counts *counts = &mutator->memory.counts;
        cached += gyre_load_relaxed(&counts->cached_pages);
        listed += gyre_load_relaxed(&counts->listed_pages);
        out->page_refills += gyre_load_relaxed(&counts->exchanges);
    });
    out->mapped = gyre_load_relaxed(&memory->mapped);
    out->mapped_peak = gyre_load_relaxed(&memory->mapped_peak);
    out->pages_in_use =
        at_least_zero(gyre_load_relaxed(&memory->pages_in_use) - listed);
    out->thread_cached = cached << GYRE_PAGE_SHIFT;
    out->heap_cached =
        (gyre_load_relaxed(&memory->cached_pages) << GYRE_PAGE_SHIFT) +
        gyre_load_relaxed(&memory->spare_bytes);
    out->returned = gyre_load_relaxed(&memory->returned);
    out->pages_cached = gyre_load_relaxed(&memory->cached_pages) + listed;
    out->pages_adopted = gyre_load_relaxed(&memory->adopted);
    for (kind = 0; kind < GYRE_PAGE_KINDS; kind++)
        out->blocks_in_use[kind] = gyre_counts_blocks(heap, kind);
}

enum gyre_status
gyre_statistics_class(struct gyre_heap *heap, enum gyre_page_kind kind,
                      uint32_t size_class, struct gyre_class_statistics *out)
{
    struct class_counts sum = {0};
    uint64_t cached = 0, bytes;
    uint32_t index;
    memset(out, 0, sizeof *out);
    if ((unsigned)kind >= GYRE_PAGE_KINDS || size_class >= GYRE_SIZE_CLASSES)
        return GYRE_ERR_ARGUMENT;
    index = gyre_alloc_index(kind, size_class);
    note_own(heap);
    EACH_THREAD(heap, mutator, {
        const struct memory_counts *counts = &mutator->memory.counts;
        add_counts(&sum, &counts->of[index]);
        cached += gyre_load_relaxed(&counts->cached_of[index]);
    });
    out->block_bytes = gyre_class_bytes(size_class);
    out->allocations = sum.allocations;
    out->frees = sum.frees;
    out->refills = sum.refills;
    out->remote_frees = sum.remote_frees;
    out->pages = at_least_zero(sum.pages);
    out->blocks_in_use = at_least_zero(sum.allocations - sum.frees);
    out->cached = cached * page_span_of_class(size_class) << GYRE_PAGE_SHIFT;
    bytes = out->cached + out->blocks_in_use * out->block_bytes;
    out->fragmented = at_least_zero((out->pages << GYRE_PAGE_SHIFT) - bytes);
    return GYRE_OK;
}

/* ---- threads ---- */

/* The next entry, if there is room for it. */
static void
put_thread(struct mutator *mutator, struct gyre_thread_statistics *out,
           size_t room, size_t *count)
{
    const struct memory_counts *counts = &mutator->memory.counts;
    if (*count < room) {
        struct gyre_thread_statistics *entry = &out[*count];
        entry->number = mutator->fast.number;
        memcpy(entry->name, mutator->part.name, sizeof entry->name);
        entry->cached = gyre_load_relaxed(&counts->cached_pages)
                        << GYRE_PAGE_SHIFT;
        entry->cached_blocks = gyre_load_relaxed(&counts->cached_blocks);
    }
    ++*count;
}

/* World lock held. */
static bool
is_attached(const struct participant *part)
{
    /* relaxed, both: as of now */
    uint32_t state = gyre_load_relaxed(&part->state);
    if (state == PART_CLAIMED)
        state = gyre_load_relaxed(&part->claimed_from);
    return state != PART_GONE && !part->internal;
}

size_t
gyre_statistics_threads(struct gyre_heap *heap,
                        struct gyre_thread_statistics *out, size_t room)
{
    struct participant *part;
    struct mutator *raw;
    size_t count = 0;
    note_own(heap);
    pthread_mutex_lock(&heap->world.lock); /* for names, and who is listed */
    for (part = gyre_load_relaxed(&heap->world.participants); part != NULL;
         part = part->next)
        if (is_attached(part))
            put_thread(mutator_of_part(part), out, room, &count);
    pthread_mutex_unlock(&heap->world.lock);
    pthread_mutex_lock(&heap->raw.lock);
    for (raw = gyre_load_relaxed(&heap->raw.all); raw != NULL;
         raw = raw->next_raw)
        if (raw->raw_attached)
            put_thread(raw, out, room, &count);
    pthread_mutex_unlock(&heap->raw.lock);
    return count;
}

/* ---- fork ---- */

/* What a thread that is not there any more kept. */
static void
keep_nothing(struct memory_counts *counts)
{
    uint32_t index;
    for (index = 0; index < GYRE_ALLOC_INDEXES; index++)
        gyre_store_relaxed(&counts->cached_of[index], 0);
    gyre_store_relaxed(&counts->cached_pages, 0);
    gyre_store_relaxed(&counts->cached_blocks, 0);
    gyre_store_relaxed(&counts->listed_pages, 0);
}

/* Have `counts` make up the difference. */
static void
settle(struct gyre_heap *heap, uint32_t index, struct class_counts *counts,
       uint64_t live, uint64_t pages)
{
    struct class_counts sum = {0};
    uint64_t deaths;
    EACH_THREAD(heap, mutator,
                add_counts(&sum, &mutator->memory.counts.of[index]););
    deaths = sum.allocations - sum.frees - live;
    if ((int64_t)deaths > 0)
        count_add(&counts->frees, deaths);
    else
        count_add(&counts->allocations, 0 - deaths);
    if (index < GYRE_ALLOC_INDEXES)
        count_add(&counts->pages, pages - sum.pages);
}

void
gyre_counts_settle_raw(struct gyre_heap *heap, const struct raw_totals *totals)
{
    struct mutator *first = gyre_load_relaxed(&heap->raw.all), *raw;
    struct memory_counts *counts = &first->memory.counts;
    uint32_t index = gyre_alloc_index(GYRE_PAGE_RAW, 0);
    for (raw = first; raw != NULL; raw = raw->next_raw)
        if (&raw->fast != gyre_self)
            keep_nothing(&raw->memory.counts);
    for (; index < GYRE_ALLOC_INDEXES; index++)
        settle(heap, index, &counts->of[index], totals->live[index],
               totals->pages[index]);
    index = GYRE_ALLOC_INDEXES + GYRE_PAGE_RAW;
    settle(heap, index, &counts->of[index], totals->live[index], 0);
}
