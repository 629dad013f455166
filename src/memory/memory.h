/* The page heap as the rest of the library sees it.
 *
 * Segments (4 MiB) hold pages (64 KiB) of one block size; a page belongs to
 * a thread, which allocates and frees without atomics; others free through
 * the page's remote list. Knows nothing of types or counts, except that a
 * free object block's word 0 has its low bit set and its word 1 reads as
 * dead. Design: docs/design/memory.md .mem */
#ifndef GYRE_SRC_MEMORY_H
#define GYRE_SRC_MEMORY_H

#include <pthread.h>
#include <stdbool.h>

#include <gyre/alloc.h>
#include <gyre/statistics.h>

#include "guard.h"
#include "scavenger.h"

struct gyre_heap;
struct segment;

enum page_state {
    PAGE_FREE,      /* no blocks; in a segment's free set or a cache */
    PAGE_CURRENT,   /* a thread allocates from it */
    PAGE_AVAILABLE, /* in its owner's list of pages with free blocks */
    PAGE_SPARSE,    /* in its owner's list of pages that have too few of them,
                     * but that the owner frees into */
    PAGE_FULL,      /* closed; in its owner's full list, or the heap's list of
                     * abandoned full pages; remote frees bring it back */
    PAGE_RETURNED,  /* closed; in its owner's returned list, as others freed
                     * into it */
    PAGE_ABANDONED, /* closed; its owner left; in the heap's list of its class
                     */
    PAGE_RETIRING,  /* empty, waits for a grace period .mem.stable */
    PAGE_LARGE,     /* first page of a block with a span or mapping alone */
    PAGE_INTERIOR   /* further page of a span; `head` is its first */
};

/* The first cache line is what frees look at, the second what the rest of
 * the allocator and the collector need. */
struct page {
    struct gyre_page fast;
    /* any thread, atomic: blocks freed by threads that don't own the page,
     * linked as in fast.free, and how many they are: see remote.h */
    uintptr_t remote_free;
    /* const while the page is formatted */
    struct page *head;  /* of the span; itself for a first page */
    uint8_t kind;       /* enum gyre_page_kind */
    uint8_t size_class; /* or PAGE_CLASS_LARGE */
    uint8_t span_pages; /* 1 for most; 0: a mapping alone */
    /* owner only: 1 when its memory was written before it was formatted */
    uint8_t reused;
    /* enum page_state; atomic: written by the owner, or under the page lock
     * from and to closed states */
    uint8_t state;
    /* atomic: 1 once an object here was PUBLISHED or WEAK since formatting,
     * so that emptying needs a grace period before reuse */
    uint8_t stale_readers;
    /* atomic: 1 when an object here has QUEUED without an entry in any queue
     * (no memory for one) */
    uint8_t lost_queue;
    /* owner only, current pages: 1 when counted among what the thread keeps,
     * though some blocks may be in use; 1 when found empty last */
    uint8_t counted, known_empty;
    /* owner only: the thread's own frees brought it back when it was full
     * last, so that it stays open when it is so again */
    uint8_t own_freed;
    uint8_t guarded; /* its last system page can't be touched; the holder's */

    /* const while the page is formatted */
    unsigned char *blocks __attribute__((aligned(64))); /* the first block */
    uint32_t reciprocal; /* see page_block_index() */
    uint32_t capacity;   /* blocks that fit */
    /* the collector's, in a stop or while it holds the collector lock: side
     * table of the open cycle, or NULL */
    uint32_t *gc;
    /* owner only, or under the page lock while closed; the collector in a
     * stop, `fresh` at any time */
    uint32_t fresh;      /* blocks from this one on were never used or linked;
                          * atomic */
    uint32_t noted_used; /* live blocks when births were last counted */
    uint32_t noted_allocated; /* and blocks handed out by then */
    /* own frees and remote ones taken, when fast.frees_left comes to 0 */
    uint32_t frees_due;
    /* bit i: the span's system page i was given back while the page had blocks
     * in use; blocks that touch one are free, and on no list .mem.trim */
    uint64_t purged;
    /* list of its state; FULL, RETURNED, ABANDONED, RETIRING: under the
     * heap's page lock */
    struct page *next, *prev;
};
/* `size_class` of a block with a span or a mapping alone. */
#define PAGE_CLASS_LARGE 0xffu
GYRE_STATIC_ASSERT(sizeof(struct page) <= GYRE_PAGE_RECORD_BYTES,
                   "page records have a fixed stride");

