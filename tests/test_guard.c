/* Misuse of memory that builds with guards notice: each case in a process of
 * its own, which has to die with a line that names it.
 *
 * Where the address sanitizer looks on, what writes where it may not is
 * stopped at once, by its report; the rest is named by the library as in
 * other builds. Covers docs/design/memory.md .mem.guard .mem.poison */
#include "support/fixture.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "heap.h"

#define OPTIONS "gc.automatic=0,gc.thread=0"

#if MEMORY_GUARD && !GYRE_VALGRIND

typedef void (*misuse_fn)(struct fixture *fx);

/* Run `act` in a child with a heap of its own; its words on standard error. */
static void
run_child(misuse_fn act, int errors)
{
    struct fixture fx;
    /* cmocka would go on with its other tests */
    signal(SIGSEGV, SIG_DFL);
    signal(SIGBUS, SIG_DFL);
    dup2(errors, STDERR_FILENO);
    fixture_open(&fx, OPTIONS);
    gyre_thread_set_name(fx.self, "culprit");
    act(&fx);
    _exit(0);
}

static void
read_all(int from, char *text, size_t room)
{
    size_t length = 0;
    ssize_t got;
    while (length + 1 < room &&
           (got = read(from, text + length, room - 1 - length)) > 0)
        length += (size_t)got;
    text[length] = 0;
    close(from);
}

/* `act` ends the process, and says `words` and who it was. */
static void
assert_dies(misuse_fn act, const char *words)
{
    static char text[65536];
    int ends[2], status;
    pid_t child;
    assert_int_equal(pipe(ends), 0);
    fflush(NULL);
    child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        close(ends[0]);
        run_child(act, ends[1]);
    }
    close(ends[1]);
    read_all(ends[0], text, sizeof text);
    assert_int_equal(waitpid(child, &status, 0), child);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        fail_msg("nothing was noticed; expected: %s", words);
    if (strstr(text, words) == NULL)
        fail_msg("said \"%s\", expected: %s", text, words);
    if (strstr(text, "gyre: fatal") != NULL &&
        strstr(text, "in thread 1 (culprit)") == NULL)
        fail_msg("said \"%s\", without the thread", text);
}

/* A write that the sanitizer stops, and other builds find afterwards. */
static void
assert_stopped(misuse_fn act, const char *words)
{
    assert_dies(act, MEMORY_ASAN ? "use-after-poison" : words);
}

/* So that no compiler sees where a pointer leads. */
static void *
hidden(void *address)
{
    void *volatile same = address;
    return same;
}

static void
write_byte(void *block, size_t offset)
{
    ((volatile unsigned char *)block)[offset] = 0x61;
}

static void
check(struct fixture *fx)
{
    GYRE_CHECK(gyre_heap_check(fx->heap) == GYRE_OK, "the check was refused");
}

/* ---- freed twice ---- */

static void
free_twice(struct fixture *fx)
{
    void *block = gyre_mem_alloc(40);
    (void)fx;
    (void)gyre_mem_alloc(40); /* so that the page is not given back */
    gyre_mem_free(block);
    gyre_mem_free(block);
}

static void
free_large_twice(struct fixture *fx)
{
    void *block = gyre_mem_alloc(100000);
    (void)fx;
    gyre_mem_free(block);
    gyre_mem_free(block);
}

static void
free_huge_twice(struct fixture *fx)
{
    void *block = gyre_mem_alloc(5 << 20);
    (void)fx;
    gyre_mem_free(block);
    gyre_mem_free(block);
}

static void
realloc_freed(struct fixture *fx)
{
    void *block = gyre_mem_alloc(40);
    (void)fx;
    (void)gyre_mem_alloc(40);
    gyre_mem_free(block);
    (void)gyre_mem_realloc(block, 50);
}

static void
free_moved(struct fixture *fx)
{
    void *block = gyre_mem_alloc(40);
    (void)fx;
    (void)gyre_mem_alloc(40);
    assert_ptr_not_equal(gyre_mem_realloc(block, 4000), block);
    gyre_mem_free(block);
}

