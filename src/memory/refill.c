/* A thread's pages: the current ones, those with free blocks, the full, and
 * where the next one comes from.
 *
 *            close_current        freed into by others
 *   CURRENT --------------> FULL ----------------------> RETURNED
 *    ^   ^ \                 | first own free              |  ^
 *    |   |  \  own_freed     v           .mem.settle       |  |
 *    |   |   '-----------> SPARSE --------------------------- |
 *    |   |                   | more of them                |  |
 *    |   |                   v           .mem.settle       |  |
 *    |   '-------------- AVAILABLE --------------------------'
 *    |                       | ^---------------------------'
 *    |                       | emptied      take_returned()
 *    '------- FREE (cache) <-'
 *
 * A CURRENT page that empties stays so, within limits.
 *
 * The owner's business, but for the lists `full` and `returned`, which
 * others change under the page lock. Design: docs/design/memory.md
 * .mem.cache .mem.adopt */
#include "refill.h"

#include "../heap.h"
#include "batch.h"
#include "cache.h"
#include "counts.h"
#include "current.h"
#include "page.h"

/* So many pages are moved under the page lock at a time. */
#define LOCK_BATCH 32u
/* Sparse pages of one index that are looked at in search of one. */
#define SWEEP_PAGES 4u

void
gyre_page_unlist(struct gyre_heap *heap, struct page *page)
{
    struct memory_heap *memory = &heap->memory;
    /* relaxed: under the page lock, or the caller's own */
    struct gyre_thread *owner =
        owner_plain(gyre_load_relaxed(&page->fast.owner));
    struct memory_thread *thread =
        owner != NULL ? &mutator_of(owner)->memory : NULL;
    uint32_t index = page_alloc_index(page);
    switch (page_state(page)) {
    case PAGE_AVAILABLE:
        page_list_remove(&thread->available[index], page);
        break;
    case PAGE_SPARSE:
        if (thread->sparse_next[index] == page)
            thread->sparse_next[index] = page->next;
        page_list_remove(&thread->sparse[index], page);
        break;
    case PAGE_FULL:
        page_list_remove(
            thread != NULL ? &thread->full : &memory->abandoned_full, page);
        break;
    case PAGE_RETURNED:
        page_list_remove(&thread->returned, page);
        break;
    case PAGE_ABANDONED:
        page_list_remove(&memory->abandoned[index], page);
        break;
    default:
        gyre_fatal("memory: page %p in state %d has no list", (void *)page,
                   (int)page_state(page));
    }
}

/* ---- pages come and go ---- */

void
gyre_refill_note_stamp(struct gyre_thread *self, struct page *page)
{
    unsigned stamp =
        (unsigned)(self->birth_stamp >> GYRE_WORD0_STAMP_SHIFT) & 7u;
    if (page->kind == GYRE_PAGE_CONTAINER)
        page_stamps_add(page, 1u << stamp);
}

static void
make_current(struct gyre_thread *self, struct page *page)
{
    page_set_state(page, PAGE_CURRENT);
    gyre_page_note(self, page);
    gyre_refill_note_stamp(self, page);
    *memory_current(self, page_alloc_index(page)) = &page->fast;
    count_add(&mutator_of(self)->memory.counts.exchanges, 1);
    /* Not counted, even if it is empty: a block is about to be taken. */
    page_look_after(page, page_frees_to_empty(page));
}

/* A page stops being current. */
static void
end_current(struct gyre_thread *self, struct page *page)
{
    *memory_current(self, page_alloc_index(page)) =
        (struct gyre_page *)&gyre_page_none;
    gyre_cache_forget_current(self, page);
}

/* A closed page of the thread's is open again. Page lock held. */
static void
make_available(struct gyre_thread *self, struct page *page)
{
    gyre_remote_open(page);
    page_look_after(page, page_frees_to_empty(page)); /* if none waited */
    page_set_owner(page, self);
    page_set_state(page, PAGE_AVAILABLE);
    page_list_push(&mutator_of(self)->memory.available[page_alloc_index(page)],
                   page);
}

/* Blocks that are free, those not counted that others freed since. An open
 * page of which each block was used. */
static uint32_t
free_blocks(const struct page *page)
{
    return page->fresh - page_used(page);
}

/* A page with a few free blocks is not worth a place in the list: a program
 * that frees one block and takes one, at random, would change pages each time.
 * So up to that share of a class's blocks may lie free but unused. */
