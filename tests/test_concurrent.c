/* Collections while the program runs: gc.concurrent. */
#include <stdlib.h>

#include "support/owner.h"

#include "heap.h"

#define OPTIONS                                                 \
    "gc.automatic=0,gc.concurrent=1,gc.check=1,gc.slice_us=20," \
    "gc.mutator_share=30"

static int
setup(void **state)
{
    struct fixture *fx = malloc(sizeof *fx);
    assert_non_null(fx);
    fixture_open(fx, OPTIONS);
    *state = fx;
    return 0;
}

static struct gyre_statistics
statistics_of(struct fixture *fx)
{
    struct gyre_statistics statistics;
    gyre_statistics_get(fx->heap, &statistics);
    return statistics;
}

static void
collect(struct fixture *fx, enum gyre_generation generation)
{
    assert_int_equal(gyre_collect(fx->heap, generation), GYRE_OK);
    assert_int_equal(gyre_heap_check(fx->heap), GYRE_OK);
}

/* ---- mutators that go on meanwhile ---- */

struct crowd {
    uint32_t over;              /* atomic */
    uint32_t met;               /* atomic */
    struct gyre_object *weak;   /* const */
    struct gyre_object *holder; /* const: with a shared slot */
    uint64_t answers;           /* atomic */
};

static bool
is_over(const struct crowd *crowd)
{
    /* relaxed: an end seen late costs a round */
    return gyre_load_relaxed(&crowd->over) != 0;
}

static void
arrive(struct crowd *crowd)
{
    /* relaxed: a count */
    gyre_fetch_add_relaxed(&crowd->met, 1);
}

static void
crowd_begin(struct fixture *fx, struct crowd *crowd, struct worker *workers,
            int count, worker_fn body)
{
    for (int i = 0; i < count; i++)
        worker_start(&workers[i], fx, body, crowd);
    while (gyre_load_relaxed(&crowd->met) < (uint32_t)count)
        gyre_safepoint(fx->self);
}

static void
crowd_end(struct crowd *crowd, struct worker *workers, int count)
{
    gyre_store_relaxed(&crowd->over, 1);
    for (int i = 0; i < count; i++)
        worker_join(&workers[i]);
}

/* A chain of its own, moved about all the time: what one slot held another
 * holds, and once in a while it hangs by the thread alone. */
static void
move_about(struct fixture *fx, struct gyre_thread *self, void *arg)
{
    struct crowd *crowd = arg;
    struct node *a = plain_node_new(fx), *b = plain_node_new(fx);
    struct gyre_object *c = &plain_node_new(fx)->head;
    uint64_t rounds = 0;
    gyre_slot_set(&a->head, &a->right, &b->head);
    gyre_slot_set(&b->head, &b->right, &a->head);
    arrive(crowd);
    while (!is_over(crowd)) {
        struct node *from = rounds % 2 == 0 ? a : b;
        gyre_slot_move(&from->head, &from->left, c);
        if (rounds % 7 == 0)
            gyre_safepoint(self);
        c = gyre_slot_take(&from->head, &from->left);
        GYRE_CHECK(c != NULL, "what was moved is gone");
        ((struct node *)c)->payload++;
        if (++rounds % 16384 == 0) {
            struct node *garbage = ring_new(fx, 3);
            node_drop(garbage);
            gyre_safepoint(self);
        }
    }
    GYRE_CHECK(((struct node *)c)->payload == rounds, "it was not the same");
    gyre_decref(c);
    gyre_slot_set(&a->head, &a->right, NULL);
    node_drop(a);
    node_drop(b);
}

/* ---- exactness ---- */

/* Covers docs/design/concurrent.md .prove.exact: what was garbage at the
 * start is freed, all of it and nothing else, though others work. */