/* Words that hold the stamps of a segment's pages, so many a word. */
#define SEGMENT_STAMP_PAGES 8u
#define SEGMENT_STAMP_WORDS (GYRE_SEGMENT_PAGES / SEGMENT_STAMP_PAGES)

/* Head of a segment, or of the mapping of a block over 2 MiB. */
struct segment {
    struct gyre_heap *heap; /* const */
    /* of all; atomic, written under the page lock: see segment_next() */
    struct segment *next, *prev;
    size_t bytes; /* mapped; GYRE_SEGMENT_BYTES or more if alone */
    /* under the page lock */
    struct segment *next_roomy, *prev_roomy; /* with free pages */
    struct segment *next_idle, *prev_idle;   /* with something to return */
    uint64_t free_pages;                     /* bit i: page i is PAGE_FREE */
    uint64_t dirty_pages; /* bit i: page i was written since mapped or purged */
    uint64_t aged_pages;  /* returnable when they were last looked at */
    uint64_t look;        /* number of the last look */
    uint64_t link_secret; /* the heap's; const */
    uint8_t node;         /* of memory; const */
    uint8_t huge;         /* 1: huge pages were asked for */
    uint8_t walked;       /* 1: a walk is here, so that it stays */
    /* Stamps (bit = age in word 0) that objects of page i may carry, in byte
     * i % 8 of word i / 8, compact so that young pages are found without
     * reading the records of old ones. Container pages only; 0 in free ones.
     * Atomic: set by owners, cleared by the collector. .open.stamps */
    uint64_t stamps[SEGMENT_STAMP_WORDS] __attribute__((aligned(64)));
};

static inline struct segment *
segment_of(const void *address)
{
    return (struct segment *)((uintptr_t)address &
                              ~(uintptr_t)(GYRE_SEGMENT_BYTES - 1));
}

static inline struct page *
segment_page(const struct segment *segment, unsigned index)
{
    return (struct page *)((uintptr_t)segment + GYRE_SEGMENT_RECORDS +
                           (uintptr_t)index * GYRE_PAGE_RECORD_BYTES);
}

static inline unsigned
page_index(const struct page *page)
{
    return (unsigned)(((uintptr_t)page & (GYRE_SEGMENT_BYTES - 1)) -
                      GYRE_SEGMENT_RECORDS) /
           GYRE_PAGE_RECORD_BYTES;
}

static inline uint64_t *
page_stamps_word(const struct page *page)
{
    return &segment_of(page)->stamps[page_index(page) / SEGMENT_STAMP_PAGES];
}

static inline unsigned
page_stamps_shift(const struct page *page)
{
    return page_index(page) % SEGMENT_STAMP_PAGES * 8;
}

/* Ages of a page, added and taken away. */
static inline uint32_t
page_stamps(const struct page *page)
{
    /* relaxed, here and below: what they say is bound to handshakes and
     * stops; only one another's bits must not get lost. .open.stamps */
    return (uint8_t)(gyre_load_relaxed(page_stamps_word(page)) >>
                     page_stamps_shift(page));
}

static inline void
page_stamps_add(const struct page *page, uint32_t stamps)
{
    if ((page_stamps(page) & stamps) != stamps)
        gyre_fetch_or_relaxed(page_stamps_word(page),
                              (uint64_t)stamps << page_stamps_shift(page));
}

static inline void
page_stamps_keep(const struct page *page, uint32_t stamps)
{
    uint64_t taken = page_stamps(page) & ~stamps;
    if (taken != 0)
        gyre_fetch_and_relaxed(page_stamps_word(page),
                               ~(taken << page_stamps_shift(page)));
}

/* Nobody else adds or takes away meanwhile. */
static inline void
page_stamps_set(const struct page *page, uint32_t stamps)
{
    page_stamps_keep(page, stamps);
    page_stamps_add(page, stamps);
}

