/* Out of memory: the hard limit, and mappings that the system refuses, at
 * each place in turn. Linked with --wrap=mmap. */
#include "support/fixture.h"

#include <errno.h>
#include <sys/mman.h>

#include <object/object.h>

/* ---- mappings that fail ---- */

void *__real_mmap(void *address, size_t bytes, int protection, int flags,
                  int fd, off_t offset);
void *__wrap_mmap(void *address, size_t bytes, int protection, int flags,
                  int fd, off_t offset);

/* Calls until the first failure, and failures then; atomic. */
static int64_t calls_left = INT64_MAX, failures;
static uint64_t calls;

void *
__wrap_mmap(void *address, size_t bytes, int protection, int flags, int fd,
            off_t offset)
{
    /* relaxed, all: counts that order nothing */
    gyre_fetch_add_relaxed(&calls, 1);
    if (gyre_fetch_sub_relaxed(&calls_left, 1) <= 0 &&
        gyre_fetch_sub_relaxed(&failures, 1) > 0) {
        errno = ENOMEM;
        return MAP_FAILED;
    }
    return __real_mmap(address, bytes, protection, flags, fd, offset);
}

#define FOR_EVER INT64_MAX

static void
fail_after(int64_t succeed, int64_t fail)
{
    gyre_store_relaxed(&calls, 0);
    gyre_store_relaxed(&failures, fail);
    gyre_store_relaxed(&calls_left, succeed);
}

/* How often memory was asked for since fail_after(). */
static uint64_t
fail_no_more(void)
{
    gyre_store_relaxed(&calls_left, INT64_MAX);
    return gyre_load_relaxed(&calls);
}

#define QUIET "gc.automatic=0,gc.thread=0"

/* ---- creating and attaching ---- */

/* Covers docs/design/heap.md .heap.create: a heap that can't be had is NULL,
 * with a status, at whichever mapping it failed, and nothing stays behind. */
static void
test_heap_is_created_whole_or_not_at_all(void **state)
{
    (void)state;
    for (int n = 0;; n++) {
        struct gyre_heap *heap = (struct gyre_heap *)(uintptr_t)1;
        enum gyre_status status;
        uint64_t made;
        fail_after(n, 1);
        status = gyre_heap_create(QUIET, &heap);
        made = fail_no_more();
        if (made <= (uint64_t)n) {
            assert_int_equal(status, GYRE_OK);
            assert_int_equal(gyre_heap_destroy(heap), GYRE_OK);
            assert_true(n >= 2);
            break;
        }
        assert_int_equal(status, GYRE_ERR_NOMEM);
        assert_null(heap);
    }
}

/* Covers docs/design/threads.md .thread, .fail: a thread that can't attach for
 * want of memory may try again. */
static void
test_attach_that_failed_may_be_tried_again(void **state)
{
    struct gyre_heap *heap;
    struct gyre_thread *self;
    (void)state;
    assert_int_equal(gyre_heap_create(QUIET, &heap), GYRE_OK);
    fail_after(0, FOR_EVER);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(gyre_thread_attach(heap, &self), GYRE_ERR_NOMEM);
        assert_null(self);
        assert_null(gyre_thread_self());
    }
    fail_no_more();
    assert_int_equal(gyre_thread_attach(heap, &self), GYRE_OK);
    gyre_thread_leave(self);
    assert_int_equal(gyre_heap_destroy(heap), GYRE_OK);
}

/* ---- a program that goes on without memory ---- */

struct list {
    struct gyre_object head;
    struct gyre_array items;
};
static const uint32_t list_arrays[] = {offsetof(struct list, items)};
static struct gyre_type list_type = {
    .name = "list",
    .size = sizeof(struct list),
    .array_count = 1,
    .arrays = list_arrays,
};
static struct gyre_type large_type = {
    .name = "large",
    .size = 3 << 20,
};

static struct node *
try_node(struct fixture *fx, struct gyre_type *type)
{
    struct node *node = GYRE_NEW(struct node, type);
    if (node == NULL) {
        assert_int_equal(gyre_last_status(), GYRE_ERR_NOMEM);
        return NULL;
    }
    node->fx = fx;
    gyre_fetch_add_relaxed(&fx->live, 1);
    return node;
}