static void
test_garbage_of_the_start_is_freed_while_others_work(void **state)
{
    struct fixture *fx = *state;
    struct crowd crowd = {0};
    struct worker workers[2];
    struct node *live = ring_new(fx, 300);
    crowd_begin(fx, &crowd, workers, 2, move_about);
    for (int i = 0; i < FIXTURE_SCALED(30); i++) {
        uint64_t before = statistics_of(fx).collected;
        for (int k = 0; k < 100; k++)
            node_drop(ring_new(fx, 1 + k));
        assert_int_equal(gyre_collect(fx->heap, (enum gyre_generation)(i % 3)),
                         GYRE_OK);
        assert_true(statistics_of(fx).collected - before >= 5050);
    }
    crowd_end(&crowd, workers, 2);
    for (const struct node *node = live;;) {
        node = (const struct node *)gyre_slot_peek(&node->left);
        assert_non_null(node);
        if (node == live)
            break;
    }
    collect(fx, GYRE_GEN_OLD);
    assert_int_equal(fixture_live(fx), 300);
    node_drop(live);
    collect(fx, GYRE_GEN_OLD);
    assert_int_equal(fixture_live(fx), 0);
    assert_int_equal(statistics_of(fx).abandoned, 0);
    assert_true(statistics_of(fx).slices > 0);
}

/* Covers docs/design/concurrent.md .open.stamps: births of the cycle are no
 * candidates, and are found by the next. */
static void
test_survivors_age_and_births_are_found_later(void **state)
{
    struct fixture *fx = *state;
    struct node *ring = ring_new(fx, 10);
    collect(fx, GYRE_GEN_YOUNG);
    collect(fx, GYRE_GEN_MIDDLE);
    node_drop(ring);
    collect(fx, GYRE_GEN_YOUNG);
    collect(fx, GYRE_GEN_MIDDLE);
    assert_int_equal(fixture_live(fx), 10); /* it is old */
    collect(fx, GYRE_GEN_OLD);
    assert_int_equal(fixture_live(fx), 0);
}

/* ---- finalizers, weak references ---- */

/* Covers docs/design/concurrent.md .final.again: each runs once, and what was
 * not brought back is freed in the same cycle. */
static void
test_finalizers_run_once_before_anything_is_freed(void **state)
{
    struct fixture *fx = *state;
    struct crowd crowd = {0};
    struct worker worker;
    crowd_begin(fx, &crowd, &worker, 1, move_about);
    for (int i = 0; i < 200; i++) {
        struct node *a = node_new(fx), *b = node_new(fx);
        node_link(a, b);
        node_link(b, a);
        node_drop(a);
        node_drop(b);
    }
    assert_int_equal(gyre_collect(fx->heap, GYRE_GEN_OLD), GYRE_OK);
    assert_int_equal(fixture_finalized(fx), 400);
    crowd_end(&crowd, &worker, 1);
    collect(fx, GYRE_GEN_OLD);
    assert_int_equal(fixture_finalized(fx), 400);
    assert_int_equal(fixture_live(fx), 0);
}

static struct gyre_object *brought_back;

static void
bring_back(struct node *node)
{
    if (brought_back == NULL) {
        gyre_incref(&node->head);
        brought_back = &node->head;
    }
}

/* Covers docs/design/concurrent.md .final.again */
static void
test_what_a_finalizer_brings_back_lives_with_all_it_reaches(void **state)
{
    struct fixture *fx = *state;
    struct node *a = node_new(fx), *b = plain_node_new(fx);
    struct node *c = plain_node_new(fx);
    node_link(a, b);
    node_link(b, c);
    node_link(c, a);
    node_link(b, b);
    brought_back = NULL;
    fx->on_finalize = bring_back;
    node_drop(a);
    node_drop(b);
    node_drop(c);
    node_drop(ring_new(fx, 5));
    collect(fx, GYRE_GEN_OLD);
    assert_ptr_equal(brought_back, &a->head);
    assert_int_equal(fixture_live(fx), 3);
    assert_int_equal(statistics_of(fx).resurrected, 3);
    gyre_decref(brought_back);
    collect(fx, GYRE_GEN_OLD);
    assert_int_equal(fixture_live(fx), 0);
    assert_int_equal(fixture_finalized(fx), 1);
}

struct watch {
    int called;
    struct gyre_object *seen;
};

static void
called_back(struct gyre_object *weakref, void *arg)
{
    struct watch *watch = arg;
    watch->called++;
    watch->seen = gyre_weakref_get(weakref);
}

/* Covers docs/design/concurrent.md .commit.lock: weak references to members
 * answer NULL, and their callbacks run once, afterwards. */
