/* One certain interleaving each: what a program does between two steps of a
 * collection beside it, at the library's yield points. Most are the trails of
 * the models' broken variants (tests/model/prove.pml). */
#include <sched.h>
#include <string.h>

#include <threads/yield.h>

#include "support/fixture.h"

#define SCRIPTS 4
#define OPTIONS "gc.automatic=0,gc.thread=0,gc.concurrent=1"

/* What is done when the collecting thread, which is the test's own, comes to
 * `point` for the nth time. It stands for any other thread that runs then:
 * between the points the collector holds nothing of it. */
static struct script {
    const char *point;
    unsigned nth, seen;
    void (*act)(void);
    pthread_t thread;
} scripts[SCRIPTS];

static struct gyre_object *weak;  /* to `named` */
static struct node *named, *mate; /* a ring of two, without names of ours */
static struct gyre_object *held;  /* what an act took */

static void
come_to(const char *point)
{
    for (unsigned i = 0; i < SCRIPTS; i++) {
        struct script *script = &scripts[i];
        if (script->act != NULL && strcmp(script->point, point) == 0 &&
            pthread_equal(script->thread, pthread_self()) &&
            ++script->seen == script->nth)
            script->act();
    }
}

static void
plan(unsigned index, const char *point, unsigned nth, void (*act)(void))
{
    scripts[index] = (struct script){point, nth, 0, act, pthread_self()};
}

static int
setup(void **state)
{
    static struct fixture fx;
    memset(scripts, 0, sizeof scripts);
    weak = held = NULL;
    named = mate = NULL;
    fixture_open(&fx, OPTIONS);
    *state = &fx;
    gyre_yield_watch(come_to);
    return 0;
}

static int
teardown(void **state)
{
    gyre_yield_watch(NULL);
    if (weak != NULL)
        gyre_decref(weak);
    fixture_close(*state);
    return 0;
}

/* A ring of two that nothing names but a weak reference. */
static void
make_ring(struct node *a, struct node *b)
{
    named = a;
    mate = b;
    gyre_slot_set(&a->head, &a->left, &b->head);
    gyre_slot_set(&b->head, &b->left, &a->head);
    assert_int_equal(gyre_weakref_new(&a->head, NULL, NULL, &weak), GYRE_OK);
    node_drop(a);
    node_drop(b);
}

static void
collect(struct fixture *fx)
{
    assert_int_equal(gyre_collect(fx->heap, GYRE_GEN_OLD), GYRE_OK);
    for (unsigned i = 0; i < SCRIPTS; i++)
        assert_true(scripts[i].act == NULL ||
                    scripts[i].seen >= scripts[i].nth);
    assert_int_equal(gyre_heap_check(fx->heap), GYRE_OK);
}

/* All that was made is garbage, and is collected. */
static void
collect_the_rest(struct fixture *fx)
{
    memset(scripts, 0, sizeof scripts);
    if (held != NULL)
        gyre_decref(held);
    held = NULL;
    collect(fx);
    assert_int_equal(fixture_live(fx), 0);
    assert_null(gyre_weakref_get(weak));
}

/* ---- acts ---- */

static void
get_weakly(void)
{
    held = gyre_weakref_get(weak);
    assert_ptr_equal(held, &named->head);
}

static void
get_weakly_and_take_its_mate(void)
{
    struct gyre_object *got = gyre_weakref_get(weak);
    assert_ptr_equal(got, &named->head);
    held = gyre_slot_take(got, &named->left);
    assert_ptr_equal(held, &mate->head);
    gyre_decref(got);
}

/* The ring is as before, but for a reference from outside to the one and the
 * other's being moved out and in. */
static void
put_its_mate_back(void)
{
    gyre_slot_move(&named->head, &named->left, held);
    held = gyre_weakref_get(weak);
    assert_ptr_equal(held, &named->head);
}

static void
get_weakly_and_let_it_die(void)
{
    struct gyre_object *got = gyre_weakref_get(weak);
    assert_ptr_equal(got, &named->head);
    gyre_slot_set(&mate->head, &mate->left, NULL);
    gyre_decref(got);
}

/* ---- between PROVE's reads ---- */

/* Covers docs/design/concurrent.md .prove.exact, variant FLAGS_FIRST: a
 * member touched after its slots were read. */