static uint32_t
least_worth(struct gyre_thread *self, const struct page *page)
{
    uint32_t index = page_alloc_index(page);
    bool others = mutator_of(self)->memory.available[index] != NULL;
    return page->capacity / (others ? 8u : 32u) + 1;
}

/* How many frees a sparse page is let alone for. */
static void
look_when_worth(struct gyre_thread *self, struct page *page)
{
    uint32_t to_empty = page_frees_to_empty(page);
    uint32_t free = free_blocks(page), least = least_worth(self, page);
    uint32_t more = least > free ? least - free : 1;
    page_look_after(page, more < to_empty ? more : to_empty);
}

/* An open page, in no list, has too few free blocks. */
static void
make_sparse(struct gyre_thread *self, struct page *page)
{
    page->own_freed = 0;
    look_when_worth(self, page);
    page_set_state(page, PAGE_SPARSE);
    page_list_push(&mutator_of(self)->memory.sparse[page_alloc_index(page)],
                   page);
}

/* And now it has enough. */
static void
end_sparse(struct gyre_thread *self, struct page *page)
{
    gyre_page_unlist(self->heap, page);
    page_look_after(page, page_frees_to_empty(page));
    page_set_state(page, PAGE_AVAILABLE);
    page_list_push(&mutator_of(self)->memory.available[page_alloc_index(page)],
                   page);
}

/* Close the exhausted current page, which then may be gone at once. False:
 * something was freed into it. */
static bool
close_current(struct gyre_thread *self, struct page *page)
{
    struct memory_heap *memory = &self->heap->memory;
    bool closed;
    gyre_page_note(self, page);
    pthread_mutex_lock(&memory->page_lock);
    closed = gyre_remote_close(page, REMOTE_NOTIFY);
    if (closed) {
        end_current(self, page);
        page_set_owner(page, owner_closed(self));
        page_set_state(page, PAGE_FULL);
        page_list_push(&mutator_of(self)->memory.full, page);
    }
    pthread_mutex_unlock(&memory->page_lock);
    return closed;
}

void
gyre_refill_take_returned(struct gyre_thread *self)
{
    struct memory_heap *memory = &self->heap->memory;
    struct memory_thread *thread = &mutator_of(self)->memory;
    bool more = true;
    /* relaxed: a hint, set and cleared under the lock */
    if (gyre_load_relaxed(&thread->has_returned) == 0)
        return;
    while (more) {
        unsigned batch;
        pthread_mutex_lock(&memory->page_lock);
        for (batch = 0; batch < LOCK_BATCH && thread->returned != NULL;
             batch++) {
            struct page *page = thread->returned;
            page_list_remove(&thread->returned, page);
            make_available(self, page);
        }
        more = thread->returned != NULL;
        if (!more) /* relaxed: as above */
            gyre_store_relaxed(&thread->has_returned, 0);
        pthread_mutex_unlock(&memory->page_lock);
    }
}

struct page *
gyre_refill_take_available(struct gyre_thread *self, uint32_t index)
{
    struct page **list = &mutator_of(self)->memory.available[index];
    struct page *page = *list;
    if (page != NULL)
        page_list_remove(list, page);
    return page;
}

struct page *
gyre_refill_take_sparse(struct gyre_thread *self, uint32_t index)
{
    struct page *page = mutator_of(self)->memory.sparse[index];
    if (page != NULL)
        gyre_page_unlist(self->heap, page);
    return page;
}

/* See what others freed into a sparse page. True: it has a free block. */
static bool
look_into_sparse(struct gyre_thread *self, struct page *page)
{
    gyre_remote_take(page);
    if (page_used(page) == 0) {
        gyre_refill_end_available(self, page);
        return false;
    }
    return free_blocks(page) > 0;
}

void
gyre_refill_open_sparse(struct gyre_thread *self, uint32_t index)
{
    struct page *page = mutator_of(self)->memory.sparse[index], *next;
    for (; page != NULL; page = next) {
        next = page->next;
        if (look_into_sparse(self, page))
            end_sparse(self, page);
    }
}

/* Look at some of the sparse pages of an index, in turn, for what others
 * freed into them; those worth it become available. */
static void
sweep_sparse(struct gyre_thread *self, uint32_t index, unsigned pages)
{
    struct memory_thread *thread = &mutator_of(self)->memory;
    while (pages-- > 0) {
        struct page *page = thread->sparse_next[index];
        if (page == NULL)
            page = thread->sparse[index];
        if (page == NULL)
            return;
        thread->sparse_next[index] = page->next;
        if (!look_into_sparse(self, page))
            continue;
        if (free_blocks(page) >= least_worth(self, page))
            end_sparse(self, page);
        else
            look_when_worth(self, page);
    }
}

