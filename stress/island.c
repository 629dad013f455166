/* Islands of garbage. See island.h. */
#include "island.h"

#include <stdlib.h>
#include <string.h>

/* Of one step: objects, or edges. */
#define PORTION 16u

static const uint32_t item_slots[] = {offsetof(struct item, left),
                                      offsetof(struct item, right)};
struct gyre_type item_type = {
    .name = "item",
    .size = sizeof(struct item),
    .slot_count = 2,
    .slots = item_slots,
};

/* Nodes of a graph: a type for every size of what they have besides edges. */
#define SIZES 8u
static const uint32_t sizes[SIZES] = {24, 40, 56, 88, 152, 280, 536, 1048};
static struct gyre_type node_types[SIZES], leaf_types[SIZES];

bool
island_types(void)
{
    for (unsigned i = 0; i < SIZES; i++) {
        node_types[i] =
            (struct gyre_type){.name = "node of a snapshot",
                               .size = sizes[i],
                               .item_size = sizeof(struct gyre_slot),
                               .item_slot = 1};
        leaf_types[i] = (struct gyre_type){.name = "leaf of a snapshot",
                                           .size = sizes[i],
                                           .flags = GYRE_TYPE_LEAF};
        if (gyre_type_ready(&node_types[i]) != GYRE_OK ||
            gyre_type_ready(&leaf_types[i]) != GYRE_OK)
            return false;
    }
    return gyre_type_ready(&item_type) == GYRE_OK;
}

bool
island_create(struct island *island, unsigned most)
{
    island->weak_room = island->weak_count * most;
    island->weaks = calloc(island->weak_room + 1, sizeof *island->weaks);
    if (island->graph != NULL)
        island->nodes =
            calloc(island->graph->node_count, sizeof *island->nodes);
    return island->weaks != NULL &&
           (island->graph == NULL || island->nodes != NULL);
}

void
island_destroy(struct island *island)
{
    free(island->weaks);
    free(island->nodes);
}

static void
advance(struct island *island, enum island_stage stage)
{
    island->stage = stage;
    island->at = 0;
    island->edge = island->filled = 0;
}

/* ---- a ring ---- */

/* One in so many is referred to weakly. */
static bool
make_weak(struct island *island, struct item *item)
{
    uint64_t *made = &island->weaks_made;
    if (island->weak_count == 0 ||
        island->at % (island->count / island->weak_count) != 0 ||
        *made == island->weak_room)
        return true;
    if (gyre_weakref_new(&item->head, NULL, NULL, &island->weaks[*made]) !=
        GYRE_OK)
        return false;
    /* release; pairs: ask_weakly(). The reference is there. */
    gyre_store_release(made, *made + 1);
    return true;
}

static void
extend_ring(struct island *island)
{
    struct item *item = item_new();
    if (item == NULL || !make_weak(island, item)) {
        if (item != NULL)
            gyre_decref(&item->head);
        island->stage = ISLAND_FAILED;
        return;
    }
    if (island->at++ == 0)
        island->root = item;
    else
        gyre_slot_move(&island->last->head, &island->last->left, &item->head);
    island->last = item;
    if (island->at < island->count)
        return;
    gyre_slot_set(&item->head, &item->left, &island->root->head);
    advance(island, ISLAND_BUILT);
}

/* ---- a graph ---- */

/* Edges that count: weak ones are left out. */
static uint32_t
strong_edges(const struct graph *graph, uint32_t node)
{
    uint32_t count = 0;
    for (uint32_t i = graph->first[node]; i < graph->first[node + 1]; i++)
        count += (graph->to[i] & GRAPH_EDGE_WEAK) == 0;
    return count;
}

static void
make_node(struct island *island)
{
    const struct graph *graph = island->graph;
    uint32_t node = (uint32_t)island->at;
    uint32_t edges = strong_edges(graph, node), size = graph->size[node];
    struct gyre_object *obj;
    unsigned i = 0;
    size = size > edges * 8 ? size - edges * 8 : 0;
    while (i < SIZES - 1 && sizes[i] < size)
        i++;
    obj = edges > 0 ? gyre_new_items(&node_types[i], edges)
                    : gyre_new(&leaf_types[i]);
    if (obj == NULL) {
        island->stage = ISLAND_FAILED;
        return;
    }
    island->nodes[island->at++] = obj;
    if (island->at == graph->node_count)
        advance(island, ISLAND_LINK);
}

/* One edge more, or the next node. */
static void
link_edge(struct island *island)
{
    const struct graph *graph = island->graph;
    uint32_t node = (uint32_t)island->at, to;
    struct gyre_object *obj = island->nodes[node];
    if (island->edge == graph_edges_of(graph, node)) {
        island->edge = island->filled = 0;
        if (++island->at == graph->node_count)
            advance(island, ISLAND_LET_GO);
        return;
    }
    to = graph->to[graph->first[node] + island->edge++];
    if ((to & GRAPH_EDGE_WEAK) == 0) {
        struct gyre_slot *slots =
            (struct gyre_slot *)((char *)obj + gyre_type_of(obj)->size);
        gyre_slot_set(obj, &slots[island->filled++], island->nodes[to]);
    }
}

/* What its builder held: node 0, from which the rest is reached, goes to a
 * root that holds itself. What is reached over weak edges alone dies. */
static void
let_node_go(struct island *island)
{
    struct gyre_object *obj = island->nodes[island->at];
    if (island->at == 0) {
        struct item *root = item_new();
        if (root == NULL) {
            island->stage = ISLAND_FAILED;
            return;
        }
        gyre_slot_move(&root->head, &root->left, obj);
        gyre_slot_set(&root->head, &root->right, &root->head);
        island->root = root;
    } else {
        gyre_decref(obj);
    }
    if (++island->at == island->graph->node_count)
        advance(island, ISLAND_BUILT);
}

/* ---- the interface ---- */

void
island_step(struct island *island)
{
    for (unsigned i = 0; i < PORTION; i++) {
        if (island->stage == ISLAND_MAKE && island->graph == NULL)
            extend_ring(island);
        else if (island->stage == ISLAND_MAKE)
            make_node(island);
        else if (island->stage == ISLAND_LINK)
            link_edge(island);
        else if (island->stage == ISLAND_LET_GO)
            let_node_go(island);
    }
}

void
island_drop(struct island *island)
{
    gyre_decref(&island->root->head);
    island->root = island->last = NULL;
    advance(island, ISLAND_MAKE);
}

void
island_end(struct island *island)
{
    for (uint64_t i = 0; i < island->weaks_made; i++)
        gyre_decref(island->weaks[i]);
    island->weaks_made = 0;
}