static void
test_weak_references_to_members_are_cleared_and_told(void **state)
{
    struct fixture *fx = *state;
    struct watch watch = {0, NULL};
    struct gyre_object *weak[50];
    for (int i = 0; i < 50; i++) {
        struct node *ring = ring_new(fx, 4);
        assert_int_equal(
            gyre_weakref_new(&ring->head, called_back, &watch, &weak[i]),
            GYRE_OK);
        node_drop(ring);
    }
    collect(fx, GYRE_GEN_OLD);
    gyre_safepoint(fx->self);
    assert_int_equal(watch.called, 50);
    assert_null(watch.seen);
    assert_int_equal(fixture_live(fx), 0);
    for (int i = 0; i < 50; i++) {
        assert_null(gyre_weakref_get(weak[i]));
        gyre_decref(weak[i]);
    }
}

static void
get_weakly(struct fixture *fx, struct gyre_thread *self, void *arg)
{
    struct crowd *crowd = arg;
    uint64_t answers = 0, rounds = 0;
    (void)fx;
    arrive(crowd);
    while (!is_over(crowd)) {
        struct gyre_object *got = gyre_weakref_get(crowd->weak);
        if (got != NULL) {
            struct node *node = (struct node *)got, *next;
            GYRE_CHECK(node->payload == 42, "it is another");
            /* borrowed from a member: there as long as it is */
            next = (struct node *)gyre_slot_peek(&node->left);
            GYRE_CHECK(next != NULL &&
                           gyre_type_of(&next->head) == &plain_node_type,
                       "its member is gone");
            gyre_decref(got);
            answers++;
        }
        if (++rounds % 16 == 0)
            gyre_safepoint(self);
    }
    gyre_fetch_add_relaxed(&crowd->answers, answers);
}

/* Covers docs/design/concurrent.md .commit.get: others get weakly at a set
 * while it is proved and given up; each gets all of it or NULL. */
static void
test_weak_gets_find_the_whole_or_nothing(void **state)
{
    struct fixture *fx = *state;
    for (int i = 0; i < FIXTURE_SCALED(40); i++) {
        struct crowd crowd = {0};
        struct worker workers[2];
        struct node *ring = ring_new(fx, 3);
        unsigned tries = 0;
        ring->payload = 42;
        assert_int_equal(gyre_weakref_new(&ring->head, NULL, NULL, &crowd.weak),
                         GYRE_OK);
        crowd_begin(fx, &crowd, workers, 2, get_weakly);
        node_drop(ring);
        while (fixture_live(fx) > 0 && ++tries < 3)
            assert_int_equal(gyre_collect(fx->heap, GYRE_GEN_OLD), GYRE_OK);
        crowd_end(&crowd, workers, 2);
        collect(fx, GYRE_GEN_OLD);
        assert_int_equal(fixture_live(fx), 0);
        assert_null(gyre_weakref_get(crowd.weak));
        gyre_decref(crowd.weak);
    }
}

/* ---- arrays, shared slots ---- */

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

static void
grow_and_shrink(struct fixture *fx, struct gyre_thread *self, void *arg)
{
    struct crowd *crowd = arg;
    struct list *list = GYRE_NEW(struct list, &list_type);
    GYRE_CHECK(list != NULL, "no memory");
    arrive(crowd);
    while (!is_over(crowd)) {
        for (int i = 0; i < 100; i++) {
            gyre_incref(&list->head); /* it holds itself, too */
            GYRE_CHECK(gyre_array_append(
                           &list->head, &list->items,
                           i % 2 == 0 ? &list->head
                                      : &plain_node_new(fx)->head) == GYRE_OK,
                       "no memory");
            if (i % 2 != 0)
                gyre_decref(&list->head);
            gyre_safepoint(self);
        }
        for (int i = 0; i < 50; i++)
            gyre_decref(gyre_array_pop(&list->head, &list->items));
        gyre_array_clear(&list->head, &list->items);
    }
    gyre_decref(&list->head);
}

/* Covers docs/design/memory.md .mem.retire: arrays are traced while they
 * grow, shrink and are emptied. */