static void
test_member_named_after_its_slots_were_read_lives(void **state)
{
    struct fixture *fx = *state;
    make_ring(plain_node_new(fx), plain_node_new(fx));
    plan(0, "flags", 1, get_weakly);
    collect(fx);
    assert_int_equal(fixture_live(fx), 2);
    assert_ptr_equal(gyre_slot_peek(&named->left), &mate->head);
    assert_ptr_equal(gyre_slot_peek(&mate->left), &named->head);
    collect_the_rest(fx);
}

/* Covers docs/design/concurrent.md .prove.exact, variants RESCUE,
 * MOVE_UNTOUCHED: what is moved out of a slot changes no count. */
static void
test_reference_moved_after_its_slot_was_read_keeps_what_it_names(void **state)
{
    struct fixture *fx = *state;
    make_ring(plain_node_new(fx), plain_node_new(fx));
    plan(0, "flags", 1, get_weakly_and_take_its_mate);
    collect(fx);
    assert_int_equal(fixture_live(fx), 2);
    assert_int_equal(gyre_reference_count(held), 1);
    assert_ptr_equal(gyre_slot_peek(&mate->left), &named->head);
    collect_the_rest(fx);
}

/* The same: out of it while it is read, and in again. */
static void
test_reference_that_is_away_for_a_pass_keeps_what_it_names(void **state)
{
    struct fixture *fx = *state;
    make_ring(plain_node_new(fx), plain_node_new(fx));
    plan(0, "prove", 1, get_weakly_and_take_its_mate);
    plan(1, "flags", 1, put_its_mate_back);
    collect(fx);
    assert_int_equal(fixture_live(fx), 2);
    assert_ptr_equal(gyre_slot_peek(&named->left), &mate->head);
    collect_the_rest(fx);
}

/* ---- between PROVE and FINALIZE ---- */

/* Covers docs/design/concurrent.md .final.take: the one member with a
 * finalizer is named again, and its finalizer does not run; the other is a
 * member no more, though nobody touched it. */
static void
test_member_named_before_its_finalizer_runs_lives_with_the_rest(void **state)
{
    struct fixture *fx = *state;
    make_ring(node_new(fx), plain_node_new(fx));
    node_drop(plain_node_new(fx));
    plan(0, "finalize", 1, get_weakly);
    collect(fx);
    assert_int_equal(fixture_live(fx), 2);
    assert_int_equal(fixture_finalized(fx), 0);
    assert_ptr_equal(gyre_slot_peek(&named->left), &mate->head);
    collect_the_rest(fx);
    assert_int_equal(fixture_finalized(fx), 1);
}

/* Covers docs/design/concurrent.md .final.take: what died meanwhile is not
 * taken, and its finalizer has run. */
static void
test_member_that_dies_before_finalizers_run_is_finalized_once(void **state)
{
    struct fixture *fx = *state;
    make_ring(node_new(fx), node_new(fx));
    plan(0, "finalize", 1, get_weakly_and_let_it_die);
    collect(fx);
    collect_the_rest(fx);
    assert_int_equal(fixture_finalized(fx), 2);
}

/* Covers docs/design/concurrent.md .final.again, variant NO_PROOF_AGAIN: a
 * member that is armed again with the others is not garbage for that. */
static void
test_member_named_while_finalizers_run_lives_with_the_rest(void **state)
{
    struct fixture *fx = *state;
    make_ring(plain_node_new(fx), node_new(fx));
    plan(0, "arm", 2, get_weakly);
    collect(fx);
    assert_int_equal(fixture_finalized(fx), 1);
    assert_int_equal(fixture_live(fx), 2);
    assert_ptr_equal(gyre_slot_peek(&named->left), &mate->head);
    collect_the_rest(fx);
    assert_int_equal(fixture_finalized(fx), 1);
}

/* ---- between PROVE and COMMIT ---- */

/* Covers docs/design/concurrent.md .commit.lock, variant DROP_PART: the other
 * was not touched, and is not given up either. */
static void
test_member_named_before_the_lock_keeps_its_component(void **state)
{
    struct fixture *fx = *state;
    struct node *apart = plain_node_new(fx);
    node_link(apart, apart);
    node_drop(apart);
    make_ring(plain_node_new(fx), plain_node_new(fx));
    plan(0, "weak lock", 2, get_weakly);
    collect(fx);
    assert_int_equal(fixture_live(fx), 2); /* without `apart` */
    assert_ptr_equal(gyre_slot_peek(&named->left), &mate->head);
    assert_ptr_equal(gyre_slot_peek(&mate->left), &named->head);
    collect_the_rest(fx);
}