static void
try_weakly(struct node *node)
{
    struct gyre_object *weak;
    enum gyre_status status = gyre_weakref_new(&node->head, NULL, NULL, &weak);
    if (status == GYRE_OK) {
        struct gyre_object *got = gyre_weakref_get(weak);
        assert_ptr_equal(got, &node->head);
        gyre_decref(got);
        gyre_decref(weak);
    } else {
        assert_int_equal(status, GYRE_ERR_NOMEM);
        assert_null(weak);
    }
}

static void
try_append(struct list *list, struct node *node)
{
    enum gyre_status status;
    gyre_incref(&node->head);
    status = gyre_array_append(&list->head, &list->items, &node->head);
    if (status != GYRE_OK) {
        assert_int_equal(status, GYRE_ERR_NOMEM);
        assert_int_equal(gyre_reference_count(&node->head), 2);
        gyre_decref(&node->head); /* it stayed ours */
    }
}

static void
try_raw(size_t size)
{
    void *block = gyre_mem_alloc(size), *moved;
    if (block == NULL) {
        assert_int_equal(gyre_last_status(), GYRE_ERR_NOMEM);
        return;
    }
    memset(block, 1, size);
    moved = gyre_mem_realloc(block, size * 3);
    gyre_mem_free(moved != NULL ? moved : block);
}

/* Objects of all kinds, rings among them; all are garbage when it returns. */
static void
try_everything(struct fixture *fx)
{
    struct list *list = GYRE_NEW(struct list, &list_type);
    struct gyre_object *large;
    for (int i = 0; i < 2000; i++) {
        struct node *node =
            try_node(fx, i % 16 == 0 ? &node_type : &plain_node_type);
        if (node == NULL)
            continue;
        if (i % 3 == 0)
            gyre_slot_set(&node->head, &node->left, &node->head);
        if (i % 50 == 0)
            try_weakly(node);
        if (list != NULL)
            try_append(list, node);
        if (i % 100 == 0)
            try_raw((size_t)i * 37 + 1);
        node_drop(node);
        gyre_safepoint(fx->self);
    }
    large = gyre_new(&large_type);
    if (large != NULL)
        gyre_decref(large);
    if (list != NULL)
        gyre_decref(&list->head);
}

/* Covers docs/design/memory.md .mem.limit: whichever mapping fails,
 * once or from then on, allocations say so, and the heap is whole. */
static void
test_heap_survives_each_refused_mapping(void **state)
{
    (void)state;
    assert_int_equal(gyre_type_ready(&list_type), GYRE_OK);
    assert_int_equal(gyre_type_ready(&large_type), GYRE_OK);
    for (int ever = 0; ever < 2; ever++) {
        for (int n = 0;; n++) {
            struct fixture fx;
            uint64_t made;
            fixture_open(&fx, QUIET);
            fail_after(n, ever ? FOR_EVER : 1);
            try_everything(&fx);
            made = fail_no_more();
            assert_int_equal(gyre_heap_check(fx.heap), GYRE_OK);
            assert_int_equal(gyre_collect(fx.heap, GYRE_GEN_OLD), GYRE_OK);
            assert_int_equal(fixture_live(&fx), 0);
            try_everything(&fx);
            assert_int_equal(gyre_collect(fx.heap, GYRE_GEN_OLD), GYRE_OK);
            assert_int_equal(fixture_live(&fx), 0);
            assert_int_equal(gyre_heap_check(fx.heap), GYRE_OK);
            fixture_close(&fx);
            if (made <= (uint64_t)n)
                break;
        }
    }
}

/* ---- collections ---- */

static void
make_garbage(struct fixture *fx, bool finalized, int rings)
{
    for (int i = 0; i < rings; i++) {
        struct node *a =
            finalized && i % 3 == 0 ? node_new(fx) : plain_node_new(fx);
        struct node *b = plain_node_new(fx);
        struct gyre_object *weak;
        node_link(a, b);
        node_link(b, a);
        if (i % 100 == 0) {
            assert_int_equal(gyre_weakref_new(&b->head, NULL, NULL, &weak),
                             GYRE_OK);
            gyre_slot_move(&a->head, &a->right, weak);
        }
        node_drop(a);
        node_drop(b);
    }
}

static struct node *
make_live(struct fixture *fx, int count)
{
    struct node *chain = NULL;
    for (int i = 0; i < count; i++) {
        struct node *node = plain_node_new(fx);
        if (chain != NULL)
            gyre_slot_move(&node->head, &node->left, &chain->head);
        chain = node;
    }
    return chain;
}