static void
test_arrays_may_change_while_they_are_traced(void **state)
{
    struct fixture *fx = *state;
    struct crowd crowd = {0};
    struct worker workers[2];
    assert_int_equal(gyre_type_ready(&list_type), GYRE_OK);
    crowd_begin(fx, &crowd, workers, 2, grow_and_shrink);
    for (int i = 0; i < FIXTURE_SCALED(60); i++)
        assert_int_equal(gyre_collect(fx->heap, (enum gyre_generation)(i % 3)),
                         GYRE_OK);
    crowd_end(&crowd, workers, 2);
    collect(fx, GYRE_GEN_OLD);
    assert_int_equal(fixture_live(fx), 0);
}

static void
exchange_shared(struct fixture *fx, struct gyre_thread *self, void *arg)
{
    struct crowd *crowd = arg;
    struct node *holder = (struct node *)crowd->holder;
    struct gyre_object *mine = &ring_new(fx, 2)->head;
    arrive(crowd);
    while (!is_over(crowd)) {
        struct gyre_object *got;
        mine = gyre_slot_exchange_shared(&holder->head, &holder->right, mine);
        got = gyre_slot_get_shared(&holder->head, &holder->right);
        if (got != NULL)
            gyre_decref(got);
        gyre_safepoint(self);
        if (mine == NULL)
            mine = &ring_new(fx, 2)->head;
    }
    gyre_decref(mine);
}

/* Covers docs/design/concurrent.md .prove.exact, docs/design/object.md .slot:
 * rings that go from hand to hand through a shared slot live until the last
 * has let go. */
static void
test_shared_slots_keep_what_goes_through_them(void **state)
{
    struct fixture *fx = *state;
    struct crowd crowd = {0};
    struct worker workers[2];
    struct node *holder = ring_new(fx, 1);
    crowd.holder = &holder->head;
    crowd_begin(fx, &crowd, workers, 2, exchange_shared);
    for (int i = 0; i < FIXTURE_SCALED(100); i++)
        assert_int_equal(gyre_collect(fx->heap, (enum gyre_generation)(i % 3)),
                         GYRE_OK);
    crowd_end(&crowd, workers, 2);
    node_drop(holder);
    collect(fx, GYRE_GEN_OLD);
    assert_int_equal(fixture_live(fx), 0);
}

/* ---- types with callbacks ---- */

static struct gyre_type anytime_type = {.name = "owner, traced at any time",
                                        .size = sizeof(struct owner),
                                        .flags = GYRE_TYPE_TRACE_ANYTIME,
                                        .trace = owner_trace,
                                        .clear = owner_clear,
                                        .dealloc = owner_dealloc};

/* Covers docs/design/concurrent.md .arm.slice: types whose trace is only safe
 * in a stop are collected as well. */
static void
test_traced_types_are_collected_in_stops_or_beside(void **state)
{
    struct fixture *fx = *state;
    struct crowd crowd = {0};
    struct worker worker;
    struct owner *live;
    crowd_begin(fx, &crowd, &worker, 1, move_about);
    for (int i = 0; i < 1000; i++) {
        struct owner *a =
            owner_new(fx, i % 2 == 0 ? &anytime_type : &owner_type);
        struct owner *b =
            owner_new(fx, i % 3 == 0 ? &anytime_type : &owner_type);
        gyre_slot_set(&a->head, &a->own, &b->head);
        gyre_slot_move(&b->head, &b->own, &a->head);
        gyre_decref(&b->head);
    }
    live = owner_new(fx, &owner_type);
    gyre_slot_move(&live->head, &live->own, &ring_new(fx, 3)->head);
    assert_int_equal(gyre_collect(fx->heap, GYRE_GEN_OLD), GYRE_OK);
    assert_true(statistics_of(fx).collected >= 2000);
    crowd_end(&crowd, &worker, 1);
    collect(fx, GYRE_GEN_OLD);
    assert_int_equal(fixture_live(fx), 4);
    gyre_decref(&live->head);
    collect(fx, GYRE_GEN_OLD);
    assert_int_equal(fixture_live(fx), 0);
}

/* Covers docs/design/cycle.md .cycle.commit: what can't be cleared goes to
 * the garbage list with what it reaches, and nothing else does. */