/* Covers docs/design/concurrent.md .final.take: the garbage list takes what
 * nobody has named since. */
static void
test_member_named_before_it_is_saved_is_no_garbage(void **state)
{
    struct fixture *fx = *state;
    gyre_option_set(fx->heap, GYRE_OPT_GC_SAVE_ALL, 1);
    make_ring(plain_node_new(fx), plain_node_new(fx));
    plan(0, "save", 1, get_weakly);
    collect(fx);
    assert_int_equal(fixture_live(fx), 2);
    gyre_option_set(fx->heap, GYRE_OPT_GC_SAVE_ALL, 0);
    while (gyre_garbage_count(fx->heap) > 0) {
        struct gyre_object *saved = gyre_garbage_pop(fx->heap);
        assert_ptr_not_equal(saved, &named->head);
        gyre_decref(saved);
    }
    collect_the_rest(fx);
}

/* ---- the lock ---- */

static struct {
    uint32_t begin, waits, dead, answered; /* atomic */
    struct gyre_object *got;
} meeting;

static void
wait_for(const uint32_t *flag)
{
    while (gyre_load_acquire(flag) == 0) /* pairs: say() */
        sched_yield();
}

static void
say(uint32_t *flag)
{
    gyre_store_release(flag, 1); /* pairs: wait_for() */
}

/* The other thread: between its look at the target and the lock. */
static void
wait_before_the_lock(void)
{
    say(&meeting.waits);
    wait_for(&meeting.dead);
}

static void
get_when_told(struct fixture *fx, struct gyre_thread *self, void *arg)
{
    (void)fx, (void)arg;
    while (gyre_load_acquire(&meeting.begin) == 0) /* pairs: say() */
        gyre_safepoint(self);
    plan(1, "weak get armed", 1, wait_before_the_lock);
    meeting.got = gyre_weakref_get(weak);
    say(&meeting.answered);
}

static void
let_the_other_look(void)
{
    say(&meeting.dead);
    wait_for(&meeting.answered);
}

/* The last reference goes while the other waits for the lock. */
static void
let_it_die_meanwhile(void)
{
    struct gyre_object *got = gyre_weakref_get(weak);
    gyre_slot_set(&mate->head, &mate->left, NULL);
    say(&meeting.begin);
    wait_for(&meeting.waits);
    plan(0, "dead, weakly named", 1, let_the_other_look);
    gyre_decref(got);
}

/* Covers docs/design/concurrent.md .commit.get: the target is what it was
 * before the lock was there, and dead. */
static void
test_weak_get_that_waited_for_the_lock_does_not_find_the_dead(void **state)
{
    struct fixture *fx = *state;
    struct worker worker;
    memset(&meeting, 0, sizeof meeting);
    make_ring(plain_node_new(fx), plain_node_new(fx));
    worker_start(&worker, fx, get_when_told, NULL);
    plan(0, "prove", 1, let_it_die_meanwhile);
    assert_int_equal(gyre_collect(fx->heap, GYRE_GEN_OLD), GYRE_OK);
    worker_join(&worker);
    assert_null(meeting.got);
    collect_the_rest(fx);
}

/* ---- closed ---- */

static void
get_weakly_and_drop(void)
{
    struct gyre_object *got = gyre_weakref_get(weak);
    assert_ptr_equal(got, &named->head);
    gyre_decref(got);
}

/* In the first proof, and when it is tried once more. */
static void
plan_to_keep_it_from_being_proved(void)
{
    plan(0, "flags", 1, get_weakly_and_drop);
    plan(1, "flags", 3, get_weakly_and_drop);
}

/* Covers docs/design/concurrent.md .closed: what weak gets touch again and
 * again, and let go of, is collected in the same cycle. */
static void
test_set_that_weak_gets_keep_touching_is_collected(void **state)
{
    struct fixture *fx = *state;
    make_ring(plain_node_new(fx), plain_node_new(fx));
    plan_to_keep_it_from_being_proved();
    collect(fx);
    assert_int_equal(fixture_live(fx), 0);
    assert_null(gyre_weakref_get(weak));
}

/* The same with a finalizer, which runs once, with the set open. */
static void
test_set_that_is_closed_is_finalized_once(void **state)
{
    struct fixture *fx = *state;
    make_ring(node_new(fx), plain_node_new(fx));
    fx->on_finalize = NULL;
    plan_to_keep_it_from_being_proved();
    collect(fx);
    assert_int_equal(fixture_live(fx), 0);
    assert_int_equal(fixture_finalized(fx), 1);
}

