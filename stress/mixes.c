/* The mixes: what threads do to the heap between quiescent points.
 *
 * An operation picks what it works on by chance, checks with the oracle that
 * it may, does one or a few things through gyre, and notes them in the
 * shadow. Holders are reached by walking from what the worker holds, through
 * holders that it may write, with borrowed pointers; no operation reaches a
 * safepoint while it has one. */
#include "mixes.h"

#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "random.h"

#define WALK_MOST 4
#define DICE 1024
#define CASCADE_BUDGET 64

struct choice {
    void (*operation)(struct worker *w);
    unsigned mixes; /* those that have it */
    unsigned weight;
};

static void (*dice[DICE])(struct worker *w);

static void
count(enum tally_id id)
{
    tally_add(id, 1);
    tally_add(TALLY_OPERATIONS, 1);
}

/* ---- picking ---- */

bool
pick_handle(struct worker *w, struct handle *h, unsigned *at)
{
    if (w->handle_count == 0)
        return false;
    *at = random_below(&w->random, w->handle_count);
    *h = w->handles[*at];
    oracle_check_alive(h->index, "a held reference to it is used");
    return true;
}

/* Take the handle out of the worker's list; its reference is the caller's. */
void
handle_remove(struct worker *w, unsigned at)
{
    w->handles[at] = w->handles[--w->handle_count];
}

/* A holder that the worker may write, borrowed; from anywhere it can walk. */
bool
pick_holder(struct worker *w, struct pick *p)
{
    uint64_t chance = random_next(&w->random);
    struct handle at;
    p->holder = NULL;
    if (w->anchor_count > 0 && (chance % 4 == 0 || w->handle_count == 0))
        at = w->anchors[random_below(&w->random, w->anchor_count)];
    else if (w->handle_count > 0)
        at = w->handles[random_below(&w->random, w->handle_count)];
    else
        return false;
    oracle_check_alive(at.index, "a held reference to it is used");
    for (unsigned step = 0;; step++) {
        struct record *record = record_of(at.index);
        uint32_t slot, value;
        if (oracle_writer(at.index) != w->id || record->slot_count == 0)
            break;
        p->holder = at.obj;
        p->index = at.index;
        p->record = record;
        chance >>= 2;
        if (step == WALK_MOST || chance % 4 == 0)
            break;
        slot = random_below(&w->random, record->slot_count);
        value = oracle.slots[record->slots_at + slot];
        if (value == 0 || value & SHADOW_WEAK)
            break;
        oracle_check_alive(value, "a slot names it");
        at.obj = gyre_slot_peek(node_slot(at.obj, slot));
        at.index = value;
        node_expect(at.obj, value);
        count(TALLY_PEEK);
    }
    return p->holder != NULL;
}

static void
pick_at(struct pick *p, uint32_t slot)
{
    p->slot = slot;
    p->shadow = &oracle.slots[p->record->slots_at + slot];
    p->at = node_slot(p->holder, slot);
}

/* A strong slot, empty or not, of a holder that the worker may write. */
static bool
pick_slot(struct worker *w, struct pick *p)
{
    if (!pick_holder(w, p))
        return false;
    for (unsigned tries = 0; tries < 3; tries++) {
        pick_at(p, random_below(&w->random, p->record->slot_count));
        if (!(*p->shadow & SHADOW_WEAK))
            return true;
    }
    return false;
}

static bool
pick_full_slot(struct worker *w, struct pick *p)
{
    if (!pick_slot(w, p) || *p->shadow == 0)
        return false;
    oracle_check_alive(*p->shadow, "a slot names it");
    return true;
}

/* ---- plain slots and references ---- */

static void
op_get(struct worker *w)
{
    struct pick p;
    struct gyre_object *ref;
    if (!pick_full_slot(w, &p))
        return;
    ref = gyre_slot_get(p.at);
    node_expect(ref, *p.shadow);
    oracle_take(*p.shadow);
    handle_add(w, ref, *p.shadow);
    count(TALLY_GET);
}

static void
op_set(struct worker *w)
{
    struct pick p;
    struct handle h;
    unsigned i;
    if (!pick_handle(w, &h, &i) || !pick_slot(w, &p))
        return;
    gyre_slot_set(p.holder, p.at, h.obj);
    *p.shadow = h.index;
    count(TALLY_SET);
}