/* Covers docs/design/cycle.md .cycle, .fail: a collection that gets no memory
 * for its tables, at whichever of them, says so and is abandoned with the heap
 * whole; the next finds all the garbage. */
static void
test_abandoned_collections_leave_the_heap_whole(void **state)
{
    (void)state;
    for (int kind = 0; kind < 12; kind++) {
        enum gyre_generation generation = (enum gyre_generation)(kind % 3);
        bool finalized = kind / 3 % 2 != 0, save_all = kind / 6 != 0;
        for (int n = 0;; n++) {
            struct fixture fx;
            struct gyre_statistics statistics;
            struct node *live;
            enum gyre_status status;
            uint64_t made;
            fixture_open(&fx, save_all ? QUIET ",gc.save_all=1" : QUIET);
            make_garbage(&fx, finalized, 1500);
            live = make_live(&fx, 1500);
            fail_after(n, FOR_EVER);
            status = gyre_collect(fx.heap, generation);
            made = fail_no_more();
            assert_int_equal(gyre_heap_check(fx.heap), GYRE_OK);
            gyre_statistics_get(fx.heap, &statistics);
            if (status == GYRE_OK) {
                assert_int_equal(statistics.abandoned, 0);
                if (!save_all)
                    assert_int_equal(fixture_live(&fx), 1500);
            } else {
                assert_int_equal(status, GYRE_ERR_NOMEM);
                /* beside the program, and then in a stop */
                assert_in_range(statistics.abandoned, 1, 2);
                assert_int_equal(fixture_live(&fx), 4500);
            }
            /* births after it are told apart from what it left behind */
            make_garbage(&fx, finalized, 100);
            assert_int_equal(gyre_option_set(fx.heap, GYRE_OPT_GC_SAVE_ALL, 0),
                             GYRE_OK);
            struct gyre_object *saved;
            while ((saved = gyre_garbage_pop(fx.heap)) != NULL)
                gyre_decref(saved);
            assert_int_equal(gyre_collect(fx.heap, GYRE_GEN_OLD), GYRE_OK);
            assert_int_equal(fixture_live(&fx), 1500);
            assert_int_equal(fixture_finalized(&fx), finalized ? 534 : 0);
            assert_int_equal(gyre_heap_check(fx.heap), GYRE_OK);
            node_drop(live);
            assert_int_equal(fixture_live(&fx), 0);
            fixture_close(&fx);
            if (made <= (uint64_t)n)
                break;
        }
    }
}

/* ---- the hard limit ---- */

/* Covers docs/design/memory.md .mem.limit: over the limit allocation fails; a
 * collection there does what it can or says no; what is given back is used. */
static void
test_program_at_the_hard_limit_goes_on_when_it_frees(void **state)
{
    struct fixture fx;
    struct node *chain = NULL, *node;
    struct gyre_statistics statistics;
    enum gyre_status status;
    int made = 0;
    (void)state;
    fixture_open(&fx, QUIET ",memory.hard_limit=12m");
    while ((node = try_node(&fx, &plain_node_type)) != NULL) {
        if (chain != NULL && made % 4 != 0)
            gyre_slot_move(&node->head, &node->left, &chain->head);
        else if (chain != NULL) /* a ring that nobody holds */
            gyre_slot_move(&chain->head, &chain->right, &chain->head);
        chain = node;
        made++;
    }
    assert_true(made > 100000);
    gyre_statistics_get(fx.heap, &statistics);
    assert_true(statistics.mapped_peak <= UINT64_C(12) << 20);
    assert_int_equal(gyre_heap_check(fx.heap), GYRE_OK);
    status = gyre_collect(fx.heap, GYRE_GEN_OLD);
    assert_true(status == GYRE_OK || status == GYRE_ERR_NOMEM);
    assert_int_equal(gyre_heap_check(fx.heap), GYRE_OK);
    assert_int_equal(gyre_option_set(fx.heap, GYRE_OPT_MEMORY_HARD_LIMIT,
                                     UINT64_C(24) << 20),
                     GYRE_OK);
    assert_int_equal(gyre_collect(fx.heap, GYRE_GEN_OLD), GYRE_OK);
    assert_true(fixture_live(&fx) < made / 2);
    node = try_node(&fx, &plain_node_type);
    assert_non_null(node);
    node_drop(node);
    node_drop(chain);
    assert_int_equal(gyre_collect(fx.heap, GYRE_GEN_OLD), GYRE_OK);
    assert_int_equal(fixture_live(&fx), 0);
    fixture_close(&fx);
}

