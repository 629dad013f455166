/* A thread's pages: the current ones, those with free blocks, the full, the
 * empty, and where the next one comes from.
 *
 *            close_current                   freed into
 *   CURRENT ---------------> FULL ------------------------> RETURNED
 *    ^   ^ '- emptied: stays   | own frees  (by others)        |
 *    |   |                     v                               |
 *    |   '-------------- AVAILABLE <---------------------------'
 *    |                     | emptied         take_returned()
 *    '------- FREE (cache) <
 *
 * The owner's business, but for the lists `full` and `returned`, which
 * others change under the page lock. Design: docs/design/memory.md
 * .mem.cache .mem.adopt */
#include "cache.h"

#include "../heap.h"
#include "page.h"
#include "retire.h"

/* So many pages are moved under the page lock at a time. */
#define LOCK_BATCH 32u

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

/* ---- the cache of empty pages ---- */

static void
cached_count(struct gyre_thread *self, uint64_t pages, bool in)
{
    struct memory_heap *memory = &self->heap->memory;
    mutator_of(self)->memory.empty_pages += in ? pages : 0 - pages;
    /* relaxed, both: statistics */
    gyre_fetch_add_relaxed(&memory->thread_cached_pages,
                           in ? pages : 0 - pages);
    gyre_fetch_sub_relaxed(&memory->pages_in_use, in ? pages : 0 - pages);
}

static bool
cache_has_place(struct gyre_thread *self, const struct page *page)
{
    struct memory_thread *thread = &mutator_of(self)->memory;
    uint64_t bytes = (thread->empty_pages + page->span_pages)
                     << GYRE_PAGE_SHIFT;
    return bytes <= heap_option(self->heap, GYRE_OPT_MEMORY_THREAD_CACHE) &&
           thread->empty_of[page_alloc_index(page)] <
               heap_option(self->heap, GYRE_OPT_MEMORY_THREAD_CACHE_PER_CLASS);
}

/* An empty page stays formatted here, so that one that a stray reader may
 * know can be used for the same class again without a grace period. */
static void
cache_put(struct gyre_thread *self, struct page *page)
{
    struct memory_thread *thread = &mutator_of(self)->memory;
    uint32_t index = page_alloc_index(page);
    page_set_state(page, PAGE_FREE);
    page_stamps_set(page, 0);
    page_list_push(&thread->empty[index], page);
    thread->empty_of[index]++;
    cached_count(self, page->span_pages, true);
}

static void
cache_remove(struct gyre_thread *self, struct page *page)
{
    struct memory_thread *thread = &mutator_of(self)->memory;
    uint32_t index = page_alloc_index(page);
    page_list_remove(&thread->empty[index], page);
    thread->empty_of[index]--;
    cached_count(self, page->span_pages, false);
}

/* An empty page of another class that may be formatted anew. */
static struct page *
cache_take_other(struct gyre_thread *self, unsigned span_pages)
{
    struct memory_thread *thread = &mutator_of(self)->memory;
    uint32_t index;
    if (thread->empty_pages == 0)
        return NULL;
    for (index = 0; index < GYRE_ALLOC_INDEXES; index++) {
        struct page *page = thread->empty[index];
        if (page != NULL && page->span_pages == span_pages &&
            !gyre_page_needs_grace(self->heap, page)) {
            cache_remove(self, page);
            page->reused = 1;
            return page;
        }
    }
    return NULL;
}

bool
gyre_cache_flush(struct gyre_thread *self)
{
    struct memory_thread *thread = &mutator_of(self)->memory;
    bool any = thread->empty_pages > 0;
    uint32_t index;
    for (index = 0; any && index < GYRE_ALLOC_INDEXES; index++) {
        while (thread->empty[index] != NULL) {
            struct page *page = thread->empty[index];
            cache_remove(self, page);
            page_set_owner(page, NULL);
            gyre_page_dispose(self->heap, page);
        }
    }
    return any;
}

/* ---- pages come and go ---- */

static void
note_stamp(struct gyre_thread *self, struct page *page)
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
    note_stamp(self, page);
    self->current[page_alloc_index(page)] = &page->fast;
    /* relaxed: a statistic */
    gyre_fetch_add_relaxed(&self->heap->memory.refills, 1);
}

/* A closed page of the thread's is open again. Page lock held. */
static void
make_available(struct gyre_thread *self, struct page *page)
{
    gyre_remote_open(page);
    page_set_owner(page, self);
    page_set_state(page, PAGE_AVAILABLE);
    page_list_push(&mutator_of(self)->memory.available[page_alloc_index(page)],
                   page);
}