static void
op_move(struct worker *w)
{
    struct pick p;
    struct handle h;
    unsigned i;
    if (!pick_handle(w, &h, &i) || !pick_slot(w, &p))
        return;
    /* the holder may have been reached through this very handle: the slot
     * has its reference before anything is dropped, so it cannot be the
     * last one that goes, unless the holder closes on itself and dies with
     * its own cycle, later */
    handle_remove(w, i);
    oracle_drop(h.index);
    *p.shadow = h.index;
    gyre_slot_move(p.holder, p.at, h.obj);
    count(TALLY_MOVE);
}

static void
op_take(struct worker *w)
{
    struct pick p;
    struct gyre_object *ref;
    uint32_t index;
    if (!pick_full_slot(w, &p))
        return;
    index = *p.shadow;
    ref = gyre_slot_take(p.holder, p.at);
    *p.shadow = 0;
    node_expect(ref, index);
    oracle_take(index);
    handle_add(w, ref, index);
    count(TALLY_TAKE);
}

static void
op_exchange(struct worker *w)
{
    struct pick p;
    struct handle h;
    struct gyre_object *old;
    uint32_t index;
    unsigned i;
    if (!pick_handle(w, &h, &i) || !pick_full_slot(w, &p))
        return;
    index = *p.shadow;
    handle_remove(w, i);
    oracle_drop(h.index);
    old = gyre_slot_exchange(p.holder, p.at, h.obj);
    *p.shadow = h.index;
    node_expect(old, index);
    oracle_take(index);
    handle_add(w, old, index);
    count(TALLY_EXCHANGE);
}

static void
op_clear(struct worker *w)
{
    struct pick p;
    if (!pick_full_slot(w, &p))
        return;
    *p.shadow = 0;
    gyre_slot_move(p.holder, p.at, NULL);
    count(TALLY_CLEAR);
}

static void
op_duplicate(struct worker *w)
{
    struct handle h;
    unsigned i;
    if (!pick_handle(w, &h, &i))
        return;
    gyre_incref(h.obj);
    oracle_take(h.index);
    handle_add(w, h.obj, h.index);
    count(TALLY_DUPLICATE);
}

static void
op_drop(struct worker *w)
{
    struct handle h;
    unsigned i;
    if (w->handle_count < 64 || !pick_handle(w, &h, &i))
        return;
    handle_remove(w, i);
    handle_drop(h.obj, h.index);
    tally_add(TALLY_DROP, 1);
}

static void
op_unique(struct worker *w)
{
    struct handle h;
    unsigned i;
    if (!pick_handle(w, &h, &i))
        return;
    if (gyre_is_unique(h.obj) && held_count(oracle_held(h.index)) != 1)
        oracle_fail(FAILURE_COUNT, h.index,
                    "said to be unique, but %u references are held",
                    held_count(oracle_held(h.index)));
    count(TALLY_UNIQUE);
}

/* ---- new objects ---- */

/* A node that a mix may build anew. */
static uint32_t
pick_node(struct worker *w)
{
    uint32_t node;
    do {
        node = random_below(&w->random, run.graph.node_count);
    } while (graph_edges_of(&run.graph, node) > NEW_EDGES_MOST &&
             run.container_count > 0);
    return node;
}

static void
op_new(struct worker *w)
{
    uint32_t index;
    struct node *made = node_new(&w->shares, pick_node(w), w->id, &index);
    struct pick p;
    if (made == NULL)
        return;
    tally_add(TALLY_NEW, 1);
    builder_fill(w, &made->head, index, NEW_EDGES_MOST);
    handle_add(w, &made->head, index);
    if (random_next(&w->random) % 2 == 0 && pick_slot(w, &p)) {
        oracle_check_alive(index, "just made");
        gyre_slot_set(p.holder, p.at, &made->head);
        *p.shadow = index;
        count(TALLY_SET);
    }
}

/* A ring of new objects that nothing else refers to, weak references aside. */
static void
op_cycle(struct worker *w)
{
    struct handle ring[8];
    unsigned size = 1 + random_below(&w->random, 8), made = 0;
    if (run.container_count == 0)
        return;
    while (made < size) {
        uint32_t node =
            run.containers[random_below(&w->random, run.container_count)];
        struct node *obj = node_new(&w->shares, node, w->id, &ring[made].index);
        if (obj == NULL)
            break;
        ring[made++].obj = &obj->head;
    }
    for (unsigned i = 0; i < made; i++) {
        struct handle next = ring[(i + 1) % made];
        struct record *record = record_of(ring[i].index);
        gyre_slot_set(ring[i].obj, node_slot(ring[i].obj, 0), next.obj);
        oracle.slots[record->slots_at] = next.index;
        builder_fill(w, ring[i].obj, ring[i].index, 4);
        count(TALLY_SET);
    }
    if (made > 0 && run.settings.mix & MIX_WEAK) {
        uint32_t weak;
        struct gyre_object *ref = weak_new(w, ring[0], &weak);
        if (ref != NULL)
            weak_add(w, ref, weak);
    }
    for (unsigned i = 0; i < made; i++)
        handle_drop(ring[i].obj, ring[i].index);
    if (made > 0)
        tally_add(TALLY_CYCLE, 1);
}

