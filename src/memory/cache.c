/* The empty pages a thread keeps: in lists by class, and among its current
 * ones. The owner's business, but for the heap's epoch, by which others ask
 * it to look at the limits again.
 *
 * `kept` is what counts against the limits: the pages in lists, and of the
 * current ones those `counted`, which are empty or nearly so and need no
 * exact look. A current page that is not counted is looked at by the free
 * that may have emptied it, so that nothing empty is kept uncounted.
 * Design: docs/design/memory.md .mem.cache */
#include "cache.h"

#include "../heap.h"
#include "counts.h"
#include "current.h"
#include "page.h"
#include "refill.h"
#include "settle.h"
#include "trim.h"

/* Frees between two looks at a counted page. */
#define LOOK_SELDOM 64u
/* Blocks in use up to which a page is nearly empty, and the share of all its
 * blocks. */
#define NEAR_BLOCKS 64u
#define NEAR_SHARE 8u
/* Pages that may wait for a grace period before a thread keeps one more than
 * its limits allow instead. */
#define RETIRING_MOST 16u

/* ---- limits ---- */

static void
kept_add(struct gyre_thread *self, const struct page *page, bool in)
{
    struct memory_thread *thread = &mutator_of(self)->memory;
    uint64_t pages = page->span_pages, blocks = page->capacity;
    thread->kept_of[page_alloc_index(page)] += in ? 1u : UINT32_MAX;
    thread->kept_pages += in ? pages : 0 - pages;
    thread->kept_blocks += in ? blocks : 0 - blocks;
}

/* The same for what statistics know of. */
static void
cached_add(struct gyre_thread *self, const struct page *page, bool in)
{
    struct memory_counts *counts = &mutator_of(self)->memory.counts;
    uint64_t pages = page->span_pages, blocks = page->capacity;
    uint32_t *of = &counts->cached_of[page_alloc_index(page)];
    /* relaxed: statistics with one writer */
    gyre_store_relaxed(of, gyre_load_relaxed(of) + (in ? 1u : UINT32_MAX));
    count_add(&counts->cached_pages, in ? pages : 0 - pages);
    count_add(&counts->cached_blocks, in ? blocks : 0 - blocks);
}

/* Whether so many pages and blocks in all, and so many spans of the page's
 * class, are within the limits. */
static bool
within_limits(const struct gyre_heap *heap, const struct page *page,
              uint64_t pages, uint64_t blocks, uint64_t of_class)
{
    return pages << GYRE_PAGE_SHIFT <=
               heap_option(heap, GYRE_OPT_MEMORY_THREAD_CACHE) &&
           blocks <= heap_option(heap, GYRE_OPT_MEMORY_THREAD_CACHE_BLOCKS) &&
           of_class * page->span_pages << GYRE_PAGE_SHIFT <=
               heap_option(heap, GYRE_OPT_MEMORY_CLASS_CACHE) &&
           of_class * page->capacity <=
               heap_option(heap, GYRE_OPT_MEMORY_CLASS_CACHE_BLOCKS);
}

static bool
has_place(struct gyre_thread *self, const struct page *page)
{
    const struct memory_thread *thread = &mutator_of(self)->memory;
    return within_limits(self->heap, page,
                         thread->kept_pages + page->span_pages,
                         thread->kept_blocks + page->capacity,
                         thread->kept_of[page_alloc_index(page)] + 1);
}

static bool
is_over(struct gyre_thread *self, const struct page *page)
{
    const struct memory_thread *thread = &mutator_of(self)->memory;
    return !within_limits(self->heap, page, thread->kept_pages,
                          thread->kept_blocks,
                          thread->kept_of[page_alloc_index(page)]);
}

/* ---- pages in lists ---- */

/* An empty page stays formatted here, so that one that a stray reader may
 * know can be used for the same class again without a grace period. */
bool
gyre_cache_put(struct gyre_thread *self, struct page *page)
{
    struct memory_thread *thread = &mutator_of(self)->memory;
    if (!has_place(self, page))
        return false;
    page_set_state(page, PAGE_FREE);
    page_stamps_clear(page);
    page_list_push(&thread->empty[page_alloc_index(page)], page);
    kept_add(self, page, true);
    cached_add(self, page, true);
    count_add(&thread->counts.listed_pages, page->span_pages);
    return true;
}

static void
cache_remove(struct gyre_thread *self, struct page *page)
{
    struct memory_thread *thread = &mutator_of(self)->memory;
    page_list_remove(&thread->empty[page_alloc_index(page)], page);
    kept_add(self, page, false);
    cached_add(self, page, false);
    count_add(&thread->counts.listed_pages, 0 - (uint64_t)page->span_pages);
}

struct page *
gyre_cache_take(struct gyre_thread *self, uint32_t index)
{
    struct page *page = mutator_of(self)->memory.empty[index];
    if (page != NULL) {
        cache_remove(self, page);
        if (!MEMORY_GUARD)
            gyre_page_relink(page);
    }
    return page;
}

struct page *
gyre_cache_take_other(struct gyre_thread *self, unsigned span_pages)
{
    struct memory_thread *thread = &mutator_of(self)->memory;
    uint32_t index;
    if (thread->counts.listed_pages == 0)
        return NULL;
    for (index = 0; index < GYRE_ALLOC_INDEXES; index++) {
        struct page *page = thread->empty[index];
        if (page != NULL && page->span_pages == span_pages &&
            !gyre_page_needs_grace(self->heap, page)) {
            cache_remove(self, page);
            gyre_counts_page_gone(self, page);
            page->reused = 1;
            return page;
        }
    }
    return NULL;
}