/* Those of the index, and some of others, so that each has its turn. */
static void
sweep(struct gyre_thread *self, uint32_t index)
{
    struct memory_thread *thread = &mutator_of(self)->memory;
    sweep_sparse(self, index, SWEEP_PAGES);
    thread->sweep = (thread->sweep + 1) % GYRE_ALLOC_INDEXES;
    sweep_sparse(self, thread->sweep, SWEEP_PAGES);
}

/* A page of a thread that left; it has a free block, or it would wait with
 * the full ones. */
static struct page *
adopt(struct gyre_thread *self, uint32_t index)
{
    struct memory_heap *memory = &self->heap->memory;
    struct page *page;
    /* relaxed: a hint. A stale NULL costs a page that could be shared. */
    if (gyre_load_relaxed(&memory->abandoned[index]) == NULL)
        return NULL;
    pthread_mutex_lock(&memory->page_lock);
    page = memory->abandoned[index];
    if (page != NULL) {
        page_list_remove(&memory->abandoned[index], page);
        gyre_remote_open(page);
        page_set_owner(page, self);
    }
    pthread_mutex_unlock(&memory->page_lock);
    if (page != NULL) /* relaxed: a statistic */
        gyre_fetch_add_relaxed(&memory->adopted, 1);
    return page;
}

static struct page *
take_empty(struct gyre_thread *self, uint32_t index)
{
    uint32_t size_class = index % GYRE_SIZE_CLASSES;
    unsigned span = page_span_of_class(size_class);
    struct page *page = gyre_cache_take(self, index);
    if (page != NULL)
        return page;
    page = gyre_cache_take_other(self, span);
    if (page == NULL)
        page = gyre_segment_take(self->heap, span);
    if (page == NULL && gyre_cache_flush(self))
        page = gyre_segment_take(self->heap, span);
    if (page == NULL)
        return NULL;
    gyre_page_format(page, (enum gyre_page_kind)(index / GYRE_SIZE_CLASSES),
                     size_class);
    page_set_owner(page, self);
    gyre_counts_page_made(self, page);
    return page;
}

/* When memory is out: a full page of ours that was not worth opening. */
static struct page *
take_full(struct gyre_thread *self, uint32_t index)
{
    struct memory_heap *memory = &self->heap->memory;
    struct page *page;
    pthread_mutex_lock(&memory->page_lock);
    page = mutator_of(self)->memory.full;
    while (page != NULL &&
           (page_alloc_index(page) != index || gyre_remote_waiting(page) == 0))
        page = page->next;
    if (page != NULL) {
        gyre_page_unlist(self->heap, page);
        make_available(self, page);
    }
    pthread_mutex_unlock(&memory->page_lock);
    return gyre_refill_take_available(self, index);
}

/* The next page to allocate from, of whatever kind of emptiness. */
static struct page *
find_page(struct gyre_thread *self, uint32_t index)
{
    struct page *page = gyre_refill_take_available(self, index);
    if (page == NULL) {
        gyre_refill_take_returned(self);
        page = gyre_refill_take_available(self, index);
    }
    if (page == NULL) {
        sweep(self, index);
        page = gyre_refill_take_available(self, index);
    }
    if (page == NULL)
        page = adopt(self, index);
    if (page == NULL)
        page = take_empty(self, index);
    if (page == NULL) {
        gyre_refill_open_sparse(self, index);
        page = gyre_refill_take_available(self, index);
    }
    if (page == NULL)
        page = take_full(self, index);
    return page;
}

/* The page's counters have 32 bits; they are noted at the latest when a
 * quarter of that has been counted since. */
static void
note_before_it_wraps(struct gyre_thread *self, struct page *page)
{
    if (page->fast.allocated - page->noted_allocated > UINT32_MAX / 4)
        gyre_page_note(self, page);
}

static void *
block_take(struct gyre_thread *self, struct gyre_page *page)
{
    void *block = (void *)(page->free - 1);
    page->free = gyre_link_load(self, block);
    page->allocated++;
    return block;
}