/* Close the exhausted current page. False: something was freed into it. */
static bool
close_current(struct gyre_thread *self, struct page *page)
{
    struct memory_heap *memory = &self->heap->memory;
    bool closed;
    gyre_page_note(self, page);
    pthread_mutex_lock(&memory->page_lock);
    closed = gyre_remote_close(page, REMOTE_NOTIFY);
    if (closed) {
        page_set_owner(page, owner_closed(self));
        page_set_state(page, PAGE_FULL);
        page_list_push(&mutator_of(self)->memory.full, page);
    }
    pthread_mutex_unlock(&memory->page_lock);
    return closed;
}

static void
take_returned(struct gyre_thread *self)
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

static struct page *
take_available(struct gyre_thread *self, uint32_t index)
{
    struct page **list = &mutator_of(self)->memory.available[index];
    struct page *page = *list;
    if (page != NULL)
        page_list_remove(list, page);
    return page;
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
    struct page *page = mutator_of(self)->memory.empty[index];
    if (page != NULL) {
        cache_remove(self, page);
        return page;
    }
    page = cache_take_other(self, span);
    if (page == NULL)
        page = gyre_segment_take(self->heap, span);
    if (page == NULL && gyre_cache_flush(self))
        page = gyre_segment_take(self->heap, span);
    if (page == NULL)
        return NULL;
    gyre_page_format(page, (enum gyre_page_kind)(index / GYRE_SIZE_CLASSES),
                     size_class);
    page_set_owner(page, self);
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
    return take_available(self, index);
}

/* The next page to allocate from, of whatever kind of emptiness. */
static struct page *
find_page(struct gyre_thread *self, uint32_t index)
{
    struct page *page = take_available(self, index);
    if (page == NULL) {
        take_returned(self);
        page = take_available(self, index);
    }
    if (page == NULL)
        page = adopt(self, index);
    if (page == NULL)
        page = take_empty(self, index);
    if (page == NULL)
        page = take_full(self, index);
    return page;
}

void *
gyre_memory_alloc(struct gyre_thread *self, uint32_t index)
{
    struct gyre_page *current = self->current[index];
    for (;;) {
        struct page *page = (struct page *)current;
        if (current->free != GYRE_LINK_END)
            return memory_block_alloc(self, index);
        if (!page_is_none(current)) {
            if (gyre_remote_take(page) || gyre_page_extend(page))
                continue;
            if (!close_current(self, page))
                continue;
            self->current[index] = (struct gyre_page *)&gyre_page_none;
        }
        page = find_page(self, index);
        if (page == NULL) {
            gyre_set_last_status(GYRE_ERR_NOMEM);
            return NULL;
        }
        make_current(self, page);
        current = &page->fast;
    }
}

void
gyre_memory_page_emptied(struct gyre_thread *self, struct page *page)
{
    /* The current page stays: it is about to be used again. */
    if (page_state(page) == PAGE_CURRENT)
        return;
    GYRE_ASSERT(page_state(page) == PAGE_AVAILABLE);
    gyre_page_unlist(self->heap, page);
    gyre_page_note(self, page);
    /* While a collection is open it may know this page: see .mem.stable */
    if (gyre_load_relaxed(&self->heap->memory.pinned) == 0 &&
        cache_has_place(self, page)) {
        cache_put(self, page);
        return;
    }
    page_set_owner(page, NULL);
    gyre_page_dispose(self->heap, page);
}

/* A page with a few free blocks is not worth two locks: a program that frees
 * one block and takes one, at random, would pay them each time. So up to
 * that share of a class's blocks may lie free but unused. */
static bool
worth_opening(struct gyre_thread *self, const struct page *page, uint32_t more)
{
    uint32_t index = page_alloc_index(page);
    bool others = mutator_of(self)->memory.available[index] != NULL;
    return gyre_remote_waiting(page) + more >
           page->capacity / (others ? 8u : 32u);
}

void
gyre_cache_free_closed(struct gyre_thread *self, struct page *page,
                       struct block_chain chain)
{
    struct memory_heap *memory = &self->heap->memory;
    if (!worth_opening(self, page, chain.count) &&
        gyre_remote_push_own(page, chain))
        return;
    pthread_mutex_lock(&memory->page_lock);
    gyre_page_unlist(self->heap, page);
    make_available(self, page);
    pthread_mutex_unlock(&memory->page_lock);
    gyre_memory_free_chain(self, page, chain.first, chain.last, chain.count);
}

/* ---- a thread's life ---- */

