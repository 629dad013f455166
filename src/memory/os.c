/* Memory from the system: mapped, counted against the hard limit, given
 * back. No other file calls the system for memory. Any thread; no lock.
 * Design: docs/design/memory.md .mem.limit */
#define _GNU_SOURCE 1 /* mremap */
#include "os.h"

#include <sys/mman.h>

#include "../heap.h"
#include "poison.h"

/* Tables may pass the hard limit by half of it: a collection at the limit
 * needs some. .pace.limit */
#define TABLES_SHARE 2

/* Count `bytes` as mapped, unless that would pass `limit`. */
static bool
mapped_raise_to(struct gyre_heap *heap, size_t bytes, uint64_t limit)
{
    struct memory_heap *memory = &heap->memory;
    /* relaxed, all of them here: counters that order nothing */
    uint64_t mapped = gyre_load_relaxed(&memory->mapped);
    uint64_t peak;
    do {
        if (limit != 0 && (mapped > limit || bytes > limit - mapped))
            return false;
    } while (!gyre_cas_weak_relaxed(&memory->mapped, &mapped, mapped + bytes));
    mapped += bytes;
    peak = gyre_load_relaxed(&memory->mapped_peak);
    while (peak < mapped &&
           !gyre_cas_weak_relaxed(&memory->mapped_peak, &peak, mapped))
        continue;
    return true;
}

static bool
mapped_raise(struct gyre_heap *heap, size_t bytes)
{
    return mapped_raise_to(heap, bytes,
                           heap_option(heap, GYRE_OPT_MEMORY_HARD_LIMIT));
}

static void
mapped_lower(struct gyre_heap *heap, size_t bytes)
{
    /* relaxed: a counter that orders nothing */
    gyre_fetch_sub_relaxed(&heap->memory.mapped, bytes);
}

/* Injected failures: to succeed before them (high half), to come (low). */
static uint64_t failures;

void
gyre_os_inject_failures(uint32_t after, uint32_t count)
{
    /* relaxed: a count that orders nothing */
    gyre_store_relaxed(&failures, (uint64_t)after << 32 | count);
}

static bool
failure_is_due(void)
{
    uint64_t planned = gyre_load_relaxed(&failures); /* relaxed: a count */
    uint64_t left;
    do {
        if ((uint32_t)planned == 0)
            return false;
        left = planned >> 32 ? planned - (UINT64_C(1) << 32) : planned - 1;
    } while (!gyre_cas_weak_relaxed(&failures, &planned, left));
    return planned >> 32 == 0;
}