/* No object of the page is of any age any more. Nothing is written where
 * nothing changes, as in most pages that come and go. */
static inline void
page_stamps_clear(const struct page *page)
{
    page_stamps_keep(page, 0);
}

/* Walks over all segments: under the page lock, or in a stop while pinned,
 * when none is taken away, though threads that no stop waits for may add
 * some; or by gyre_memory_next_segment(). */
#define segment_first(memory)                                          \
    /* acquire; pairs: gyre_segment_link(). What is listed is made. */ \
    gyre_load_acquire(&(memory)->segments)
#define segment_next(segment)                                  \
    /* relaxed: const while it is listed, but for unlinking */ \
    gyre_load_relaxed(&(segment)->next)
#define segment_prev(segment)                                         \
    /* acquire; pairs: gyre_segment_link(). As in segment_first(). */ \
    gyre_load_acquire(&(segment)->prev)

/* `current` of a thread that has no page of that index. Never written. */
extern const struct gyre_page gyre_page_none;

/* The links of free blocks, as gyre_link_store() and gyre_link_load() have
 * them, for whoever has no thread's record at hand. */
static inline void
link_store(void *block, uintptr_t link)
{
    uint64_t mask = gyre_link_mask(segment_of(block)->link_secret, block);
    /* relaxed: the block is dead; a stray reader needs a defined value */
    gyre_store_relaxed((gyre_word *)block, (uint64_t)link ^ mask);
}

/* Wherever it leads: limbo has links from page to page. */
static inline uintptr_t
link_load_any(const void *block)
{
    uint64_t mask = gyre_link_mask(segment_of(block)->link_secret, block);
    /* relaxed: whoever follows links owns the blocks, or stopped the owner */
    return (uintptr_t)(gyre_load_relaxed((const gyre_word *)block) ^ mask);
}

static inline uintptr_t
link_load(const void *block)
{
    uintptr_t link = link_load_any(block);
    if (GYRE_HARDENED &&
        GYRE_UNLIKELY(link != GYRE_LINK_END &&
                      segment_of((void *)link) != segment_of(block)))
        gyre_link_broken(block);
    return link;
}

/* The page record that answers for `block`, the start of any block. */
static inline struct page *
page_of(const void *block)
{
    return ((struct page *)gyre_page_record(block))->head;
}

/* Blocks taken back so far, modulo 2^32. */
static inline uint32_t
page_freed(const struct page *page)
{
    return page->frees_due - page->fast.frees_left;
}

/* Blocks handed out, those not counted that others freed and the owner has
 * not taken yet. */
static inline uint32_t
page_used(const struct page *page)
{
    return page->fast.allocated - page_freed(page);
}

/* Have the inlined free ask for a look at the page after `frees` more: as
 * many as it takes at least to empty it, or more where a page that was empty
 * for a while does no harm. Never 0. Owner only. */
static inline void
page_look_after(struct page *page, uint32_t frees)
{
    /* The inlined free then leaves each block to gyre_mem_free(), which looks
     * at it, whatever its program was compiled with. .mem.guard */
    if (MEMORY_GUARD && page->kind == GYRE_PAGE_RAW)
        frees = 1;
    page->frees_due = page_freed(page) + frees;
    page->fast.frees_left = frees;
}

/* Number of the block that starts at `block`, by multiplication: exact for
 * offsets below 2 MiB and block sizes that are multiples of 16, since
 * reciprocal = ceil(2^31 / (block_size / 16)). */
static inline uint32_t
page_block_index(const struct page *page, const void *block)
{
    uint64_t granule =
        (uint64_t)((const unsigned char *)block - page->blocks) >> 4;
    return (uint32_t)((granule * page->reciprocal) >> 31);
}

/* Segments of one memory node. Under the page lock. */
struct segment_lists {
    struct segment *roomy; /* those with free pages */
    /* those with something to return, the longest idle first */
    struct segment *idle, *idle_last;
};
#define MEMORY_NODES 8u
/* `node` of mappings alone, whose lists hold those that were freed. */
#define MEMORY_SPARES MEMORY_NODES