/* ---- arrays ---- */

static bool
pick_array(struct worker *w, struct pick *p)
{
    for (unsigned tries = 0; tries < 8 && w->anchor_count > 0; tries++) {
        struct handle h = w->anchors[random_below(&w->random, w->anchor_count)];
        oracle_check_alive(h.index, "a held reference to it is used");
        if (oracle_writer(h.index) == w->id && node_has_array(h.obj)) {
            p->holder = h.obj;
            p->index = h.index;
            p->record = record_of(h.index);
            return true;
        }
    }
    return false;
}

static void
array_append(struct worker *w, struct pick *p)
{
    struct handle h;
    unsigned i;
    if (!pick_handle(w, &h, &i))
        return;
    gyre_incref(h.obj);
    if (gyre_array_append(p->holder, &((struct node *)p->holder)->edges.array,
                          h.obj) != GYRE_OK) {
        gyre_decref(h.obj);
        tally_add(TALLY_REFUSED, 1);
        return;
    }
    oracle.slots[p->record->slots_at + p->record->slot_count++] = h.index;
    count(TALLY_ARRAY_APPEND);
}

static void
array_pop(struct worker *w, struct pick *p)
{
    uint32_t shadow =
        oracle.slots[p->record->slots_at + --p->record->slot_count];
    struct gyre_object *ref =
        gyre_array_pop(p->holder, &((struct node *)p->holder)->edges.array);
    count(TALLY_ARRAY_POP);
    if (shadow == 0) {
        if (ref != NULL)
            oracle_fail(FAILURE_SLOT, p->index,
                        "its array's empty last entry gives something");
    } else if (shadow & SHADOW_WEAK) {
        weak_drop(ref, shadow & ~SHADOW_WEAK);
    } else {
        oracle_check_alive(shadow, "an array names it");
        node_expect(ref, shadow);
        oracle_take(shadow);
        handle_add(w, ref, shadow);
    }
}

static void
op_array(struct worker *w)
{
    struct pick p;
    bool append;
    if (!pick_array(w, &p))
        return;
    append = random_next(&w->random) % 2 == 0;
    if (append &&
        p.record->slot_count < graph_edges_of(&run.graph, p.record->node))
        array_append(w, &p);
    else if (p.record->slot_count > 0)
        array_pop(w, &p);
}

/* ---- hand-over ---- */

static unsigned
pick_other(struct worker *w)
{
    unsigned threads = run.settings.threads;
    if (threads == 1)
        return 0;
    return (w->id + 1 + random_below(&w->random, threads - 1)) % threads;
}

static void
op_send(struct worker *w)
{
    struct handle h;
    unsigned i, to = pick_other(w);
    struct ring_entry entry;
    if (ring_count(run_ring(w->id, to)) == RING_ENTRIES ||
        !pick_handle(w, &h, &i))
        return;
    entry = (struct ring_entry){h.obj, h.index, RING_PLAIN};
    /* root tables stay with whom they were dealt to */
    if (oracle_writer(h.index) == w->id &&
        !graph_is_synthetic(&run.graph, record_of(h.index)->node) &&
        random_next(&w->random) % 2) {
        entry.kind = RING_RIGHT;
        oracle_set_writer(h.index, ORACLE_WRITER_NONE);
        count(TALLY_SENT_RIGHT);
    }
    handle_remove(w, i);
    ring_push(run_ring(w->id, to), entry); /* not full: we alone fill it */
    count(TALLY_SENT);
}

static void
receive(struct worker *w, struct ring_entry entry)
{
    if (entry.kind == RING_WEAK) {
        weak_add(w, entry.obj, entry.index);
        return;
    }
    oracle_check_alive(entry.index, "it was handed over");
    node_expect(entry.obj, entry.index);
    count(TALLY_RECEIVED);
    if (entry.kind == RING_RIGHT)
        oracle_set_writer(entry.index, w->id);
    if (entry.kind == RING_DISCARD)
        handle_drop(entry.obj, entry.index);
    else
        handle_add(w, entry.obj, entry.index);
}

