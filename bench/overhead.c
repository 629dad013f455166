/* overhead: what automatic collection, beside the program, costs work that
 * does not need it, a heap that grows, and a program that leaves its cycles
 * to it. Threads are not pinned: the collector's takes the processor that
 * the program leaves. */
#include "harness.h"
#include "objects.h"
#include "row.h"

#define ON "gc.concurrent=1"
#define ON_STOP "gc.concurrent=0"
#define OFF "gc.concurrent=1,gc.automatic=no"

/* A balanced tree of `count` objects that name their children alone. */
static struct pair *
make_tree(struct gyre_thread *self, size_t count)
{
    struct pair *root = bench_pair();
    size_t left = (count - 1) / 2, right = count - 1 - left;
    gyre_safepoint(self);
    if (left > 0)
        gyre_slot_move(&root->head, &root->left, &make_tree(self, left)->head);
    if (right > 0)
        gyre_slot_move(&root->head, &root->right,
                       &make_tree(self, right)->head);
    return root;
}

/* ---- work without cycles ---- */

#define ROOTS 2048u
#define TREE_MOST 1024u
#define REPLACED 40000u

/* One of the trees at a time is dropped, and another made. */
static double
acyclic_ns(const char *options)
{
    struct gyre_thread *self;
    struct pair **roots = bench_map(ROOTS * sizeof(struct pair *));
    uint64_t start, made = 0;
    bench_unpin();
    self = bench_heap_with(options);
    for (size_t i = 0; i < ROOTS; i++)
        roots[i] = make_tree(self, 1 + bench_random(TREE_MOST));
    gyre_quiesce(self->heap);
    start = bench_now();
    for (size_t n = 0; n < REPLACED; n++) {
        struct pair **root = &roots[bench_random(ROOTS)];
        size_t count = 1 + bench_random(TREE_MOST);
        gyre_decref(&(*root)->head);
        *root = make_tree(self, count);
        made += count;
    }
    start = bench_now() - start;
    for (size_t i = 0; i < ROOTS; i++)
        gyre_decref(&roots[i]->head);
    gyre_quiesce(self->heap);
    bench_expect_live(self->heap, 0);
    return (double)start / (double)made;
}

static double
run_acyclic(void)
{
    return acyclic_ns(ON);
}

static double
run_acyclic_off(void)
{
    return acyclic_ns(OFF);
}

/* ---- a heap that grows ---- */

#define GROWN 10000000u

static double
growth_ns(const char *options)
{
    struct gyre_thread *self;
    struct pair *root;
    uint64_t start;
    bench_unpin();
    self = bench_heap_with(options);
    start = bench_now();
    root = make_tree(self, GROWN);
    start = bench_now() - start;
    gyre_quiesce(self->heap);
    bench_expect_live(self->heap, GROWN);
    bench_keep(root);
    return (double)start / GROWN;
}

static double
run_growth(void)
{
    return growth_ns(ON);
}

static double
run_growth_stop(void)
{
    return growth_ns(ON_STOP);
}

static double
run_growth_off(void)
{
    return growth_ns(OFF);
}

/* ---- cycles, left to the collector or broken by hand ---- */

#define DOCUMENT 63u /* elements */
#define WINDOW 1000u /* documents that live */
#define DOCUMENTS 100000u

/* An element of a document, which knows its parent. */
struct element {
    struct gyre_object head;
    struct gyre_slot left, right, parent;
    uint64_t value;
};
static const uint32_t element_slots[] = {offsetof(struct element, left),
                                         offsetof(struct element, right),
                                         offsetof(struct element, parent)};
static struct gyre_type element_type = {
    .name = "element",
    .size = sizeof(struct element),
    .slots = element_slots,
    .slot_count = 3,
};

static void
adopt(struct element *parent, struct gyre_slot *slot, struct element *child)
{
    gyre_slot_set(&child->head, &child->parent, &parent->head);
    gyre_slot_move(&parent->head, slot, &child->head);
}

static struct element *
make_document(size_t count, uint64_t value)
{
    struct element *root = GYRE_NEW(struct element, &element_type);
    size_t left = (count - 1) / 2, right = count - 1 - left;
    if (root == NULL)
        bench_fail("out of memory");
    root->value = value + count;
    if (left > 0)
        adopt(root, &root->left, make_document(left, value));
    if (right > 0)
        adopt(root, &root->right, make_document(right, value + 1));
    return root;
}

