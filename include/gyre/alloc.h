/* Objects and raw memory. Design: docs/design/memory.md .mem */
#ifndef GYRE_ALLOC_H
#define GYRE_ALLOC_H

#include <string.h>

#include <gyre/object.h>

GYRE_BEGIN_DECLS

/* ---- what inline code knows of pages ---- */

#define GYRE_SEGMENT_SHIFT 22 /* 4 MiB, aligned */
#define GYRE_PAGE_SHIFT 16    /* 64 KiB */
#define GYRE_SEGMENT_BYTES (UINT64_C(1) << GYRE_SEGMENT_SHIFT)
#define GYRE_PAGE_BYTES (UINT64_C(1) << GYRE_PAGE_SHIFT)
#define GYRE_SEGMENT_PAGES (1 << (GYRE_SEGMENT_SHIFT - GYRE_PAGE_SHIFT))
/* Page records start here in a segment; page 0 holds them and no blocks. */
#define GYRE_SEGMENT_RECORDS 4096
#define GYRE_PAGE_RECORD_BYTES 128

/* A word of a block, whatever lies there. */
typedef uint64_t __attribute__((may_alias)) gyre_word;

/* Kinds of pages, so that the collector visits containers only. */
enum gyre_page_kind {
    GYRE_PAGE_CONTAINER, /* tracked types */
    GYRE_PAGE_LEAF,      /* leaf and acyclic types */
    GYRE_PAGE_RAW        /* gyre_mem_alloc */
};

/* A free block's word 0 holds the next one's address plus one, so that it is
 * no object to a reader; the list ends with a bare one. */
#define GYRE_LINK_END ((uintptr_t)1)

/* Small blocks: a page of one block size. */
struct gyre_page {
    /* owner only */
    uintptr_t free;      /* first free block plus one */
    uint32_t allocated;  /* blocks handed out so far, modulo 2^32 */
    uint32_t frees_left; /* frees by the owner until it looks at the page */
    /* any thread, atomic; changed under the heap's page lock */
    struct gyre_thread *owner; /* NULL: abandoned, or of a large block */
    uint32_t block_size;       /* bytes; const while formatted */
};

/* A free block's link: in word 0, and in hardened builds (GYRE_HARDENED)
 * mixed with a secret of the heap's and the block's address, so that a link
 * that was overwritten names no place near but by chance. */
GYRE_INLINE uint64_t
gyre_link_mask(uint64_t secret, const void *block)
{
    if (!GYRE_HARDENED)
        return 0;
    return (secret ^ ((uint64_t)(uintptr_t)block << 7)) & ~UINT64_C(1);
}

GYRE_INLINE void
gyre_link_store(const struct gyre_thread *self, void *block, uintptr_t link)
{
    uint64_t word = (uint64_t)link ^ gyre_link_mask(self->link_secret, block);
    /* relaxed: the block is dead; a stray reader needs a defined value */
    gyre_store_relaxed((gyre_word *)block, word);
}

/* Fatal, named: a link that leads out of its segment. */
GYRE_API GYRE_COLD void gyre_link_broken(const void *block);

/* The link of a free block of a page: GYRE_LINK_END or a block of the same
 * page, plus one. */
GYRE_INLINE uintptr_t
gyre_link_load(const struct gyre_thread *self, const void *block)
{
    /* relaxed: the block is ours; atomic because a stray reader may look at
     * it too */
    uint64_t word = gyre_load_relaxed((const gyre_word *)block) ^
                    gyre_link_mask(self->link_secret, block);
    if (GYRE_HARDENED && GYRE_UNLIKELY(word != GYRE_LINK_END &&
                                       ((word ^ (uint64_t)(uintptr_t)block) &
                                        ~(GYRE_SEGMENT_BYTES - 1)) != 0))
        gyre_link_broken(block);
    return (uintptr_t)word;
}