/* ---- lists of the library's own ---- */

struct hoard {
    struct hoard *next;
};

/* Take all blocks of the size that queues and lists begin with. */
static struct hoard *
hoard_all(void)
{
    struct hoard *all = NULL, *block;
    fail_after(0, FOR_EVER);
    while ((block = gyre_mem_alloc(sizeof(struct queue_chunk))) != NULL) {
        block->next = all;
        all = block;
    }
    return all;
}

static void
hoard_free(struct hoard *all)
{
    fail_no_more();
    while (all != NULL) {
        struct hoard *next = all->next;
        gyre_mem_free(all);
        all = next;
    }
}

#define MANY 500

struct handed {
    struct node *nodes[MANY];
    struct gate all_dropped, go_on;
};

static void
drop_without_memory(struct fixture *fx, struct gyre_thread *self, void *arg)
{
    struct handed *handed = arg;
    struct hoard *all = hoard_all();
    (void)fx;
    (void)self;
    for (int i = 0; i < MANY; i++)
        gyre_decref(&handed->nodes[i]->head);
    hoard_free(all);
}

/* Covers docs/design/refcount.md .rc.queue: a decref never fails. What finds
 * no memory for its queue entry is found by the next collection's stop. */
static void
test_lost_queue_entries_are_found_by_the_next_collection(void **state)
{
    struct fixture fx;
    static struct handed handed;
    struct worker worker;
    (void)state;
    fixture_open(&fx, QUIET);
    for (int round = 0; round < 3; round++) {
        int others = round == 2 ? MANY : 0;
        for (int i = 0; i < MANY; i++) {
            handed.nodes[i] = round == 1 ? node_new(&fx) : plain_node_new(&fx);
            if (round == 2)
                gyre_incref(&handed.nodes[i]->head); /* ours lives on */
        }
        worker_start(&worker, &fx, drop_without_memory, &handed);
        worker_join(&worker);
        assert_int_equal(gyre_heap_check(fx.heap), GYRE_OK);
        assert_int_equal(gyre_collect(fx.heap, GYRE_GEN_YOUNG), GYRE_OK);
        assert_int_equal(fixture_live(&fx), others);
        for (int i = 0; i < others; i++) {
            assert_int_equal(gyre_reference_count(&handed.nodes[i]->head), 1);
            node_drop(handed.nodes[i]);
        }
        assert_int_equal(fixture_live(&fx), 0);
        assert_int_equal(gyre_heap_check(fx.heap), GYRE_OK);
    }
    assert_int_equal(fixture_finalized(&fx), MANY);
    fixture_close(&fx);
}

/* Covers docs/design/weakref.md .final: objects whose finalizer finds no
 * memory to wait in live until the next collection's stop, and each is
 * finalized once. */
static void
test_finalizers_without_memory_to_wait_in_run_later(void **state)
{
    struct fixture fx;
    struct node *nodes[200];
    struct hoard *all;
    (void)state;
    fixture_open(&fx, QUIET);
    for (int i = 0; i < 200; i++)
        nodes[i] = try_node(&fx, &late_node_type);
    all = hoard_all();
    for (int i = 0; i < 200; i++)
        node_drop(nodes[i]);
    assert_int_equal(fixture_live(&fx), 200);
    assert_int_equal(fixture_finalized(&fx), 0);
    for (int i = 0; i < 3; i++)
        gyre_safepoint(fx.self); /* may try, and finds no memory still */
    assert_int_equal(gyre_heap_check(fx.heap), GYRE_OK);
    hoard_free(all);
    assert_int_equal(gyre_collect(fx.heap, GYRE_GEN_YOUNG), GYRE_OK);
    assert_int_equal(gyre_collect(fx.heap, GYRE_GEN_YOUNG), GYRE_OK);
    assert_int_equal(fixture_finalized(&fx), 200);
    assert_int_equal(fixture_live(&fx), 0);
    assert_int_equal(gyre_heap_check(fx.heap), GYRE_OK);
    fixture_close(&fx);
}

struct owner {
    struct gyre_object head;
    struct gyre_object *own; /* counted, known to trace and clear */
    struct fixture *fx;
};

