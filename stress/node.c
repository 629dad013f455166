/* A snapshot's nodes as gyre objects.
 *
 * One struct gyre_type for each shape: size, slots, finalizer. Their
 * callbacks run on any thread that kills, and on the collector's; they tell
 * the oracle what happened and touch nothing else but the object. */
#include "node.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "random.h"
#include "sampler.h"
#include "tally.h"

_Static_assert(offsetof(struct node, edges) == 24, "16 of header, 8 of serial");

enum { FINALIZER_NONE, FINALIZER_LATE, FINALIZER_PROMPT };

/* Shapes with this many slots, modulo 5, are traced by a callback of ours
 * and not by a table, so that both ways are walked. */
#define TRACED_MODULO 5
#define TRACED_REST 4

struct shape {
    struct gyre_type type;
    uint32_t slots; /* UINT32_MAX: an array */
    uint8_t finalizer;
    char name[48];
    struct shape *next; /* of the same hash */
};

#define SHAPE_BUCKETS 4096
static struct shape *shape_buckets[SHAPE_BUCKETS];
static struct shape **shape_of_node;
static unsigned shape_count;
static struct node_kinds kinds;
static uint64_t shape_seed;
static uint32_t slot_offsets[NODE_INLINE_MOST];
static const uint32_t array_offset = offsetof(struct node, edges.array);

static struct {
    pthread_mutex_t lock;
    /* under the lock */
    struct resurrected *entries;
    unsigned count, room;
    bool off;
} back = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* ---- who has a finalizer ---- */

static unsigned
finalizer_of(uint64_t seed, uint32_t node)
{
    uint64_t dice = random_hash(seed, node);
    if (dice % 10 != 0)
        return FINALIZER_NONE;
    return dice / 10 % 3 == 0 ? FINALIZER_PROMPT : FINALIZER_LATE;
}

static bool
resurrects(uint32_t node)
{
    return random_hash(shape_seed + 1, node) % 10 == 0;
}

/* ---- callbacks ---- */

static void
node_trace(struct gyre_object *obj, gyre_edge_fn edge, void *arg)
{
    const struct shape *shape = gyre_type_of(obj)->user;
    struct node *node = (struct node *)obj;
    tally_add(TALLY_TRACED, 1);
    for (uint32_t i = 0; i < shape->slots; i++)
        edge(gyre_slot_peek(&node->edges.slots[i]), arg);
}

/* At the object's end: nobody else can reach it, and it takes no slot writer
 * any more. */
static void
node_clear(struct gyre_object *obj)
{
    const struct shape *shape = gyre_type_of(obj)->user;
    struct node *node = (struct node *)obj;
    for (uint32_t i = 0; i < shape->slots; i++) {
        struct gyre_object *ref = node->edges.slots[i].ref;
        /* relaxed: a trace may still look, and may find either */
        gyre_store_relaxed(&node->edges.slots[i].ref,
                           (struct gyre_object *)NULL);
        if (ref != NULL)
            gyre_decref(ref);
    }
}

static void
node_dealloc(struct gyre_object *obj)
{
    oracle_dies(node_serial(obj), obj, gyre_type_of(obj)->finalize != NULL);
    tally_add(TALLY_FREED, 1);
}

/* What the object refers to must still be there, and the right things. */
static void
check_referents(struct gyre_object *obj, uint32_t index)
{
    const struct record *record = record_of(index);
    const uint32_t *shadow = &oracle.slots[record->slots_at];
    for (uint32_t i = 0; i < record->slot_count; i++) {
        struct gyre_object *ref = gyre_slot_peek(node_slot(obj, i));
        if ((ref == NULL) != (shadow[i] == 0)) {
            oracle_fail(FAILURE_ORDER, index,
                        "its finalizer finds slot %" PRIu32 " %s", i,
                        ref == NULL ? "already cleared" : "not empty");
        } else if (shadow[i] & SHADOW_WEAK) {
            if (!gyre_is_weakref(ref))
                oracle_fail(FAILURE_ORDER, index,
                            "its finalizer finds no weak reference in slot "
                            "%" PRIu32,
                            i);
        } else if (ref != NULL) {
            oracle_check_alive(shadow[i], "a finalizer refers to it");
            node_expect(ref, shadow[i]);
        }
    }
}

