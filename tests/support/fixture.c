/* The common fixture of the tests. */
#include "support/fixture.h"

#include <stdio.h>
#include <stdlib.h>

/* ---- node types ---- */

static void
node_finalize(struct gyre_object *obj)
{
    struct node *node = (struct node *)obj;
    /* relaxed: read by tests after a join or on the same thread */
    gyre_fetch_add_relaxed(&node->fx->finalized, 1);
    if (node->fx->on_finalize != NULL)
        node->fx->on_finalize(node);
}

static void
node_dealloc(struct gyre_object *obj)
{
    struct node *node = (struct node *)obj;
    /* relaxed: as above. A node whose making was cut short has no fixture. */
    if (node->fx != NULL)
        gyre_fetch_sub_relaxed(&node->fx->live, 1);
}

static const uint32_t node_slots[] = {offsetof(struct node, left),
                                      offsetof(struct node, right)};

struct gyre_type node_type = {
    .name = "node",
    .size = sizeof(struct node),
    .flags = GYRE_TYPE_FINALIZE_PROMPTLY,
    .slot_count = 2,
    .slots = node_slots,
    .finalize = node_finalize,
    .dealloc = node_dealloc,
};
struct gyre_type late_node_type = {
    .name = "late node",
    .size = sizeof(struct node),
    .slot_count = 2,
    .slots = node_slots,
    .finalize = node_finalize,
    .dealloc = node_dealloc,
};
struct gyre_type plain_node_type = {
    .name = "plain node",
    .size = sizeof(struct node),
    .slot_count = 2,
    .slots = node_slots,
    .dealloc = node_dealloc,
};
struct gyre_type leaf_node_type = {
    .name = "leaf node",
    .size = sizeof(struct node),
    .flags = GYRE_TYPE_LEAF,
    .dealloc = node_dealloc,
};

static struct node *
make(struct fixture *fx, const struct gyre_type *type)
{
    struct node *node = GYRE_NEW(struct node, type);
    assert_non_null(node);
    node->fx = fx;
    /* relaxed: as in node_dealloc() */
    gyre_fetch_add_relaxed(&fx->live, 1);
    return node;
}

struct node *
node_new(struct fixture *fx)
{
    return make(fx, &node_type);
}

struct node *
late_node_new(struct fixture *fx)
{
    return make(fx, &late_node_type);
}

struct node *
plain_node_new(struct fixture *fx)
{
    return make(fx, &plain_node_type);
}

struct node *
leaf_node_new(struct fixture *fx)
{
    return make(fx, &leaf_node_type);
}

struct node *
ring_through(struct fixture *fx, struct node *first, int count)
{
    struct node *last = first;
    for (int i = 1; i < count; i++) {
        struct node *next = plain_node_new(fx);
        gyre_slot_move(&last->head, &last->left, &next->head);
        last = next;
    }
    gyre_slot_set(&last->head, &last->left, &first->head);
    return first;
}

struct node *
ring_new(struct fixture *fx, int count)
{
    return ring_through(fx, plain_node_new(fx), count);
}

void
node_link(struct node *from, struct node *to)
{
    struct gyre_slot *slot =
        gyre_slot_peek(&from->left) == NULL ? &from->left : &from->right;
    assert_null(gyre_slot_peek(slot));
    gyre_slot_set(&from->head, slot, &to->head);
}

void
node_drop(struct node *node)
{
    if (node != NULL)
        gyre_decref(&node->head);
}

int
fixture_live(const struct fixture *fx)
{
    /* relaxed: a count; tests order what they compare by joins */
    return gyre_load_relaxed(&fx->live);
}

int
fixture_finalized(const struct fixture *fx)
{
    /* relaxed: as above */
    return gyre_load_relaxed(&fx->finalized);
}

/* ---- heap and thread ---- */

void
fixture_open(struct fixture *fx, const char *options)
{
    memset(fx, 0, sizeof *fx);
    assert_int_equal(gyre_type_ready(&node_type), GYRE_OK);
    assert_int_equal(gyre_type_ready(&late_node_type), GYRE_OK);
    assert_int_equal(gyre_type_ready(&plain_node_type), GYRE_OK);
    assert_int_equal(gyre_type_ready(&leaf_node_type), GYRE_OK);
    assert_int_equal(gyre_heap_create(options, &fx->heap), GYRE_OK);
    assert_int_equal(gyre_thread_attach(fx->heap, &fx->self), GYRE_OK);
}

void
fixture_close(struct fixture *fx)
{
    gyre_thread_leave(fx->self);
    assert_int_equal(gyre_heap_destroy(fx->heap), GYRE_OK);
    fx->self = NULL;
    fx->heap = NULL;
}

int
fixture_setup(void **state)
{
    struct fixture *fx = malloc(sizeof *fx);
    assert_non_null(fx);
    fixture_open(fx, "gc.automatic=0");
    *state = fx;
    return 0;
}

int
fixture_teardown(void **state)
{
    struct fixture *fx = *state;
    fixture_close(fx);
    free(fx);
    return 0;
}

/* ---- fatal errors ---- */

static jmp_buf fatal_return;
static char fatal_text[512];

static void
jump_back(const char *message, void *arg)
{
    (void)arg;
    snprintf(fatal_text, sizeof fatal_text, "%s", message);
    longjmp(fatal_return, 1);
}

const char *
fatal_message(void (*act)(void *arg), void *arg)
{
    const char *volatile message = NULL; /* survives the jump */
    gyre_set_fatal_hook(jump_back, NULL);
    if (setjmp(fatal_return) == 0)
        act(arg);
    else
        message = fatal_text;
    gyre_set_fatal_hook(NULL, NULL);
    return message;
}

/* ---- other threads ---- */

static void *
worker_main(void *arg)
{
    struct worker *worker = arg;
    struct gyre_thread *self;
    enum gyre_status status = gyre_thread_attach(worker->fx->heap, &self);
    GYRE_CHECK(status == GYRE_OK, "worker: %s", gyre_status_text(status));
    worker->body(worker->fx, self, worker->arg);
    if (gyre_thread_self() != NULL)
        gyre_thread_leave(self);
    return NULL;
}

void
worker_start(struct worker *worker, struct fixture *fx, worker_fn body,
             void *arg)
{
    worker->fx = fx;
    worker->body = body;
    worker->arg = arg;
    assert_int_equal(pthread_create(&worker->thread, NULL, worker_main, worker),
                     0);
}

void
worker_join(struct worker *worker)
{
    struct gyre_thread *self = gyre_thread_self();
    if (self != NULL)
        gyre_detach_begin(self);
    pthread_join(worker->thread, NULL);
    if (self != NULL)
        gyre_detach_end(self);
}

void
gate_open(struct gate *gate)
{
    pthread_mutex_lock(&gate->lock);
    gate->open = true;
    pthread_cond_broadcast(&gate->opened);
    pthread_mutex_unlock(&gate->lock);
}

void
gate_wait(struct gate *gate)
{
    struct gyre_thread *self = gyre_thread_self();
    if (self != NULL)
        gyre_detach_begin(self);
    pthread_mutex_lock(&gate->lock);
    while (!gate->open)
        pthread_cond_wait(&gate->opened, &gate->lock);
    pthread_mutex_unlock(&gate->lock);
    if (self != NULL)
        gyre_detach_end(self);
}