/* A heap's memory; embedded in struct gyre_heap. */
struct memory_heap {
    pthread_mutex_t page_lock; /* innermost lock: nothing is taken under it */
    /* under page_lock; `segments` atomic: see segment_first() */
    struct segment *segments; /* all, large mappings included */
    struct segment_lists nodes[MEMORY_NODES + 1];
    uint64_t idle_segments;  /* with something to return */
    uint64_t free_segments;  /* those with nothing but free pages */
    char *arena, *arena_end; /* address space for segments to come */
    struct scavenger scavenger;
    struct page *abandoned[GYRE_ALLOC_INDEXES]; /* heads read atomically as a
                                                 * hint without the lock */
    struct page *abandoned_full;
    struct page *retiring; /* empty, before a grace period */
    /* written under page_lock, read by any thread, atomic */
    uint64_t retiring_pages; /* of `retiring`, a large block's all counted */
    uint64_t cached_pages;   /* free pages whose memory is kept */
    uint64_t spare_bytes;    /* of mappings alone that were freed and kept */
    uint64_t pinned;         /* > 0: no page is reformatted or unmapped;
                              * what empties waits in `retiring` */
    /* under page_lock: the collection that pinned knows all its pages, which
     * have `gc`; others may be reformatted */
    bool pages_listed;
    uint64_t link_secret; /* const: see gyre_link_mask() */
    /* any thread, atomic */
    uint64_t mapped, mapped_peak; /* bytes */
    uint64_t pages_in_use;        /* not free; thread caches' not either */
    /* pages in use after which the collector is to look .pace.bytes: those
     * at its last look, and over the soft limit the next bound */
    uint64_t pressure_base, soft_again;
    /* const: what may help a thread whose allocation found no memory; true:
     * it should try once more */
    bool (*make_room)(struct gyre_thread *self);
    uint64_t adopted;
    uint64_t returned; /* bytes given back to the system so far */
    /* raised when threads are asked for something: to look at the limits of
     * their caches, or, with `trims`, to trim their pages */
    uint32_t epoch, trims;
    /* others freed into open pages: since threads that run were last asked to
     * look at theirs, how often they were, and whether somebody is to look at
     * those of detached threads .mem.settle */
    uint32_t others_freed, settles, settle_detached;
    int64_t container_net_gone; /* of nobody's container_net; for the collector
                                 * to take. Atomic */
    /* raw threads were cut off by a fork: one may have been changing a
     * block's trailer .mem.guard; const once other threads run */
    bool torn;
    /* ages whose dead wait in limbo; 0: no cycle. The collector's to set,
     * cleared under the page lock; a thread that attaches takes it over,
     * others by gyre_memory_limbo_follow(). Atomic. */
    uint32_t limbo_stamps;
    uint64_t limbo_bytes,
        limbo_peak; /* of this cycle, as far as noted; atomic */
    /* under page_lock: limbo of threads that left while it was on */
    uintptr_t limbo_left;
    struct limbo_chunk *retired_left;
};

/* Retired raw blocks that wait in limbo: their bodies stay as they are, so
 * they can't be linked through themselves. */
#define LIMBO_CHUNK_BLOCKS 62
struct limbo_chunk {
    struct limbo_chunk *next;
    uint64_t count;
    void *blocks[LIMBO_CHUNK_BLOCKS];
};

/* What happened to the blocks of one class, as far as noted. `pages` may be
 * taken by one thread and given back by another, so that it is a count in
 * the sum over all threads only. */
struct class_counts {
    uint64_t allocations, frees, refills, remote_frees, pages;
};
/* A thread's own counters: written by the owner, or in a stop; read by any
 * thread, atomic. Never set back: the record's next thread goes on. */
struct memory_counts {
    /* by index; large blocks of each kind behind them */
    struct class_counts of[GYRE_ALLOC_INDEXES + GYRE_PAGE_KINDS];
    uint64_t exchanges; /* of current pages */
    /* empty pages, spans count as one, known empty current ones included;
     * all of them in pages of 64 KiB, and the blocks that fit in them */
    uint32_t cached_of[GYRE_ALLOC_INDEXES];
    uint64_t cached_pages, cached_blocks;
    uint64_t listed_pages; /* of these, in lists */
};