void *
gyre_memory_alloc(struct gyre_thread *self, uint32_t index)
{
    struct memory_thread *thread = &mutator_of(self)->memory;
    memory_pending_flush(self);
    if (GYRE_UNLIKELY(cache_is_behind(&self->heap->memory, thread)))
        gyre_cache_catch_up(self);
    count_add(&thread->counts.of[index].refills, 1);
    for (;;) {
        struct gyre_page *current = *memory_current(self, index);
        struct page *page = (struct page *)current;
        if (current->free != GYRE_LINK_END)
            return block_take(self, current);
        if (!page_is_none(current)) {
            note_before_it_wraps(self, page);
            if (page->counted) /* all it had are in use by now */
                (void)gyre_cache_count_current(self, page);
            if (gyre_remote_take(page) || gyre_page_extend(page))
                continue;
            if (page->own_freed) {
                gyre_page_note(self, page);
                end_current(self, page);
                make_sparse(self, page);
            } else if (!close_current(self, page)) {
                continue;
            }
        }
        page = find_page(self, index);
        if (page == NULL) {
            gyre_set_last_status(GYRE_ERR_NOMEM);
            return NULL;
        }
        make_current(self, page);
    }
}

/* ---- pages that empty ---- */

static void
give(struct gyre_thread *self, struct page *page)
{
    gyre_counts_page_gone(self, page);
    page_set_owner(page, NULL);
    gyre_page_dispose(self->heap, page);
}

void
gyre_refill_give_up(struct gyre_thread *self, struct page *page)
{
    end_current(self, page);
    gyre_page_note(self, page);
    give(self, page);
}

static void
end_available(struct gyre_thread *self, struct page *page)
{
    gyre_page_unlist(self->heap, page);
    page->own_freed = 0;
    gyre_page_note(self, page);
}

void
gyre_refill_end_available(struct gyre_thread *self, struct page *page)
{
    end_available(self, page);
    /* While a collection is open it may know this page: see .mem.stable */
    if (memory_is_pinned(&self->heap->memory) || !gyre_cache_put(self, page))
        give(self, page);
}

void
gyre_refill_give_available(struct gyre_thread *self, struct page *page)
{
    end_available(self, page);
    give(self, page);
}

void
gyre_refill_return(struct gyre_thread *self, struct page *page)
{
    struct memory_thread *thread = &mutator_of(self)->memory;
    gyre_page_unlist(self->heap, page);
    page->own_freed = 0;
    page_set_owner(page, owner_closed(self));
    page_set_state(page, PAGE_RETURNED);
    page_list_push(&thread->returned, page);
    /* relaxed: a hint; the list itself is read under the lock */
    gyre_store_relaxed(&thread->has_returned, 1);
}

void
gyre_refill_open_full(struct gyre_thread *self, struct page *page)
{
    gyre_page_unlist(self->heap, page);
    make_available(self, page);
}

/* A page with free blocks that is not current. */
static void
look_at_available(struct gyre_thread *self, struct page *page)
{
    page_look_after(page, page_frees_to_empty(page));
    if (page_used(page) == 0) {
        gyre_refill_end_available(self, page);
    } else if (page_state(page) == PAGE_SPARSE) {
        if (free_blocks(page) >= least_worth(self, page)) {
            page->own_freed = 1;
            end_sparse(self, page);
        } else {
            look_when_worth(self, page);
        }
    }
}

void
gyre_memory_page_look(struct gyre_thread *self, struct page *page)
{
    const struct memory_thread *thread = &mutator_of(self)->memory;
    note_before_it_wraps(self, page);
    /* All that is left was freed by others: it is empty. */
    if (page_used(page) > 0 && gyre_memory_page_live(page) == 0)
        gyre_remote_take(page);
    if (page_state(page) != PAGE_CURRENT)
        look_at_available(self, page);
    else if (!gyre_cache_count_current(self, page))
        gyre_refill_give_up(self, page);
    if (GYRE_UNLIKELY(cache_is_behind(&self->heap->memory, thread)))
        gyre_cache_catch_up(self);
    /* Last, as either may start a thread, and the C library call us again. */
    memory_pending_flush(self);
    gyre_scavenger_poll(self->heap);
}

void
gyre_refill_free_closed(struct gyre_thread *self, struct page *page,
                        struct block_chain chain)
{
    struct memory_heap *memory = &self->heap->memory;
    pthread_mutex_lock(&memory->page_lock);
    gyre_page_unlist(self->heap, page);
    gyre_remote_open(page);
    page_set_owner(page, self);
    make_sparse(self, page);
    pthread_mutex_unlock(&memory->page_lock);
    gyre_memory_free_chain(self, page, chain.first, chain.last, chain.count);
}
