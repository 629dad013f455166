/* What happens to memory while a collection walks over it. */
#include "interleavings/interleavings.h"
#include "interleavings/script.h"

/* More than the heap may have: whoever asks for it looks for what can be given
 * back to the system first. */
static void
ask_for_too_much(void)
{
    SCRIPT_MUST(gyre_mem_alloc((size_t)1 << 30) == NULL);
}

/* Covers docs/design/memory.md .mem.stable: segments with nothing but free
 * pages may go at any time, but for the one that the walk has come to. */
void
test_free_segments_may_go_while_they_are_walked_over(void **state)
{
    struct fixture *fx = *state;
    void *large[3];
    for (int i = 0; i < 3; i++) {
        large[i] = gyre_mem_alloc(((size_t)5 + (size_t)i) << 20);
        assert_non_null(large[i]);
    }
    for (int i = 0; i < 3; i++)
        gyre_mem_free(large[i]);
    cast_ring(plain_node_new(fx), plain_node_new(fx));
    assert_int_equal(gyre_option_set(fx->heap, GYRE_OPT_MEMORY_HARD_LIMIT,
                                     (uint64_t)256 << 20),
                     GYRE_OK);
    script_plan("segment", 2, ask_for_too_much);
    script_collect(fx);
    assert_int_equal(fixture_live(fx), 0);
    script_collect_the_rest(fx);
}
