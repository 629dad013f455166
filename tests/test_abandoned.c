/* A collection that gets no memory, at each place in turn where the library
 * asks for some: it is given up and counted, nothing is lost, and the next one
 * finds all. Linked with --wrap of the library's own allocations. */
#include <limits.h>

#include "support/owner.h"

#include <memory/memory.h>

/* ---- allocations that fail, on this thread alone ---- */

static __thread struct {
    bool armed;
    int succeed; /* so many more */
    int fail;    /* and then so many not */
    int asked, refused;
} supply;

static bool
refused(void)
{
    if (!supply.armed)
        return false;
    supply.asked++;
    if (supply.succeed > 0) {
        supply.succeed--;
        return false;
    }
    if (supply.fail == 0)
        return false;
    supply.fail--;
    supply.refused++;
    return true;
}

void *__real_gyre_memory_table_new(struct gyre_heap *heap, size_t bytes);
void *__wrap_gyre_memory_table_new(struct gyre_heap *heap, size_t bytes);
void *__real_gyre_memory_raw_alloc(struct gyre_thread *self, size_t size);
void *__wrap_gyre_memory_raw_alloc(struct gyre_thread *self, size_t size);
void *__real_gyre_memory_raw_resize(struct gyre_thread *self, void *block,
                                    size_t size);
void *__wrap_gyre_memory_raw_resize(struct gyre_thread *self, void *block,
                                    size_t size);

void *
__wrap_gyre_memory_table_new(struct gyre_heap *heap, size_t bytes)
{
    return refused() ? NULL : __real_gyre_memory_table_new(heap, bytes);
}

void *
__wrap_gyre_memory_raw_alloc(struct gyre_thread *self, size_t size)
{
    return refused() ? NULL : __real_gyre_memory_raw_alloc(self, size);
}

void *
__wrap_gyre_memory_raw_resize(struct gyre_thread *self, void *block,
                              size_t size)
{
    return refused() ? NULL : __real_gyre_memory_raw_resize(self, block, size);
}

#define FOR_EVER INT_MAX

static void
refuse(int after, int times)
{
    memset(&supply, 0, sizeof supply);
    supply.succeed = after;
    supply.fail = times;
    supply.armed = true;
}

/* ---- a heap in which a collection asks for all it ever does ---- */

struct list {
    struct gyre_object head;
    struct gyre_array items;
    struct fixture *fx;
};
static void
list_dealloc(struct gyre_object *obj)
{
    gyre_fetch_sub_relaxed(&((struct list *)obj)->fx->live, 1);
}
static const uint32_t list_arrays[] = {offsetof(struct list, items)};
static struct gyre_type list_type = {
    .name = "list",
    .size = sizeof(struct list),
    .array_count = 1,
    .arrays = list_arrays,
    .dealloc = list_dealloc,
};

#define RINGS 300
#define OTHERS 100 /* made by a thread that is gone */
#define LATE 100   /* die while finalizers run */
#define OWNERS 200

static uint64_t abandoned; /* cycles, of all */

static struct {
    struct gyre_object *others[OTHERS], *late[LATE];
    struct list *list;
    int told;
} held;

static void
make_others(struct fixture *fx, struct gyre_thread *self, void *arg)
{
    (void)self, (void)arg;
    for (int i = 0; i < OTHERS; i++)
        held.others[i] = &plain_node_new(fx)->head;
}

/* In the middle of a collection: what waits for another thread, for its own
 * finalizer, for limbo's end. */
static void
let_all_go(struct node *node)
{
    (void)node;
    if (held.list == NULL)
        return;
    for (int i = 0; i < OTHERS; i++)
        gyre_decref(held.others[i]);
    for (int i = 0; i < LATE; i++)
        gyre_decref(held.late[i]);
    gyre_decref(&held.list->head);
    held.list = NULL;
}

static struct list *
list_new(struct fixture *fx)
{
    struct list *list = GYRE_NEW(struct list, &list_type);
    assert_non_null(list);
    list->fx = fx;
    fx->live++;
    return list;
}

static void
called_back(struct gyre_object *weakref, void *arg)
{
    (void)weakref, (void)arg;
    held.told++;
}

static void
make_rings(struct fixture *fx)
{
    for (int i = 0; i < RINGS; i++) {
        struct node *a = i % 3 == 0 ? node_new(fx) : plain_node_new(fx);
        struct node *b = plain_node_new(fx);
        struct gyre_object *weak;
        node_link(a, b);
        node_link(b, a);
        if (i % 10 == 0) {
            assert_int_equal(
                gyre_weakref_new(&b->head, called_back, NULL, &weak), GYRE_OK);
            gyre_slot_move(&a->head, &a->right, weak);
        }
        node_drop(a);
        node_drop(b);
    }
}

/* Lists that hold themselves, and `owner`s that do. */
static void
make_loops(struct fixture *fx, struct gyre_type *owners)
{
    for (int i = 0; i < OWNERS; i++) {
        struct owner *owner = owner_new(fx, owners);
        struct list *list = list_new(fx);
        gyre_slot_set(&owner->head, &owner->own, &owner->head);
        assert_int_equal(
            gyre_array_append(&list->head, &list->items, &owner->head),
            GYRE_OK);
        gyre_incref(&list->head);
        assert_int_equal(
            gyre_array_append(&list->head, &list->items, &list->head), GYRE_OK);
        gyre_decref(&list->head);
    }
}