static void
retire_twice(struct fixture *fx)
{
    void *block = gyre_mem_alloc(40);
    gyre_memory_limbo(fx->self, 7);
    gyre_mem_retire(block);
    gyre_mem_retire(block);
}

static void
free_retired(struct fixture *fx)
{
    void *block = gyre_mem_alloc(40);
    gyre_memory_limbo(fx->self, 7);
    gyre_mem_retire(block);
    gyre_mem_free(block);
}

/* Covers .mem.guard, .fail */
static void
test_block_freed_twice_is_named(void **state)
{
    (void)state;
    assert_dies(free_twice, "the block of 40 bytes (48 with its slack) was "
                            "freed already, by thread 1");
    assert_dies(free_large_twice, "was freed already");
    assert_dies(free_huge_twice, "was freed already");
    assert_dies(realloc_freed, "gyre_mem_realloc(");
    assert_dies(realloc_freed, "was freed already, by thread 1");
    assert_dies(free_moved, "was freed already, by thread 1");
    assert_dies(retire_twice, "was retired already, by thread 1");
    assert_dies(free_retired, "gyre_mem_free(");
    assert_dies(free_retired, "was retired already, by thread 1");
}

/* ---- no block ---- */

static void
free_stack(struct fixture *fx)
{
    char buffer[64];
    (void)fx;
    gyre_mem_free(hidden(buffer + 16));
}

static void
free_libc(struct fixture *fx)
{
    (void)fx;
    gyre_mem_free(hidden(malloc(64)));
}

static void
free_zero_page(struct fixture *fx)
{
    (void)fx;
    gyre_mem_free(hidden((void *)64));
}

static void
free_no_address(struct fixture *fx)
{
    (void)fx;
    gyre_mem_free(hidden((void *)~(uintptr_t)15));
}

static void
free_inside(struct fixture *fx)
{
    (void)fx;
    gyre_mem_free((char *)gyre_mem_alloc(100) + 16);
}

static void
free_inside_unaligned(struct fixture *fx)
{
    (void)fx;
    gyre_mem_free((char *)gyre_mem_alloc(100) + 1);
}

static void
free_inside_large(struct fixture *fx)
{
    (void)fx;
    gyre_mem_free((char *)gyre_mem_alloc(200000) + 70000);
}

static void
free_never_taken(struct fixture *fx)
{
    (void)fx;
    gyre_mem_free((char *)gyre_mem_alloc(1000) + 1024);
}

static void
free_records(struct fixture *fx)
{
    (void)fx;
    gyre_mem_free(segment_of(gyre_mem_alloc(100)));
}

static void
free_other_heaps(struct fixture *fx)
{
    struct gyre_heap *other;
    void *block;
    gyre_thread_leave(fx->self);
    assert_int_equal(gyre_heap_create(OPTIONS, &other), GYRE_OK);
    assert_int_equal(gyre_thread_attach(other, &fx->self), GYRE_OK);
    block = gyre_mem_alloc(40);
    gyre_thread_leave(fx->self);
    assert_int_equal(gyre_thread_attach(fx->heap, &fx->self), GYRE_OK);
    gyre_thread_set_name(fx->self, "culprit");
    gyre_mem_free(block);
}

static void
free_object(struct fixture *fx)
{
    gyre_mem_free(plain_node_new(fx));
}

static void
free_leaf(struct fixture *fx)
{
    gyre_mem_retire(leaf_node_new(fx));
}

static void
size_of_stack(struct fixture *fx)
{
    char buffer[64];
    (void)fx;
    (void)gyre_mem_size(hidden(buffer));
}