static void
resurrect(struct gyre_object *obj, uint32_t index)
{
    pthread_mutex_lock(&back.lock);
    if (back.count == back.room && !back.off) {
        unsigned larger = back.room == 0 ? 256 : back.room * 2;
        struct resurrected *entries =
            realloc(back.entries, larger * sizeof *entries);
        if (entries != NULL) {
            back.entries = entries;
            back.room = larger;
        }
    }
    if (back.count < back.room && !back.off) {
        gyre_incref(obj);
        oracle_take(index);
        back.entries[back.count++] = (struct resurrected){obj, index};
        tally_add(TALLY_RESURRECTED, 1);
    }
    pthread_mutex_unlock(&back.lock);
}

static void
node_finalize(struct gyre_object *obj)
{
    const struct shape *shape = gyre_type_of(obj)->user;
    uint32_t index = oracle_finalizes(node_serial(obj), obj);
    check_referents(obj, index);
    tally_add(shape->finalizer == FINALIZER_PROMPT ? TALLY_FINALIZED_PROMPTLY
                                                   : TALLY_FINALIZED,
              1);
    if (resurrects(record_of(index)->node))
        resurrect(obj, index);
}

void
node_weak_callback(struct gyre_object *weakref, void *token)
{
    uint32_t weak = oracle_weak_called((uint64_t)(uintptr_t)token);
    struct gyre_object *target = gyre_weakref_get(weakref);
    tally_add(TALLY_WEAK_CALLED, 1);
    if (target != NULL)
        oracle_fail(FAILURE_WEAK, oracle.weaks[weak].target,
                    "a weak reference answers in its callback");
}

unsigned
node_resurrected_count(void)
{
    unsigned count;
    pthread_mutex_lock(&back.lock);
    count = back.count;
    pthread_mutex_unlock(&back.lock);
    return count;
}

struct resurrected
node_resurrected(unsigned i)
{
    struct resurrected entry;
    pthread_mutex_lock(&back.lock);
    entry = back.entries[i];
    pthread_mutex_unlock(&back.lock);
    return entry;
}

bool
node_resurrected_pop(struct resurrected *entry)
{
    bool any;
    pthread_mutex_lock(&back.lock);
    any = back.count > 0;
    if (any)
        *entry = back.entries[--back.count];
    pthread_mutex_unlock(&back.lock);
    return any;
}

void
node_resurrect(bool yes)
{
    pthread_mutex_lock(&back.lock);
    back.off = !yes;
    pthread_mutex_unlock(&back.lock);
}

/* ---- types ---- */

static bool
shape_ready(struct shape *shape, uint32_t size)
{
    struct gyre_type *type = &shape->type;
    enum gyre_status status;
    snprintf(shape->name, sizeof shape->name,
             "node/%" PRIu32 "/%s%" PRIu32 "%s", size,
             shape->slots == UINT32_MAX ? "array" : "",
             shape->slots == UINT32_MAX ? 0 : shape->slots,
             shape->finalizer == FINALIZER_NONE     ? ""
             : shape->finalizer == FINALIZER_PROMPT ? "/prompt"
                                                    : "/final");
    type->name = shape->name;
    type->size = size;
    type->dealloc = node_dealloc;
    type->user = shape;
    if (shape->slots == 0) {
        type->flags |= GYRE_TYPE_LEAF;
    } else if (shape->slots == UINT32_MAX) {
        type->array_count = 1;
        type->arrays = &array_offset;
    } else if (shape->slots % TRACED_MODULO == TRACED_REST) {
        type->trace = node_trace;
        type->clear = node_clear;
        /* with an odd seed none has to wait for a stop */
        if (shape->slots / TRACED_MODULO % 2 == 0 || shape_seed % 2 != 0)
            type->flags |= GYRE_TYPE_TRACE_ANYTIME;
    } else {
        type->slot_count = shape->slots;
        type->slots = slot_offsets;
    }
    if (shape->finalizer != FINALIZER_NONE)
        type->finalize = node_finalize;
    if (shape->finalizer == FINALIZER_PROMPT)
        type->flags |= GYRE_TYPE_FINALIZE_PROMPTLY;
    status = gyre_type_ready(type);
    if (status != GYRE_OK)
        fprintf(stderr, "gyre-stress: type %s is refused: %s\n", shape->name,
                gyre_status_text(status));
    return status == GYRE_OK;
}

