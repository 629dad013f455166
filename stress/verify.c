/* The quiescent point: threads meet, what is put off is done, shadows are
 * merged, and one thread, the checker, compares.
 *
 * While it does, the others wait detached. Automatic collection is off from
 * the meeting to its end, so that one collection, the checker's, has to find
 * everything. */
#include <inttypes.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "node.h"
#include "run.h"

#define DRAINS_MOST 1000
#define PATIENCE_NS UINT64_C(2000000000)

static uint64_t
load(const _Atomic uint64_t *counter)
{
    /* seq_cst: the checker compares two readings around its look; whatever
     * moves them shows in the second one */
    return atomic_load_explicit(counter, memory_order_seq_cst);
}

/* ---- collections, as they happen ---- */

static void
on_event(enum gyre_event event, uint64_t value, void *arg)
{
    (void)value;
    (void)arg;
    if (event == GYRE_EVENT_COLLECT_BEGIN)
        atomic_fetch_add_explicit(&run.collections_begun, 1,
                                  memory_order_seq_cst);
    else if (event == GYRE_EVENT_COLLECT_END)
        atomic_fetch_add_explicit(&run.collections_ended, 1,
                                  memory_order_seq_cst);
}

void
verify_listen(struct gyre_heap *heap)
{
    gyre_events_listen(heap, on_event, NULL);
}

/* ---- drain ---- */

/* All that callbacks have ever told. */
static uint64_t
events_so_far(void)
{
    return report_sum(TALLY_FREED) + report_sum(TALLY_FINALIZED) +
           report_sum(TALLY_FINALIZED_PROMPTLY) +
           report_sum(TALLY_RESURRECTED) + report_sum(TALLY_WEAK_CALLED);
}

/* Until a whole round of all threads brings nothing new: a merge may kill,
 * a death may queue to another thread, a finalizer may do either. */
static void
drain(struct worker *w)
{
    for (unsigned i = 0;; i++) {
        enum gyre_status status = gyre_quiesce(run.heap);
        if (status != GYRE_OK)
            oracle_fail(FAILURE_LIBRARY, 0, "gyre_quiesce: %s",
                        gyre_status_text(status));
        worker_meet(w);
        if (w->id == 0) {
            uint64_t events = events_so_far();
            run.settled =
                i >= 1 && events == run.events &&
                load(&run.collections_begun) == load(&run.collections_ended);
            run.events = events;
            if (i == DRAINS_MOST)
                oracle_fail(FAILURE_LIBRARY, 0,
                            "no rest after %d rounds of gyre_quiesce",
                            DRAINS_MOST);
        }
        worker_meet(w);
        if (run.settled)
            return;
    }
}

/* ---- roots ---- */

/* Every handle is a root; together they must be what `held` says. */
static void
root(uint32_t index)
{
    shadow_mark(index);
    record_of(index)->in_degree++;
}

static void
roots_of_worker(const struct worker *w)
{
    for (unsigned i = 0; i < w->handle_count; i++)
        root(w->handles[i].index);
    for (unsigned i = 0; i < w->anchor_count; i++)
        root(w->anchors[i].index);
    for (unsigned i = 0; i < w->kept_count; i++)
        root(w->kept[i].index);
    for (unsigned i = 0; i < w->weak_count; i++)
        shadow_mark_weak(w->weaks[i].weak);
    for (unsigned i = 0; i < w->open_count; i++)
        shadow_mark_weak(w->open[i].weak);
}

static void
roots_of_ring(const struct ring *ring)
{
    uint32_t count = ring_count(ring);
    /* relaxed: nothing runs */
    uint32_t head = atomic_load_explicit(&ring->head, memory_order_relaxed);
    for (uint32_t i = 0; i < count; i++) {
        const struct ring_entry *entry =
            &ring->entries[(head + i) % RING_ENTRIES];
        if (entry->kind == RING_WEAK)
            shadow_mark_weak(entry->index);
        else
            root(entry->index);
    }
}

/* R: what the threads' handles, the queues and the resurrected reach.
 * Returns an object whose `held` differs from the handles there are, or 0. */
static uint32_t
mark(void)
{
    uint32_t odd = 0;
    unsigned threads = run.settings.threads;
    uint32_t end = oracle.record_next;
    for (uint32_t index = 1; index < end; index++)
        record_of(index)->in_degree = 0;
    shadow_mark_begin();
    for (unsigned i = 0; i < threads; i++)
        roots_of_worker(run.workers[i]);
    for (unsigned i = 0; i < threads * threads; i++)
        roots_of_ring(&run.rings[i]);
    for (unsigned i = 0; i < run.adopted_count; i++)
        root(run.adopted[i].index);
    for (unsigned i = 0; i < node_resurrected_count(); i++)
        root(node_resurrected(i).index);
    for (uint32_t index = 1; index < end; index++) {
        if (record_of(index)->in_degree != held_count(oracle_held(index)))
            odd = index;
    }
    shadow_mark_end();
    return odd;
}

