/* Misuse of memory, noticed and named: double frees, frees of what is no
 * block, overruns, writes to what was freed. Checking builds and those under
 * the address sanitizer or memcheck; elsewhere nobody calls this.
 *
 * A raw block ends in a trailer: the bytes asked for and the thread that
 * took or freed it last, then a word that is made of these, the block's
 * address and its state. One byte changed, and it is none of the states.
 * Any thread, for blocks of its own. Design: docs/design/memory.md
 * .mem.guard */
#include "guard.h"

#include <stdarg.h>
#include <stdio.h>

#include "../heap.h"
#include "large.h"
#include "page.h"

/* As a word it is no pointer, and no object. */
#define FREE_BYTE 0xd9
/* So much is filled behind what was asked for, at most. */
#define SLACK_MAX 4096u
#define SIZE_BITS 48
/* No thread of that number: the block was never anybody's. */
#define NEVER_TAKEN 0xffffu

enum state { STATE_BROKEN, STATE_USED, STATE_RETIRED, STATE_FREE };

static const uint64_t state_marks[] = {
    [STATE_USED] = UINT64_C(0x9e6c63d0676a9a99),
    [STATE_RETIRED] = UINT64_C(0xd1342543de82ef95),
    [STATE_FREE] = UINT64_C(0xa54ff53a5f1d36f1),
};

struct trailer {
    uint64_t size;  /* and the thread's number above it */
    uint64_t state; /* atomic: of two threads that free a block one sees it */
};
GYRE_STATIC_ASSERT(sizeof(struct trailer) == GUARD_TRAILER, "two words");

/* What a trailer says. */
struct label {
    enum state state;
    uint32_t number;
    size_t size;
    bool zero; /* as in memory that was never used, or given back */
};

/* ---- messages ---- */

static void
name_number(char text[GUARD_NAME_BYTES], uint32_t number)
{
    if (number == 0)
        snprintf(text, GUARD_NAME_BYTES, "a thread without a number");
    else
        snprintf(text, GUARD_NAME_BYTES, "thread %u", number);
}

const char *
gyre_guard_thread(char text[GUARD_NAME_BYTES])
{
    struct gyre_thread *self = gyre_self;
    const char *name;
    if (self == NULL) {
        snprintf(text, GUARD_NAME_BYTES, "a thread that is not attached");
        return text;
    }
    name_number(text, self->number);
    name = mutator_of(self)->part.name;
    if (name[0] != 0) {
        size_t used = strlen(text);
        snprintf(text + used, GUARD_NAME_BYTES - used, " (%s)", name);
    }
    return text;
}

/* One line: the call, the pointer, what was found, the thread. */
static void __attribute__((format(printf, 3, 4), noreturn, cold))
bad(const char *function, const void *block, const char *format, ...)
{
    char text[240], who[GUARD_NAME_BYTES];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    gyre_fatal("%s(%p): %s; in %s", function, block, text,
               gyre_guard_thread(who));
}

/* ---- patterns ---- */

/* The first of `bytes` bytes that is not the pattern's; `bytes`: none. */
static size_t
pattern_length(const unsigned char *at, size_t bytes)
{
    size_t i;
    if (bytes == 0 ||
        (at[0] == FREE_BYTE && memcmp(at, at + 1, bytes - 1) == 0))
        return bytes;
    for (i = 0; at[i] == FREE_BYTE; i++)
        ;
    return i;
}

static size_t
slack_bytes(size_t size, size_t end)
{
    size_t bytes = end - size;
    return bytes < SLACK_MAX ? bytes : SLACK_MAX;
}

/* ---- trailers ---- */

static size_t
room_of(const struct page *page)
{
    if (page->size_class == PAGE_CLASS_LARGE)
        return gyre_large_bytes(page);
    return page->fast.block_size;
}

static struct trailer *
trailer_of(const void *block, size_t room)
{
    return (struct trailer *)((char *)block + room - GUARD_TRAILER);
}

static uint64_t
state_word(const void *block, uint64_t size, enum state state)
{
    uint64_t address = (uint64_t)(uintptr_t)block;
    return (address * UINT64_C(0x9e3779b97f4a7c15)) ^
           (size * UINT64_C(0xc2b2ae3d27d4eb4f)) ^ state_marks[state];
}

static void
trailer_write(void *block, size_t room, uint64_t size, enum state state)
{
    struct trailer *trailer = trailer_of(block, room);
    if (MEMORY_POISON)
        memory_unpoison(trailer, sizeof *trailer);
    trailer->size = size;
    /* relaxed: the block is the caller's */
    gyre_store_relaxed(&trailer->state, state_word(block, size, state));
    if (MEMORY_POISON)
        memory_poison(trailer, sizeof *trailer);
}

