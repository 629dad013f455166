/* What comes between the steps of a collection, at each step in turn: a thread
 * that does not stop, or does not answer; a fork. The library's yield points
 * say where a collection is. */
#include <sched.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <threads/threads.h>
#include <threads/yield.h>

#include "support/owner.h"

/* ---- the collecting thread's way through the points ---- */

#define POINTS 64

static struct {
    /* const while other threads run */
    pthread_t thread; /* whose points count, or, with `others`, */
    bool others;      /* all but whose */
    /* the threads' whose points count */
    bool armed;
    const char *name; /* act at the nth of that name; NULL: write them down */
    unsigned nth, seen;
    void (*act)(void);
    bool acted;
    const char *names[POINTS]; /* as they are met */
    unsigned times[POINTS], count;
} way;

static void
write_down(const char *point)
{
    for (unsigned i = 0; i < way.count; i++)
        if (strcmp(way.names[i], point) == 0) {
            way.times[i]++;
            return;
        }
    GYRE_CHECK(way.count < POINTS, "too many points");
    way.names[way.count] = point;
    way.times[way.count++] = 1;
}

static void
come_to(const char *point)
{
    if ((pthread_equal(way.thread, pthread_self()) != 0) == way.others ||
        !way.armed)
        return;
    if (way.name == NULL) {
        write_down(point);
    } else if (strcmp(way.name, point) == 0 && !way.acted &&
               ++way.seen == way.nth) {
        way.acted = true;
        way.act();
    }
}

/* Before the other threads of a test are made; it begins with `armed`. */
static void
act_at(const char *name, unsigned nth, void (*act)(void))
{
    memset(&way, 0, sizeof way);
    way.thread = pthread_self();
    way.name = name;
    way.nth = nth;
    way.act = act;
    gyre_yield_watch(come_to);
}

/* ---- garbage of all kinds ---- */

#define RINGS 60

static int finalizable; /* objects made that have a finalizer */

static void
make_garbage(struct fixture *fx)
{
    finalizable += RINGS / 3;
    for (int i = 0; i < RINGS; i++) {
        struct node *a = i % 3 == 0 ? node_new(fx) : plain_node_new(fx);
        struct node *b = plain_node_new(fx);
        node_link(a, b);
        node_link(b, a);
        if (i % 5 == 0) {
            struct gyre_object *weak;
            assert_int_equal(gyre_weakref_new(&b->head, NULL, NULL, &weak),
                             GYRE_OK);
            gyre_slot_move(&a->head, &a->right, weak);
        }
        if (i % 7 == 0) {
            struct owner *owner = owner_new(fx, &owner_type);
            gyre_slot_set(&owner->head, &owner->own, &owner->head);
            gyre_slot_move(&b->head, &b->right, &owner->head);
        }
        node_drop(a);
        node_drop(b);
    }
}

static struct gyre_statistics
statistics_of(const struct fixture *fx)
{
    struct gyre_statistics statistics;
    gyre_statistics_get(fx->heap, &statistics);
    return statistics;
}

/* ---- a thread that does not poll ---- */

#define SHORT ",thread.stop_timeout=50"

static struct {
    uint32_t met, wanted, busy, over; /* atomic */
} stubborn;

static void
be_stubborn_when_told(struct fixture *fx, struct gyre_thread *self, void *arg)
{
    (void)fx, (void)arg;
    gyre_thread_set_name(self, "stubborn one");
    /* relaxed, all: flags with nothing behind them */
    gyre_store_relaxed(&stubborn.met, 1);
    while (gyre_load_relaxed(&stubborn.over) == 0) {
        while (gyre_load_relaxed(&stubborn.wanted) != 0) {
            gyre_store_relaxed(&stubborn.busy, 1);
            sched_yield(); /* no safepoint */
        }
        gyre_store_relaxed(&stubborn.busy, 0);
        gyre_safepoint(self);
    }
}

/* No stop is wanted now, so it is on its way to the look at `wanted`. */
static void
make_it_stubborn(void)
{
    gyre_store_relaxed(&stubborn.wanted, 1);
    while (gyre_load_relaxed(&stubborn.busy) == 0)
        sched_yield();
}

static void
open_with_stubborn(struct fixture *fx, struct worker *worker,
                   const char *options)
{
    memset(&stubborn, 0, sizeof stubborn);
    finalizable = 0;
    fixture_open(fx, options);
    worker_start(worker, fx, be_stubborn_when_told, NULL);
    while (gyre_load_relaxed(&stubborn.met) == 0)
        gyre_safepoint(fx->self);
    make_garbage(fx);
}