/* `index` of struct gyre_thread.current for a size within the classes:
 * 16-byte steps to 128 bytes, then 8 steps a doubling, to 32 KiB. */
#define GYRE_SMALL_MAX 32768u
#define GYRE_ALLOC_SLOWLY UINT32_MAX

GYRE_INLINE uint32_t
gyre_size_class(size_t size)
{
    if (size <= 128)
        return size == 0 ? 0 : (uint32_t)((size - 1) >> 4);
    else {
        uint32_t top = 63u - (uint32_t)__builtin_clzll((uint64_t)(size - 1));
        return 8 + (top - 7) * 8 + ((uint32_t)((size - 1) >> (top - 3)) & 7);
    }
}

/* Bytes of a block of that class. */
GYRE_INLINE uint32_t
gyre_class_bytes(uint32_t size_class)
{
    if (size_class < 8)
        return (size_class + 1) * 16;
    return (9 + (size_class & 7)) << (4 + ((size_class - 8) >> 3));
}

GYRE_INLINE uint32_t
gyre_alloc_index(enum gyre_page_kind kind, uint32_t size_class)
{
    return (uint32_t)kind * GYRE_SIZE_CLASSES + size_class;
}

/* The record of the page that `block`, the start of a block, lies in. For
 * blocks of spans it is the span's first page only if the block is there. */
GYRE_INLINE struct gyre_page *
gyre_page_record(const void *block)
{
    uintptr_t address = (uintptr_t)block;
    uintptr_t segment = address & ~(uintptr_t)(GYRE_SEGMENT_BYTES - 1);
    uintptr_t index = (address >> GYRE_PAGE_SHIFT) & (GYRE_SEGMENT_PAGES - 1);
    return (struct gyre_page *)(segment + GYRE_SEGMENT_RECORDS +
                                index * GYRE_PAGE_RECORD_BYTES);
}

/* ---- objects ---- */

GYRE_API void gyre_check_new(const struct gyre_type *type, size_t size);

/* Out of line: no free block at hand, large types, items. */
GYRE_API void *gyre_new_slow(const struct gyre_type *type, size_t size);

/* An object whose type has items: `count` of them, fixed for life. Types
 * with item_size != 0 begin with this. */
struct gyre_var_object {
    struct gyre_object head;
    size_t count; /* items; constant after birth */
};

/* Make an object: one reference, the caller's; body zeroed; born tracked
 * when its type has slots. `size` must be the type's size: given as a
 * constant (see GYRE_NEW) it makes the clearing straight-line code.
 * NULL when memory is out (gyre_last_status()) and a collection by another
 * thread, for which this one waits, did not help. Any attached thread. No
 * callback runs, and it is no safepoint but in that wait. `.pace.limit` */
GYRE_INLINE void *
gyre_new_sized(const struct gyre_type *type, size_t size)
{
    struct gyre_thread *self = gyre_self;
    struct gyre_page *page;
    struct gyre_object *obj;
    uintptr_t link;
    if (GYRE_CHECKING)
        gyre_check_new(type, size);
    if (GYRE_UNLIKELY(size > GYRE_SMALL_MAX))
        return gyre_new_slow(type, size);
    page = self->current[type->alloc_index];
    link = page->free;
    if (GYRE_UNLIKELY(link == GYRE_LINK_END))
        return gyre_new_slow(type, size);
    obj = (struct gyre_object *)(link - 1);
    page->free = gyre_link_load(self, obj);
    page->allocated++;
    memset(obj + 1, 0, size - sizeof *obj);
    /* relaxed, both: a stray reader of a stale pointer must see defined
     * values; nobody else knows the block */
    gyre_store_relaxed((gyre_word *)&obj->rc_local, self->birth_rc);
    gyre_store_relaxed(&obj->word0, type->header + self->birth_stamp);
    return obj;
}

/* GYRE_NEW(struct node, &node_type) */
#define GYRE_NEW(structure, type) \
    ((structure *)gyre_new_sized((type), sizeof(structure)))