void
gyre_memory_note_births(struct gyre_thread *self)
{
    uint32_t index;
    for (index = 0; index < GYRE_ALLOC_INDEXES; index++)
        if (!page_is_none(self->current[index]))
            gyre_page_note(self, (struct page *)self->current[index]);
}

void
gyre_memory_birth_stamp(struct gyre_thread *self, unsigned stamp)
{
    uint32_t index;
    self->birth_stamp = (uint64_t)stamp << GYRE_WORD0_STAMP_SHIFT;
    for (index = 0; index < GYRE_SIZE_CLASSES; index++)
        if (!page_is_none(self->current[index]))
            note_stamp(self, (struct page *)self->current[index]);
}

void
gyre_memory_thread_init(struct gyre_thread *self)
{
    struct memory_thread *thread = &mutator_of(self)->memory;
    uint32_t index;
    memset(thread, 0, sizeof *thread);
    thread->limbo = GYRE_LINK_END;
    for (index = 0; index < GYRE_ALLOC_INDEXES; index++)
        self->current[index] = (struct gyre_page *)&gyre_page_none;
    self->frees_to = self;
    gyre_memory_limbo_follow(self);
}

/* Leave an open page, in no list, to others. Page lock held. False: it has
 * no blocks in use, and is nobody's. */
static bool
abandon_open(struct gyre_thread *self, struct page *page)
{
    struct memory_heap *memory = &self->heap->memory;
    bool full;
    page_set_owner(page, NULL);
    do {
        gyre_remote_take(page);
        if (page->fast.used == 0)
            return false;
        full = !page_has_room(page);
    } while (!gyre_remote_close(page, full ? REMOTE_NOTIFY : 0));
    page_set_state(page, full ? PAGE_FULL : PAGE_ABANDONED);
    page_list_push(full ? &memory->abandoned_full
                        : &memory->abandoned[page_alloc_index(page)],
                   page);
    return true;
}

static void
leave_open(struct gyre_thread *self, struct page *page)
{
    struct memory_heap *memory = &self->heap->memory;
    bool used;
    gyre_page_note(self, page);
    pthread_mutex_lock(&memory->page_lock);
    used = abandon_open(self, page);
    pthread_mutex_unlock(&memory->page_lock);
    if (!used) {
        gyre_page_note(self, page);
        gyre_page_dispose(self->heap, page);
    }
}

static void
leave_full(struct memory_heap *memory, struct memory_thread *thread)
{
    struct page *page = thread->full;
    page_list_remove(&thread->full, page);
    page_set_owner(page, NULL);
    page_list_push(&memory->abandoned_full, page);
}

static void
leave_returned(struct memory_heap *memory, struct memory_thread *thread)
{
    struct page *page = thread->returned;
    page_list_remove(&thread->returned, page);
    page_set_owner(page, NULL);
    page_set_state(page, PAGE_ABANDONED);
    page_list_push(&memory->abandoned[page_alloc_index(page)], page);
}

/* Closed pages, which others move from list to list meanwhile. */
static void
leave_closed(struct gyre_thread *self)
{
    struct memory_heap *memory = &self->heap->memory;
    struct memory_thread *thread = &mutator_of(self)->memory;
    bool more = true;
    while (more) {
        unsigned batch;
        pthread_mutex_lock(&memory->page_lock);
        for (batch = 0; batch < LOCK_BATCH && thread->full != NULL; batch++)
            leave_full(memory, thread);
        for (; batch < LOCK_BATCH && thread->returned != NULL; batch++)
            leave_returned(memory, thread);
        more = thread->full != NULL || thread->returned != NULL;
        pthread_mutex_unlock(&memory->page_lock);
    }
}

void
gyre_memory_thread_leave(struct gyre_thread *self)
{
    struct memory_heap *memory = &self->heap->memory;
    struct memory_thread *thread = &mutator_of(self)->memory;
    uint32_t index;
    gyre_limbo_leave(self);
    for (index = 0; index < GYRE_ALLOC_INDEXES; index++) {
        struct gyre_page *current = self->current[index];
        struct page *page;
        self->current[index] = (struct gyre_page *)&gyre_page_none;
        if (!page_is_none(current))
            leave_open(self, (struct page *)current);
        while ((page = take_available(self, index)) != NULL)
            leave_open(self, page);
    }
    leave_closed(self);
    gyre_cache_flush(self);
    /* relaxed, all: counts for pacing */
    gyre_fetch_add_relaxed(&memory->container_net_gone,
                           gyre_load_relaxed(&thread->container_net));
    gyre_store_relaxed(&thread->container_net, 0);
    gyre_store_relaxed(&thread->has_returned, 0);
}