/* The collection timed out, said who it was, and the next finds all. */
static void
assert_named_and_found(struct fixture *fx, enum gyre_status status)
{
    struct gyre_statistics seen = statistics_of(fx);
    assert_int_equal(status, GYRE_ERR_TIMEOUT);
    assert_true(seen.stop_timeouts >= 1);
    assert_true(seen.slowest_stop_ns >= 50000000);
    assert_string_equal(seen.slowest_thread, "stubborn one");
    assert_int_equal(seen.abandoned, 1);
    gyre_store_relaxed(&stubborn.wanted, 0);
    assert_int_equal(
        gyre_option_set(fx->heap, GYRE_OPT_THREAD_STOP_TIMEOUT, 60000),
        GYRE_OK);
    assert_int_equal(gyre_heap_check(fx->heap), GYRE_OK);
    assert_int_equal(gyre_collect(fx->heap, GYRE_GEN_OLD), GYRE_OK);
    assert_int_equal(fixture_live(fx), 0);
    assert_int_equal(fixture_finalized(fx), finalizable);
}

static void
close_with_stubborn(struct fixture *fx, struct worker *worker)
{
    gyre_yield_watch(NULL);
    gyre_store_relaxed(&stubborn.wanted, 0);
    gyre_store_relaxed(&stubborn.over, 1);
    worker_join(worker);
    assert_int_equal(gyre_heap_check(fx->heap), GYRE_OK);
    fixture_close(fx);
}

/* Covers docs/design/concurrent.md .close.abandon: each handshake and each
 * stop of a cycle in turn times out. */
static void
test_each_wait_of_a_cycle_times_out_and_names_the_thread(void **state)
{
    static const char *const before_waits[] = {"shake", "slice"};
    unsigned timeouts = 0;
    (void)state;
    for (unsigned k = 0; k < 2; k++)
        for (unsigned n = 1;; n++) {
            struct fixture fx;
            struct worker worker;
            enum gyre_status status;
            act_at(before_waits[k], n, make_it_stubborn);
            open_with_stubborn(&fx, &worker,
                               "gc.automatic=0,gc.thread=0,gc.concurrent=1,"
                               "gc.check=1" SHORT);
            way.armed = true;
            status = gyre_collect(fx.heap, GYRE_GEN_OLD);
            gyre_yield_watch(NULL);
            if (!way.acted && status == GYRE_ERR_TIMEOUT) {
                n--; /* a slow machine: once more */
                way.acted = true;
            } else if (way.acted) {
                assert_named_and_found(&fx, status);
                timeouts++;
            } else {
                assert_int_equal(status, GYRE_OK);
                assert_int_equal(fixture_live(&fx), 0);
            }
            close_with_stubborn(&fx, &worker);
            if (!way.acted)
                break;
        }
    /* OPEN's handshakes; stops to trace, to arm, to arm again, to check */
    assert_true(timeouts >= 7);
}

static void
make_it_stubborn_here(struct node *node)
{
    (void)node;
    if (gyre_load_relaxed(&stubborn.wanted) == 0)
        make_it_stubborn();
}

/* Covers docs/design/cycle.md .cycle .fail: the second stop of a cycle in
 * stops times out, when finalizers have run. */
static void
test_second_stop_times_out_and_names_the_thread(void **state)
{
    struct fixture fx;
    struct worker worker;
    enum gyre_status status;
    (void)state;
    open_with_stubborn(&fx, &worker,
                       "gc.automatic=0,gc.thread=0,gc.concurrent=0" SHORT);
    fx.on_finalize = make_it_stubborn_here;
    status = gyre_collect(fx.heap, GYRE_GEN_OLD);
    fx.on_finalize = NULL;
    assert_int_equal(fixture_finalized(&fx), finalizable);
    assert_named_and_found(&fx, status);
    close_with_stubborn(&fx, &worker);
}

/* ---- fork ---- */

/* A machine with much else to do stops late, but stops. No thread of the heap's
 * for its pages: one that is being made when another forks may hold locks of
 * the address sanitizer's, which the child then finds taken. */
#define LONG ",thread.stop_timeout=60000,memory.return_delay=0"

/* Little more than a collector can keep up with, but always some: a collection
 * that was given up is asked for by later births. */
static void
make_some_garbage(struct fixture *fx)
{
    if (fixture_live(fx) < 20000) {
        make_garbage(fx);
    } else {
        struct node *node = plain_node_new(fx);
        node_link(node, node);
        node_drop(node);
        sched_yield();
    }
    gyre_safepoint(fx->self);
}