/* The same for a size known at run time only. */
GYRE_INLINE void *
gyre_new(const struct gyre_type *type)
{
    return gyre_new_sized(type, type->size);
}

/* An object with `count` items, all zeroed. NULL also when the size
 * overflows (GYRE_ERR_ARGUMENT). */
GYRE_API void *gyre_new_items(const struct gyre_type *type, size_t count);

/* ---- raw memory ----
 * Not in a detached region: there others may do a thread's work for it, on its
 * pages. A thread that is attached for raw memory alone has none. */

/* 1: every raw block is taken and given back out of line, where misuse is
 * looked for: in checking builds, and under the address sanitizer, which is
 * told of each. */
#if defined(__SANITIZE_ADDRESS__)
#define GYRE_MEM_CHECKED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define GYRE_MEM_CHECKED 1
#endif
#endif
#ifndef GYRE_MEM_CHECKED
#define GYRE_MEM_CHECKED GYRE_CHECKING
#endif

/* `size` bytes, 16-byte aligned, contents undefined; size 0 gives a pointer
 * that may be freed. NULL when memory is out, as for gyre_new_sized(). Any
 * attached thread. */
GYRE_API void *gyre_mem_alloc(size_t size);
/* The same, zeroed; NULL also when count * size overflows. */
GYRE_API void *gyre_mem_calloc(size_t count, size_t size);
/* The same as gyre_mem_alloc() with an address that is a multiple of
 * `alignment`, a power of two up to 2 MiB. NULL, GYRE_ERR_ARGUMENT: it is
 * not. gyre_mem_realloc() keeps an alignment of 16 only. */
GYRE_API void *gyre_mem_alloc_aligned(size_t alignment, size_t size);
/* Resize, moving if need be; on NULL the old block is untouched. */
GYRE_API void *gyre_mem_realloc(void *block, size_t size);
/* Give a block back; NULL is fine. Any attached thread of the heap. */
GYRE_API void gyre_mem_free(void *block);
/* The last two where a call costs too much: best with a constant size. */
GYRE_INLINE void *
gyre_mem_alloc_inline(size_t size)
{
    struct gyre_thread *self = gyre_self;
    struct gyre_page *page;
    uintptr_t link;
    if (GYRE_MEM_CHECKED || GYRE_UNLIKELY(size > GYRE_SMALL_MAX))
        return gyre_mem_alloc(size);
    page =
        self->current[gyre_alloc_index(GYRE_PAGE_RAW, gyre_size_class(size))];
    link = page->free;
    if (GYRE_UNLIKELY(link == GYRE_LINK_END))
        return gyre_mem_alloc(size);
    page->free = gyre_link_load(self, (void *)(link - 1));
    page->allocated++;
    return (void *)(link - 1);
}

GYRE_INLINE void
gyre_mem_free_inline(void *block)
{
    struct gyre_thread *self = gyre_self;
    struct gyre_page *page = gyre_page_record(block);
    /* relaxed: only this thread makes itself the owner or no longer so. Large
     * blocks and those of the second page of a span on have no owner there;
     * nor has what NULL leads to, which is not looked up. */
    if (GYRE_MEM_CHECKED || GYRE_UNLIKELY(block == NULL) ||
        GYRE_UNLIKELY(gyre_load_relaxed(&page->owner) != self->frees_to) ||
        GYRE_UNLIKELY(page->frees_left == 1)) {
        gyre_mem_free(block);
        return;
    }
    gyre_link_store(self, block, page->free);
    page->free = (uintptr_t)block + 1;
    page->frees_left--;
}
/* Give a block back that a `trace` may be reading: it is reused only once no
 * collection that might read it is open. `.mem.retire` */
GYRE_API void gyre_mem_retire(void *block);
/* Bytes that may be used of a block, at least those asked for. */
GYRE_API size_t gyre_mem_size(const void *block);

GYRE_END_DECLS

#endif