/* What stays, and what is let go of meanwhile; a ring with a finalizer does
 * it. Returns what stays. */
static struct node *
make_kept(struct fixture *fx)
{
    struct worker worker;
    struct node *kept = plain_node_new(fx);
    struct owner *many[OWNERS];
    for (int i = 0; i < OWNERS; i++)
        many[i] = owner_new(fx, &owner_type);
    memset(&held, 0, sizeof held);
    worker_start(&worker, fx, make_others, NULL);
    worker_join(&worker);
    for (int i = 0; i < LATE; i++)
        held.late[i] = &late_node_new(fx)->head;
    held.list = list_new(fx);
    for (int i = 0; i < OWNERS; i++)
        assert_int_equal(gyre_array_append(&held.list->head, &held.list->items,
                                           &many[i]->head),
                         GYRE_OK);
    fx->on_finalize = let_all_go;
    return kept;
}

struct kind {
    const char *options;
    struct gyre_type *owners;
    enum gyre_generation generation;
    bool all; /* of the garbage is freed, nothing kept for the program */
};
static const struct kind kinds[] = {
    {"gc.automatic=0,gc.thread=0,gc.concurrent=1", &owner_type, GYRE_GEN_OLD,
     true},
    {"gc.automatic=0,gc.thread=0,gc.concurrent=1", &stuck_type, GYRE_GEN_YOUNG,
     false},
    {"gc.automatic=0,gc.thread=0,gc.concurrent=1,gc.save_all=1", &owner_type,
     GYRE_GEN_OLD, false},
    {"gc.automatic=0,gc.thread=0,gc.concurrent=0", &owner_type, GYRE_GEN_OLD,
     true},
    {"gc.automatic=0,gc.thread=0,gc.concurrent=0", &stuck_type, GYRE_GEN_YOUNG,
     false},
};

/* What is on the garbage list is the program's to break. */
static void
empty_garbage(struct fixture *fx)
{
    struct gyre_object *obj;
    gyre_option_set(fx->heap, GYRE_OPT_GC_SAVE_ALL, 0);
    while ((obj = gyre_garbage_pop(fx->heap)) != NULL) {
        if (gyre_type_of(obj) == &stuck_type) {
            gyre_touch(obj);
            owner_clear(obj);
        }
        gyre_decref(obj);
    }
}

/* One collection, refused memory `times` times after `after` allocations.
 * False: it asked for no more than that. */
static bool
collect_refused(const struct kind *kind, int after, int times)
{
    struct fixture fx;
    struct gyre_statistics seen;
    enum gyre_status status;
    struct node *kept;
    bool was_refused;
    fixture_open(&fx, kind->options);
    kept = make_kept(&fx);
    make_rings(&fx);
    make_loops(&fx, kind->owners);
    refuse(after, times);
    status = gyre_collect(fx.heap, kind->generation);
    supply.armed = false;
    was_refused = supply.refused > 0;
    gyre_statistics_get(fx.heap, &seen);
    assert_int_equal(gyre_heap_check(fx.heap), GYRE_OK);
    assert_true(status == GYRE_OK || status == GYRE_ERR_NOMEM);
    /* What is given up is counted, and said, unless it was done in a stop. */
    if (status != GYRE_OK)
        assert_true(was_refused && seen.abandoned > 0);
    else if (kind->all)
        assert_true(seen.collected >= 2 * RINGS + 2 * OWNERS);
    if (!was_refused)
        assert_int_equal(seen.abandoned, 0);
    abandoned += seen.abandoned;
    /* The next finds what is left: also what finalizers gave up when there
     * was no memory to queue it. */
    empty_garbage(&fx);
    assert_int_equal(gyre_collect(fx.heap, GYRE_GEN_OLD), GYRE_OK);
    gyre_statistics_get(fx.heap, &seen);
    empty_garbage(&fx);
    gyre_safepoint(fx.self);
    assert_int_equal(gyre_collect(fx.heap, GYRE_GEN_OLD), GYRE_OK);
    assert_int_equal(fixture_live(&fx), 1);
    assert_int_equal(fixture_finalized(&fx), RINGS / 3 + LATE);
    assert_int_equal(held.told, 0); /* they were in the rings themselves */
    assert_int_equal(gyre_heap_check(fx.heap), GYRE_OK);
    node_drop(kept);
    assert_int_equal(fixture_live(&fx), 0);
    fixture_close(&fx);
    return was_refused;
}

/* Covers docs/design/concurrent.md .close.abandon, docs/design/cycle.md
 * .fail: refused once, and from then on. */
static void
test_collection_refused_memory_anywhere_loses_nothing(void **state)
{
    int places = 0;
    (void)state;
    assert_int_equal(gyre_type_ready(&list_type), GYRE_OK);
    assert_int_equal(gyre_type_ready(&owner_type), GYRE_OK);
    assert_int_equal(gyre_type_ready(&stuck_type), GYRE_OK);
    for (unsigned k = 0; k < sizeof kinds / sizeof *kinds; k++)
        for (unsigned t = 0; t < 2; t++) {
            int after = 0;
            while (collect_refused(&kinds[k], after, t == 0 ? 1 : FOR_EVER))
                after++;
            places += after;
        }
    assert_true(places > 100);
    assert_true(abandoned > 50);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_collection_refused_memory_anywhere_loses_nothing),
    };
    return cmocka_run_group_tests_name("abandoned", tests, NULL, NULL);
}