/* Covers .mem.guard, .mem.map, .fail */
static void
test_free_of_what_is_no_raw_block_is_named(void **state)
{
    (void)state;
    assert_dies(free_stack, "no memory of any heap's");
    assert_dies(free_libc, "no memory of any heap's");
    assert_dies(free_zero_page, "gyre_mem_free(0x40): no memory of any");
    assert_dies(free_no_address, "no memory of any heap's");
    assert_dies(free_inside, "16 bytes inside the block");
    assert_dies(free_inside_unaligned, "1 bytes inside the block");
    assert_dies(free_inside_large, "70000 bytes inside the block");
    assert_dies(free_never_taken, "no block in use");
    assert_dies(free_records, "the library's own records");
    assert_dies(free_other_heaps, "memory of heap 0x");
    assert_dies(free_object, "no raw block: an object");
    assert_dies(free_leaf, "gyre_mem_retire(");
    assert_dies(free_leaf, "no raw block: an object");
    assert_dies(size_of_stack, "gyre_mem_size(");
}

/* ---- overruns ---- */

static void
overrun_by_one(struct fixture *fx)
{
    void *block = gyre_mem_alloc(40);
    (void)fx;
    write_byte(block, 40);
    gyre_mem_free(block);
}

static void
overrun_trailer(struct fixture *fx)
{
    void *block = gyre_mem_alloc(48);
    (void)fx;
    write_byte(block, 48);
    gyre_mem_free(block);
}

static void
overrun_far(struct fixture *fx)
{
    char *block = gyre_mem_alloc(100);
    size_t i;
    (void)fx;
    for (i = 100; i < 130; i++)
        write_byte(block, i);
    gyre_mem_free(block);
}

static void
overrun_checked(struct fixture *fx)
{
    write_byte(gyre_mem_alloc(200), 201);
    check(fx);
}

static void
overrun_empty(struct fixture *fx)
{
    void *block = gyre_mem_alloc(0);
    (void)fx;
    write_byte(block, 0);
    gyre_mem_free(block);
}

static void
overrun_large(struct fixture *fx)
{
    void *block = gyre_mem_alloc(100000);
    (void)fx;
    write_byte(block, 100000);
    gyre_mem_free(block);
}

static void
overrun_large_checked(struct fixture *fx)
{
    write_byte(gyre_mem_alloc(3 << 20), 3 << 20);
    check(fx);
}

static void
overrun_zeroed(struct fixture *fx)
{
    void *block = gyre_mem_calloc(9, 5000);
    (void)fx;
    write_byte(block, 45000);
    gyre_mem_retire(block);
}

static void
overrun_aligned(struct fixture *fx)
{
    void *block = gyre_mem_alloc_aligned(4096, 5000);
    (void)fx;
    write_byte(block, 5000);
    gyre_mem_free(block);
}

static void
overrun_shrunk(struct fixture *fx)
{
    void *block = gyre_mem_alloc(100);
    (void)fx;
    assert_ptr_equal(gyre_mem_realloc(block, 90), block);
    write_byte(block, 95);
    (void)gyre_mem_realloc(block, 100);
}

static void
overrun_shrunk_large(struct fixture *fx)
{
    void *block = gyre_mem_alloc(4 << 20);
    (void)fx;
    block = gyre_mem_realloc(block, 3 << 20);
    write_byte(block, 3 << 20);
    gyre_mem_free(block);
}

static void
overrun_remote(struct fixture *fx, struct gyre_thread *self, void *arg)
{
    (void)fx;
    (void)self;
    *(void **)arg = gyre_mem_alloc(40);
    write_byte(*(void **)arg, 44);
}

static void
overrun_by_another(struct fixture *fx)
{
    struct worker worker;
    void *block;
    worker_start(&worker, fx, overrun_remote, &block);
    worker_join(&worker);
    gyre_mem_free(block);
}

/* Covers .mem.guard, .mem.poison, .fail: one byte is enough, however large
 * the block and wherever it came from. */
