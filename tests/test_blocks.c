/* Walking every block in use. Covers docs/design/memory.md .mem.walk */
#include "support/fixture.h"

#include <stdlib.h>

#include "heap.h"

#define MIB (UINT64_C(1) << 20)
#define QUIET "gc.automatic=0,gc.thread=0"
#define MARK UINT64_C(0x6d61726b6d61726b)

/* What a walk saw. */
struct view {
    uint64_t blocks[GYRE_PAGE_KINDS];
    uint64_t bytes;  /* raw ones */
    uint64_t marked; /* raw ones whose word 2 is MARK, by word 3 */
    uint64_t until;  /* blocks left; 0: no end */
    bool torn;       /* a marked block is shorter than its word 3 says */
};

/* Marked blocks say how long they are. */
static void *
marked_new(size_t size)
{
    uint64_t *block = gyre_mem_alloc(size);
    assert_non_null(block);
    block[2] = MARK;
    block[3] = size;
    return block;
}

static void
marked_free(void *block)
{
    ((uint64_t *)block)[2] = 0;
    gyre_mem_free(block);
}

static int
look(enum gyre_page_kind kind, void *block, size_t size, void *arg)
{
    struct view *view = arg;
    const uint64_t *words = block;
    view->blocks[kind]++;
    if (kind == GYRE_PAGE_RAW) {
        view->bytes += size;
        if (size >= 32 && words[2] == MARK) {
            view->marked++;
            view->torn |= size < words[3];
        }
    }
    return view->until > 0 && --view->until == 0;
}

static struct view
walk(struct fixture *fx)
{
    struct view view = {.until = 0};
    assert_int_equal(gyre_heap_walk_blocks(fx->heap, look, &view), GYRE_OK);
    return view;
}

/* Covers .mem.walk: each once, with its kind and size, the free ones not. */
static void
test_every_block_in_use_is_visited_once(void **state)
{
    enum { COUNT = 400 };
    static const size_t sizes[] = {32,    48,     200,     1000,
                                   20000, 100000, 3 << 20, 2 << 20};
    struct fixture *fx = *state;
    struct view before = walk(fx), view;
    void *blocks[COUNT];
    struct node *nodes[COUNT], *leaf = leaf_node_new(fx);
    uint64_t bytes = 0;
    int i;
    for (i = 0; i < COUNT; i++) {
        size_t size = sizes[i % 40 == 0 ? i / 40 % 8 : i % 5];
        blocks[i] = marked_new(size);
        bytes += size;
        nodes[i] = plain_node_new(fx);
    }
    view = walk(fx);
    assert_int_equal(view.marked, COUNT);
    assert_int_equal(view.blocks[GYRE_PAGE_RAW] - before.blocks[GYRE_PAGE_RAW],
                     COUNT);
    assert_int_equal(view.blocks[GYRE_PAGE_CONTAINER], COUNT);
    assert_int_equal(view.blocks[GYRE_PAGE_LEAF], 1);
    assert_true(view.bytes - before.bytes >= bytes);
    assert_false(view.torn);
    for (i = 0; i < COUNT; i += 2) {
        marked_free(blocks[i]);
        node_drop(nodes[i]);
    }
    view = walk(fx);
    assert_int_equal(view.marked, COUNT / 2);
    assert_int_equal(view.blocks[GYRE_PAGE_CONTAINER], COUNT / 2);
    for (i = 1; i < COUNT; i += 2) {
        marked_free(blocks[i]);
        node_drop(nodes[i]);
    }
    node_drop(leaf);
    view = walk(fx);
    assert_int_equal(view.marked, 0);
    assert_int_equal(view.blocks[GYRE_PAGE_RAW], before.blocks[GYRE_PAGE_RAW]);
    assert_int_equal(view.blocks[GYRE_PAGE_CONTAINER], 0);
    assert_int_equal(view.blocks[GYRE_PAGE_LEAF], 0);
}

