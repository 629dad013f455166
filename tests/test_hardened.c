/* What a hardened build does to whoever writes where it should not. Built in
 * such builds alone. Covers docs/design/memory.md .mem.hardened */
#include "support/fixture.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define ROOM (64 - GYRE_MEM_CHECKED * 16)

/* ---- links ---- */

static void *
first_of_two(void)
{
    void *first = gyre_mem_alloc(ROOM), *second = gyre_mem_alloc(ROOM);
    assert_non_null(first);
    assert_non_null(second);
    gyre_mem_free(second);
    gyre_mem_free(first);
    return first;
}

static void
alloc_two(void *arg)
{
    (void)arg;
    (void)gyre_mem_alloc(ROOM);
    (void)gyre_mem_alloc(ROOM);
}

static void
alloc_two_inline(void *arg)
{
    (void)arg;
    (void)gyre_mem_alloc_inline(ROOM);
    (void)gyre_mem_alloc_inline(ROOM);
}

/* Whatever was written: an address, which would be the next block, zero, or
 * another block's word. */
static void
expect_named(struct fixture *fx, uint64_t value, void (*act)(void *))
{
    uint64_t *first = first_of_two(), was = *first;
    const char *message;
    (void)fx;
    *first = value;
    message = fatal_message(act, NULL);
    assert_non_null(message);
    assert_non_null(strstr(message, "was overwritten"));
    *first = was; /* so that the heap can end */
}

static void
test_a_link_that_was_overwritten_is_caught_and_named(void **state)
{
    struct fixture *fx = *state;
    uint64_t target[8];
    expect_named(fx, (uint64_t)(uintptr_t)target + 1, alloc_two);
    expect_named(fx, 0, alloc_two);
    expect_named(fx, 1, alloc_two);
    expect_named(fx, UINT64_C(0x4141414141414141), alloc_two);
    expect_named(fx, (uint64_t)(uintptr_t)target + 1, alloc_two_inline);
}

/* The word of one block is not that of another, nor that of the same block of
 * another heap, though the next one is the same. */
static void
test_links_say_nothing_of_where_they_lead(void **state)
{
    struct fixture *fx = *state;
    uint64_t *first, *second;
    uintptr_t plain;
    first = gyre_mem_alloc(ROOM);
    second = gyre_mem_alloc(ROOM);
    gyre_mem_free(second);
    gyre_mem_free(first);
    plain = (uintptr_t)second + 1;
    (void)fx;
    assert_true(*first != plain);
    /* No more bits are equal than by chance; the lowest is a mark. */
    assert_true(__builtin_popcountll((*first ^ plain) >> 1) > 8);
    assert_true((*first & 1) != 0 && (*second & 1) != 0);
}

/* ---- order ---- */

static void
test_blocks_come_in_no_order(void **state)
{
    enum { COUNT = 60 };
    uintptr_t blocks[COUNT];
    size_t i, steps = 0, seen = 0, k;
    (void)state;
    for (i = 0; i < COUNT; i++)
        blocks[i] = (uintptr_t)gyre_mem_alloc(ROOM);
    for (i = 1; i < COUNT; i++)
        steps += blocks[i] == blocks[i - 1] + 64;
    assert_true(steps < COUNT / 4);
    /* each is another */
    for (i = 0; i < COUNT; i++)
        for (k = 0; k < i; k++)
            seen += blocks[i] == blocks[k];
    assert_int_equal(seen, 0);
    for (i = 0; i < COUNT; i++)
        gyre_mem_free((void *)blocks[i]);
}

/* ---- guards ---- */

/* Whether a child that writes one byte there is ended by it. */
static bool
write_faults(volatile unsigned char *at)
{
    pid_t pid = fork();
    int status;
    assert_true(pid >= 0);
    if (pid == 0) {
        signal(SIGSEGV, SIG_DFL);
        *at = 1;
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    /* the address sanitizer makes an exit of it */
    return WIFSIGNALED(status) || WEXITSTATUS(status) != 0;
}

static unsigned char *
page_of_block(void *block)
{
    return (unsigned char *)((uintptr_t)block & ~(GYRE_PAGE_BYTES - 1));
}

static void
test_the_end_of_a_page_can_not_be_touched(void **state)
{
    struct fixture *fx = *state;
    unsigned char *block = gyre_mem_alloc(ROOM);
    unsigned char *page = page_of_block(block);
    unsigned char *guard = page + GYRE_PAGE_BYTES - 4096;
    struct node *node = plain_node_new(fx);
    assert_false(write_faults(block));
    assert_true(write_faults(guard));
    assert_true(write_faults(guard + 4095));
    assert_true(write_faults(page_of_block(node) + GYRE_PAGE_BYTES - 1));
    /* between a segment's records and its first page */
    assert_true(write_faults(
        (unsigned char *)((uintptr_t)block & ~(GYRE_SEGMENT_BYTES - 1)) +
        GYRE_PAGE_BYTES - 1));
    node_drop(node);
    gyre_mem_free(block);
}

/* Each byte of each block may be written, in any class, and what guarded a
 * page guards nothing when the page holds something else. */
static void
test_guards_go_with_their_pages(void **state)
{
    enum { COUNT = 3000 };
    static void *blocks[COUNT];
    struct fixture fx;
    unsigned round;
    size_t i;
    (void)state;
    fixture_open(&fx, "gc.automatic=0,gc.thread=0,memory.thread_cache=200k,"
                      "memory.heap_cache=0,memory.return_delay=0");
    for (round = 0; round < 20; round++) {
        static const size_t sizes[] = {100, 3000, 9000, 70000, 32000};
        size_t size = sizes[round % 5], count = COUNT * 100 / size + 5;
        for (i = 0; i < count; i++) {
            blocks[i] = gyre_mem_alloc(size);
            memset(blocks[i], 0x11, size);
        }
        assert_int_equal(gyre_heap_check(fx.heap), GYRE_OK);
        for (i = 0; i < count; i++)
            gyre_mem_free(blocks[i]);
    }
    assert_int_equal(gyre_heap_check(fx.heap), GYRE_OK);
    fixture_close(&fx);
}

#define TEST(f) \
    cmocka_unit_test_setup_teardown(f, fixture_setup, fixture_teardown)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_a_link_that_was_overwritten_is_caught_and_named),
        TEST(test_links_say_nothing_of_where_they_lead),
        TEST(test_blocks_come_in_no_order),
        TEST(test_the_end_of_a_page_can_not_be_touched),
        cmocka_unit_test(test_guards_go_with_their_pages),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