/* In a child an assertion of the test's would end in the parent's harness. */
#define CHILD_CHECK(condition)                                             \
    do {                                                                   \
        if (!(condition)) {                                                \
            fprintf(stderr, "child: line %d: %s\n", __LINE__, #condition); \
            _exit(3);                                                      \
        }                                                                  \
    } while (0)

static struct {
    bool detached;          /* const while the forker runs */
    uint32_t met, go, over; /* atomic */
    int kept;               /* objects that live in the child */
} forker;

/* The child has the forking thread alone, and a heap that is whole. */
static void
live_in_child(struct fixture *fx, struct gyre_thread *self)
{
    struct gyre_statistics seen;
    uint64_t before = statistics_of(fx).collected;
    fx->self = self;
    CHILD_CHECK(gyre_collect(fx->heap, GYRE_GEN_OLD) == GYRE_OK);
    CHILD_CHECK(fixture_live(fx) == forker.kept);
    CHILD_CHECK(fixture_finalized(fx) == finalizable);
    CHILD_CHECK(gyre_heap_check(fx->heap) == GYRE_OK);
    make_garbage(fx);
    CHILD_CHECK(gyre_collect(fx->heap, GYRE_GEN_OLD) == GYRE_OK);
    CHILD_CHECK(fixture_live(fx) == forker.kept);
    /* and automatically, on a thread of its own where there is one */
    before = statistics_of(fx).collected;
    if (gyre_option_get(fx->heap, GYRE_OPT_GC_AUTOMATIC) != 0)
        do {
            make_some_garbage(fx);
            seen = statistics_of(fx);
        } while (seen.collected == before);
    CHILD_CHECK(gyre_heap_check(fx->heap) == GYRE_OK);
    gyre_thread_leave(self);
    CHILD_CHECK(gyre_heap_destroy(fx->heap) == GYRE_OK);
    CHILD_CHECK(fixture_live(fx) == 0);
    _exit(0);
}

static void
fork_when_told(struct fixture *fx, struct gyre_thread *self, void *arg)
{
    int status = 0;
    pid_t pid;
    (void)arg;
    gyre_store_relaxed(&forker.met, 1);
    if (forker.detached)
        gyre_detach_begin(self);
    /* relaxed, all: flags with nothing behind them */
    while (gyre_load_relaxed(&forker.go) == 0) {
        if (!forker.detached)
            gyre_safepoint(self);
        sched_yield();
    }
    pid = fork();
    if (pid == 0)
        gyre_yield_watch(NULL);
    if (forker.detached)
        gyre_detach_end(self);
    if (pid == 0)
        live_in_child(fx, self);
    gyre_detach_begin(self);
    GYRE_CHECK(pid > 0 && waitpid(pid, &status, 0) == pid &&
                   WIFEXITED(status) && WEXITSTATUS(status) == 0,
               "the child of a fork at \"%s\" %u is not well: %x",
               way.name != NULL ? way.name : "nowhere", way.nth, status);
    gyre_detach_end(self);
}

/* The other is inside fork() when the collection goes on. */
static void
have_it_forked(void)
{
    gyre_store_relaxed(&forker.go, 1);
    while (!gyre_fork_gate_is_closed())
        sched_yield();
}

static void
open_with_forker(struct fixture *fx, struct worker *worker, const char *options,
                 bool detached)
{
    memset(&forker, 0, sizeof forker);
    finalizable = 0;
    forker.detached = detached;
    forker.kept = 1;
    fixture_open(fx, options);
    worker_start(worker, fx, fork_when_told, NULL);
    while (gyre_load_relaxed(&forker.met) == 0)
        gyre_safepoint(fx->self);
}

/* A fork at the nth point of the name, while this thread collects. */
static void
fork_at(const char *options, const char *name, unsigned nth, bool detached)
{
    struct fixture fx;
    struct worker worker;
    struct node *kept;
    act_at(name, nth, have_it_forked);
    open_with_forker(&fx, &worker, options, detached);
    kept = plain_node_new(&fx);
    make_garbage(&fx);
    way.armed = true;
    assert_int_equal(gyre_collect(fx.heap, GYRE_GEN_OLD), GYRE_OK);
    gyre_yield_watch(NULL);
    gyre_store_relaxed(&forker.go, 1); /* if it was not told */
    worker_join(&worker);
    assert_int_equal(gyre_collect(fx.heap, GYRE_GEN_OLD), GYRE_OK);
    assert_int_equal(fixture_live(&fx), 1);
    assert_int_equal(fixture_finalized(&fx), finalizable);
    assert_int_equal(gyre_heap_check(fx.heap), GYRE_OK);
    node_drop(kept);
    fixture_close(&fx);
}

/* The points of one collection. */
static void
find_points(const char *options)
{
    struct fixture fx;
    act_at(NULL, 0, NULL);
    fixture_open(&fx, options);
    make_garbage(&fx);
    way.armed = true;
    assert_int_equal(gyre_collect(fx.heap, GYRE_GEN_OLD), GYRE_OK);
    gyre_yield_watch(NULL);
    assert_int_equal(fixture_live(&fx), 0);
    fixture_close(&fx);
}

/* Points at which a stop may be wanted or a lock is held: a thread that polls
 * would wait there, instead of forking. */
static bool
is_quiet(const char *point)
{
    static const char *const quiet[] = {
        "shake",     "suspect", "between pages", "arm",         "slice",
        "prove",     "flags",   "finalize",      "take member", "save",
        "weak lock", "reclaim", "close",         "commit",      "count member"};
    for (unsigned i = 0; i < sizeof quiet / sizeof *quiet; i++)
        if (strcmp(point, quiet[i]) == 0)
            return true;
    return false;
}

static unsigned
fork_everywhere(const char *options)
{
    unsigned count, times[POINTS];
    const char *names[POINTS];
    find_points(options);
    count = way.count;
    memcpy(names, way.names, sizeof names);
    memcpy(times, way.times, sizeof times);
    for (unsigned i = 0; i < count; i++) {
        /* the first, one in the middle, the last */
        unsigned nth[3] = {1, times[i] / 2, times[i]};
        for (unsigned k = 0; k < (FIXTURE_IS_SLOW ? 1 : 3); k++) {
            if (nth[k] == 0 || (k > 0 && nth[k] == nth[k - 1]))
                continue;
            fork_at(options, names[i], nth[k], true);
            if (is_quiet(names[i]))
                fork_at(options, names[i], nth[k], false);
        }
    }
    return count;
}

/* Covers docs/design/concurrent.md .close.abandon, docs/design/heap.md
 * .heap.fork: in the child what was garbage is collected, and finalized once;
 * so it is in the parent. */
static void
test_fork_at_each_point_of_a_cycle(void **state)
{
    (void)state;
    /* every phase has its points */
    assert_true(fork_everywhere(
                    "gc.automatic=0,gc.thread=0,gc.concurrent=1" LONG) >= 12);
}

/* Covers docs/design/heap.md .heap.fork: the same where the world is stopped
 * for all of it. */
static void
test_fork_at_each_point_of_a_cycle_in_a_stop(void **state)
{
    (void)state;
    assert_true(fork_everywhere(
                    "gc.automatic=0,gc.thread=0,gc.concurrent=0" LONG) >= 2);
}

/* Covers docs/design/heap.md .heap.fork: the heap's own thread is somewhere in
 * a cycle of its own accord; the child has another in its place. */
static void
test_fork_while_the_heaps_thread_is_at_each_point(void **state)
{
    static const char *const points[] = {
        "shake", "suspect",  "between pages", "arm",       "slice",   "prove",
        "flags", "finalize", "save",          "weak lock", "reclaim", "close"};
    (void)state;
    for (unsigned i = 0; i < sizeof points / sizeof *points; i++) {
        struct fixture fx;
        struct worker worker;
        act_at(points[i], 1, have_it_forked);
        way.others = way.armed = true;
        open_with_forker(
            &fx, &worker,
            "gc.concurrent=1,gc.threshold0=500,gc.threshold1=2" LONG,
            i % 2 == 0);
        forker.kept = 0;
        while (gyre_load_relaxed(&forker.go) == 0)
            make_some_garbage(&fx);
        gyre_yield_watch(NULL);
        worker_join(&worker);
        assert_int_equal(gyre_collect(fx.heap, GYRE_GEN_OLD), GYRE_OK);
        assert_int_equal(fixture_live(&fx), 0);
        assert_int_equal(fixture_finalized(&fx), finalizable);
        assert_int_equal(gyre_heap_check(fx.heap), GYRE_OK);
        fixture_close(&fx);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(
            test_each_wait_of_a_cycle_times_out_and_names_the_thread),
        cmocka_unit_test(test_second_stop_times_out_and_names_the_thread),
        cmocka_unit_test(test_fork_at_each_point_of_a_cycle),
        cmocka_unit_test(test_fork_at_each_point_of_a_cycle_in_a_stop),
        cmocka_unit_test(test_fork_while_the_heaps_thread_is_at_each_point),
    };
    return cmocka_run_group_tests_name("interrupted", tests, NULL, NULL);
}