static void
mark_at_rest(void)
{
    uint32_t odd = mark();
    if (odd != 0)
        oracle_bug(odd, "held differs from the handles there are");
}

/* ---- the looks ---- */

/* Logs of shared slots leave one content each; gyre's slots must have it. */
static void
merge_shared(void)
{
    struct shadow_log *logs[THREADS_MOST];
    for (unsigned i = 0; i < run.settings.threads; i++)
        logs[i] = &run.workers[i]->log;
    if (!shadow_merge(logs, run.settings.threads, run.shared, run.shared_count))
        oracle_bug(0, "no memory to merge the logs of shared slots");
    for (uint32_t i = 0; i < run.shared_count; i++) {
        const struct shadow_shared *slot = &run.shared[i];
        struct gyre_object *holder = record_of(slot->holder)->where;
        struct gyre_object *found =
            gyre_slot_peek(node_slot(holder, slot->slot));
        if (slot->content == 0) {
            if (found != NULL)
                oracle_fail(FAILURE_SLOT, slot->holder,
                            "shared slot %" PRIu32 " should be empty",
                            slot->slot);
            continue;
        }
        oracle_check_alive(slot->content, "a shared slot names it");
        node_expect(found, slot->content);
    }
}

/* Look before any collection. One may still have been under way on gyre's
 * own thread when automatic collection was switched off, with finalizers and
 * callbacks to run after it. So a look that finds something is taken again,
 * for a while; what is lost stays lost. */
static void
look_before(void)
{
    uint64_t until = 0;
    while (mark() != 0 || !shadow_check_before(false)) {
        uint64_t now = clock_ns();
        if (until == 0)
            until = now + PATIENCE_NS;
        if (now > until) {
            mark_at_rest();
            shadow_check_before(true);
            break;
        }
        gyre_quiesce(run.heap);
        sched_yield();
        progress_note();
    }
    shadow_weaks_before();
}

static void
check_counts(void)
{
    for (uint32_t index = 1; index < oracle.record_next; index++) {
        const struct record *record = record_of(index);
        int64_t due, found;
        if (!oracle_is_alive(index))
            continue;
        due = (int64_t)record->in_degree + held_count(oracle_held(index));
        found = gyre_reference_count(record->where);
        if (found != due)
            oracle_fail(FAILURE_COUNT, index,
                        "its count is %" PRId64 ", but %" PRIu32
                        " slots and %" PRIu32 " threads refer to it",
                        found, record->in_degree,
                        held_count(oracle_held(index)));
        if (index % 4096 == 0)
            progress_note();
    }
}

/* After a leak was found: garbage that has more references than slots that
 * name it is what kept the rest alive. */
static void
explain_leaks(void)
{
    unsigned named = 0;
    for (uint32_t index = 1; index < oracle.record_next && named < 5; index++) {
        const struct record *record = record_of(index);
        int64_t found;
        if (!oracle_is_alive(index) || shadow_reached(index))
            continue;
        found = gyre_reference_count(record->where);
        if (found == record->in_degree)
            continue;
        fprintf(stderr,
                "gyre-stress: leaked: node %" PRIu32 " (type %s, serial "
                "%" PRIu64 ", %s%s) has count %" PRId64 ", but %" PRIu32
                " slots name it\n",
                record->node, graph_type_name(&run.graph, record->node),
                oracle_serial(index), gyre_type_of(record->where)->name,
                oracle_state(index) == ORACLE_FINALIZED ? ", finalized" : "",
                found, record->in_degree);
        named++;
    }
}

/* Reached weak references answer as their targets are. */
static void
ask_weak(struct gyre_object *weakref, uint32_t weak)
{
    uint32_t target = oracle.weaks[weak].target;
    struct gyre_object *obj = gyre_weakref_get(weakref);
    if (obj == NULL && shadow_reached(target))
        oracle_fail(FAILURE_WEAK, target,
                    "reachable, but a weak reference answers NULL");
    if (obj != NULL && !shadow_reached(target))
        oracle_fail(FAILURE_WEAK, target,
                    "unreachable, but a weak reference gives it");
    if (obj != NULL) {
        node_expect(obj, target);
        gyre_decref(obj);
    }
}

static void
ask_weaks_of(uint32_t index)
{
    const struct record *record = record_of(index);
    for (uint32_t i = 0; i < record->slot_count; i++) {
        uint32_t shadow = oracle.slots[record->slots_at + i];
        struct gyre_object *weakref;
        if (!(shadow & SHADOW_WEAK))
            continue;
        weakref = gyre_slot_peek(node_slot(record->where, i));
        if (weakref == NULL)
            oracle_fail(FAILURE_SLOT, index,
                        "slot %" PRIu32 " has lost its weak reference", i);
        else
            ask_weak(weakref, shadow & ~SHADOW_WEAK);
    }
}

