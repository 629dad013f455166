/* Hardened builds: guards that can't be touched, secrets, and the order of
 * blocks. A page's holder; the secret is a constant of the heap's.
 * Design: docs/design/memory.md .mem.hardened */
#include "hardened.h"

#include <sys/random.h>

#include "../heap.h"
#include "page.h"

void
gyre_link_broken(const void *block)
{
    const struct page *page = page_of(block);
    gyre_fatal("memory: the link in free block %p (kind %d, %u bytes) was "
               "overwritten",
               block, page->kind, page->fast.block_size);
}

bool
gyre_hardened_secret(uint64_t *secret)
{
    *secret = 0;
    return !GYRE_HARDENED ||
           getrandom(secret, sizeof *secret, 0) == sizeof *secret;
}

static unsigned char *
guard_of(const struct page *page)
{
    return page_start(page) + page_room_bytes(page);
}

void
gyre_hardened_guard(struct page *page)
{
    if (GYRE_HARDENED && !page->guarded)
        page->guarded = gyre_os_protect(guard_of(page), OS_PAGE_BYTES, false);
}

void
gyre_hardened_unguard(struct page *page)
{
    if (!GYRE_HARDENED || !page->guarded)
        return;
    /* It joins its neighbours, so that no place is needed. */
    GYRE_CHECK(gyre_os_protect(guard_of(page), OS_PAGE_BYTES, true),
               "memory: the guard of page %p stays", (void *)page);
    page->guarded = 0;
}

void
gyre_hardened_guard_records(struct segment *segment)
{
    if (GYRE_HARDENED)
        (void)gyre_os_protect((unsigned char *)segment + GYRE_PAGE_BYTES -
                                  OS_PAGE_BYTES,
                              OS_PAGE_BYTES, false);
}

/* After Steele, Lea & Flood, OOPSLA 2014: splitmix64. */
static uint64_t
next_random(uint64_t *state)
{
    uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

void
gyre_hardened_shuffle(const struct page *page, uint16_t *numbers,
                      uint32_t count)
{
    uint64_t state = segment_of(page)->link_secret ^ (uint64_t)(uintptr_t)page ^
                     (uint64_t)page->fast.allocated << 32 ^ page->fresh;
    uint32_t i;
    for (i = count; i > 1; i--) {
        uint32_t other = (uint32_t)(next_random(&state) % i);
        uint16_t number = numbers[i - 1];
        numbers[i - 1] = numbers[other];
        numbers[other] = number;
    }
}