static void
test_overrun_of_a_raw_block_is_named(void **state)
{
    (void)state;
    assert_stopped(overrun_by_one,
                   "the block of 40 bytes (48 with its slack), taken by "
                   "thread 1, was overrun: byte 40 is 0x61");
    assert_stopped(overrun_trailer, "what lies behind it is overwritten");
    assert_stopped(overrun_far, "what lies behind it is overwritten");
    assert_stopped(overrun_checked, "gyre_heap_check(");
    assert_stopped(overrun_checked, "overrun: byte 201 is 0x61");
    assert_stopped(overrun_empty, "overrun");
    assert_stopped(overrun_large, "overrun: byte 100000 is 0x61");
    assert_stopped(overrun_large_checked, "overrun: byte 3145728 is 0x61");
    assert_stopped(overrun_zeroed, "overrun: byte 45000 is 0x61");
    assert_stopped(overrun_aligned, "overrun: byte 5000 is 0x61");
    assert_stopped(overrun_shrunk, "the block of 90 bytes");
    assert_stopped(overrun_shrunk_large, "overrun: byte 3145728 is 0x61");
    assert_stopped(overrun_by_another, "taken by thread 2, was overrun");
}

/* ---- written after the free ---- */

static void
write_freed(struct fixture *fx)
{
    char *block = gyre_mem_alloc(40);
    (void)fx;
    (void)gyre_mem_alloc(40);
    gyre_mem_free(block);
    write_byte(hidden(block), 24);
    (void)gyre_mem_alloc(33);
}

static void
write_freed_checked(struct fixture *fx)
{
    char *block = gyre_mem_alloc(40);
    (void)gyre_mem_alloc(40);
    gyre_mem_free(block);
    write_byte(hidden(block), 24);
    check(fx);
}

static void
write_link(struct fixture *fx)
{
    char *block = gyre_mem_alloc(40);
    (void)fx;
    (void)gyre_mem_alloc(40);
    gyre_mem_free(block);
    *(volatile uint64_t *)hidden(block) = 12345;
    (void)gyre_mem_alloc(40);
}

static void
write_link_checked(struct fixture *fx)
{
    char *block = gyre_mem_alloc(40);
    (void)gyre_mem_alloc(40);
    gyre_mem_free(block);
    *(volatile uint64_t *)hidden(block) = (uintptr_t)fx;
    check(fx);
}

static void
write_freed_end(struct fixture *fx)
{
    char *block = gyre_mem_alloc(40);
    (void)fx;
    (void)gyre_mem_alloc(40);
    gyre_mem_free(block);
    write_byte(hidden(block), 60);
    (void)gyre_mem_alloc(40);
}

/* Covers .mem.guard, .mem.poison, .fail: when the block is taken again, or
 * its page is looked at. */
static void
test_write_to_a_freed_block_is_named(void **state)
{
    (void)state;
    assert_stopped(write_freed, "was written to after thread 1 freed it: "
                                "byte 24 is 0x61");
    assert_stopped(write_freed_checked, "gyre_heap_check(");
    assert_stopped(write_freed_end, "the end of the free block");
    assert_dies(write_link, "its first word is 0x");
    assert_dies(write_link_checked, "its first word is 0x");
}

/* ---- objects ---- */

struct odd {
    struct gyre_object head;
    struct gyre_slot slot;
    char text[20]; /* ends where no word does */
};
#define ODD_BYTES (offsetof(struct odd, text) + 20)

struct cell {
    struct gyre_object head;
    char text[16];
};

static void
no_news(struct gyre_object *obj)
{
    (void)obj;
}

static const uint32_t odd_slots[] = {offsetof(struct odd, slot)};
static struct gyre_type odd_type = {
    .name = "odd", .size = ODD_BYTES, .slot_count = 1, .slots = odd_slots};
static struct gyre_type told_type = {.name = "told",
                                     .size = ODD_BYTES,
                                     .slot_count = 1,
                                     .slots = odd_slots,
                                     .dealloc = no_news};
static struct gyre_type cell_type = {
    .name = "cell", .size = sizeof(struct cell), .flags = GYRE_TYPE_LEAF};