static struct label
label_of(const void *block, uint64_t size, uint64_t word)
{
    struct label label = {
        STATE_BROKEN,
        (uint32_t)(size >> SIZE_BITS),
        (size_t)(size & ((UINT64_C(1) << SIZE_BITS) - 1)),
        (size | word) == 0,
    };
    enum state state;
    for (state = STATE_USED; state <= STATE_FREE; state++)
        if (word == state_word(block, size, state))
            label.state = state;
    return label;
}

static struct label
trailer_read(const void *block, size_t room)
{
    struct trailer *trailer = trailer_of(block, room);
    uint64_t size, word;
    if (MEMORY_POISON)
        memory_unpoison(trailer, sizeof *trailer);
    size = trailer->size;
    word = gyre_load_relaxed(&trailer->state); /* a look */
    if (MEMORY_POISON)
        memory_poison(trailer, sizeof *trailer);
    return label_of(block, size, word);
}

static uint64_t
signed_size(const struct gyre_thread *self, size_t size)
{
    return (uint64_t)size | (uint64_t)self->number << SIZE_BITS;
}

/* ---- what is wrong with a raw block ---- */

/* The block has an end that is none of a block in use. */
static void __attribute__((noreturn, cold))
bad_state(const char *function, const void *block, size_t room,
          struct label label)
{
    char who[GUARD_NAME_BYTES];
    if (label.state != STATE_BROKEN)
        memory_given(block); /* memcheck knows where it was freed first */
    name_number(who, label.number);
    if (label.state == STATE_FREE && label.number == NEVER_TAKEN)
        bad(function, block,
            "no block in use: this one of %lu bytes was "
            "never taken",
            (unsigned long)room);
    if (label.state == STATE_FREE)
        bad(function, block,
            "the block of %lu bytes (%lu with its slack) was freed already, "
            "by %s",
            (unsigned long)label.size, (unsigned long)(room - GUARD_TRAILER),
            who);
    if (label.state == STATE_RETIRED)
        bad(function, block,
            "the block of %lu bytes (%lu with its slack) was retired already, "
            "by %s",
            (unsigned long)label.size, (unsigned long)(room - GUARD_TRAILER),
            who);
    if (label.zero)
        bad(function, block,
            "no block in use, or overrun: its end, %lu bytes behind, is zero",
            (unsigned long)(room - GUARD_TRAILER));
    bad(function, block,
        "the block of %lu bytes with its slack was overrun: what lies behind "
        "it is overwritten",
        (unsigned long)(room - GUARD_TRAILER));
}

static void
check_slack(const char *function, const void *block, size_t room,
            struct label label)
{
    const unsigned char *bytes = block;
    char who[GUARD_NAME_BYTES];
    size_t slack, good;
    if (MEMORY_POISON)
        return; /* whoever writes there is found at once */
    slack = slack_bytes(label.size, room - GUARD_TRAILER);
    good = pattern_length(bytes + label.size, slack);
    if (good == slack)
        return;
    name_number(who, label.number);
    bad(function, block,
        "the block of %lu bytes (%lu with its slack), taken by %s, was "
        "overrun: byte %lu is 0x%02x",
        (unsigned long)label.size, (unsigned long)(room - GUARD_TRAILER), who,
        (unsigned long)(label.size + good), bytes[label.size + good]);
}

/* As bad(), and memcheck says where such a pointer belongs. */
#define bad_pointer(function, block, ...) \
    (memory_given(block), bad(function, block, __VA_ARGS__))

/* The page of `block`, which begins in some segment's page of a raw block. */
static const struct page *
find_page(const struct gyre_thread *self, const void *block,
          const char *function)
{
    const struct segment *segment = segment_of(block);
    const struct page *record;
    unsigned index =
        (unsigned)((uintptr_t)block >> GYRE_PAGE_SHIFT) % GYRE_SEGMENT_PAGES;
    enum page_state state;
    if (!gyre_segment_is_mapped(block))
        bad_pointer(function, block, "no memory of any heap's");
    if (self != NULL && segment->heap != self->heap)
        bad_pointer(function, block,
                    "memory of heap %p, and the thread's is %p",
                    (void *)segment->heap, (void *)self->heap);
    if (index == 0)
        bad_pointer(function, block, "no block: the library's own records");
    record = segment_page(segment, index);
    state = page_state(record);
    if (state == PAGE_FREE || state == PAGE_RETIRING)
        bad_pointer(
            function, block,
            "was freed already, or never taken: its page has no block in use");
    if (record->head->kind != GYRE_PAGE_RAW)
        bad_pointer(function, block,
                    "no raw block: an object, or inside of one");
    return record->head;
}

