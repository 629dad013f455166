/* What the mutators of `latency` do. A step of their loop is some slot
 * operations, a ring of garbage when one is due, a little of an island that is
 * to be dropped, and a safepoint; what lies between two steps is a gap, whoever
 * caused it: the collector, the allocator, the system. See latency.h. */
#include "latency.h"

#include <stdlib.h>

#include "random.h"
#include "run.h"

/* Garbage that is behind its rate is made up for by so many rings a step. */
#define RINGS_A_STEP 4u
/* Weak references that are asked when a component is about to be given up, one
 * after the other, and the time by then at most. */
#define WEAK_GETS 16u
#define WEAK_DELAY_NS 20000u
/* Where no component is, they are asked each so many steps. */
#define WEAK_STEPS (1u << 15)
/* Weak gets may put an island's end off, collection by collection. */
#define COLLECT_TRIES 20u

/* A loop's times and choices. */
struct loop {
    uint64_t begin, from, until; /* ns */
    uint64_t next_drop;
    uint64_t dice, made;
    double rings_a_ns;
};

/* A tree of `count` items. NULL: no memory. */
static struct item *
tree_new(struct gyre_thread *self, uint64_t count)
{
    struct item **items = malloc(count * sizeof *items), *root;
    if (items == NULL)
        return NULL;
    for (uint64_t i = 0; i < count; i++) {
        struct item *parent = i > 0 ? items[(i - 1) / 2] : NULL;
        items[i] = item_new();
        if (items[i] == NULL) {
            if (i > 0)
                gyre_decref(&items[0]->head);
            free(items);
            return NULL;
        }
        if (parent != NULL)
            gyre_slot_move(&parent->head,
                           i % 2 != 0 ? &parent->left : &parent->right,
                           &items[i]->head);
        if (i % 256 == 0)
            gyre_safepoint(self);
    }
    root = items[0];
    free(items);
    return root;
}

/* A control breaks it by hand. */
static bool
make_garbage(void)
{
    struct item *first = item_new(), *last = first;
    for (unsigned i = 1; last != NULL && i < LATENCY_RING; i++) {
        struct item *next = item_new();
        if (next != NULL)
            gyre_slot_move(&last->head, &last->left, &next->head);
        last = next;
    }
    if (last != NULL)
        gyre_slot_set(&last->head, &last->left, &first->head);
    if (last != NULL && latency_run.set.collector == COLLECTOR_NONE)
        gyre_slot_set(&last->head, &last->left, NULL);
    if (first != NULL)
        gyre_decref(&first->head);
    return last != NULL;
}

/* Down the tree, by chance, and the two below are changed over. */
static void
small_work(struct item *root, uint64_t dice)
{
    struct item *at = root;
    for (;; dice >>= 1) {
        struct gyre_slot *slot = (dice & 1) != 0 ? &at->left : &at->right;
        struct item *next = (struct item *)gyre_slot_peek(slot);
        if (next == NULL || dice == 0)
            break;
        at = next;
    }
    if (gyre_slot_peek(&at->left) != NULL &&
        gyre_slot_peek(&at->right) != NULL) {
        struct gyre_object *left = gyre_slot_take(&at->head, &at->left);
        struct gyre_object *right = gyre_slot_take(&at->head, &at->right);
        gyre_slot_move(&at->head, &at->left, right);
        gyre_slot_move(&at->head, &at->right, left);
    }
}

/* ---- the island ---- */

/* Ask for a collection, and go on, as a program may that knows what it
 * dropped. */
static void
ask_for_end(void)
{
    latency_run.awaited = gyre_load_relaxed(&latency_run.old_begun) + 1;
    (void)gyre_collect_request(latency_run.heap, GYRE_GEN_OLD);
}

/* Whether a collection is over that began when it was dropped already. */
static bool
is_collected(void)
{
    /* acquire; pairs: count_old() */
    return (int32_t)(gyre_load_acquire(&latency_run.old_ended) -
                     latency_run.awaited) >= 0;
}

static bool
is_alive(const struct island *island)
{
    struct gyre_object *obj = NULL;
    if (island->weak_count > 0)
        obj = gyre_weakref_get(island->weaks[island->weaks_made - 1]);
    if (obj != NULL)
        gyre_decref(obj);
    return obj != NULL;
}

static void
drop(void)
{
    island_drop(&latency_run.island);
    latency_run.drops++;
    latency_run.tries = 0;
    /* release; pairs: weak_work() */
    gyre_store_release(&latency_run.is_dropped, 1);
    ask_for_end();
}

static void
await_end(void)
{
    if (!is_collected())
        return;
    if (is_alive(&latency_run.island) && ++latency_run.tries < COLLECT_TRIES)
        ask_for_end();
    else
        gyre_store_relaxed(&latency_run.is_dropped, 0); /* relaxed: a sign */
}

/* Build on it, or drop it when it is time. In a control it stays. Mutator 0. */
static bool
island_work(struct loop *loop, uint64_t now)
{
    const struct latency_settings *set = &latency_run.set;
    struct island *island = &latency_run.island;
    if (gyre_load_relaxed(&latency_run.is_dropped) != 0) { /* ours */
        await_end();
        return true;
    }
    if (island->stage < ISLAND_BUILT && loop->next_drop < loop->until)
        island_step(island);
    if (island->stage == ISLAND_BUILT && now >= loop->next_drop &&
        set->collector != COLLECTOR_NONE) {
        drop();
        loop->next_drop = set->every > 0
                              ? loop->next_drop + (uint64_t)(set->every * 1e9)
                              : UINT64_MAX;
    }
    return island->stage != ISLAND_FAILED;
}

