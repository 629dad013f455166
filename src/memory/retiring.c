/* Empty pages: given back at once, or after a grace period when a stray
 * reader may still look at their blocks, or when a collection is open.
 * Any thread; takes the page lock. Design: docs/design/memory.md .mem.stable */
#include "../heap.h"
#include "page.h"

/* Page lock held. */
static void
retiring_push(struct memory_heap *memory, struct page *page)
{
    page_set_owner(page, NULL);
    page_set_state(page, PAGE_RETIRING);
    /* An open collection knows the page, and changes its stamps itself. */
    if (memory->pinned == 0)
        page_stamps_clear(page);
    page_list_push(&memory->retiring, page);
    /* relaxed: written under the lock; readers want a hint */
    gyre_store_relaxed(&memory->retiring_pages,
                       gyre_load_relaxed(&memory->retiring_pages) +
                           span_page_count(page));
}

/* An open collection has all the pages it wants, and this is none of them: it
 * has had its first objects since. Page lock held, so that `gc` stands. */
static bool
is_unlisted(const struct memory_heap *memory, const struct page *page)
{
    return memory->pages_listed && page->span_pages != 0 && page->gc == NULL;
}

void
gyre_page_dispose(struct gyre_heap *heap, struct page *page)
{
    struct memory_heap *memory = &heap->memory;
    bool waits = gyre_page_needs_grace(heap, page);
    GYRE_ASSERT(page->head == page && page->next == NULL);
    if (waits) {
        pthread_mutex_lock(&memory->page_lock);
        waits = page_has_stale_readers(page) || !is_unlisted(memory, page);
        if (waits)
            retiring_push(memory, page);
        pthread_mutex_unlock(&memory->page_lock);
    }
    if (!waits)
        gyre_segment_give(heap, page);
}

void
gyre_page_dispose_list(struct gyre_heap *heap, struct page *list)
{
    struct page *page, *next, *give = NULL;
    for (page = list; page != NULL; page = next) {
        next = page->next;
        page->next = NULL;
        if (gyre_page_needs_grace(heap, page)) {
            gyre_page_dispose(heap, page);
        } else {
            page->next = give;
            give = page;
        }
    }
    if (give != NULL)
        gyre_segment_give_list(heap, give);
}

struct page *
gyre_memory_retiring_take(struct gyre_heap *heap)
{
    struct memory_heap *memory = &heap->memory;
    struct page *list = NULL;
    pthread_mutex_lock(&memory->page_lock);
    if (memory->pinned == 0) {
        list = memory->retiring;
        /* relaxed, both: written under the lock */
        gyre_store_relaxed(&memory->retiring, (struct page *)NULL);
        gyre_store_relaxed(&memory->retiring_pages, 0);
    }
    pthread_mutex_unlock(&memory->page_lock);
    return list;
}

void
gyre_memory_retiring_release(struct gyre_heap *heap, struct page *list)
{
    struct memory_heap *memory = &heap->memory;
    while (list != NULL) {
        struct page *page = list;
        bool pinned;
        list = page->next;
        page->next = page->prev = NULL;
        /* A collection may have opened meanwhile: back in the queue then. */
        pthread_mutex_lock(&memory->page_lock);
        pinned = memory->pinned > 0;
        if (pinned)
            retiring_push(memory, page);
        pthread_mutex_unlock(&memory->page_lock);
        if (!pinned)
            gyre_segment_give(heap, page);
    }
    gyre_scavenger_poll(heap);
}

static void
pin_add(struct gyre_heap *heap, uint64_t difference)
{
    struct memory_heap *memory = &heap->memory;
    pthread_mutex_lock(&memory->page_lock);
    GYRE_ASSERT(memory->pinned + difference < UINT64_MAX / 2);
    /* release; pairs: memory_is_pinned(). Our last look at pages comes before
     * their use for something else. */
    gyre_store_release(&memory->pinned, memory->pinned + difference);
    pthread_mutex_unlock(&memory->page_lock);
}

void
gyre_memory_pin(struct gyre_heap *heap)
{
    pin_add(heap, 1);
}

void
gyre_memory_pages_listed(struct gyre_heap *heap, bool listed)
{
    struct memory_heap *memory = &heap->memory;
    pthread_mutex_lock(&memory->page_lock);
    memory->pages_listed = listed;
    pthread_mutex_unlock(&memory->page_lock);
}

/* Pages that retired for the pin's sake alone. NULL while it is held. */
static struct page *
take_unread(struct gyre_heap *heap)
{
    struct memory_heap *memory = &heap->memory;
    struct page *page, *next, *list = NULL;
    pthread_mutex_lock(&memory->page_lock);
    page = memory->pinned == 0 ? memory->retiring : NULL;
    for (; page != NULL; page = next) {
        next = page->next;
        if (gyre_page_needs_grace(heap, page))
            continue;
        page_list_remove(&memory->retiring, page);
        page->next = list;
        list = page;
        /* relaxed: written under the lock */
        gyre_store_relaxed(&memory->retiring_pages,
                           gyre_load_relaxed(&memory->retiring_pages) -
                               span_page_count(page));
    }
    pthread_mutex_unlock(&memory->page_lock);
    return list;
}

void
gyre_memory_unpin(struct gyre_heap *heap)
{
    pin_add(heap, UINT64_MAX);
    gyre_memory_retiring_release(heap, take_unread(heap));
}