static const struct page *
find_block(const struct gyre_thread *self, const void *block,
           const char *function)
{
    const struct page *page = find_page(self, block, function);
    size_t room = room_of(page);
    size_t offset = (size_t)((const unsigned char *)block - page->blocks);
    if (page->size_class != PAGE_CLASS_LARGE) {
        if (offset / room >= page->capacity)
            bad_pointer(function, block, "no block: behind the last of a page");
        offset %= room;
    }
    if (offset != 0)
        bad_pointer(
            function, block,
            "%lu bytes inside the block %p, which has %lu bytes with its slack",
            (unsigned long)offset,
            (const void *)((const unsigned char *)block - offset),
            (unsigned long)(room - GUARD_TRAILER));
    return page;
}

static void
check_raw(const void *block, size_t room, const char *function)
{
    struct label label = trailer_read(block, room);
    if (label.state != STATE_USED)
        bad_state(function, block, room, label);
    check_slack(function, block, room, label);
}

/* ---- raw blocks ---- */

/* The slack and the trailer behind `size` bytes. */
static void
raw_close(const struct gyre_thread *self, void *block, size_t room, size_t size)
{
    if (MEMORY_POISON)
        memory_poison((char *)block + size, room - size);
    else
        memset((char *)block + size, FREE_BYTE,
               slack_bytes(size, room - GUARD_TRAILER));
    trailer_write(block, room, signed_size(self, size), STATE_USED);
}

void
gyre_guard_raw_taken(void *block, size_t size, bool zeroed,
                     const char *function)
{
    const struct page *page = page_of(block);
    if (page->size_class != PAGE_CLASS_LARGE)
        gyre_guard_check_free(page, block, function);
    raw_close(gyre_self, block, room_of(page), size);
    memory_taken(block, size, zeroed);
}

void
gyre_guard_raw_check(struct gyre_thread *self, const void *block,
                     const char *function)
{
    const struct page *page = find_block(self, block, function);
    check_raw(block, room_of(page), function);
}

void
gyre_guard_raw_give(struct gyre_thread *self, void *block, bool retired,
                    const char *function)
{
    const struct page *page = find_block(self, block, function);
    size_t room = room_of(page);
    struct trailer *trailer = trailer_of(block, room);
    enum state next = retired ? STATE_RETIRED : STATE_FREE;
    struct label label;
    uint64_t size, found;
    check_raw(block, room, function);
    if (MEMORY_POISON)
        memory_unpoison(trailer, sizeof *trailer);
    size = trailer->size;
    /* relaxed: of two threads that free the block at once one finds it free;
     * nothing is handed over */
    found =
        gyre_exchange_relaxed(&trailer->state, state_word(block, size, next));
    label = label_of(block, size, found);
    if (label.state != STATE_USED)
        bad_state(function, block, room, label);
    trailer_write(block, room, signed_size(self, label.size), next);
}

void
gyre_guard_raw_retired(struct gyre_thread *self, void *block)
{
    size_t room = room_of(page_of(block));
    struct label label = trailer_read(block, room);
    if (label.state != STATE_RETIRED)
        bad_state("gyre_mem_retire", block, room, label);
    trailer_write(block, room, signed_size(self, label.size), STATE_FREE);
}

void
gyre_guard_raw_resized(void *old_block, size_t old_size, void *block,
                       size_t size)
{
    raw_close(gyre_self, block, room_of(page_of(block)), size);
    if (block == old_block) {
        memory_resized(block, old_size, size);
    } else {
        memory_given(old_block);
        memory_taken(block, size, true);
    }
}

size_t
gyre_guard_raw_size(const void *block)
{
    return trailer_read(block, room_of(page_of(block))).size;
}

/* ---- objects ---- */

void
gyre_guard_object_taken(void *block, size_t size, bool zeroed,
                        const char *function)
{
    const struct page *page = page_of(block);
    size_t room = room_of(page);
    if (page->size_class != PAGE_CLASS_LARGE)
        gyre_guard_check_free(page, block, function);
    else if (!MEMORY_POISON)
        memset((char *)block + size, FREE_BYTE, slack_bytes(size, room));
    if (MEMORY_POISON)
        memory_poison((char *)block + size, room - size);
    memory_taken(block, size, zeroed);
    if (MEMORY_POISON) /* its word 1 is dead, as it was */
        memory_unpoison(block, POISON_KEEP);
}