static struct gyre_type items_type = {.name = "text",
                                      .size = sizeof(struct gyre_var_object),
                                      .item_size = 1,
                                      .flags = GYRE_TYPE_LEAF};
static struct gyre_type big_type = {
    .name = "big", .size = 50000, .flags = GYRE_TYPE_LEAF};

static struct gyre_object *
object_of(struct gyre_type *type)
{
    struct gyre_object *obj;
    GYRE_CHECK(gyre_type_ready(type) == GYRE_OK, "no type");
    obj = type->item_size != 0 ? gyre_new_items(type, 21) : gyre_new(type);
    GYRE_CHECK(obj != NULL, "no memory");
    return obj;
}

static void
overrun_and_drop(struct gyre_type *type, size_t offset)
{
    struct gyre_object *obj = object_of(type);
    write_byte(obj, offset);
    gyre_decref(obj);
}

static void
overrun_plain(struct fixture *fx)
{
    (void)fx;
    overrun_and_drop(&odd_type, ODD_BYTES);
}

static void
overrun_told(struct fixture *fx)
{
    (void)fx;
    overrun_and_drop(&told_type, ODD_BYTES + 3);
}

static void
overrun_cell(struct fixture *fx)
{
    (void)fx;
    overrun_and_drop(&cell_type, sizeof(struct cell));
}

static void
overrun_items(struct fixture *fx)
{
    (void)fx;
    overrun_and_drop(&items_type, sizeof(struct gyre_var_object) + 21);
}

static void
overrun_big(struct fixture *fx)
{
    (void)fx;
    overrun_and_drop(&big_type, 50000);
}

static void
overrun_alive(struct fixture *fx)
{
    write_byte(object_of(&odd_type), ODD_BYTES);
    check(fx);
}

static void
overrun_garbage(struct fixture *fx)
{
    struct odd *obj = (struct odd *)object_of(&odd_type);
    gyre_slot_move(&obj->head, &obj->slot, &obj->head);
    write_byte(obj, ODD_BYTES);
    (void)gyre_collect(fx->heap, GYRE_GEN_OLD);
}

static void
drop_remote(struct fixture *fx, struct gyre_thread *self, void *arg)
{
    (void)fx;
    (void)self;
    *(struct gyre_object **)arg = object_of(&odd_type);
}

static void
overrun_of_another(struct fixture *fx)
{
    struct gyre_object *obj;
    struct worker worker;
    worker_start(&worker, fx, drop_remote, &obj);
    worker_join(&worker);
    write_byte(obj, ODD_BYTES);
    gyre_decref(obj);
    (void)gyre_quiesce(fx->heap);
}

/* Covers .mem.guard, .mem.poison, .fail: behind the object's own bytes, not
 * its block's, at the latest when it dies. */
static void
test_overrun_of_an_object_is_named(void **state)
{
    (void)state;
    assert_stopped(overrun_plain, "the odd object of 44 bytes was overrun: "
                                  "byte 44 is 0x61");
    assert_stopped(overrun_told, "the told object of 44 bytes was overrun: "
                                 "byte 47 is 0x61");
    assert_stopped(overrun_cell, "the cell object of 32 bytes was overrun");
    assert_stopped(overrun_items, "the text object of 45 bytes was overrun");
    assert_stopped(overrun_big, "the big object of 50000 bytes was overrun");
    assert_stopped(overrun_alive, "check of 0x");
    assert_stopped(overrun_garbage, "reclaim of 0x");
    assert_stopped(overrun_of_another, "the odd object of 44 bytes was");
}

static void
write_dead(struct fixture *fx)
{
    struct gyre_object *obj = object_of(&odd_type);
    (void)fx;
    (void)object_of(&odd_type);
    gyre_decref(obj);
    write_byte(hidden(obj), 17);
    (void)object_of(&odd_type);
}

