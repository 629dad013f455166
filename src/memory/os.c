/* Memory from the system: mapped, counted against the hard limit, given
 * back. No other file calls the system for memory. Any thread; no lock.
 * Design: docs/design/memory.md .mem.limit */
#include "os.h"

#include <sys/mman.h>

#include "../heap.h"
#include "poison.h"

/* Count `bytes` as mapped, unless that would pass the hard limit. */
static bool
mapped_raise(struct gyre_heap *heap, size_t bytes)
{
    struct memory_heap *memory = &heap->memory;
    uint64_t limit = heap_option(heap, GYRE_OPT_MEMORY_HARD_LIMIT);
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
map(size_t bytes)
{
    void *address;
    if (GYRE_UNLIKELY(failure_is_due()))
        return NULL;
    address = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
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
map_and_trim(size_t bytes)
{
    size_t slack = GYRE_SEGMENT_BYTES - OS_PAGE_BYTES;
    char *address, *aligned;
    if (bytes > SIZE_MAX - slack)
        return NULL;
    address = map(bytes + slack);
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

void *
gyre_os_map_aligned(struct gyre_heap *heap, size_t bytes)
{
    void *address;
    if (!mapped_raise(heap, bytes))
        return NULL;
    /* The system places mappings side by side, so that the next to an
     * aligned one is aligned as a rule. */
    address = map(bytes);
    if (address != NULL && !is_aligned(address)) {
        munmap(address, bytes);
        address = map_and_trim(bytes);
    }
    if (address == NULL)
        mapped_lower(heap, bytes);
    return address;
}

void *
gyre_os_map(struct gyre_heap *heap, size_t bytes)
{
    void *address;
    if (!mapped_raise(heap, bytes))
        return NULL;
    address = map(bytes);
    if (address == NULL)
        mapped_lower(heap, bytes);
    return address;
}

void
gyre_os_unmap(struct gyre_heap *heap, void *address, size_t bytes)
{
    memory_unpoison(address, bytes);
    /* Fails only when unmapping splits a mapping and the process has too
     * many: then the memory stays, unused. Its content is given back. */
    if (munmap(address, bytes) != 0)
        gyre_os_purge(address, bytes);
    mapped_lower(heap, bytes);
}

void
gyre_os_purge(void *address, size_t bytes)
{
    madvise(address, bytes, MADV_DONTNEED);
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