static struct gyre_object *
timed_get(struct latency_mutator *mutator, struct gyre_object *weakref)
{
    uint64_t begin = clock_ns();
    struct gyre_object *obj = gyre_weakref_get(weakref);
    gyre_histogram_add(&mutator->weak_gets, clock_ns() - begin);
    return obj;
}

/* Until one says that the island is gone. */
static void
ask_weakly(struct latency_mutator *mutator, struct loop *loop)
{
    const struct island *island = &latency_run.island;
    /* acquire; pairs: make_weak() */
    uint64_t made = gyre_load_acquire(&island->weaks_made);
    bool alive = made >= island->weak_count;
    for (unsigned i = 0; alive && i < WEAK_GETS; i++) {
        uint64_t at = made - 1 - random_below(&loop->dice, island->weak_count);
        struct gyre_object *obj = timed_get(mutator, island->weaks[at]);
        alive = obj != NULL;
        if (alive)
            gyre_decref(obj);
    }
}

/* When its end is near, a moment later: before, while and after it is. */
static void
weak_work(struct latency_mutator *mutator, struct loop *loop)
{
    uint32_t commits;
    if (latency_run.set.collector != COLLECTOR_CONCURRENT) {
        if (random_below(&loop->dice, WEAK_STEPS) == 0)
            ask_weakly(mutator, loop);
        return;
    }
    /* relaxed: a sign */
    commits = gyre_load_relaxed(&latency_run.commits);
    if (commits == mutator->commits_seen)
        return;
    mutator->commits_seen = commits;
    /* acquire; pairs: drop() */
    if (gyre_load_acquire(&latency_run.is_dropped) != 0) {
        uint64_t until = clock_ns() + random_below(&loop->dice, WEAK_DELAY_NS);
        while (clock_ns() < until)
            ;
        ask_weakly(mutator, loop);
    }
}

/* ---- the loop ---- */

static bool
one_step(struct latency_mutator *mutator, struct loop *loop, uint64_t now)
{
    const struct latency_settings *set = &latency_run.set;
    uint64_t due = (uint64_t)((double)(now - loop->begin) * loop->rings_a_ns);
    bool ok = true;
    small_work(mutator->live, random_next(&loop->dice) >> 32);
    for (unsigned i = 0; i < RINGS_A_STEP && loop->made < due; i++)
        ok &= make_garbage(), loop->made++;
    if (mutator->id == 0 && (set->island > 0 || set->heap_file != NULL))
        ok &= island_work(loop, now);
    if (set->weak > 0 && mutator->id == set->threads - 1)
        weak_work(mutator, loop);
    return ok;
}

static struct loop
loop_of(const struct latency_settings *set)
{
    struct loop loop = {.begin = clock_ns()};
    uint64_t ns = (uint64_t)(set->seconds * 1e9);
    loop.from = loop.begin + LATENCY_BEGIN_NS;
    loop.until = loop.from + ns;
    loop.next_drop =
        loop.from + (set->every > 0 ? (uint64_t)(set->every * 1e9) : ns / 2);
    loop.dice = loop.begin;
    loop.rings_a_ns = (double)set->rate / set->threads / LATENCY_RING / 1e9;
    return loop;
}

static void
work(struct latency_mutator *mutator, struct gyre_thread *self)
{
    struct loop loop = loop_of(&latency_run.set);
    uint64_t before = loop.begin, now = before;
    bool measures = false;
    while (now < loop.until && !mutator->failed) {
        mutator->failed = !one_step(mutator, &loop, now);
        gyre_safepoint(self);
        now = clock_ns();
        if (measures) {
            gaps_add(&mutator->gaps, before, now - before);
            mutator->steps++;
        } else if (now >= loop.from) {
            measures = true;
            if (mutator->id == 0)
                latency_watch_begin();
            now = clock_ns();
        }
        before = now;
    }
    mutator->rings = loop.made;
}

/* Not before all have ended what they hold is given up, which takes long.
 * Detached. */
static void
end_together(const struct latency_mutator *mutator)
{
    if (mutator->id == 0)
        latency_helper_end();
    pthread_barrier_wait(&latency_run.ended);
}

void *
latency_mutator_main(void *arg)
{
    struct latency_mutator *mutator = arg;
    const struct latency_settings *set = &latency_run.set;
    struct gyre_thread *self;
    bool attached = gyre_thread_attach(latency_run.heap, &self) == GYRE_OK;
    if (attached)
        mutator->live = tree_new(self, set->live / set->threads);
    mutator->failed = mutator->live == NULL ||
                      pthread_getcpuclockid(pthread_self(), &mutator->clock);
    if (attached)
        gyre_detach_begin(self);
    pthread_barrier_wait(&latency_run.built);
    if (!attached) {
        end_together(mutator);
        return NULL;
    }
    gyre_detach_end(self);
    if (!mutator->failed)
        work(mutator, self);
    if (mutator->id == 0)
        latency_watch_end();
    gyre_detach_begin(self);
    end_together(mutator);
    gyre_detach_end(self);
    if (mutator->id == 0)
        island_end(&latency_run.island);
    if (mutator->live != NULL)
        gyre_decref(&mutator->live->head);
    gyre_thread_leave(self);
    return NULL;
}
