/* Every block in use, one by one, in a stop. A page's free blocks are those
 * on its lists; what a thread holds back for a collection is freed first.
 * Design: docs/design/memory.md .mem.walk */
#include "../heap.h"
#include "batch.h"
#include "large.h"
#include "page.h"
#include "remote.h"

#define MAX_BLOCKS (GYRE_PAGE_BYTES / 16)

struct block_walk {
    struct gyre_heap *heap;
    gyre_block_fn visit;
    void *arg;
    bool ended;
};

/* Which blocks of a page are free, and what it was when they were. */
struct page_view {
    enum gyre_page_kind kind;
    uint32_t count; /* blocks ever used */
    uint64_t free_blocks[MAX_BLOCKS / 64];
};

static void
view_list(const struct page *page, uintptr_t link, struct page_view *view)
{
    while (link != GYRE_LINK_END) {
        const void *block = (const void *)(link - 1);
        uint32_t index = page_block_index(page, block);
        view->free_blocks[index / 64] |= UINT64_C(1) << (index % 64);
        link = gyre_link_load(gyre_self, block);
    }
}

static void
view_holes(const struct page *page, struct page_view *view)
{
    uint32_t i;
    if (page->size_class == PAGE_CLASS_LARGE || page->purged == 0)
        return;
    for (i = 0; i < page->fresh; i++)
        if (page_is_hole(page, i))
            view->free_blocks[i / 64] |= UINT64_C(1) << (i % 64);
}

/* Nobody changes its lists but at their ends: its owner is stopped, or it has
 * none. Page lock held, so that none comes. */
static bool
is_still(const struct page *page)
{
    return page_has_blocks(page) && !gyre_page_is_restless(page);
}

/* False: it has no blocks, or is changed by a thread that no stop waits for. */
static bool
view_page(struct memory_heap *memory, const struct page *page,
          struct page_view *view)
{
    bool seen;
    pthread_mutex_lock(&memory->page_lock);
    seen = is_still(page);
    if (seen) {
        memset(view->free_blocks, 0, sizeof view->free_blocks);
        view->kind = (enum gyre_page_kind)page->kind;
        view->count = page->fresh;
        view_holes(page, view);
        view_list(page, page->fast.free, view);
        /* acquire; pairs: gyre_remote_push(). The links of those that threads
         * free meanwhile are visible. */
        view_list(page, remote_link(gyre_load_acquire(&page->remote_free)),
                  view);
    }
    pthread_mutex_unlock(&memory->page_lock);
    return seen;
}

/* What checking builds keep behind a raw block can't be read while threads
 * run that may free it: then its room is told. */
static size_t
user_bytes(const struct gyre_heap *heap, const struct page *page,
           const void *block)
{
    bool guarded = MEMORY_GUARD && page->kind == GYRE_PAGE_RAW;
    size_t room = page->size_class == PAGE_CLASS_LARGE ? gyre_large_bytes(page)
                                                       : page->fast.block_size;
    /* relaxed: one who attaches now has no block to free yet */
    if (guarded && gyre_load_relaxed(&heap->raw.attached) == 0)
        return gyre_guard_raw_size(block);
    return guarded ? room - GUARD_TRAILER : room;
}

static void
walk_page(struct page *page, void *arg)
{
    struct block_walk *walk = arg;
    struct page_view view;
    uint32_t i;
    if (walk->ended || !view_page(&walk->heap->memory, page, &view))
        return;
    for (i = 0; i < view.count && !walk->ended; i++) {
        void *block = page->blocks + (size_t)i * page->fast.block_size;
        if ((view.free_blocks[i / 64] >> (i % 64) & 1) == 0)
            walk->ended = walk->visit(view.kind, block,
                                      user_bytes(walk->heap, page, block),
                                      walk->arg) != 0;
    }
}

void
gyre_memory_each_block(struct gyre_heap *heap, gyre_block_fn visit, void *arg)
{
    struct block_walk walk = {heap, visit, arg, false};
    /* What waits in limbo or was retired is free, but its threads have not
     * come to that yet. */
    gyre_memory_limbo_finish(heap);
    gyre_memory_each_page(heap, (1u << GYRE_PAGE_KINDS) - 1, walk_page, &walk);
}