static void
test_what_cannot_be_cleared_is_kept_with_what_it_reaches(void **state)
{
    struct fixture *fx = *state;
    struct owner *stuck = owner_new(fx, &stuck_type);
    struct node *node = plain_node_new(fx);
    struct gyre_object *saved;
    node_link(node, (struct node *)&stuck->head);
    gyre_slot_move(&stuck->head, &stuck->own, &node->head);
    gyre_decref(&stuck->head);
    node_drop(ring_new(fx, 7));
    collect(fx, GYRE_GEN_OLD);
    assert_int_equal(fixture_live(fx), 2);
    assert_int_equal(gyre_garbage_count(fx->heap), 1);
    saved = gyre_garbage_pop(fx->heap);
    assert_ptr_equal(saved, &stuck->head);
    gyre_slot_set(saved, &stuck->own, NULL);
    gyre_decref(saved);
    collect(fx, GYRE_GEN_OLD);
    assert_int_equal(fixture_live(fx), 0);
}

/* ---- threads ---- */

static void
make_and_leave(struct fixture *fx, struct gyre_thread *self, void *arg)
{
    struct crowd *crowd = arg;
    for (int i = 0; i < 200; i++) {
        node_drop(ring_new(fx, 1 + i % 5));
        if (i % 16 == 0)
            gyre_safepoint(self);
    }
    arrive(crowd);
}

/* Covers docs/design/concurrent.md .open.shake .open.leave: threads come and
 * go while cycles are open. */
static void
test_threads_come_and_go_while_a_cycle_is_open(void **state)
{
    struct fixture *fx = *state;
    struct crowd crowd = {0}, busy = {0};
    struct worker workers[4], collector;
    (void)collector;
    crowd_begin(fx, &busy, workers, 1, move_about);
    for (int i = 0; i < FIXTURE_SCALED(50); i++) {
        for (int k = 1; k < 4; k++)
            worker_start(&workers[k], fx, make_and_leave, &crowd);
        assert_int_equal(gyre_collect(fx->heap, (enum gyre_generation)(i % 3)),
                         GYRE_OK);
        for (int k = 1; k < 4; k++)
            worker_join(&workers[k]);
    }
    crowd_end(&busy, workers, 1);
    collect(fx, GYRE_GEN_OLD);
    assert_int_equal(fixture_live(fx), 0);
}

static void
collect_again_and_again(struct fixture *fx, struct gyre_thread *self, void *arg)
{
    struct crowd *crowd = arg;
    arrive(crowd);
    (void)self;
    for (int i = 0; i < FIXTURE_SCALED(60); i++) {
        node_drop(ring_new(fx, 20));
        GYRE_CHECK(gyre_collect(fx->heap, (enum gyre_generation)(i % 3)) ==
                       GYRE_OK,
                   "a collection failed");
    }
}

/* Covers docs/design/cycle.md .cycle: one at a time, whoever asks. */
static void
test_collections_of_several_threads_follow_one_another(void **state)
{
    struct fixture *fx = *state;
    struct crowd crowd = {0};
    struct worker workers[3];
    crowd_begin(fx, &crowd, workers, 3, collect_again_and_again);
    for (int i = 0; i < 3; i++)
        worker_join(&workers[i]);
    collect(fx, GYRE_GEN_OLD);
    assert_int_equal(fixture_live(fx), 0);
    assert_int_equal(statistics_of(fx).abandoned, 0);
}

/* The same on the heap's own thread. */
static void
test_heaps_thread_collects_beside_the_program(void **state)
{
    struct fixture fx;
    struct crowd crowd = {0};
    struct worker workers[2];
    (void)state;
    fixture_open(&fx, "gc.concurrent=1,gc.check=1,gc.threshold0=1000");
    crowd_begin(&fx, &crowd, workers, 2, move_about);
    while (statistics_of(&fx).collections[GYRE_GEN_YOUNG] <
           (uint64_t)FIXTURE_SCALED(50)) {
        if (fixture_live(&fx) < 20000)
            node_drop(ring_new(&fx, 10));
        gyre_safepoint(fx.self);
    }
    crowd_end(&crowd, workers, 2);
    collect(&fx, GYRE_GEN_OLD);
    assert_int_equal(fixture_live(&fx), 0);
    fixture_close(&fx);
}

