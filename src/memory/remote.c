/* Frees into pages that are not the caller's, and how a page is closed and
 * opened again. Any thread. Design: docs/design/memory.md .mem.remote
 *
 * A page can vanish as soon as its last block is pushed, so a pusher that
 * has to look at the page afterwards (REMOTE_NOTIFY, last block of a closed
 * page) pushes under the page lock, without which no page changes hands. */
#include "remote.h"

#include "../../threads/yield.h"
#include "../fault.h"
#include "../heap.h"
#include "counts.h"
#include "settle.h"

/* Put `chain` in front of what `old` holds. */
static uintptr_t
remote_joined(uintptr_t old, struct block_chain chain)
{
    /* ours until the word is exchanged, and that is a release */
    link_store(chain.last, remote_link(old));
    return (old & REMOTE_COUNT_MASK) + chain.count * REMOTE_COUNT_ONE +
           (uintptr_t)chain.first + 1;
}

static bool
remote_ends(uintptr_t old, struct block_chain chain)
{
    return remote_count(old) + chain.count == REMOTE_CLOSED;
}

/* A full page has a free block again. Page lock held. */
static void
page_bring_back(struct gyre_heap *heap, struct page *page)
{
    struct memory_heap *memory = &heap->memory;
    struct gyre_thread *owner =
        owner_plain(gyre_load_relaxed(&page->fast.owner)); /* under the lock */
    struct memory_thread *thread;
    gyre_page_unlist(heap, page);
    if (owner == NULL) {
        page_set_state(page, PAGE_ABANDONED);
        page_list_push(&memory->abandoned[page_alloc_index(page)], page);
        return;
    }
    /* The record is alive: its thread leaves only when no page names it. */
    thread = &mutator_of(owner)->memory;
    page_set_state(page, PAGE_RETURNED);
    page_list_push(&thread->returned, page);
    /* relaxed: a hint; the list itself is read under the lock */
    gyre_store_relaxed(&thread->has_returned, 1);
}

/* The push that something depends on. */
static void
remote_push_locked(struct gyre_thread *self, struct page *page,
                   struct block_chain chain)
{
    struct gyre_heap *heap = self->heap;
    struct page *emptied = NULL;
    uintptr_t old, new;
    pthread_mutex_lock(&heap->memory.page_lock);
    old = gyre_load_relaxed(&page->remote_free); /* checked by the swap */
    do {
        new = remote_joined(old, chain);
        /* acq_rel; pairs: gyre_remote_push(), gyre_remote_open(). Release as
         * there; acquire, because when this is the last block, the others
         * are given away here. */
    } while (!gyre_cas_weak_acq_rel(&page->remote_free, &old, new));
    if (remote_count(new) == REMOTE_CLOSED) {
        gyre_page_unlist(heap, page);
        gyre_remote_open(page);
        page_set_owner(page, NULL);
        gyre_page_note(self, page);
        gyre_counts_page_gone(self, page);
        emptied = page;
    } else if (old & REMOTE_NOTIFY) {
        page_bring_back(heap, page);
    }
    pthread_mutex_unlock(&heap->memory.page_lock);
    if (emptied != NULL)
        gyre_page_dispose(heap, emptied);
    gyre_scavenger_poll(heap);
}

void
gyre_remote_push(struct gyre_thread *self, struct page *page,
                 struct block_chain chain)
{
    struct memory_counts *counts = &mutator_of(self)->memory.counts;
    uintptr_t old = gyre_load_relaxed(&page->remote_free); /* see the swap */
    uintptr_t new;
    /* acquire; pairs: page_set_owner(). Its record is made, and looked at
     * below. It owns the page as long as that is open; read before the push,
     * after which the page may be gone. */
    struct gyre_thread *owner = gyre_load_acquire(&page->fast.owner);
    count_add(&counts->of[page_alloc_index(page)].remote_frees, chain.count);
    if (FAULT_DUE(FAULT_REMOTE_FREE_LOST, 1000))
        return;
    do {
        if (GYRE_UNLIKELY((old & REMOTE_NOTIFY) || remote_ends(old, chain))) {
            remote_push_locked(self, page, chain);
            return;
        }
        new = remote_joined(old, chain);
        GYRE_YIELD_POINT("remote push");
        /* release; pairs: gyre_remote_take(), gyre_remote_open(). Who takes
         * the list sees its links, and all this thread did with the blocks.
         * No ABA: single blocks are never taken off. */
    } while (!gyre_cas_weak_release(&page->remote_free, &old, new));
    if (settle_is_due(old, new) && owner != NULL)
        gyre_settle_notice(self, owner_plain(owner));
}

/* Hang a list of freed blocks before the page's own. */
static void
page_add_list(struct page *page, uintptr_t link, uint32_t count)
{
    if (count == 0)
        return;
    page->frees_due += count;
    /* It is empty after fewer frees of its owner's than it was before. */
    if (!page->counted)
        page_look_after(page, page_frees_to_empty(page));
    if (page->fast.free != GYRE_LINK_END) {
        uintptr_t last = link, next; /* ours by the exchange that took it */
        while ((next = link_load((void *)(last - 1))) != GYRE_LINK_END)
            last = next;
        link_store((void *)(last - 1), page->fast.free);
    }
    page->fast.free = link;
}

bool
gyre_remote_take(struct page *page)
{
    uintptr_t word;
    /* relaxed: a look, so that an empty list costs no exchange */
    if (gyre_load_relaxed(&page->remote_free) == GYRE_LINK_END)
        return false;
    /* acquire; pairs: gyre_remote_push(). The links are visible, and the
     * blocks are ours in every respect. */
    word = gyre_exchange_acquire(&page->remote_free, GYRE_LINK_END);
    page_add_list(page, remote_link(word), remote_count(word));
    /* Fewer frees of the owner's empty it now. */
    if (!page->counted && page->fast.frees_left > page_frees_to_empty(page))
        page_look_after(page, page_frees_to_empty(page));
    return true;
}

bool
gyre_remote_close(struct page *page, uintptr_t notify)
{
    uintptr_t open = GYRE_LINK_END;
    uintptr_t closed =
        remote_word(REMOTE_CLOSED - page_used(page), GYRE_LINK_END | notify);
    GYRE_ASSERT(page_used(page) > 0);
    GYRE_YIELD_POINT("remote close");
    /* acquire; pairs: gyre_remote_push(). Only failure reads anything, and
     * that is read anew; success hands nothing over, for the page's plain
     * fields change hands under the page lock. */
    return gyre_cas_acquire(&page->remote_free, &open, closed);
}

void
gyre_remote_open(struct page *page)
{
    /* acquire; pairs: gyre_remote_push(). As in gyre_remote_take(). */
    uintptr_t word = gyre_exchange_acquire(&page->remote_free, GYRE_LINK_END);
    page_add_list(page, remote_link(word),
                  remote_count(word) - (REMOTE_CLOSED - page_used(page)));
}

uint32_t
gyre_remote_waiting(const struct page *page)
{
    /* relaxed: it may be more at once */
    return remote_count(gyre_load_relaxed(&page->remote_free)) -
           (REMOTE_CLOSED - page_used(page));
}

uint32_t
gyre_memory_page_live(const struct page *page)
{
    /* relaxed: a count, that may be higher at once unless in a stop */
    uint32_t count = remote_count(gyre_load_relaxed(&page->remote_free));
    if (count > REMOTE_CLOSED / 2)
        return REMOTE_CLOSED - count;
    return page_used(page) - count;
}