static void
cache_take_out(struct gyre_thread *self, struct page *page)
{
    cache_remove(self, page);
    gyre_counts_page_gone(self, page);
    page_set_owner(page, NULL);
}

static void
cache_give(struct gyre_thread *self, struct page *page)
{
    cache_take_out(self, page);
    gyre_page_dispose(self->heap, page);
}

bool
gyre_cache_flush(struct gyre_thread *self)
{
    struct memory_thread *thread = &mutator_of(self)->memory;
    bool any = thread->counts.listed_pages > 0;
    struct page *list = NULL;
    uint32_t index;
    for (index = 0; any && index < GYRE_ALLOC_INDEXES; index++)
        while (thread->empty[index] != NULL) {
            struct page *page = thread->empty[index];
            cache_take_out(self, page);
            page->next = list;
            list = page;
        }
    gyre_page_dispose_list(self->heap, list);
    return any;
}

/* ---- current pages ---- */

static void
set_counted(struct gyre_thread *self, struct page *page, bool counted)
{
    if (page->counted != counted)
        kept_add(self, page, counted);
    page->counted = counted;
}

static void
set_known_empty(struct gyre_thread *self, struct page *page, bool empty)
{
    if (page->known_empty != empty)
        cached_add(self, page, empty);
    page->known_empty = empty;
}

static bool
is_nearly_empty(const struct page *page, uint32_t used)
{
    uint32_t most = page->capacity / NEAR_SHARE;
    most = most < NEAR_BLOCKS ? most : NEAR_BLOCKS;
    return used <= (most > 0 ? most : 1);
}

/* A current page that can't be kept, but must not be one more of many that
 * wait for a grace period: an allocation and a free in turn would make one of
 * each pair. */
static bool
must_stay(struct gyre_heap *heap, const struct page *page)
{
    /* relaxed: a hint, written under the page lock */
    return gyre_page_needs_grace(heap, page) &&
           gyre_load_relaxed(&heap->memory.retiring_pages) >= RETIRING_MOST;
}

bool
gyre_cache_count_current(struct gyre_thread *self, struct page *page)
{
    struct memory_thread *thread = &mutator_of(self)->memory;
    uint32_t used = page_used(page);
    bool near = is_nearly_empty(page, used);
    if (near != (page->counted != 0) && (!near || has_place(self, page)))
        set_counted(self, page, near);
    page_look_after(page,
                    page->counted ? LOOK_SELDOM : page_frees_to_empty(page));
    set_known_empty(self, page, used == 0);
    if (used > 0 || page->counted)
        return true;
    if (!must_stay(self->heap, page))
        return false;
    thread->epoch--; /* asked once more before long */
    return true;
}

void
gyre_cache_forget_current(struct gyre_thread *self, struct page *page)
{
    set_counted(self, page, false);
    set_known_empty(self, page, false);
}

void
gyre_cache_look(struct gyre_thread *self)
{
    uint32_t index;
    for (index = 0; index < GYRE_ALLOC_INDEXES; index++)
        if (!page_is_none(*memory_current(self, index))) {
            struct page *page = (struct page *)*memory_current(self, index);
            set_known_empty(self, page, gyre_memory_page_live(page) == 0);
        }
}

/* ---- limits that were lowered ---- */

/* Pages in lists over a limit, the current ones left out of account. */
static void
obey_in_lists(struct gyre_thread *self)
{
    struct memory_thread *thread = &mutator_of(self)->memory;
    uint32_t index;
    for (index = 0; index < GYRE_ALLOC_INDEXES; index++)
        while (thread->empty[index] != NULL &&
               is_over(self, thread->empty[index]))
            cache_give(self, thread->empty[index]);
}

void
gyre_cache_catch_up(struct gyre_thread *self)
{
    struct memory_thread *thread = &mutator_of(self)->memory;
    uint32_t index, trims, settles;
    /* acquire; pairs: gyre_memory_options_changed(). The limits read below
     * are those set before, or later ones. */
    thread->epoch = gyre_load_acquire(&self->heap->memory.epoch);
    trims = gyre_load_relaxed(&self->heap->memory.trims);     /* before it */
    settles = gyre_load_relaxed(&self->heap->memory.settles); /* as well */
    if (trims != thread->trims) {
        thread->trims = trims;
        gyre_trim_thread(self);
    }
    if (settles != thread->settles) {
        thread->settles = settles;
        gyre_settle_thread(self);
    }
    for (index = 0; index < GYRE_ALLOC_INDEXES; index++)
        if (!page_is_none(*memory_current(self, index)))
            set_counted(self, (struct page *)*memory_current(self, index),
                        false);
    obey_in_lists(self);
    for (index = 0; index < GYRE_ALLOC_INDEXES; index++) {
        struct gyre_page *current = *memory_current(self, index);
        if (!page_is_none(current) &&
            !gyre_cache_count_current(self, (struct page *)current))
            gyre_refill_give_up(self, (struct page *)current);
    }
}

void
gyre_memory_options_changed(struct gyre_heap *heap)
{
    struct participant *part;
    /* seq_cst, though release would do; pairs: gyre_cache_catch_up() */
    gyre_fetch_add_seq_cst(&heap->memory.epoch, 1);
    /* acquire; pairs: gyre_world_enter(). Those listed are made. */
    for (part = gyre_load_acquire(&heap->world.participants); part != NULL;
         part = part->next)
        gyre_participant_request(part, REQUEST_MEMORY);
    gyre_scavenger_options_changed(heap);
}