/* Covers .mem.walk */
static void
test_a_walk_ends_when_its_visitor_says_so(void **state)
{
    struct fixture *fx = *state;
    struct view view = {.until = 7};
    void *blocks[20];
    int i;
    for (i = 0; i < 20; i++)
        blocks[i] = marked_new(i < 10 ? 100 : 100000);
    assert_int_equal(gyre_heap_walk_blocks(fx->heap, look, &view), GYRE_OK);
    assert_int_equal(view.marked, 7);
    for (i = 0; i < 20; i++)
        marked_free(blocks[i]);
}

static void *
walk_unattached(void *heap)
{
    struct view view = {.until = 0};
    return gyre_heap_walk_blocks(heap, look, &view) == GYRE_ERR_STATE ? heap
                                                                      : NULL;
}

/* Covers .mem.walk */
static void
test_a_thread_that_is_not_attached_walks_nothing(void **state)
{
    struct fixture *fx = *state;
    pthread_t thread;
    void *refused;
    assert_int_equal(pthread_create(&thread, NULL, walk_unattached, fx->heap),
                     0);
    assert_int_equal(pthread_join(thread, &refused), 0);
    assert_ptr_equal(refused, fx->heap);
}

/* ---- others meanwhile ---- */

#define THREADS 3
#define KEPT 50

struct churn {
    void *inbox[KEPT]; /* under lock: the next thread frees them */
    pthread_mutex_t lock;
    int stop; /* atomic */
};

/* Blocks that others free, kept ones that stay, all sizes. */
static void
churn(struct fixture *fx, struct gyre_thread *self, void *arg)
{
    struct churn *churn = arg;
    void *kept[KEPT];
    unsigned i, at = 0;
    (void)fx;
    for (i = 0; i < KEPT; i++)
        kept[i] = marked_new(32 + i * i * 40);
    /* relaxed: a wish */
    while (gyre_load_relaxed(&churn->stop) == 0) {
        void *mine = gyre_mem_alloc(16 + at * 37 % 3000), *theirs;
        assert_non_null(mine);
        memset(mine, 0, 16);
        pthread_mutex_lock(&churn->lock);
        theirs = churn->inbox[at % KEPT];
        churn->inbox[at % KEPT] = mine;
        pthread_mutex_unlock(&churn->lock);
        gyre_mem_free(theirs);
        if (at++ % 16 == 0)
            gyre_safepoint(self);
    }
    for (i = 0; i < KEPT; i++)
        marked_free(kept[i]);
}

/* Covers .mem.walk: what stays is seen by each walk, while threads allocate
 * and free, their own blocks and each other's. */
static void
test_all_blocks_are_walked_while_threads_allocate_and_free(void **state)
{
    struct churn churning = {.lock = PTHREAD_MUTEX_INITIALIZER};
    struct worker workers[THREADS];
    struct fixture *fx = *state;
    uint64_t most = 0;
    int i;
    for (i = 0; i < THREADS; i++)
        worker_start(&workers[i], fx, churn, &churning);
    for (i = 0; i < FIXTURE_SCALED(200) || most < THREADS * KEPT; i++) {
        struct view view = walk(fx);
        assert_true(view.marked <= THREADS * KEPT);
        assert_true(view.marked >= most);
        assert_false(view.torn);
        most = view.marked;
    }
    assert_int_equal(most, THREADS * KEPT);
    gyre_store_relaxed(&churning.stop, 1);
    for (i = 0; i < THREADS; i++)
        worker_join(&workers[i]);
    for (i = 0; i < KEPT; i++)
        gyre_mem_free(churning.inbox[i]);
    assert_int_equal(walk(fx).marked, 0);
}

