/* The map of segments: which 4 MiB of the address space are a segment of some
 * heap, or the beginning of a mapping alone. One bit each, for the whole
 * process, in a table that is mapped with the first segment and has memory
 * where it is used. Any thread; no lock. Design: docs/design/memory.md
 * .mem.map */
#include "os.h"
#include "segment.h"

#define ADDRESS_BITS 48
#define MAP_BITS (UINT64_C(1) << (ADDRESS_BITS - GYRE_SEGMENT_SHIFT))
#define MAP_BYTES (MAP_BITS / 8)

static uint64_t *map; /* atomic, its words too; NULL until first needed */

/* NULL: no memory for it. */
static uint64_t *
map_get(void)
{
    /* relaxed: the table's words are atomic, and zero by themselves */
    uint64_t *table = gyre_load_relaxed(&map), *other = NULL;
    if (GYRE_LIKELY(table != NULL))
        return table;
    table = gyre_os_map_uncounted(MAP_BYTES);
    if (table == NULL)
        return NULL;
    while (
        !gyre_cas_weak_relaxed(&map, &other, table)) { /* relaxed: as above */
        if (other == NULL)
            continue;
        gyre_os_release(table, MAP_BYTES);
        return other;
    }
    return table;
}

bool
gyre_map_set(const struct segment *segment)
{
    uintptr_t slot = (uintptr_t)segment >> GYRE_SEGMENT_SHIFT;
    uint64_t *table = map_get();
    if (table == NULL || slot >= MAP_BITS)
        return false;
    /* relaxed: whoever is given a block of the segment is given it by
     * something stronger, and sees this too */
    gyre_fetch_or_relaxed(&table[slot / 64], UINT64_C(1) << (slot % 64));
    return true;
}

void
gyre_map_clear(const struct segment *segment)
{
    uintptr_t slot = (uintptr_t)segment >> GYRE_SEGMENT_SHIFT;
    /* relaxed: nobody asks about blocks that are gone, and of others the
     * answer does not change */
    gyre_fetch_and_relaxed(&map_get()[slot / 64],
                           ~(UINT64_C(1) << (slot % 64)));
}

bool
gyre_segment_is_mapped(const void *address)
{
    uintptr_t slot = (uintptr_t)address >> GYRE_SEGMENT_SHIFT;
    /* relaxed, both: see gyre_map_set() */
    const uint64_t *table = gyre_load_relaxed(&map);
    if (table == NULL || slot >= MAP_BITS)
        return false;
    return gyre_load_relaxed(&table[slot / 64]) >> (slot % 64) & 1;
}