static void
ask_weaks(void)
{
    unsigned threads = run.settings.threads;
    for (uint32_t index = 1; index < oracle.record_next; index++) {
        if (shadow_reached(index))
            ask_weaks_of(index);
    }
    for (unsigned i = 0; i < threads; i++) {
        const struct worker *w = run.workers[i];
        for (unsigned k = 0; k < w->weak_count; k++)
            ask_weak(w->weaks[k].weakref, w->weaks[k].weak);
        for (unsigned k = 0; k < w->open_count; k++)
            ask_weak(w->open[k].weakref, w->open[k].weak);
    }
}

struct found {
    uint64_t containers, leaves;
};

static int
find_one(struct gyre_object *obj, void *arg)
{
    struct found *found = arg;
    if (gyre_type_of(obj)->flags & GYRE_TYPE_LEAF)
        found->leaves++;
    else
        found->containers++;
    return 0;
}

static void
check_number(const char *where, const char *what, uint64_t found, uint64_t due)
{
    if (found != due)
        oracle_fail(FAILURE_LEAK, 0, "%s %" PRIu64 " %s, but %" PRIu64 " live",
                    where, found, what, due);
}

/* Objects that a walk finds, and blocks that gyre counts as in use (which a
 * block lost on its way back is), against the objects there are. */
static void
check_blocks(const struct shadow_census *census)
{
    const struct gyre_statistics *now = &run.statistics;
    uint64_t containers = census->alive - census->leaves;
    uint64_t leaves = census->leaves + census->weaks;
    struct found found = {0};
    gyre_heap_walk(run.heap, find_one, &found);
    check_number("a walk finds", "containers", found.containers, containers);
    check_number("a walk finds", "leaves and weak references", found.leaves,
                 leaves);
    pthread_mutex_lock(&run.lock);
    gyre_statistics_get(run.heap, &run.statistics);
    gyre_statistics_histogram(run.heap, GYRE_HIST_STOP, &run.stops);
    pthread_mutex_unlock(&run.lock);
    check_number("in use are", "blocks of containers",
                 now->blocks_in_use[GYRE_PAGE_CONTAINER], containers);
    check_number("in use are", "blocks of leaves and weak references",
                 now->blocks_in_use[GYRE_PAGE_LEAF], leaves);
}

static void
look_after(bool exact, bool may_be_alive)
{
    struct shadow_census census;
    uint64_t leaks;
    mark_at_rest();
    leaks = oracle_failures(FAILURE_LEAK);
    shadow_check_after(exact, &census);
    if (oracle_failures(FAILURE_LEAK) > leaks)
        explain_leaks();
    shadow_weaks_after(exact);
    ask_weaks();
    run.quiescent_points++;
    if (exact) {
        check_blocks(&census);
        /* relaxed: a hint to the one that watches the time */
        atomic_store_explicit(&run.paths_taken, report_missed(false) == 0,
                              memory_order_relaxed);
    }
    if (run.settings.verify) {
        check_counts();
        gyre_heap_check(run.heap);
    }
    if (exact && !may_be_alive && census.alive != 0)
        oracle_fail(FAILURE_LEAK, 0,
                    "%" PRIu64 " objects live after the end of a round",
                    census.alive);
}

/* The one full collection. False: it had no memory. */
static bool
collect(void)
{
    enum gyre_status status;
    /* relaxed: the others wait; this thread and those it wakes through gyre
     * run the finalizers */
    atomic_store_explicit(&oracle_reachable, shadow_reach(),
                          memory_order_relaxed);
    status = gyre_collect(run.heap, GYRE_GEN_OLD);
    if (status == GYRE_ERR_NOMEM)
        run.collections_refused++;
    else if (status != GYRE_OK)
        oracle_fail(FAILURE_LIBRARY, 0, "gyre_collect: %s",
                    gyre_status_text(status));
    return status == GYRE_OK;
}

/* What finalizers brought back belongs to the threads from now on. */
static void
adopt(void)
{
    unsigned room = run.adopted_count + node_resurrected_count();
    struct handle *adopted = realloc(run.adopted, (room + 1) * sizeof *adopted);
    struct resurrected r;
    if (adopted == NULL)
        oracle_bug(0, "no memory for resurrected objects");
    run.adopted = adopted;
    while (run.adopted_count < room && node_resurrected_pop(&r))
        run.adopted[run.adopted_count++] = (struct handle){r.obj, r.index};
}

void
verify_meet(struct worker *w, bool may_be_alive)
{
    bool exact = true;
    worker_meet(w);
    if (w->id == 0)
        gyre_collect_disable(run.heap);
    worker_meet(w);
    drain(w);
    if (w->id == 0) {
        merge_shared();
        look_before();
        exact = collect();
    }
    worker_meet(w);
    drain(w);
    if (w->id == 0) {
        /* relaxed: the others wait at the next meeting */
        atomic_store_explicit(&oracle_reachable, NULL, memory_order_relaxed);
        look_after(exact, may_be_alive);
        adopt();
        gyre_collect_enable(run.heap);
    }
    worker_meet(w);
}