static void
bring_back_named(struct node *node)
{
    (void)node;
    if (held == NULL)
        held = gyre_weakref_get(weak);
}

/* Covers docs/design/concurrent.md .closed: what its finalizer brings back
 * lives. */
static void
test_set_that_is_closed_can_be_brought_back(void **state)
{
    struct fixture *fx = *state;
    make_ring(plain_node_new(fx), node_new(fx));
    fx->on_finalize = bring_back_named;
    plan_to_keep_it_from_being_proved();
    collect(fx);
    assert_ptr_equal(held, &named->head);
    assert_int_equal(fixture_live(fx), 2);
    assert_ptr_equal(gyre_slot_peek(&named->left), &mate->head);
    collect_the_rest(fx);
    assert_int_equal(fixture_finalized(fx), 1);
}

static void
say_that_it_waits(void)
{
    say(&meeting.waits);
}

static void
get_closed(struct fixture *fx, struct gyre_thread *self, void *arg)
{
    (void)fx, (void)arg;
    while (gyre_load_acquire(&meeting.begin) == 0) /* pairs: say() */
        gyre_safepoint(self);
    plan(3, "weak get armed", 1, say_that_it_waits);
    meeting.got = gyre_weakref_get(weak);
}

static void
have_the_other_get(void)
{
    say(&meeting.begin);
    wait_for(&meeting.waits);
}

/* Covers docs/design/concurrent.md .closed: a weak get of a member waits for
 * what becomes of it. */
static void
test_weak_get_of_a_closed_set_finds_nothing(void **state)
{
    struct fixture *fx = *state;
    struct worker worker;
    memset(&meeting, 0, sizeof meeting);
    make_ring(plain_node_new(fx), plain_node_new(fx));
    worker_start(&worker, fx, get_closed, NULL);
    plan_to_keep_it_from_being_proved();
    plan(2, "closed", 1, have_the_other_get);
    assert_int_equal(gyre_collect(fx->heap, GYRE_GEN_OLD), GYRE_OK);
    worker_join(&worker);
    assert_null(meeting.got);
    assert_int_equal(fixture_live(fx), 0);
}

/* Covers docs/design/concurrent.md .closed: a set that lives after all is
 * found by who has waited. */
static void
test_weak_get_of_what_was_closed_in_vain_finds_it(void **state)
{
    struct fixture *fx = *state;
    struct worker worker;
    struct gyre_object *kept;
    memset(&meeting, 0, sizeof meeting);
    make_ring(plain_node_new(fx), plain_node_new(fx));
    worker_start(&worker, fx, get_closed, NULL);
    plan(0, "flags", 1, get_weakly_and_drop);
    plan(1, "flags", 3, get_weakly); /* and keep it */
    plan(2, "closed", 1, have_the_other_get);
    assert_int_equal(gyre_collect(fx->heap, GYRE_GEN_OLD), GYRE_OK);
    worker_join(&worker);
    kept = meeting.got;
    assert_ptr_equal(kept, &named->head);
    assert_int_equal(fixture_live(fx), 2);
    gyre_decref(kept);
    collect_the_rest(fx);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_member_named_after_its_slots_were_read_lives),
        TEST(test_reference_moved_after_its_slot_was_read_keeps_what_it_names),
        TEST(test_reference_that_is_away_for_a_pass_keeps_what_it_names),
        TEST(test_member_named_before_its_finalizer_runs_lives_with_the_rest),
        TEST(test_member_that_dies_before_finalizers_run_is_finalized_once),
        TEST(test_member_named_while_finalizers_run_lives_with_the_rest),
        TEST(test_member_named_before_the_lock_keeps_its_component),
        TEST(test_member_named_before_it_is_saved_is_no_garbage),
        TEST(test_weak_get_that_waited_for_the_lock_does_not_find_the_dead),
        TEST(test_set_that_weak_gets_keep_touching_is_collected),
        TEST(test_set_that_is_closed_is_finalized_once),
        TEST(test_set_that_is_closed_can_be_brought_back),
        TEST(test_weak_get_of_a_closed_set_finds_nothing),
        TEST(test_weak_get_of_what_was_closed_in_vain_finds_it),
    };
    return cmocka_run_group_tests_name("interleavings", tests, NULL, NULL);
}
