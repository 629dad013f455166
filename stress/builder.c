/* Building the snapshot's heap, all workers together or a copy each.
 *
 * First every worker makes its nodes, then it links them, to nodes of the
 * others too; then it gives up the references it built with, but for a
 * sample that it goes on from. */
#include <stdlib.h>
#include <string.h>

#include "node.h"
#include "random.h"
#include "run.h"

#define ANCHORS_FEW 16
#define ANCHORS_MANY 512
#define SHARED_HOLDERS_MOST 256
#define SHARED_EDGES_MOST 64
#define BLOCK 64 /* nodes in a row that one worker builds */

static bool
is_mine(const struct worker *w, uint32_t node)
{
    return run.settings.copies || node / BLOCK % run.settings.threads == w->id;
}

static uint32_t *
built_row(const struct worker *w)
{
    uint64_t copy = run.settings.copies ? w->id : 0;
    return run.built + copy * run.graph.node_count;
}

/* Nodes whose slots all threads write: none with a weak edge, and no leaf.
 * Half of them are written under their lock. */
static bool
is_shared(uint32_t node)
{
    const struct graph *graph = &run.graph;
    uint32_t edges = graph_edges_of(graph, node);
    if (!(run.settings.mix & MIX_SHARED) || edges == 0 ||
        edges > SHARED_EDGES_MOST || graph_is_synthetic(graph, node) ||
        random_hash(run.settings.seed + 2, node) % 64 > 1)
        return false;
    for (uint32_t i = 0; i < edges; i++) {
        if (graph->to[graph->first[node] + i] & GRAPH_EDGE_WEAK)
            return false;
    }
    return true;
}

static bool
is_locked(uint32_t node)
{
    return random_hash(run.settings.seed + 2, node) % 64 == 1;
}

/* ---- the steps ---- */

static void
make_nodes(struct worker *w, uint32_t *built)
{
    for (uint32_t node = 0; node < run.graph.node_count; node++) {
        uint32_t index;
        if (!is_mine(w, node))
            continue;
        built[node] = node_new(&w->shares, node, w->id, &index) ? index : 0;
        if (node % 64 == 0) {
            progress_note();
            gyre_safepoint(w->self);
        }
    }
}

/* Give edge `i` of a holder what it leads to. */
static void
link_edge(struct worker *w, struct gyre_object *holder, uint32_t index,
          uint32_t i, struct handle to, bool weak)
{
    struct record *record = record_of(index);
    struct gyre_object *value = to.obj;
    uint32_t shadow = to.index;
    if (to.index == 0) {
        value = NULL;
    } else if (weak) {
        value = weak_new(w, to, &shadow);
        shadow = value == NULL ? 0 : shadow | SHADOW_WEAK;
    } else {
        oracle_check_alive(to.index, "an edge to it is built");
        gyre_incref(value);
    }
    tally_add(TALLY_OPERATIONS, 1);
    if (!node_has_array(holder)) {
        oracle.slots[record->slots_at + i] = shadow;
        gyre_slot_move(holder, node_slot(holder, i), value);
        return;
    }
    if (gyre_array_append(holder, &((struct node *)holder)->edges.array,
                          value) == GYRE_OK) {
        oracle.slots[record->slots_at + record->slot_count++] = shadow;
        return;
    }
    tally_add(TALLY_REFUSED, 1);
    if (shadow & SHADOW_WEAK)
        weak_drop(value, shadow & ~SHADOW_WEAK);
    else if (value != NULL)
        gyre_decref(value);
}

static void
link_nodes(struct worker *w, const uint32_t *built)
{
    const struct graph *graph = &run.graph;
    for (uint32_t node = 0; node < graph->node_count; node++) {
        const uint32_t *to = &graph->to[graph->first[node]];
        uint32_t edges = graph_edges_of(graph, node);
        struct gyre_object *holder;
        if (!is_mine(w, node) || built[node] == 0)
            continue;
        holder = record_of(built[node])->where;
        for (uint32_t i = 0; i < edges; i++) {
            uint32_t target = built[to[i] & ~GRAPH_EDGE_WEAK];
            struct handle h = {target ? record_of(target)->where : NULL,
                               target};
            link_edge(w, holder, built[node], i, h,
                      (to[i] & GRAPH_EDGE_WEAK) != 0);
        }
        gyre_safepoint(w->self);
        if (node % 64 == 0)
            progress_note();
    }
}

/* The runtime's root tables are dealt out, so that every worker has some to
 * cut; whoever gets one becomes its writer. */
static void
take_roots(struct worker *w, const uint32_t *built)
{
    unsigned turn = 0;
    for (uint32_t node = 0; node < run.graph.node_count; node++) {
        uint32_t index = built[node];
        struct gyre_object *obj;
        if (!graph_is_synthetic(&run.graph, node))
            continue;
        if (!run.settings.copies && turn++ % run.settings.threads != w->id)
            continue;
        if (index == 0)
            continue;
        obj = record_of(index)->where;
        if (!anchor_add(w, obj, index))
            continue;
        gyre_incref(obj);
        oracle_take(index);
        oracle_set_writer(index, w->id);
    }
    w->root_count = w->anchor_count;
}