void
op_receive(struct worker *w)
{
    struct ring *ring = run_ring(w->receive_turn, w->id);
    struct ring_entry entry;
    w->receive_turn = (w->receive_turn + 1) % run.settings.threads;
    for (unsigned i = 0; i < 8 && ring_pop(ring, &entry); i++)
        receive(w, entry);
}

/* ---- roots ---- */

static void
cut(struct pick *p)
{
    uint32_t shadow = *p->shadow;
    if (shadow & SHADOW_WEAK)
        oracle_weak_gone(shadow & ~SHADOW_WEAK, WEAK_GONE);
    *p->shadow = 0;
    gyre_slot_move(p->holder, p->at, NULL);
    count(TALLY_CUT);
}

static bool
pick_root(struct worker *w, struct pick *p)
{
    struct handle h;
    if (w->root_count == 0)
        return false;
    h = w->anchors[random_below(&w->random, w->root_count)];
    oracle_check_alive(h.index, "a root");
    p->holder = h.obj;
    p->index = h.index;
    p->record = record_of(h.index);
    if (p->record->slot_count == 0)
        return false;
    pick_at(p, random_below(&w->random, p->record->slot_count));
    return true;
}

static void
op_cut(struct worker *w)
{
    struct pick p;
    struct handle h;
    unsigned i;
    if (!pick_root(w, &p))
        return;
    if (*p.shadow != 0) {
        cut(&p);
    } else if (pick_handle(w, &h, &i)) {
        gyre_slot_set(p.holder, p.at, h.obj);
        *p.shadow = h.index;
        count(TALLY_SET);
    }
}

/* At a phase's begin: a sixteenth of all roots at once. */
static void
cut_many(struct worker *w)
{
    for (unsigned i = 0; i < w->root_count; i++) {
        struct pick p = {.holder = w->anchors[i].obj,
                         .index = w->anchors[i].index,
                         .record = record_of(w->anchors[i].index)};
        uint32_t slot = random_below(&w->random, 16);
        for (; slot < p.record->slot_count; slot += 16) {
            pick_at(&p, slot);
            if (*p.shadow != 0)
                cut(&p);
        }
        gyre_safepoint(w->self);
    }
}

/* ---- rare ones ---- */

/* More references than a local count has room for. */
static void
op_spill(struct worker *w)
{
    uint32_t index;
    struct node *made = node_new(&w->shares, pick_node(w), w->id, &index);
    if (made == NULL)
        return;
    for (unsigned i = 0; i < 70000; i++)
        gyre_incref(&made->head);
    for (unsigned i = 0; i < 70000; i++)
        gyre_decref(&made->head);
    handle_drop(&made->head, index);
    count(TALLY_SPILL);
}

static void
op_detach(struct worker *w)
{
    gyre_detach_begin(w->self);
    sched_yield();
    gyre_detach_end(w->self);
    count(TALLY_DETACH);
}

/* Give objects of our own away, to be dropped by others, and leave without
 * another safepoint, so that what they queue to us is still there. */
static void
leave_full(struct worker *w)
{
    unsigned to = pick_other(w), sent = 0;
    struct ring *ring = run_ring(w->id, to);
    if (run.settings.threads == 1)
        return;
    while (ring_count(ring) < RING_ENTRIES) {
        uint32_t index;
        struct node *made = node_new(&w->shares, pick_node(w), w->id, &index);
        struct ring_entry entry;
        if (made == NULL)
            break;
        entry = (struct ring_entry){&made->head, index, RING_DISCARD};
        oracle_set_writer(index, ORACLE_WRITER_NONE);
        ring_push(ring, entry);
        sent++;
    }
    /* Not to wait for anything in particular, only for others to get on. */
    for (unsigned i = 0; i < 64 && ring_count(ring) > 0; i++)
        sched_yield();
    if (sent > 0 && ring_count(ring) < sent)
        count(TALLY_CHURNED_FULL);
}

static void
op_leave(struct worker *w)
{
    leave_full(w);
    w->leaving = true;
}

static void
rare_operation(struct worker *w)
{
    unsigned mix = run.settings.mix;
    w->rare = mix == MIX_CHURN ? 1500 : 12000;
    if (mix & MIX_PRIVATE && w->rare_turn % (mix == MIX_PRIVATE ? 2 : 8) == 0)
        op_swallow(w);
    switch (w->rare_turn++ % 4) {
    case 0:
        op_detach(w);
        if (mix & MIX_SHARED)
            op_locked_long(w);
        break;
    case 1:
        if (mix & MIX_PRIVATE && w->rare_turn % 32 < 4)
            op_spill(w);
        break;
    default:
        if (mix & MIX_CHURN)
            op_leave(w);
        break;
    }
}