static void *
map(size_t bytes, int protection)
{
    void *address;
    if (GYRE_UNLIKELY(failure_is_due()))
        return NULL;
    address = mmap(NULL, bytes, protection,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return address == MAP_FAILED ? NULL : address;
}

static bool
is_aligned(const void *address)
{
    return ((uintptr_t)address & (GYRE_SEGMENT_BYTES - 1)) == 0;
}

/* Map so much that an aligned part is in it, and unmap the rest. */
static void *
map_and_trim(size_t bytes, int protection)
{
    size_t slack = GYRE_SEGMENT_BYTES - OS_PAGE_BYTES;
    char *address, *aligned;
    if (bytes > SIZE_MAX - slack)
        return NULL;
    address = map(bytes + slack, protection);
    if (address == NULL)
        return NULL;
    aligned = (char *)(((uintptr_t)address + slack) &
                       ~(uintptr_t)(GYRE_SEGMENT_BYTES - 1));
    if (aligned != address)
        munmap(address, (size_t)(aligned - address));
    if (aligned - address != (ptrdiff_t)slack)
        munmap(aligned + bytes, slack - (size_t)(aligned - address));
    return aligned;
}

static void *
map_aligned(size_t bytes, int protection)
{
    /* The system places mappings side by side, so that the next to an
     * aligned one is aligned as a rule. */
    void *address = map(bytes, protection);
    if (address == NULL || is_aligned(address))
        return address;
    munmap(address, bytes);
    return map_and_trim(bytes, protection);
}

void *
gyre_os_map_aligned(struct gyre_heap *heap, size_t bytes)
{
    void *address;
    if (!mapped_raise(heap, bytes))
        return NULL;
    address = map_aligned(bytes, PROT_READ | PROT_WRITE);
    if (address == NULL)
        mapped_lower(heap, bytes);
    return address;
}

void *
gyre_os_map(struct gyre_heap *heap, size_t bytes)
{
    uint64_t limit = heap_option(heap, GYRE_OPT_MEMORY_HARD_LIMIT);
    void *address;
    if (!mapped_raise_to(heap, bytes, limit + limit / TABLES_SHARE))
        return NULL;
    address = map(bytes, PROT_READ | PROT_WRITE);
    if (address == NULL)
        mapped_lower(heap, bytes);
    return address;
}

void
gyre_os_unmap(struct gyre_heap *heap, void *address, size_t bytes)
{
    memory_forget(address, bytes);
    /* Fails only when unmapping splits a mapping and the process has too
     * many: then the memory stays, unused. Its content is given back. */
    if (munmap(address, bytes) != 0)
        (void)gyre_os_purge(address, bytes);
    mapped_lower(heap, bytes);
}

void
gyre_os_unmap_used(struct gyre_heap *heap, void *address, size_t bytes)
{
    if (!GYRE_VALGRIND) {
        gyre_os_unmap(heap, address, bytes);
        return;
    }
    gyre_os_purge(address, bytes);
    (void)mprotect(address, bytes, PROT_NONE);
    mapped_lower(heap, bytes);
}

void *
gyre_os_reserve(size_t bytes)
{
    return map_aligned(bytes, PROT_NONE);
}

void *
gyre_os_map_uncounted(size_t bytes)
{
    return map(bytes, PROT_READ | PROT_WRITE);
}

bool
gyre_os_commit(struct gyre_heap *heap, void *address, size_t bytes)
{
    if (!mapped_raise(heap, bytes))
        return false;
    if (!failure_is_due() &&
        mprotect(address, bytes, PROT_READ | PROT_WRITE) == 0)
        return true;
    mapped_lower(heap, bytes);
    return false;
}

void
gyre_os_release(void *address, size_t bytes)
{
    munmap(address, bytes);
}

bool
gyre_os_resize(struct gyre_heap *heap, void *address, size_t bytes,
               size_t new_bytes)
{
    if (new_bytes > bytes && !mapped_raise(heap, new_bytes - bytes))
        return false;
    if (!(new_bytes > bytes && failure_is_due()) &&
        mremap(address, bytes, new_bytes, 0) != MAP_FAILED) {
        if (new_bytes < bytes) {
            memory_forget((char *)address + new_bytes, bytes - new_bytes);
            mapped_lower(heap, bytes - new_bytes);
        }
        return true;
    }
    if (new_bytes > bytes)
        mapped_lower(heap, new_bytes - bytes);
    return false;
}

void *
gyre_os_move(struct gyre_heap *heap, void *address, size_t bytes,
             size_t new_bytes)
{
    /* What is moved is not there twice, so only the difference is counted. */
    void *place;
    if (!mapped_raise(heap, new_bytes - bytes))
        return NULL;
    place = map_aligned(new_bytes, PROT_NONE);
    if (place != NULL) {
        if (mremap(address, bytes, new_bytes, MREMAP_MAYMOVE | MREMAP_FIXED,
                   place) == place) {
            memory_forget(address, bytes);
            return place;
        }
        munmap(place, new_bytes);
    }
    mapped_lower(heap, new_bytes - bytes);
    return NULL;
}

bool
gyre_os_purge(void *address, size_t bytes)
{
    return madvise(address, bytes, MADV_DONTNEED) == 0;
}

/* Not by the system's call for it: that holds up whoever maps memory. */
void
gyre_os_populate(void *address, size_t bytes)
{
    for (size_t at = 0; at < bytes; at += OS_PAGE_BYTES)
        ((volatile char *)address)[at] = 0;
}

void
gyre_os_prefer_huge(void *address, size_t bytes)
{
#ifdef MADV_HUGEPAGE
    madvise(address, bytes, MADV_HUGEPAGE);
#else
    (void)address;
    (void)bytes;
#endif
}

void
gyre_os_avoid_huge(void *address, size_t bytes)
{
#ifdef MADV_NOHUGEPAGE
    madvise(address, bytes, MADV_NOHUGEPAGE);
#else
    (void)address;
    (void)bytes;
#endif
}

bool
gyre_os_protect(void *address, size_t bytes, bool usable)
{
    return mprotect(address, bytes,
                    usable ? PROT_READ | PROT_WRITE : PROT_NONE) == 0;
}