size_t
gyre_guard_object_overrun(const void *block, size_t size)
{
    size_t slack, good;
    if (MEMORY_POISON)
        return 0; /* whoever writes there is found at once */
    slack = slack_bytes(size, room_of(page_of(block)));
    good = pattern_length((const unsigned char *)block + size, slack);
    return good == slack ? 0 : size + good;
}

/* ---- free blocks ---- */

/* Of a free block, from where on its bytes say nothing. */
static size_t
body_offset(const struct page *page)
{
    return page->kind == GYRE_PAGE_RAW ? sizeof(uint64_t)
                                       : sizeof(struct gyre_object);
}

/* No block of the smallest class is asked for, where that would not fit. */
static bool
has_trailer(const struct page *page)
{
    return page->kind == GYRE_PAGE_RAW && page->fast.block_size > GUARD_TRAILER;
}

static size_t
body_end(const struct page *page)
{
    return page->fast.block_size - (has_trailer(page) ? GUARD_TRAILER : 0);
}

void
gyre_guard_fresh(const struct page *page, void *block)
{
    size_t from = body_offset(page);
    if (MEMORY_POISON)
        block_poison(block, from, page->fast.block_size);
    else
        memset((char *)block + from, FREE_BYTE, body_end(page) - from);
    if (has_trailer(page))
        trailer_write(block, page->fast.block_size,
                      (uint64_t)NEVER_TAKEN << SIZE_BITS, STATE_FREE);
}

void
gyre_guard_gone(const struct page *page, void *block)
{
    size_t from = body_offset(page);
    memory_given(block);
    if (MEMORY_POISON)
        block_poison(block, from, room_of(page));
    else if (page->size_class != PAGE_CLASS_LARGE)
        memset((char *)block + from, FREE_BYTE, body_end(page) - from);
}

static void
check_link(const struct page *page, const void *block, const char *function)
{
    uintptr_t link = gyre_link_load(gyre_self, block);
    uintptr_t offset = link - 1 - (uintptr_t)page->blocks;
    if (link != GYRE_LINK_END && (offset >= gyre_segment_span_bytes(page) ||
                                  offset % page->fast.block_size != 0))
        bad(function, block,
            "the block of %u bytes was written to after it was freed: its "
            "first word is 0x%llx",
            page->fast.block_size, (unsigned long long)link);
}

void
gyre_guard_check_free(const struct page *page, const void *block,
                      const char *function)
{
    const unsigned char *bytes = block;
    size_t from = body_offset(page), length = body_end(page) - from, good;
    struct label label = {STATE_FREE, NEVER_TAKEN, 0, false};
    char who[GUARD_NAME_BYTES];
    if (has_trailer(page)) {
        label = trailer_read(block, page->fast.block_size);
        if (label.state == STATE_USED || label.state == STATE_RETIRED)
            bad(function, block,
                "the block of %u bytes is free, and in use as well",
                page->fast.block_size);
    }
    good = MEMORY_POISON ? length : pattern_length(bytes + from, length);
    if (good == length && label.state != STATE_BROKEN) {
        check_link(page, block, function);
        return;
    }
    name_number(who, label.number);
    if (label.state == STATE_BROKEN)
        bad(function, block,
            "the end of the free block of %u bytes is overwritten",
            page->fast.block_size);
    if (page->kind == GYRE_PAGE_RAW)
        bad(function, block,
            "the block of %lu bytes was written to after %s freed it: byte "
            "%lu is 0x%02x",
            (unsigned long)label.size,
            label.number == NEVER_TAKEN ? "nobody" : who,
            (unsigned long)(from + good), bytes[from + good]);
    bad(function, block,
        "the object's block of %u bytes was written to after it was freed: "
        "byte %lu is 0x%02x",
        page->fast.block_size, (unsigned long)(from + good),
        bytes[from + good]);
}

void
gyre_guard_check_used(const struct page *page, const void *block,
                      const char *function)
{
    size_t room = room_of(page);
    struct label label = trailer_read(block, room);
    /* A block that was freed and is on no list was lost by a thread that a
     * fork cut off; so it may be with one whose end is none. */
    if (label.state == STATE_BROKEN && !segment_of(block)->heap->memory.torn)
        bad_state(function, block, room, label);
    if (label.state == STATE_USED || label.state == STATE_RETIRED)
        check_slack(function, block, room, label);
}