/* ---- the choice ---- */

static const struct choice choices[] = {
    {op_get, MIX_ALL, 14},
    {op_set, MIX_ALL, 10},
    {op_move, MIX_ALL, 8},
    {op_take, MIX_ALL, 8},
    {op_exchange, MIX_ALL, 6},
    {op_clear, MIX_ALL, 4},
    {op_duplicate, MIX_ALL, 8},
    {op_drop, MIX_ALL, 20},
    {op_unique, MIX_ALL, 1},
    {op_new, MIX_ALL, 3},
    {op_cycle, MIX_ALL & ~MIX_FINALIZERS, 1},
    {op_cycle, MIX_FINALIZERS, 2},
    {op_array, MIX_ALL, 2},
    {op_send, MIX_HANDOVER | MIX_CHURN, 16},
    {op_receive, MIX_HANDOVER | MIX_CHURN, 16},
    {op_shared_exchange, MIX_SHARED, 20},
    {op_shared_get, MIX_SHARED, 10},
    {op_shared_set, MIX_SHARED, 10},
    {op_locked, MIX_SHARED, 8},
    {op_weak_new, MIX_WEAK, 4},
    {op_weak_get, MIX_WEAK, 24},
    {op_weak_drop, MIX_WEAK, 3},
    {op_weak_send, MIX_WEAK, 2},
    {op_weak_slot, MIX_WEAK, 8},
    {op_cut, MIX_CUT, 10},
};
#define CHOICES (sizeof choices / sizeof choices[0])

void
mixes_create(void)
{
    unsigned total = 0, at = 0, sum = 0;
    for (unsigned i = 0; i < CHOICES; i++) {
        if (choices[i].mixes & run.settings.mix)
            total += choices[i].weight;
    }
    for (unsigned i = 0; i < CHOICES; i++) {
        if (!(choices[i].mixes & run.settings.mix))
            continue;
        sum += choices[i].weight;
        while (at < sum * DICE / total)
            dice[at++] = choices[i].operation;
    }
    while (at < DICE)
        dice[at++] = op_get;
}

static const struct {
    const char *name;
    unsigned mix;
} mix_names[] = {
    {"private", MIX_PRIVATE},   {"handover", MIX_HANDOVER},
    {"shared", MIX_SHARED},     {"weak", MIX_WEAK},
    {"finalize", MIX_FINALIZE}, {"cut", MIX_CUT},
    {"churn", MIX_CHURN},       {"all", MIX_ALL},
};

bool
mix_by_name(const char *name, unsigned *mix)
{
    for (unsigned i = 0; i < sizeof mix_names / sizeof mix_names[0]; i++) {
        if (strcmp(name, mix_names[i].name) == 0) {
            *mix = mix_names[i].mix;
            return true;
        }
    }
    return false;
}

/* ---- the interface ---- */

/* What was set aside until the quiescent point is ordinary from now on. */
static void
adopt(struct worker *w)
{
    unsigned threads = run.settings.threads;
    while (w->kept_count > 0) {
        struct handle h = w->kept[--w->kept_count];
        handle_add(w, h.obj, h.index);
    }
    for (unsigned i = w->id; i < run.adopted_count; i += threads)
        handle_add(w, run.adopted[i].obj, run.adopted[i].index);
}

void
mixes_begin(struct worker *w)
{
    adopt(w);
    weak_open(w);
    worker_meet(w);
    if (w->id == 0) {
        run.adopted_count = 0;
        /* every other phase deaths come in small portions */
        gyre_option_set(run.heap, GYRE_OPT_CASCADE_BUDGET,
                        w->phase % 2 ? CASCADE_BUDGET : 0);
    }
    w->left = run.phase_operations;
    w->rare = 500;
    if (run.settings.mix & MIX_CUT)
        cut_many(w);
}

void
mixes_run(struct worker *w)
{
    /* The first steps are made even when time is up already, so that a short
     * run has walked every path. */
    const uint64_t must = run.phase_operations - 40000;
    for (; w->left > 0 && !w->leaving; w->left--) {
        dice[random_next(&w->random) % DICE](w);
        gyre_safepoint(w->self);
        if (__builtin_expect(--w->rare == 0, 0))
            rare_operation(w);
        if (w->left % 512 == 0) {
            progress_note();
            /* relaxed: a hint */
            if ((w->left < must || run.rounds_done > 0) &&
                atomic_load_explicit(&run.stop, memory_order_relaxed))
                w->left = 1;
        }
    }
}