/* The mutator's side: no more than 5000 bytes. */
static void
free_inbox(struct fixture *fx, struct gyre_thread *self, void *arg)
{
    struct churn *churning = arg;
    unsigned at = 0;
    (void)fx;
    while (gyre_load_relaxed(&churning->stop) == 0) {
        void *mine = gyre_mem_alloc(16 + at * 37 % 3000), *theirs;
        pthread_mutex_lock(&churning->lock);
        theirs = churning->inbox[at % KEPT];
        churning->inbox[at % KEPT] = mine;
        pthread_mutex_unlock(&churning->lock);
        gyre_mem_free(theirs);
        if (at++ % 16 == 0)
            gyre_safepoint(self);
    }
}

static void
churn_raw(struct gyre_heap *heap, struct churn *churning)
{
    struct gyre_thread *self;
    unsigned at = 0;
    assert_int_equal(gyre_thread_attach_raw(heap, &self), GYRE_OK);
    while (gyre_load_relaxed(&churning->stop) == 0) {
        void *mine = gyre_mem_calloc(1, 16 + at * 41 % 5000);
        pthread_mutex_lock(&churning->lock);
        {
            void *theirs = churning->inbox[at % KEPT];
            churning->inbox[at % KEPT] = mine;
            mine = theirs;
        }
        pthread_mutex_unlock(&churning->lock);
        gyre_mem_free(mine);
        at++;
    }
    gyre_thread_leave(self);
}

#define ODD_SIZE 30001

/* What raw threads free meanwhile is not looked into. */
static int
count_odd(enum gyre_page_kind kind, void *block, size_t size, void *arg)
{
    uint64_t *count = arg;
    (void)block;
    *count += kind == GYRE_PAGE_RAW && size >= ODD_SIZE && size < 32768;
    return 0;
}

struct raw_churn {
    struct gyre_heap *heap;
    struct churn *churning;
};

static void *
raw_main(void *arg)
{
    struct raw_churn *raw = arg;
    churn_raw(raw->heap, raw->churning);
    return NULL;
}

/* Covers .mem.walk: pages of threads that no stop waits for are left out. */
static void
test_blocks_are_walked_while_raw_threads_run(void **state)
{
    struct churn churning = {.lock = PTHREAD_MUTEX_INITIALIZER};
    struct fixture *fx = *state;
    struct raw_churn raw = {fx->heap, &churning};
    struct worker worker;
    void *kept[KEPT];
    pthread_t thread;
    int i;
    for (i = 0; i < KEPT; i++)
        kept[i] = gyre_mem_alloc(ODD_SIZE);
    assert_int_equal(pthread_create(&thread, NULL, raw_main, &raw), 0);
    worker_start(&worker, fx, free_inbox, &churning);
    for (i = 0; i < FIXTURE_SCALED(200); i++) {
        uint64_t count = 0;
        assert_int_equal(gyre_heap_walk_blocks(fx->heap, count_odd, &count),
                         GYRE_OK);
        assert_int_equal(count, KEPT);
    }
    gyre_store_relaxed(&churning.stop, 1);
    worker_join(&worker);
    for (i = 0; i < KEPT; i++)
        gyre_mem_free(kept[i]);
    gyre_detach_begin(fx->self);
    pthread_join(thread, NULL);
    gyre_detach_end(fx->self);
    for (i = 0; i < KEPT; i++)
        gyre_mem_free(churning.inbox[i]);
    assert_int_equal(gyre_heap_check(fx->heap), GYRE_OK);
}

static int
setup(void **state)
{
    struct fixture *fx = malloc(sizeof *fx);
    assert_non_null(fx);
    fixture_open(fx, QUIET);
    *state = fx;
    return 0;
}

#define TEST(name) \
    cmocka_unit_test_setup_teardown(name, setup, fixture_teardown)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_every_block_in_use_is_visited_once),
        TEST(test_a_walk_ends_when_its_visitor_says_so),
        TEST(test_a_thread_that_is_not_attached_walks_nothing),
        TEST(test_all_blocks_are_walked_while_threads_allocate_and_free),
        TEST(test_blocks_are_walked_while_raw_threads_run),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
