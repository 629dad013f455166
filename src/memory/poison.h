/* What the address sanitizer is told of free raw blocks.
 *
 * Only raw blocks: those of objects are taken by inline code of programs
 * that may be built without the sanitizer, and a stray reader may look at
 * their header. The first 16 bytes hold a free block's link. */
#ifndef GYRE_SRC_MEMORY_POISON_H
#define GYRE_SRC_MEMORY_POISON_H

#include <stddef.h>

#if defined(__SANITIZE_ADDRESS__)
#define MEMORY_POISON 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define MEMORY_POISON 1
#endif
#endif
#ifndef MEMORY_POISON
#define MEMORY_POISON 0
#endif

#define POISON_KEEP 16u

#if MEMORY_POISON
#include <sanitizer/asan_interface.h>

static inline void
block_poison(void *block, size_t size)
{
    if (size > POISON_KEEP)
        __asan_poison_memory_region((char *)block + POISON_KEEP,
                                    size - POISON_KEEP);
}

static inline void
memory_unpoison(void *address, size_t size)
{
    __asan_unpoison_memory_region(address, size);
}
#else
static inline void
block_poison(void *block, size_t size)
{
    (void)block;
    (void)size;
}

static inline void
memory_unpoison(void *address, size_t size)
{
    (void)address;
    (void)size;
}
#endif

#endif