static void
owner_trace(struct gyre_object *obj, gyre_edge_fn edge, void *arg)
{
    edge(((struct owner *)obj)->own, arg);
}

static void
owner_clear(struct gyre_object *obj)
{
    struct owner *owner = (struct owner *)obj;
    if (owner->own != NULL)
        gyre_decref(owner->own);
    owner->own = NULL;
}

static void
owner_dealloc(struct gyre_object *obj)
{
    gyre_fetch_sub_relaxed(&((struct owner *)obj)->fx->live, 1);
}

static struct gyre_type owner_type = {
    .name = "owner",
    .size = sizeof(struct owner),
    .trace = owner_trace,
    .clear = owner_clear,
    .dealloc = owner_dealloc,
};
static struct gyre_type wide_type = {
    .name = "wide",
    .size = sizeof(struct gyre_var_object),
    .item_size = sizeof(struct gyre_slot),
    .item_slot = 1,
};

/* Covers docs/design/refcount.md .rc.cascade: the dead without a slot to be
 * linked by, and without memory for a list, are freed by the next
 * collection. */
static void
test_cascade_without_memory_is_finished_by_a_collection(void **state)
{
    struct fixture fx;
    struct gyre_object *wide;
    struct hoard *all;
    (void)state;
    fixture_open(&fx, QUIET);
    assert_int_equal(gyre_type_ready(&owner_type), GYRE_OK);
    assert_int_equal(gyre_type_ready(&wide_type), GYRE_OK);
    wide = gyre_new_items(&wide_type, 1000);
    for (int i = 0; i < 1000; i++) {
        struct owner *owner = GYRE_NEW(struct owner, &owner_type);
        owner->fx = &fx;
        fx.live++;
        owner->own = &plain_node_new(&fx)->head;
        gyre_slot_move(
            wide, (struct gyre_slot *)((struct gyre_var_object *)wide + 1) + i,
            &owner->head);
    }
    all = hoard_all();
    gyre_decref(wide);
    assert_int_equal(gyre_heap_check(fx.heap), GYRE_OK);
    hoard_free(all);
    assert_int_equal(gyre_collect(fx.heap, GYRE_GEN_YOUNG), GYRE_OK);
    assert_int_equal(fixture_live(&fx), 0);
    assert_int_equal(gyre_heap_check(fx.heap), GYRE_OK);
    fixture_close(&fx);
}

/* ---- the heap's thread ---- */

/* Covers docs/design/cycle.md .policy, .fail: a heap whose thread found no
 * memory at first collects automatically once there is some. */
static void
test_heaps_thread_starts_when_there_is_memory(void **state)
{
    struct gyre_heap *heap;
    struct fixture fx = {0};
    struct gyre_statistics statistics;
    (void)state;
    assert_int_equal(gyre_heap_create("gc.threshold0=1000", &heap), GYRE_OK);
    fx.heap = heap;
    fail_after(1, 2); /* ours is had, the other's not */
    assert_int_equal(gyre_thread_attach(heap, &fx.self), GYRE_OK);
    while (gyre_load_relaxed(&failures) > 0) {
        gyre_detach_begin(fx.self);
        gyre_detach_end(fx.self);
    }
    fail_no_more();
    do {
        struct node *node = plain_node_new(&fx);
        node_link(node, node);
        node_drop(node);
        gyre_safepoint(fx.self);
        gyre_statistics_get(heap, &statistics);
    } while (statistics.collected == 0);
    fixture_close(&fx);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_heap_is_created_whole_or_not_at_all),
        cmocka_unit_test(test_attach_that_failed_may_be_tried_again),
        cmocka_unit_test(test_heap_survives_each_refused_mapping),
        cmocka_unit_test(test_abandoned_collections_leave_the_heap_whole),
        cmocka_unit_test(test_program_at_the_hard_limit_goes_on_when_it_frees),
        cmocka_unit_test(
            test_lost_queue_entries_are_found_by_the_next_collection),
        cmocka_unit_test(test_finalizers_without_memory_to_wait_in_run_later),
        cmocka_unit_test(
            test_cascade_without_memory_is_finished_by_a_collection),
        cmocka_unit_test(test_heaps_thread_starts_when_there_is_memory),
    };
    return cmocka_run_group_tests_name("nomem", tests, NULL, NULL);
}