/* Blocks of one page that are to be freed together; see batch.h. */
struct free_batch {
    struct page *page;
    void *first, *last;
    uint32_t count; /* 0: empty, `first` and `last` undefined */
};

/* A thread's memory; embedded in its record. Owner only, but for `returned`
 * and `full`, which are under the page lock. */
struct memory_thread {
    struct page *available[GYRE_ALLOC_INDEXES];
    struct page *sparse[GYRE_ALLOC_INDEXES];
    /* the page of `sparse` to look at next; NULL: the first of the list */
    struct page *sparse_next[GYRE_ALLOC_INDEXES];
    uint32_t sweep; /* index whose sparse pages are looked at next */
    struct page *empty[GYRE_ALLOC_INDEXES]; /* the thread's cache of empty
                                             * pages, formatted still */
    /* What counts against the limits: empty pages and the counted ones. */
    uint32_t kept_of[GYRE_ALLOC_INDEXES];
    uint64_t kept_pages, kept_blocks;
    uint32_t epoch, trims, settles; /* the heap's when it last did as asked */
    struct page *full;              /* all kinds */
    struct page *returned;          /* closed pages that others freed into */
    uint32_t has_returned;          /* atomic hint for `returned` */
    uint32_t limbo_stamps; /* ages whose dead go to limbo; 0: it is off */
    uintptr_t limbo;       /* dead blocks, linked by word 0, of any page */
    void *limbo_last;      /* of these, where there are some */
    struct limbo_chunk *retired; /* retired raw blocks */
    uint64_t limbo_blocks;       /* of both */
    /* of cycles that are over: to be freed, some at each safepoint */
    uintptr_t released;
    struct limbo_chunk *released_raw;
    uint64_t limbo_unnoted; /* bytes, not in the heap's count yet */
    /* The thread's latest frees into a page of another's; with no blocks, the
     * page that the last of them went to. */
    struct free_batch pending;
    /* atomic: births less deaths in container pages, as far as noted */
    int64_t container_net;
#if MEMORY_GUARD
    /* instead of `current` of the public record, where GUARD_HIDES() */
    struct gyre_page *hidden[GYRE_ALLOC_INDEXES];
#endif
    struct memory_counts counts;
};

enum gyre_status gyre_memory_heap_init(struct gyre_heap *heap);
/* Unmap everything. No thread is attached any more. */
void gyre_memory_heap_destroy(struct gyre_heap *heap);
/* Set `current` to the empty page everywhere. Cannot fail. */
void gyre_memory_thread_init(struct gyre_thread *self);
/* Flush limbo and counters (container_net to container_net_gone), abandon
 * every page. The owner, or whoever holds
 * the world and speaks for a thread that is gone (fork). */
void gyre_memory_thread_leave(struct gyre_thread *self);

/* One block of a small class: refill `current[index]` and take from it; the
 * block's word 1 reads dead, its content is otherwise undefined. NULL: out
 * of memory, and gyre_last_status() says so. `used` counts it. */
void *gyre_memory_alloc(struct gyre_thread *self, uint32_t index);
/* Raw memory for the library itself, as gyre_mem_alloc() and
 * gyre_mem_realloc(), but that nothing is done to make room. */
void *gyre_memory_raw_alloc(struct gyre_thread *self, size_t size);
void *gyre_memory_raw_resize(struct gyre_thread *self, void *block,
                             size_t size);
/* A block over GYRE_SMALL_MAX: a span up to 2 MiB, else a mapping of its
 * own. Fresh mappings read as zero; `*zeroed` says whether this one does. */
void *gyre_memory_alloc_large(struct gyre_thread *self,
                              enum gyre_page_kind kind, size_t size,
                              bool *zeroed);
/* Any block, of any thread and size. Writes word 0 (the link) only; an
 * object's word 1 is dead already. Goes to limbo when its stamp in word 0 is
 * among limbo_stamps (object pages only). */