/* The shape of that size, found or made; NULL when that fails. */
static struct shape *
shape_find(uint32_t size, uint32_t slots, unsigned finalizer)
{
    uint64_t key = (uint64_t)size << 34 ^ (uint64_t)slots << 2 ^ finalizer;
    struct shape **bucket = &shape_buckets[random_hash(0, key) % SHAPE_BUCKETS];
    struct shape *shape;
    for (shape = *bucket; shape != NULL; shape = shape->next) {
        if (shape->type.size == size && shape->slots == slots &&
            shape->finalizer == finalizer)
            return shape;
    }
    shape = calloc(1, sizeof *shape);
    if (shape == NULL)
        return NULL;
    shape->slots = slots;
    shape->finalizer = (uint8_t)finalizer;
    if (!shape_ready(shape, size)) {
        free(shape);
        return NULL;
    }
    shape->next = *bucket;
    *bucket = shape;
    shape_count++;
    return shape;
}

bool
node_types_create(const struct graph *graph, uint64_t seed, bool finalizers)
{
    shape_seed = seed;
    for (uint32_t i = 0; i < NODE_INLINE_MOST; i++)
        slot_offsets[i] =
            (uint32_t)(offsetof(struct node, edges.slots) + i * 8);
    shape_of_node = calloc(graph->node_count, sizeof *shape_of_node);
    if (shape_of_node == NULL) {
        fprintf(stderr, "gyre-stress: no memory for types\n");
        return false;
    }
    for (uint32_t node = 0; node < graph->node_count; node++) {
        uint32_t edges = graph_edges_of(graph, node);
        uint32_t least = offsetof(struct node, edges);
        uint32_t size = graph->size[node];
        unsigned finalizer = FINALIZER_NONE;
        if (finalizers && !graph_is_synthetic(graph, node))
            finalizer = finalizer_of(seed, node);
        least +=
            edges > NODE_INLINE_MOST ? sizeof(struct gyre_array) : edges * 8;
        kinds.late += finalizer == FINALIZER_LATE;
        kinds.prompt += finalizer == FINALIZER_PROMPT;
        kinds.resurrecting += finalizer != FINALIZER_NONE && resurrects(node);
        if (size < least)
            size = least;
        if (edges > NODE_INLINE_MOST)
            edges = UINT32_MAX;
        /* a block is a multiple of 16 anyway, so fewer types will do */
        shape_of_node[node] = shape_find((size + 15) & ~15u, edges, finalizer);
        if (shape_of_node[node] == NULL)
            return false;
    }
    return true;
}

void
node_types_destroy(void)
{
    for (unsigned i = 0; i < SHAPE_BUCKETS; i++) {
        while (shape_buckets[i] != NULL) {
            struct shape *shape = shape_buckets[i];
            shape_buckets[i] = shape->next;
            free(shape);
        }
    }
    free(shape_of_node);
    free(back.entries);
    memset(&back.entries, 0, sizeof back.entries);
    back.count = back.room = 0;
}

unsigned
node_type_count(void)
{
    return shape_count;
}

struct node_kinds
node_kinds(void)
{
    return kinds;
}

static struct node *
node_allocate(const struct gyre_type *type)
{
    struct sampler *sampler = sampler_self;
    struct node *made;
    uint64_t begin;
    if (!sampler_due(sampler))
        return gyre_new(type);
    begin = sampler_clock();
    made = gyre_new(type);
    sampler_add(sampler, begin);
    return made;
}

struct node *
node_new(struct shares *shares, uint32_t node, unsigned writer, uint32_t *index)
{
    uint32_t edges = graph_edges_of(oracle.graph, node);
    struct node *made;
    *index = oracle_birth(shares, node, edges, writer);
    if (*index == 0)
        return NULL;
    made = node_allocate(&shape_of_node[node]->type);
    if (made == NULL) {
        oracle_unborn(*index);
        tally_add(TALLY_REFUSED, 1);
        return NULL;
    }
    made->serial = oracle_serial(*index);
    oracle_born(*index, made);
    /* inline slots are there from birth, those of an array come one by one */
    if (edges <= NODE_INLINE_MOST)
        record_of(*index)->slot_count = edges;
    tally_add(TALLY_BUILT, 1);
    tally_add(TALLY_OPERATIONS, 1);
    return made;
}