/* Worker 0, alone: from here on these holders are everybody's. */
static void
share_holders(struct worker *w, const uint32_t *built)
{
    unsigned holders = 0;
    for (uint32_t node = 0; node < run.graph.node_count; node++) {
        uint32_t index = built[node];
        struct record *record = record_of(index);
        if (index == 0 || !is_shared(node) || is_locked(node) ||
            run.shared_count + record->slot_count > run.shared_room ||
            !anchor_add(w, record->where, index))
            continue;
        gyre_incref(record->where);
        oracle_take(index);
        oracle_set_writer(index, ORACLE_WRITER_SHARED);
        for (uint32_t i = 0; i < record->slot_count; i++) {
            uint32_t content = oracle.slots[record->slots_at + i];
            /* what was stored plainly is stored again, so that gyre knows
             * that others may come for it */
            gyre_slot_set_shared(record->where, node_slot(record->where, i),
                                 content == 0 ? NULL
                                              : record_of(content)->where);
            run.shared[run.shared_count++] =
                (struct shadow_shared){index, i, content};
        }
        run.was_shared = true;
        if (++holders == SHARED_HOLDERS_MOST)
            break;
    }
}

/* Worker 0, alone: from here on these holders belong to who locks them. */
static void
lock_holders(struct worker *w, const uint32_t *built)
{
    for (uint32_t node = 0; node < run.graph.node_count; node++) {
        uint32_t index = built[node];
        struct record *record = record_of(index);
        if (index == 0 || !is_shared(node) || !is_locked(node) ||
            !anchor_add(w, record->where, index))
            continue;
        gyre_incref(record->where);
        oracle_take(index);
        oracle_set_writer(index, ORACLE_WRITER_LOCKED);
        run.locked[run.locked_count++] = (struct handle){record->where, index};
        run.was_locked = true;
        if (run.locked_count == SHARED_HOLDERS_MOST)
            break;
    }
}

/* Give up the reference that each node was built with, or keep it. */
static void
let_go(struct worker *w, const uint32_t *built)
{
    unsigned most = run.settings.mix == MIX_CUT ? ANCHORS_FEW : ANCHORS_MANY;
    uint32_t mine = run.graph.node_count;
    uint32_t stride, nth = 0;
    unsigned anchors = 0;
    if (!run.settings.copies)
        mine /= run.settings.threads;
    stride = mine / (most + HANDLES_MOST / 2) + 1;
    for (uint32_t node = 0; node < run.graph.node_count; node++) {
        uint32_t index = built[node];
        struct gyre_object *obj;
        bool sampled;
        if (!is_mine(w, node) || index == 0)
            continue;
        obj = record_of(index)->where;
        sampled = ++nth % stride == 0;
        if (!graph_is_synthetic(&run.graph, node) &&
            oracle_writer(index) == w->id &&
            graph_edges_of(&run.graph, node) > 0 && anchors < most &&
            (sampled || node_has_array(obj)) && anchor_add(w, obj, index)) {
            anchors++;
        } else if (sampled && w->handle_count < HANDLES_MOST / 2) {
            handle_add(w, obj, index);
        } else {
            handle_drop(obj, index);
        }
        gyre_safepoint(w->self);
        if (node % 64 == 0)
            progress_note();
    }
}

/* ---- the interface ---- */

void
builder_build(struct worker *w)
{
    uint32_t *built = built_row(w);
    make_nodes(w, built);
    worker_meet(w);
    link_nodes(w, built);
    worker_meet(w);
    take_roots(w, built);
    if (w->id == 0) {
        share_holders(w, built);
        lock_holders(w, built);
    }
    worker_meet(w);
    let_go(w, built);
}

void
builder_fill(struct worker *w, struct gyre_object *obj, uint32_t index,
             unsigned most)
{
    uint32_t node = record_of(index)->node;
    const uint32_t *to = &run.graph.to[run.graph.first[node]];
    uint32_t edges = graph_edges_of(&run.graph, node);
    const uint32_t *shadow = &oracle.slots[record_of(index)->slots_at];
    bool array = node_has_array(obj);
    if (edges > most)
        edges = most;
    for (uint32_t i = 0; i < edges && w->handle_count > 0; i++) {
        struct handle h = w->handles[random_below(&w->random, w->handle_count)];
        if (array || shadow[i] == 0)
            link_edge(w, obj, index, i, h, (to[i] & GRAPH_EDGE_WEAK) != 0);
    }
}

bool
builder_create(void)
{
    const struct graph *graph = &run.graph;
    uint64_t copies = run.settings.copies ? run.settings.threads : 1;
    run.built = calloc(copies * graph->node_count, sizeof *run.built);
    run.containers = calloc(graph->node_count, sizeof *run.containers);
    run.shared_room = SHARED_HOLDERS_MOST * SHARED_EDGES_MOST;
    run.shared = calloc(run.shared_room, sizeof *run.shared);
    run.locked = calloc(SHARED_HOLDERS_MOST, sizeof *run.locked);
    if (!run.built || !run.containers || !run.shared || !run.locked)
        return false;
    for (uint32_t node = 0; node < graph->node_count; node++) {
        uint32_t edges = graph_edges_of(graph, node);
        if (edges > 0 && edges <= NODE_INLINE_MOST &&
            !graph_is_synthetic(graph, node) &&
            !(graph->to[graph->first[node]] & GRAPH_EDGE_WEAK))
            run.containers[run.container_count++] = node;
    }
    return true;
}

void
builder_destroy(void)
{
    free(run.built);
    free(run.containers);
    free(run.shared);
    free(run.locked);
}
