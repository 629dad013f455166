/* scan: what a full collection takes when everything lives. A binary tree
 * with links to the parents, collected for the first time, so the cost of
 * fresh side tables and of ageing its nodes is in the figure. */
#include "harness.h"
#include "objects.h"
#include "row.h"

#define NODES 5000000u
#define NODES_BYTES (NODES * sizeof(struct node *))

/* Where a tree's nodes come from: made one by one, or made before. */
struct supply {
    struct node **made; /* NULL: make one when asked */
    size_t next;
};

static struct node *
supply_take(struct supply *supply)
{
    return supply->made == NULL ? bench_node() : supply->made[supply->next++];
}

/* The links up are what makes each edge a cycle. */
static void
adopt(struct node *parent, struct gyre_slot *slot, struct node *child)
{
    gyre_slot_set(&child->head, &child->parent, &parent->head);
    gyre_slot_move(&parent->head, slot, &child->head);
}

/* A balanced tree of `count` nodes, taken in preorder. */
static struct node *
make_tree(struct supply *supply, size_t count)
{
    struct node *root = supply_take(supply);
    size_t left = (count - 1) / 2, right = count - 1 - left;
    if (left > 0)
        adopt(root, &root->left, make_tree(supply, left));
    if (right > 0)
        adopt(root, &root->right, make_tree(supply, right));
    return root;
}

static double
time_collection(struct gyre_thread *self)
{
    enum gyre_status status;
    uint64_t start = bench_now(), end;
    status = gyre_collect(self->heap, GYRE_GEN_OLD);
    end = bench_now();
    if (status != GYRE_OK)
        bench_fail("the collection failed: %s", gyre_status_text(status));
    bench_expect_live(self->heap, NODES);
    return (double)(end - start) / NODES;
}

static double
run_tree(void)
{
    struct gyre_thread *self = bench_heap_stopping();
    struct supply supply = {.made = NULL};
    make_tree(&supply, NODES);
    return time_collection(self);
}

/* Addresses in an order that has nothing to do with the tree's. */
static double
run_tree_shuffled(void)
{
    struct gyre_thread *self = bench_heap_stopping();
    struct supply supply = {.made = bench_map(NODES_BYTES)};
    for (size_t i = 0; i < NODES; i++)
        supply.made[i] = bench_node();
    bench_shuffle((void **)supply.made, NODES);
    make_tree(&supply, NODES);
    bench_unmap(supply.made, NODES_BYTES);
    return time_collection(self);
}

static const struct bench_row rows[] = {
    {.name = "tree",
     .unit = "ns/object",
     .what = "a live tree of 5 million nodes with parent links, in preorder",
     .run = run_tree,
     .goal = 22},
    {.name = "tree_shuffled",
     .unit = "ns/object",
     .what = "the same, its nodes anywhere in memory",
     .run = run_tree_shuffled,
     .goal = 60},
};

const struct bench_group bench_scan = BENCH_GROUP("scan", rows);