void gyre_memory_free(struct gyre_thread *self, void *block);
/* `count` small blocks of one page, linked from `first` to `last` as a free
 * list: one push. Never into limbo. */
void gyre_memory_free_chain(struct gyre_thread *self, struct page *page,
                            void *first, void *last, uint32_t count);
/* Push what the thread gathered of frees into others' pages. The owner, or in
 * a stop. */
void gyre_memory_pending_push(struct gyre_thread *self);
/* frees_left came to 0, or should be set anew: the page may be empty. The
 * owner of an open page. */
void gyre_memory_page_look(struct gyre_thread *self, struct page *page);

/* One block of a small class: the inlined common case. */
static inline void *
memory_block_alloc(struct gyre_thread *self, uint32_t index)
{
    struct gyre_page *page = self->current[index];
    uintptr_t link = page->free;
    if (GUARD_HIDES(index) || GYRE_UNLIKELY(link == GYRE_LINK_END))
        return gyre_memory_alloc(self, index);
    page->free = gyre_link_load(self, (void *)(link - 1));
    page->allocated++;
    return (void *)(link - 1);
}

/* Free a dead object's block or a raw one: the inlined common case. */
static inline void
memory_block_free(struct gyre_thread *self, void *block)
{
    struct gyre_page *page = gyre_page_record(block);
    /* relaxed: only this thread makes itself the owner or no longer so.
     * frees_to is GYRE_FREES_NOWHERE in limbo, and large and interior pages
     * have no owner, so one compare sends all but the plain case away. */
    if (GYRE_LIKELY(gyre_load_relaxed(&page->owner) == self->frees_to)) {
        guard_gone((struct page *)page, block);
        gyre_link_store(self, block, page->free);
        page->free = (uintptr_t)block + 1;
        if (GYRE_UNLIKELY(--page->frees_left == 0))
            gyre_memory_page_look(self, (struct page *)page);
    } else {
        gyre_memory_free(self, block);
    }
}

/* An object here is about to be PUBLISHED or WEAK. Any thread. */
static inline void
memory_note_stale_readers(const void *block)
{
    struct page *page = page_of(block);
    /* relaxed: read only once the page is empty, and the object's death
     * comes after its flag by its count's order. */
    if (gyre_load_relaxed(&page->stale_readers) == 0)
        gyre_store_relaxed(&page->stale_readers, 1);
}

/* Limbo on (stamps != 0) or off for one thread; off frees what waited. In a
 * stop, or by the owner. The heap's limbo_stamps is the caller's. */
void gyre_memory_limbo(struct gyre_thread *self, uint32_t stamps);
/* Do as the heap's limbo_stamps says. The owner at a safepoint, or under its
 * claim. */
void gyre_memory_limbo_follow(struct gyre_thread *self);
/* Free some of what waited for a cycle that is over, so that no safepoint takes
 * long. True: there is more, and the next poll is a slow one. As above. */
bool gyre_memory_limbo_drain(struct gyre_thread *self);
/* All that waits, of all threads. In a stop, no collection is open. */
void gyre_memory_limbo_finish(struct gyre_heap *heap);
/* What else the heap asks of its threads. The owner at a safepoint. */
void gyre_memory_do_asked(struct gyre_thread *self);
/* A cycle begins: what dies with these ages from now on waits, in each thread
 * once it follows. */
void gyre_memory_limbo_begin(struct gyre_heap *heap, uint32_t stamps);
/* A cycle has read what waits for the last time: threads are to follow, and
 * what those left who went away is freed. */
void gyre_memory_limbo_end(struct gyre_thread *self);
/* If others freed into pages of detached threads, see to these. At a
 * safepoint, no lock held: objects may die. */
void gyre_memory_settle_others(struct gyre_thread *self);
/* An option of memory was changed. Any thread. */
void gyre_memory_options_changed(struct gyre_heap *heap);

/* Between these no page is reformatted, and no segment or large block is
 * unmapped: a collection is open. Nests. */
void gyre_memory_pin(struct gyre_heap *heap);
void gyre_memory_unpin(struct gyre_heap *heap);
/* While pinned: the collection has given `gc` to all pages it will look at,
 * and others that empty may be used again; or takes them back from now on. */
