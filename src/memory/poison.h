/* What the address sanitizer and Valgrind's memcheck are told of memory that
 * is not in use. In other builds all of this is nothing.
 *
 * A free block is poisoned but for its first bytes, where the allocator
 * keeps its link, and stray readers of object pages find a header. Memory of
 * free pages is poisoned whole. Any thread, for memory that is its own.
 * Design: docs/design/memory.md .mem.poison */
#ifndef GYRE_SRC_MEMORY_POISON_H
#define GYRE_SRC_MEMORY_POISON_H

#include <stdbool.h>
#include <stddef.h>

#if defined(__SANITIZE_ADDRESS__)
#define MEMORY_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define MEMORY_ASAN 1
#endif
#endif
#ifndef MEMORY_ASAN
#define MEMORY_ASAN 0
#endif

#ifndef GYRE_VALGRIND
#define GYRE_VALGRIND 0
#endif

#define MEMORY_POISON (MEMORY_ASAN || GYRE_VALGRIND)

/* What stays readable of a free block: its link, and an object's dead word. */
#define POISON_KEEP 16u

#if MEMORY_ASAN
#include <sanitizer/asan_interface.h>
#endif
#if GYRE_VALGRIND
#include <valgrind/memcheck.h>
#endif

static inline void
memory_poison(const void *address, size_t size)
{
#if MEMORY_ASAN
    __asan_poison_memory_region((const volatile void *)address, size);
#endif
#if GYRE_VALGRIND
    (void)VALGRIND_MAKE_MEM_NOACCESS(address, size);
#endif
    (void)address;
    (void)size;
}

/* It may be read and written, and holds something. */
static inline void
memory_unpoison(const void *address, size_t size)
{
#if MEMORY_ASAN
    __asan_unpoison_memory_region((const volatile void *)address, size);
#endif
#if GYRE_VALGRIND
    (void)VALGRIND_MAKE_MEM_DEFINED(address, size);
#endif
    (void)address;
    (void)size;
}

/* Addresses that are given back, or were: another's memory may come there. */
static inline void
memory_forget(const void *address, size_t size)
{
#if MEMORY_ASAN
    __asan_unpoison_memory_region((const volatile void *)address, size);
#endif
    (void)address;
    (void)size;
}

/* A free block of `size` bytes, but for the first `keep`. */
static inline void
block_poison(const void *block, size_t keep, size_t size)
{
    memory_unpoison(block, keep);
    if (size > keep)
        memory_poison((const char *)block + keep, size - keep);
}

/* A block becomes the program's: memcheck notes where, and complains when it
 * is never given back. */
static inline void
memory_taken(const void *block, size_t size, bool zeroed)
{
#if MEMORY_ASAN
    __asan_unpoison_memory_region((const volatile void *)block, size);
#endif
#if GYRE_VALGRIND
    VALGRIND_MALLOCLIKE_BLOCK(block, size, 0, zeroed);
#endif
    (void)block;
    (void)size;
    (void)zeroed;
}

/* The program's no more. What is none is reported by memcheck. */
static inline void
memory_given(const void *block)
{
#if GYRE_VALGRIND
    VALGRIND_FREELIKE_BLOCK(block, 0);
#endif
    (void)block;
}

/* The program's for good: no leak, though it is never given back. */
static inline void
memory_kept(const void *block, size_t size)
{
#if GYRE_VALGRIND
    memory_given(block);
    memory_unpoison(block, size);
#endif
    (void)block;
    (void)size;
}

/* The same block, of another size. */
static inline void
memory_resized(const void *block, size_t old_size, size_t size)
{
#if MEMORY_ASAN
    __asan_unpoison_memory_region((const volatile void *)block, size);
#endif
#if GYRE_VALGRIND
    if (old_size > 0 && size > 0) { /* it knows no blocks without a byte */
        VALGRIND_RESIZEINPLACE_BLOCK(block, old_size, size, 0);
    } else {
        memory_given(block);
        memory_taken(block, size, false);
    }
#endif
    (void)block;
    (void)old_size;
    (void)size;
}

#endif