static void
write_dead_checked(struct fixture *fx)
{
    struct gyre_object *obj = object_of(&cell_type);
    (void)object_of(&cell_type);
    gyre_decref(obj);
    write_byte(hidden(obj), 20);
    check(fx);
}

static void
write_dead_header(struct fixture *fx)
{
    struct gyre_object *obj = object_of(&odd_type);
    (void)fx;
    (void)object_of(&odd_type);
    gyre_decref(obj);
    ((volatile struct gyre_object *)hidden(obj))->word0 = 4711;
    (void)object_of(&odd_type);
}

/* Covers .mem.guard, .mem.poison, .fail */
static void
test_write_to_a_dead_object_is_named(void **state)
{
    (void)state;
    assert_stopped(write_dead, "the object's block of 64 bytes was written to "
                               "after it was freed: byte 17 is 0x61");
    assert_stopped(write_dead_checked, "gyre_heap_check(");
    assert_dies(write_dead_header, "its first word is 0x");
}

/* ---- what is right ---- */

/* Covers .mem.guard: nothing is there for the program but what it asked for. */
static void
test_size_of_a_block_is_what_was_asked_for(void **state)
{
    static const size_t sizes[] = {0,     1,     16,    17,      1000,
                                   32752, 32753, 32768, 1 << 20, (5 << 20) + 1};
    void *blocks[sizeof sizes / sizeof sizes[0]];
    struct fixture *fx = *state;
    size_t i;
    for (i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        blocks[i] = gyre_mem_alloc(sizes[i]);
        assert_non_null(blocks[i]);
        assert_int_equal(gyre_mem_size(blocks[i]), sizes[i]);
        memset(blocks[i], 1, sizes[i]);
    }
    check(fx);
    for (i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
        gyre_mem_free(blocks[i]);
    check(fx);
}

static void
fill(unsigned char *block, size_t size)
{
    size_t i;
    for (i = 0; i < size; i++)
        block[i] = (unsigned char)(i * 7 + 3);
}

static void
assert_filled(const unsigned char *block, size_t size)
{
    size_t i;
    for (i = 0; i < size; i++)
        if (block[i] != (unsigned char)(i * 7 + 3))
            fail_msg("byte %lu of %lu changed", (unsigned long)i,
                     (unsigned long)size);
}

/* Covers .mem.guard, .mem.raw: in place, moved by copying and by the system,
 * longer and shorter. */
static void
test_resized_blocks_keep_their_content_and_their_guard(void **state)
{
    static const size_t sizes[] = {
        10,      12,       30,     100,    90,      30000,   32752,   32760,
        50000,   49000,    300000, 100000, 3 << 20, 9 << 20, 5 << 20, 5000000,
        3000000, 12 << 20, 40000,  50,     0,       5};
    struct fixture *fx = *state;
    unsigned char *block = gyre_mem_realloc(NULL, sizes[0]);
    size_t i, had = sizes[0];
    assert_non_null(block);
    fill(block, had);
    for (i = 1; i < sizeof sizes / sizeof sizes[0]; i++) {
        block = gyre_mem_realloc(block, sizes[i]);
        assert_non_null(block);
        assert_filled(block, had < sizes[i] ? had : sizes[i]);
        had = sizes[i];
        assert_int_equal(gyre_mem_size(block), had);
        fill(block, had);
        check(fx);
    }
    gyre_mem_free(block);
    check(fx);
}

/* Covers .mem.guard, .mem.limbo, .mem.retire: a trace may read it still. */
static void
test_what_waits_in_limbo_keeps_its_content(void **state)
{
    struct fixture *fx = *state;
    unsigned char *block = gyre_mem_alloc(100);
    struct node *node = plain_node_new(fx);
    fill(block, 100);
    node->payload = 4711;
    gyre_memory_limbo(fx->self, 0xff);
    gyre_mem_retire(block);
    node_drop(node);
    assert_filled(block, 100);
    assert_int_equal(node->payload, 4711);
    gyre_memory_limbo(fx->self, 0);
    check(fx);
}

/* Covers .mem.guard: zeroed memory is, and blocks are where they were asked
 * to be. */
static void
test_guarded_blocks_are_zeroed_and_aligned_as_asked(void **state)
{
    struct fixture *fx = *state;
    size_t alignment, size, i;
    for (size = 1; size < 5 << 20; size = size * 3 + 1) {
        unsigned char *block = gyre_mem_calloc(1, size);
        assert_non_null(block);
        for (i = 0; i < size; i++)
            assert_int_equal(block[i], 0);
        gyre_mem_free(block);
    }
    for (alignment = 1; alignment <= 2 << 20; alignment *= 2) {
        void *block = gyre_mem_alloc_aligned(alignment, alignment);
        assert_non_null(block);
        assert_int_equal((uintptr_t)block % alignment, 0);
        memset(block, 1, alignment);
        check(fx);
        gyre_mem_free(block);
    }
    check(fx);
}

#define SLOTS 64

static void
replace_blocks(struct fixture *fx, struct gyre_thread *self, void *arg)
{
    void **shared = arg;
    uint32_t seed = self->number * 7919u;
    int i;
    (void)fx;
    for (i = 0; i < FIXTURE_SCALED(20000); i++) {
        size_t size;
        void *block;
        seed = seed * 1664525u + 1013904223u;
        size = (seed >> 8) % 600;
        block = gyre_mem_alloc(size);
        GYRE_CHECK(block != NULL, "no memory");
        memset(block, 1, size);
        /* acq_rel; pairs: replace_blocks(). The block and what is in it. */
        gyre_mem_free(gyre_exchange_acq_rel(&shared[seed % SLOTS], block));
        gyre_safepoint(self);
    }
}

/* Covers .mem.guard: blocks freed by other threads than took them. */
static void
test_threads_free_each_others_guarded_blocks(void **state)
{
    struct fixture *fx = *state;
    void *shared[SLOTS] = {NULL};
    struct worker workers[3];
    size_t i;
    for (i = 0; i < 3; i++)
        worker_start(&workers[i], fx, replace_blocks, shared);
    for (i = 0; i < 10; i++)
        check(fx);
    for (i = 0; i < 3; i++)
        worker_join(&workers[i]);
    for (i = 0; i < SLOTS; i++)
        gyre_mem_free(shared[i]);
    check(fx);
}

#else

/* Covers .mem.guard: without guards a block is all the program's. */
static void
test_blocks_without_guards_are_filled_to_the_last_byte(void **state)
{
    void *block = gyre_mem_alloc(48);
    (void)state;
    assert_int_equal(GYRE_VALGRIND || gyre_mem_size(block) == 48, 1);
    gyre_mem_free(block);
}

#endif

#define TEST(name) \
    cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

int
main(void)
{
    const struct CMUnitTest tests[] = {
#if MEMORY_GUARD && !GYRE_VALGRIND
        /* before any heap of this process's own */
        cmocka_unit_test(test_block_freed_twice_is_named),
        cmocka_unit_test(test_free_of_what_is_no_raw_block_is_named),
        cmocka_unit_test(test_overrun_of_a_raw_block_is_named),
        cmocka_unit_test(test_write_to_a_freed_block_is_named),
        cmocka_unit_test(test_overrun_of_an_object_is_named),
        cmocka_unit_test(test_write_to_a_dead_object_is_named),
        TEST(test_size_of_a_block_is_what_was_asked_for),
        TEST(test_resized_blocks_keep_their_content_and_their_guard),
        TEST(test_what_waits_in_limbo_keeps_its_content),
        TEST(test_guarded_blocks_are_zeroed_and_aligned_as_asked),
        TEST(test_threads_free_each_others_guarded_blocks),
#else
        TEST(test_blocks_without_guards_are_filled_to_the_last_byte),
#endif
    };
    return cmocka_run_group_tests_name("guard", tests, NULL, NULL);
}