void gyre_memory_pages_listed(struct gyre_heap *heap, bool listed);
/* Without the page lock: that it is has been known since a stop or a
 * handshake; that it is no more is seen at any time. */
static inline bool
memory_is_pinned(const struct memory_heap *memory)
{
    /* acquire; pairs: gyre_memory_unpin(). What the collection has read and
     * written of the page is past. */
    return gyre_load_acquire(&memory->pinned) > 0;
}

/* Free pages that emptied before a grace period. The caller takes the list
 * (NULL: nothing), waits for the grace period holding no lock, gives it back.
 */
struct page *gyre_memory_retiring_take(struct gyre_heap *heap);
void gyre_memory_retiring_release(struct gyre_heap *heap, struct page *list);

/* Zeroed tables of the library's own, mapped and counted in the hard limit;
 * NULL when out of memory. Any thread. */
void *gyre_memory_table_new(struct gyre_heap *heap, size_t bytes);
void gyre_memory_table_delete(struct gyre_heap *heap, void *table,
                              size_t bytes);

/* Note births and deaths of the thread's current pages. Owner, or in a
 * stop. */
void gyre_memory_note_births(struct gyre_thread *self);
/* Objects born from now on carry `stamp`; current pages are marked to hold
 * it. The owner, or in a stop, or under its claim. */
void gyre_memory_birth_stamp(struct gyre_thread *self, unsigned stamp);

/* Do so many pages in use call for a collection? .pace.bytes .pace.soft */
bool gyre_memory_is_pressed(struct gyre_heap *heap, uint64_t pages);
bool gyre_memory_is_over_soft(struct gyre_heap *heap, uint64_t pages);
/* Pages were taken, and so many are in use: see to it that the calling thread
 * looks at it at its next safepoint, if they are too many. Any lock held. */
void gyre_memory_note_pages(struct gyre_heap *heap, uint64_t pages);

/* Visit every page that holds blocks of the kinds (bits 1 << kind). Stop. */
void gyre_memory_each_page(struct gyre_heap *heap, uint32_t kinds,
                           void (*visit)(struct page *page, void *arg),
                           void *arg);
/* The same until `visit` returns false. */
void gyre_memory_each_page_while(struct gyre_heap *heap, uint32_t kinds,
                                 bool (*visit)(struct page *page, void *arg),
                                 void *arg);
/* Visit every block in use until `visit` returns nonzero. Stop, by an attached
 * thread, with no collection open. */
void gyre_memory_each_block(struct gyre_heap *heap,
                            int (*visit)(enum gyre_page_kind kind, void *block,
                                         size_t size, void *arg),
                            void *arg);
/* Live blocks of a page: `used` less what waits on the remote list. In a
 * stop; the owner, or under the page lock, as of now. */
uint32_t gyre_memory_page_live(const struct page *page);
/* The segments one by one, from the oldest to the latest, while threads run
 * that may add some, and take free ones away. `at`: the last one, or NULL; NULL
 * at the end. It stays until the next is asked for, or the walk ended. Pinned;
 * one walk at a time. */
struct segment *gyre_memory_next_segment(struct gyre_heap *heap,
                                         struct segment *at);
void gyre_memory_end_walk(struct gyre_heap *heap, struct segment *at);
/* Note births and deaths of all pages: afterwards blocks_in_use is exact.
 * Stop. */
void gyre_memory_note_all(struct gyre_heap *heap);
/* Fill the memory part of `out`; blocks_in_use as far as noted. Any thread. */
void gyre_memory_statistics(struct gyre_heap *heap,
                            struct gyre_statistics *out);
/* Every invariant of segments, pages and lists; fatal when broken. Stop. */
void gyre_memory_check(struct gyre_heap *heap);

/* In a forked child, before anything else uses its memory: leave the pages of
 * raw threads that are gone to others. */
void gyre_memory_bury_raw(struct gyre_heap *heap);

/* Remember why this thread's allocation failed, for gyre_last_status(). */
void gyre_set_last_status(enum gyre_status status);

#endif