/* ---- memory while a cycle is open ---- */

static struct fixture *open_fixture;
static uint64_t pages_before, pages_after;

/* A list is made and dropped, over and over. */
static void
make_and_drop(struct node *node)
{
    (void)node;
    pages_before = statistics_of(open_fixture).pages_in_use;
    for (int round = 0; round < 50; round++) {
        struct node *chain = NULL;
        for (int i = 0; i < 4000; i++) {
            struct node *next = plain_node_new(open_fixture);
            if (chain != NULL)
                gyre_slot_move(&next->head, &next->left, &chain->head);
            chain = next;
        }
        node_drop(chain);
    }
    pages_after = statistics_of(open_fixture).pages_in_use;
}

/* Covers docs/design/memory.md .mem.stable: what is born while a cycle is open
 * and dies again is in pages that the cycle did not list, which are used
 * again at once. */
static void
test_pages_of_births_are_used_again_while_a_cycle_is_open(void **state)
{
    struct fixture *fx = *state;
    struct node *node = node_new(fx);
    const uint64_t once = 4000 * sizeof(struct node) / GYRE_PAGE_BYTES + 1;
    open_fixture = fx;
    fx->on_finalize = make_and_drop;
    node_link(node, node);
    node_drop(node);
    collect(fx, GYRE_GEN_OLD);
    assert_int_equal(fixture_finalized(fx), 1);
    assert_in_range(pages_after, pages_before, pages_before + 5 * once);
    assert_int_equal(fixture_live(fx), 0);
}

/* ---- abandoned cycles ---- */

/* What dies in the finalizer, of a collected age, waits in limbo. */
static struct node *to_die;

static void
let_die(struct node *node)
{
    (void)node;
    node_drop(to_die);
    to_die = NULL;
}

/* Covers docs/design/concurrent.md .close.abandon: over the bound of limbo a
 * cycle is given up, and the garbage is found by the next. One that was
 * asked for by name goes on in a stop. */
static void
test_cycle_over_its_limbo_is_given_up_and_the_next_finds_all(void **state)
{
    struct fixture *fx = *state;
    struct node *a = node_new(fx), *chain = NULL;
    gyre_option_set(fx->heap, GYRE_OPT_GC_LIMBO_LIMIT, 1);
    for (int i = 0; i < 2000; i++) {
        struct node *node = plain_node_new(fx);
        if (chain != NULL)
            gyre_slot_move(&node->head, &node->left, &chain->head);
        chain = node;
    }
    to_die = chain;
    fx->on_finalize = let_die;
    node_link(a, a);
    node_drop(a);
    collect(fx, GYRE_GEN_YOUNG);
    assert_null(to_die);
    assert_int_equal(fixture_finalized(fx), 1);
    assert_true(statistics_of(fx).limbo_peak > 0);
    assert_int_equal(fixture_live(fx), 0);
    node_drop(ring_new(fx, 10));
    collect(fx, GYRE_GEN_YOUNG);
    assert_int_equal(fixture_live(fx), 0);
}

/* ---- the end of limbo ---- */

#define DEAD 5000
#define DEAD_AT_ONCE 512

static struct {
    uint32_t open, dropped; /* atomic */
} limbo_end;

/* The collection goes on when something has died meanwhile. */
static void
wait_for_a_death(struct node *node)
{
    (void)node;
    gyre_store_relaxed(&limbo_end.open, 1);
    while (gyre_load_relaxed(&limbo_end.dropped) == 0)
        gyre_safepoint(gyre_self);
}

static void
collect_a_ring(struct fixture *fx, struct gyre_thread *self, void *arg)
{
    struct node *ring = node_new(fx);
    (void)self, (void)arg;
    node_link(ring, ring);
    node_drop(ring);
    assert_int_equal(gyre_collect(fx->heap, GYRE_GEN_OLD), GYRE_OK);
}

/* Blocks whose limbo is over, and that are not free yet. */
static uint64_t
still_to_free(struct fixture *fx)
{
    uintptr_t link = mutator_of(fx->self)->memory.released;
    uint64_t count = 0;
    for (; link != GYRE_LINK_END; count++)
        link = link_load_any((void *)(link - 1));
    return count;
}