static uint64_t
sum_of(const struct gyre_object *obj)
{
    const struct element *element = (const struct element *)obj;
    return element == NULL
               ? 0
               : element->value + sum_of(gyre_slot_peek(&element->left)) +
                     sum_of(gyre_slot_peek(&element->right));
}

static void
forget_parents(struct gyre_object *obj)
{
    struct element *element = (struct element *)obj;
    if (element == NULL)
        return;
    gyre_slot_move(obj, &element->parent, NULL);
    forget_parents(gyre_slot_peek(&element->left));
    forget_parents(gyre_slot_peek(&element->right));
}

static void
drop_document(struct element *root, bool by_hand)
{
    if (by_hand)
        forget_parents(&root->head);
    gyre_decref(&root->head);
}

/* Each document is made, read, kept while a window of others is, read once
 * more and dropped. Until all of them are gone from memory. */
static double
churn_ns(const char *options, bool by_hand)
{
    static struct element *window[WINDOW];
    struct gyre_thread *self;
    uint64_t start, sum = 0, sum_again = 0;
    if (gyre_type_ready(&element_type) != GYRE_OK)
        bench_fail("type element");
    bench_unpin();
    self = bench_heap_with(options);
    start = bench_now();
    for (size_t n = 0; n < DOCUMENTS + WINDOW; n++) {
        struct element **place = &window[n % WINDOW];
        if (n >= WINDOW) {
            sum_again += sum_of(&(*place)->head);
            drop_document(*place, by_hand);
        }
        if (n < DOCUMENTS) {
            *place = make_document(DOCUMENT, n);
            sum += sum_of(&(*place)->head);
        }
        gyre_safepoint(self);
    }
    if (!by_hand && gyre_collect(self->heap, GYRE_GEN_OLD) != GYRE_OK)
        bench_fail("the collection failed");
    start = bench_now() - start;
    gyre_quiesce(self->heap);
    bench_expect_live(self->heap, 0);
    if (sum != sum_again)
        bench_fail("the documents have changed");
    return (double)start / (DOCUMENT * (double)DOCUMENTS);
}

static double
run_churn(void)
{
    return churn_ns(ON, false);
}

static double
run_churn_stop(void)
{
    return churn_ns(ON_STOP, false);
}

static double
run_churn_by_hand(void)
{
    return churn_ns(OFF, true);
}

static const struct bench_row rows[] = {
    {.name = "acyclic",
     .unit = "ns/object",
     .what = "2048 trees of up to 1024 objects, one at a time replaced, "
             "automatic collection beside",
     .run = run_acyclic,
     .goal = 1.01,
     .base = "acyclic_off",
     .set = "collector"},
    {.name = "acyclic_off",
     .unit = "ns/object",
     .what = "the same with collection disabled",
     .run = run_acyclic_off,
     .set = "collector"},
    {.name = "growth",
     .unit = "ns/object",
     .what = "a heap grows to 10 million live objects, automatic collection "
             "beside",
     .run = run_growth,
     .goal = 1.05,
     .base = "growth_off",
     .set = "collector"},
    {.name = "growth_stop",
     .unit = "ns/object",
     .what = "the same, collected in stops",
     .run = run_growth_stop,
     .base = "growth_off",
     .set = "collector"},
    {.name = "growth_off",
     .unit = "ns/object",
     .what = "the same with collection disabled",
     .run = run_growth_off,
     .set = "collector"},
    {.name = "cyclic_churn",
     .unit = "ns/object",
     .what = "trees of 63 objects with links to their parents, made, read and "
             "dropped, collected beside",
     .run = run_churn,
     .goal = 1.3,
     .base = "cyclic_churn_by_hand",
     .set = "collector"},
    {.name = "cyclic_churn_stop",
     .unit = "ns/object",
     .what = "the same, collected in stops",
     .run = run_churn_stop,
     .base = "cyclic_churn_by_hand",
     .set = "collector"},
    {.name = "cyclic_churn_by_hand",
     .unit = "ns/object",
     .what = "the same, with collection disabled and the links to the parents "
             "cleared before a tree is dropped",
     .run = run_churn_by_hand,
     .set = "collector"},
};

const struct bench_group bench_overhead = BENCH_GROUP("overhead", rows);
