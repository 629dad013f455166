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

struct gyre_heap;
struct segment;

enum page_state {
    PAGE_FREE,      /* no blocks; in a segment's free set or a cache */
    PAGE_CURRENT,   /* a thread allocates from it */
    PAGE_AVAILABLE, /* in its owner's list of pages with free blocks */
    PAGE_FULL,      /* closed; in its owner's full list, or the heap's list of
                     * abandoned full pages; remote frees bring it back */
    PAGE_RETURNED,  /* closed; full once, in its owner's returned list */
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
    /* list of its state; FULL, RETURNED, ABANDONED, RETIRING: under the
     * heap's page lock */
    struct page *next, *prev;
};
/* `size_class` of a block with a span or a mapping alone. */
#define PAGE_CLASS_LARGE 0xffu
GYRE_STATIC_ASSERT(sizeof(struct page) <= GYRE_PAGE_RECORD_BYTES,
                   "page records have a fixed stride");

/* Head of a segment, or of the mapping of a block over 2 MiB. */
struct segment {
    struct gyre_heap *heap; /* const */
    struct segment *next;   /* under the page lock; walks in a stop too */
    struct segment *prev;
    struct segment *next_roomy; /* with free pages; page lock */
    struct segment *prev_roomy;
    size_t bytes;         /* mapped; GYRE_SEGMENT_BYTES unless alone */
    uint64_t free_pages;  /* bit i: page i is PAGE_FREE; page lock */
    uint64_t dirty_pages; /* bit i: page i was written since mapped or purged */
    /* Stamps (bit = age in word 0) that objects of page i may carry, compact
     * so that young pages are found without reading the records of old ones.
     * Container pages only; 0 in free ones. Atomic: set by owners, cleared by
     * the collector. .open.stamps */
    uint8_t stamps[GYRE_SEGMENT_PAGES];
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

/* Ages of a page, added and taken away. */
static inline uint32_t
page_stamps(const struct page *page)
{
    /* relaxed, here and below: what they say is bound to handshakes and
     * stops; only one another's bits must not get lost. .open.stamps */
    return gyre_load_relaxed(&segment_of(page)->stamps[page_index(page)]);
}

static inline void
page_stamps_set(const struct page *page, uint32_t stamps)
{
    gyre_store_relaxed(&segment_of(page)->stamps[page_index(page)],
                       (uint8_t)stamps);
}

static inline void
page_stamps_add(const struct page *page, uint32_t stamps)
{
    if ((page_stamps(page) & stamps) != stamps)
        gyre_fetch_or_relaxed(&segment_of(page)->stamps[page_index(page)],
                              (uint8_t)stamps);
}

static inline void
page_stamps_keep(const struct page *page, uint32_t stamps)
{
    if ((page_stamps(page) & ~stamps) != 0)
        gyre_fetch_and_relaxed(&segment_of(page)->stamps[page_index(page)],
                               (uint8_t)stamps);
}

/* `current` of a thread that has no page of that index. Never written. */
extern const struct gyre_page gyre_page_none;

/* The page record that answers for `block`, the start of any block. */
static inline struct page *
page_of(const void *block)
{
    return ((struct page *)gyre_page_record(block))->head;
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

/* A heap's memory; embedded in struct gyre_heap. */
struct memory_heap {
    pthread_mutex_t page_lock; /* innermost lock: nothing is taken under it */
    /* under page_lock */
    struct segment *segments; /* all, large mappings included */
    struct segment *roomy;    /* those with free pages */
    uint64_t free_segments;   /* those with nothing but free pages */
    struct page *abandoned[GYRE_ALLOC_INDEXES]; /* heads read atomically as a
                                                 * hint without the lock */
    struct page *abandoned_full;
    struct page *retiring; /* empty, before a grace period */
    /* written under page_lock, read by any thread, atomic */
    uint64_t retiring_pages; /* of `retiring`, a large block's all counted */
    uint64_t cached_pages;   /* free pages whose memory is kept */
    uint64_t pinned;         /* > 0: no page is reformatted or unmapped;
                              * what empties waits in `retiring` */
    /* any thread, atomic */
    uint64_t mapped, mapped_peak; /* bytes */
    uint64_t pages_in_use;        /* not free; thread caches' not either */
    uint64_t thread_cached_pages;
    uint64_t adopted, refills;
    uint64_t blocks[GYRE_PAGE_KINDS]; /* in use, as far as noted */
    int64_t container_net_gone;       /* container_net of threads that left */
    /* ages whose dead wait in limbo; 0: no cycle. The collector's to set,
     * cleared under the page lock; a thread that attaches takes it over,
     * others by gyre_memory_limbo_follow(). Atomic. */
    uint32_t limbo_stamps;
    uint64_t limbo_bytes, limbo_peak; /* of this cycle, as far as noted; atomic */
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

/* A thread's memory; embedded in its record. Owner only, but for `returned`
 * and `full`, which are under the page lock. */
struct memory_thread {
    struct page *available[GYRE_ALLOC_INDEXES];
    struct page *empty[GYRE_ALLOC_INDEXES]; /* the thread's cache of empty
                                             * pages, formatted still */
    uint32_t empty_of[GYRE_ALLOC_INDEXES];  /* and how many */
    uint64_t empty_pages;  /* of all of them, in pages of 64 KiB */
    struct page *full;     /* all kinds */
    struct page *returned; /* full pages that others freed into */
    uint32_t has_returned; /* atomic hint for `returned` */
    uint32_t limbo_stamps; /* ages whose dead go to limbo; 0: it is off */
    uintptr_t limbo;       /* dead blocks, linked by word 0, of any page */
    struct limbo_chunk *retired; /* retired raw blocks */
    uint64_t limbo_blocks;       /* of both */
    uint64_t limbo_unnoted;      /* bytes, not in the heap's count yet */
    /* atomic: births less deaths in container pages, as far as noted */
    int64_t container_net;
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
/* The page's last block was freed by its owner. */
void gyre_memory_page_emptied(struct gyre_thread *self, struct page *page);

/* One block of a small class: the inlined common case. */
static inline void *
memory_block_alloc(struct gyre_thread *self, uint32_t index)
{
    struct gyre_page *page = self->current[index];
    uintptr_t link = page->free;
    if (GYRE_UNLIKELY(link == GYRE_LINK_END))
        return gyre_memory_alloc(self, index);
    /* relaxed: the block is ours; a stray reader needs a defined value */
    page->free = (uintptr_t)gyre_load_relaxed((uint64_t *)(link - 1));
    page->used++;
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
        /* relaxed: the block is dead; a stray reader needs a defined value */
        gyre_store_relaxed((uint64_t *)block, (uint64_t)page->free);
        page->free = (uintptr_t)block + 1;
        if (GYRE_UNLIKELY(--page->used == 0))
            gyre_memory_page_emptied(self, (struct page *)page);
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
/* A cycle begins: what dies with these ages from now on waits, in each thread
 * once it follows. */
void gyre_memory_limbo_begin(struct gyre_heap *heap, uint32_t stamps);
/* A cycle has read what waits for the last time: threads are to follow, and
 * what those left who went away is freed. */
void gyre_memory_limbo_end(struct gyre_thread *self);

/* Between these no page is reformatted, and no segment or large block is
 * unmapped: a collection is open. Nests. */
void gyre_memory_pin(struct gyre_heap *heap);
void gyre_memory_unpin(struct gyre_heap *heap);

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

/* Visit every page that holds blocks of the kinds (bits 1 << kind). Stop. */
void gyre_memory_each_page(struct gyre_heap *heap, uint32_t kinds,
                           void (*visit)(struct page *page, void *arg),
                           void *arg);
/* Live blocks of a page: `used` less what waits on the remote list. In a
 * stop; the owner, or under the page lock, as of now. */
uint32_t gyre_memory_page_live(const struct page *page);
/* Note births and deaths of all pages: afterwards blocks_in_use is exact.
 * Stop. */
void gyre_memory_note_all(struct gyre_heap *heap);
/* Fill the memory part of `out`; blocks_in_use as far as noted. Any thread. */
void gyre_memory_statistics(struct gyre_heap *heap,
                            struct gyre_statistics *out);
/* Every invariant of segments, pages and lists; fatal when broken. Stop. */
void gyre_memory_check(struct gyre_heap *heap);

/* Remember why this thread's allocation failed, for gyre_last_status(). */
void gyre_set_last_status(enum gyre_status status);

#endif