/* Covers docs/design/memory.md .mem.limbo: no safepoint frees all of it. */
static void
test_what_waited_in_limbo_is_freed_a_little_at_a_safepoint(void **state)
{
    struct fixture *fx = *state;
    struct node *chain = NULL;
    struct worker worker;
    uint64_t left;
    limbo_end.open = limbo_end.dropped = 0;
    for (int i = 0; i < DEAD; i++) {
        struct node *node = plain_node_new(fx);
        if (chain != NULL)
            gyre_slot_move(&node->head, &node->left, &chain->head);
        chain = node;
    }
    fx->on_finalize = wait_for_a_death;
    worker_start(&worker, fx, collect_a_ring, NULL);
    while (gyre_load_relaxed(&limbo_end.open) == 0)
        gyre_safepoint(fx->self);
    node_drop(chain);
    gyre_store_relaxed(&limbo_end.dropped, 1);
    while ((left = still_to_free(fx)) == 0)
        gyre_safepoint(fx->self);
    assert_int_equal(left, DEAD - DEAD_AT_ONCE);
    while (left > 0) {
        uint64_t before = left;
        gyre_safepoint(fx->self);
        left = still_to_free(fx);
        assert_int_equal(before - left,
                         before < DEAD_AT_ONCE ? before : DEAD_AT_ONCE);
    }
    worker_join(&worker);
    assert_int_equal(fixture_live(fx), 0);
    fx->on_finalize = NULL;
}

static void
never_poll(struct fixture *fx, struct gyre_thread *self, void *arg)
{
    struct crowd *crowd = arg;
    (void)fx, (void)self;
    arrive(crowd);
    while (!is_over(crowd))
        ;
}

/* Covers docs/design/concurrent.md .close.abandon: a thread that never polls
 * makes a cycle time out, and the program goes on. */
static void
test_cycle_that_a_thread_keeps_from_opening_times_out(void **state)
{
    struct fixture fx;
    struct crowd crowd = {0};
    struct worker worker;
    (void)state;
    fixture_open(&fx, OPTIONS ",thread.stop_timeout=30");
    node_drop(ring_new(&fx, 10));
    crowd_begin(&fx, &crowd, &worker, 1, never_poll);
    assert_int_equal(gyre_collect(fx.heap, GYRE_GEN_OLD), GYRE_ERR_TIMEOUT);
    crowd_end(&crowd, &worker, 1);
    collect(&fx, GYRE_GEN_OLD);
    assert_int_equal(fixture_live(&fx), 0);
    fixture_close(&fx);
}

#define TEST(name) \
    cmocka_unit_test_setup_teardown(name, setup, fixture_teardown)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_garbage_of_the_start_is_freed_while_others_work),
        TEST(test_survivors_age_and_births_are_found_later),
        TEST(test_finalizers_run_once_before_anything_is_freed),
        TEST(test_what_a_finalizer_brings_back_lives_with_all_it_reaches),
        TEST(test_weak_references_to_members_are_cleared_and_told),
        TEST(test_weak_gets_find_the_whole_or_nothing),
        TEST(test_arrays_may_change_while_they_are_traced),
        TEST(test_shared_slots_keep_what_goes_through_them),
        TEST(test_traced_types_are_collected_in_stops_or_beside),
        TEST(test_what_cannot_be_cleared_is_kept_with_what_it_reaches),
        TEST(test_threads_come_and_go_while_a_cycle_is_open),
        TEST(test_collections_of_several_threads_follow_one_another),
        cmocka_unit_test(test_heaps_thread_collects_beside_the_program),
        TEST(test_pages_of_births_are_used_again_while_a_cycle_is_open),
        TEST(test_cycle_over_its_limbo_is_given_up_and_the_next_finds_all),
        TEST(test_what_waited_in_limbo_is_freed_a_little_at_a_safepoint),
        cmocka_unit_test(test_cycle_that_a_thread_keeps_from_opening_times_out),
    };
    return cmocka_run_group_tests_name("concurrent", tests, NULL, NULL);
}
