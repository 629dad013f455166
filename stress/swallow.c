/* An object that holds its own only reference now and then, and another that
 * is taken out of it and put back: what a collector beside the program
 * suspects wrongly, arms, and must not take for garbage. */
#include <sched.h>

#include "mixes.h"
#include "random.h"

#define SWALLOWS 3
#define WAIT_NS 700000

/* So often before another takes its place, which is young again. */
#define USES 6

/* One for each worker, of one round: an anchor of its. */
static struct {
    struct handle handle;
    uint64_t round; /* plus one; 0: none */
    unsigned uses, place;
} own[THREADS_MOST];

/* A node with two slots that a table declares. */
static bool
pick_small(struct worker *w, uint32_t *node)
{
    for (unsigned tries = 0; tries < 64 && run.container_count > 0; tries++) {
        uint32_t edges;
        *node = run.containers[random_below(&w->random, run.container_count)];
        edges = graph_edges_of(&run.graph, *node);
        if (edges >= 2 && edges <= NODE_INLINE_MOST && edges % 5 != 4)
            return true;
    }
    return false;
}

static void
drop_own(struct worker *w)
{
    struct handle h = own[w->id].handle;
    unsigned place = own[w->id].place;
    own[w->id].round = 0;
    if (place >= w->anchor_count || w->anchors[place].obj != h.obj)
        return; /* others came after it; it goes with the round */
    w->anchors[place] = w->anchors[--w->anchor_count];
    handle_drop(h.obj, h.index);
}

static bool
make_own(struct worker *w)
{
    uint64_t round = 1 + run.rounds_done;
    uint32_t node, index;
    struct node *made;
    if (own[w->id].round == round && own[w->id].uses++ < USES)
        return true;
    if (own[w->id].round == round)
        drop_own(w);
    if (!pick_small(w, &node))
        return false;
    made = node_new(&w->shares, node, w->id, &index);
    if (made == NULL)
        return false;
    if (!anchor_add(w, &made->head, index)) {
        handle_drop(&made->head, index);
        return false;
    }
    own[w->id].handle = (struct handle){&made->head, index};
    own[w->id].round = round;
    own[w->id].uses = 0;
    own[w->id].place = w->anchor_count - 1;
    return true;
}

/* Something for it to hold. */
static void
fill(struct worker *w, struct handle h)
{
    struct record *record = record_of(h.index);
    uint32_t index;
    struct node *made;
    if (oracle.slots[record->slots_at + 1] != 0)
        return;
    /* of the same kind, and so in the same page as a rule */
    made = node_new(&w->shares, record->node, w->id, &index);
    if (made == NULL)
        return;
    gyre_slot_set(h.obj, node_slot(h.obj, 1), &made->head);
    oracle.slots[record->slots_at + 1] = index;
    handle_drop(&made->head, index);
}

/* As long as a collection takes to look at everything. No safepoint: what is
 * borrowed meanwhile stays so. */
static void
wait_here(void)
{
    uint64_t until = clock_ns() + WAIT_NS;
    while (clock_ns() < until)
        sched_yield();
}

/* Take the reference out of a slot, wait, put it back. */
static void
take_and_put(struct gyre_object *obj, unsigned slot)
{
    struct gyre_object *ref = gyre_slot_take(obj, node_slot(obj, slot));
    wait_here();
    (void)gyre_slot_exchange(obj, node_slot(obj, slot), ref);
}

void
op_swallow(struct worker *w)
{
    struct handle h;
    if (!make_own(w))
        return;
    h = own[w->id].handle;
    oracle_check_alive(h.index, "it holds itself");
    fill(w, h);
    for (unsigned i = 0; i < SWALLOWS; i++) {
        struct gyre_slot *slot = node_slot(h.obj, 0);
        struct gyre_object *was = gyre_slot_exchange(h.obj, slot, h.obj);
        wait_here();
        if (gyre_slot_exchange(h.obj, slot, was) != h.obj)
            oracle_fail(FAILURE_SLOT, h.index, "it does not hold itself");
        take_and_put(h.obj, 1);
        gyre_safepoint(w->self);
    }
    tally_add(TALLY_SWALLOW, 1);
    tally_add(TALLY_OPERATIONS, 1);
}
