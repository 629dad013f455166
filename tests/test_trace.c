/* What a `trace` of the runtime's may say, and must not: pointers that are no
 * objects of the heap, more references than there are. In both modes. */
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support/fixture.h"

static const char *const modes[] = {
    "gc.automatic=0,gc.thread=0,gc.concurrent=0",
    "gc.automatic=0,gc.thread=0,gc.concurrent=1",
};

/* ---- types whose references `trace` alone knows ---- */

struct teller {
    struct gyre_object head;
    struct gyre_slot mate; /* counted */
    void *also;            /* reported, and never counted */
    struct fixture *fx;
};

static void
teller_trace(struct gyre_object *obj, gyre_edge_fn edge, void *arg)
{
    struct teller *teller = (struct teller *)obj;
    edge(gyre_slot_peek(&teller->mate), arg);
    edge(teller->also, arg);
}

static void
teller_clear(struct gyre_object *obj)
{
    struct teller *teller = (struct teller *)obj;
    struct gyre_object *mate = gyre_load_relaxed(&teller->mate.ref);
    gyre_store_relaxed(&teller->mate.ref, (struct gyre_object *)NULL);
    if (mate != NULL)
        gyre_decref(mate);
}

static void
teller_dealloc(struct gyre_object *obj)
{
    gyre_fetch_sub_relaxed(&((struct teller *)obj)->fx->live, 1);
}

/* One for stops, one that may be traced at any time. */
static struct gyre_type tellers[2] = {
    {.name = "teller",
     .size = sizeof(struct teller),
     .trace = teller_trace,
     .clear = teller_clear,
     .dealloc = teller_dealloc},
    {.name = "teller at any time",
     .flags = GYRE_TYPE_TRACE_ANYTIME,
     .size = sizeof(struct teller),
     .trace = teller_trace,
     .clear = teller_clear,
     .dealloc = teller_dealloc},
};

static struct teller *
teller_new(struct fixture *fx, unsigned which)
{
    struct teller *teller = GYRE_NEW(struct teller, &tellers[which]);
    assert_non_null(teller);
    teller->fx = fx;
    fx->live++;
    return teller;
}

/* A ring of two, the first of which `also` says something. */
static struct teller *
teller_ring(struct fixture *fx, unsigned which, void *also)
{
    struct teller *a = teller_new(fx, which), *b = teller_new(fx, which);
    gyre_slot_set(&a->head, &a->mate, &b->head);
    gyre_slot_set(&b->head, &b->mate, &a->head);
    gyre_decref(&b->head);
    gyre_touch(&a->head);
    a->also = also;
    return a;
}

static void
open_heap(struct fixture *fx, unsigned mode)
{
    assert_int_equal(gyre_type_ready(&tellers[0]), GYRE_OK);
    assert_int_equal(gyre_type_ready(&tellers[1]), GYRE_OK);
    fixture_open(fx, modes[mode]);
}

/* ---- pointers to nowhere, in release ---- */

#if !GYRE_CHECKING

/* Covers docs/design/cycle.md .cycle.trace, .fail: what lies outside every
 * segment is no edge, and what is garbage is found all the same. */
static void
test_pointers_out_of_every_segment_are_no_edges(void **state)
{
    static uint64_t datum[4];
    uint64_t local[4] = {0};
    void *nowhere[] = {
        (void *)16,
        (void *)(uintptr_t)0x7ffffffff000,
        (void *)(uintptr_t)INT64_MIN,
        (void *)(uintptr_t)UINT64_MAX,
        (void *)(uintptr_t)test_pointers_out_of_every_segment_are_no_edges,
        datum,
        local};
    (void)state;
    for (unsigned mode = 0; mode < 2; mode++)
        for (unsigned which = 0; which < 2; which++) {
            struct fixture fx;
            struct teller *kept[8] = {NULL};
            open_heap(&fx, mode);
            for (unsigned i = 0; i < sizeof nowhere / sizeof *nowhere; i++) {
                kept[i] = teller_ring(&fx, which, nowhere[i]);
                gyre_decref(&teller_ring(&fx, which, nowhere[i])->head);
            }
            assert_int_equal(gyre_collect(fx.heap, GYRE_GEN_OLD), GYRE_OK);
            assert_int_equal(fixture_live(&fx), 14);
            for (unsigned i = 0; i < 7; i++) {
                assert_ptr_equal(
                    gyre_slot_peek(
                        &((struct teller *)gyre_slot_peek(&kept[i]->mate))
                             ->mate),
                    &kept[i]->head);
                gyre_decref(&kept[i]->head);
            }
            assert_int_equal(gyre_collect(fx.heap, GYRE_GEN_OLD), GYRE_OK);
            assert_int_equal(fixture_live(&fx), 0);
            assert_int_equal(gyre_heap_check(fx.heap), GYRE_OK);
            fixture_close(&fx);
        }
}

/* Covers docs/design/cycle.md .cycle.trace, .fail: more edges than references
 * keep what they name. */
static void
test_what_is_named_too_often_lives(void **state)
{
    (void)state;
    for (unsigned mode = 0; mode < 2; mode++)
        for (unsigned which = 0; which < 2; which++) {
            struct fixture fx;
            struct teller *a;
            open_heap(&fx, mode);
            a = teller_ring(&fx, which, NULL);
            a->also = gyre_slot_peek(&a->mate);
            gyre_decref(&a->head);
            assert_int_equal(gyre_collect(fx.heap, GYRE_GEN_OLD), GYRE_OK);
            assert_int_equal(fixture_live(&fx), 2);
            a->also = NULL;
            assert_int_equal(gyre_collect(fx.heap, GYRE_GEN_OLD), GYRE_OK);
            assert_int_equal(fixture_live(&fx), 0);
            fixture_close(&fx);
        }
}

#else

/* ---- named, in checking builds ---- */

static void
collect_now(void *arg)
{
    (void)gyre_collect(arg, GYRE_GEN_OLD);
}

/* A collection ends with these words. In a child, as the heap's world may stay
 * stopped. */
static void
assert_collection_says(struct fixture *fx, const char *words)
{
    pid_t pid = fork();
    int status = 0;
    if (pid == 0) {
        const char *message = fatal_message(collect_now, fx->heap);
        if (message != NULL && strstr(message, words) != NULL)
            _exit(0);
        fprintf(stderr, "child: said \"%s\", expected: %s\n",
                message != NULL ? message : "(nothing)", words);
        _exit(3);
    }
    gyre_detach_begin(fx->self);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    gyre_detach_end(fx->self);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

enum bad { NOT_MAPPED, STACK, RECORDS, INSIDE, OTHER_HEAP, RAW, DEAD, BADS };

/* A pointer that is no object of the heap; `words` on why. */
static void *
bad_pointer(struct fixture *fx, enum bad bad, struct node *foreign,
            struct teller *own, void *raw, const char **words)
{
    static uint64_t datum[2];
    struct node *node;
    *words = "which is not of this heap";
    switch (bad) {
    case NOT_MAPPED:
        return (void *)16;
    case STACK:
        return datum;
    case OTHER_HEAP:
        return foreign;
    case RECORDS:
        *words = "which is no object";
        return (void *)((uintptr_t)own & ~(uintptr_t)(GYRE_SEGMENT_BYTES - 1));
    case INSIDE:
        *words = "which is no object";
        return (char *)own + 16;
    case RAW:
        *words = "which is no object";
        return raw;
    default:
        *words = "which is dead";
        node = plain_node_new(fx);
        node_drop(node);
        return node;
    }
}

/* Covers docs/design/cycle.md .cycle.trace, .fail: the holder and what it
 * says are named. Beside the program what is no candidate's is looked at in
 * stops alone. */
static void
test_pointers_that_are_no_objects_are_named(void **state)
{
    struct gyre_heap *other;
    struct gyre_thread *self;
    struct fixture elsewhere = {0};
    struct node *foreign;
    (void)state;
    assert_int_equal(gyre_heap_create(modes[0], &other), GYRE_OK);
    assert_int_equal(gyre_type_ready(&plain_node_type), GYRE_OK);
    assert_int_equal(gyre_thread_attach(other, &self), GYRE_OK);
    foreign = plain_node_new(&elsewhere);
    gyre_thread_leave(self);
    for (unsigned mode = 0; mode < 2; mode++)
        for (unsigned which = 0; which < 2; which++) {
            struct fixture fx;
            struct teller *ring;
            struct node *neighbour;
            void *raw;
            open_heap(&fx, mode);
            neighbour = plain_node_new(&fx);
            raw = gyre_mem_alloc(100);
            ring = teller_ring(&fx, which, NULL);
            for (enum bad bad = 0; bad < BADS; bad++) {
                const char *words;
                /* then it is nobody's edge, and nothing goes wrong */
                if (mode == 1 && which == 1 &&
                    (bad == RAW || bad == DEAD || bad == RECORDS))
                    continue;
                ring->also = bad_pointer(&fx, bad, foreign, ring, raw, &words);
                assert_collection_says(&fx, words);
            }
            ring->also = NULL;
            assert_int_equal(gyre_collect(fx.heap, GYRE_GEN_OLD), GYRE_OK);
            assert_int_equal(fixture_live(&fx), 3);
            gyre_mem_free(raw);
            node_drop(neighbour);
            gyre_decref(&ring->head);
            assert_int_equal(gyre_collect(fx.heap, GYRE_GEN_OLD), GYRE_OK);
            assert_int_equal(fixture_live(&fx), 0);
            fixture_close(&fx);
        }
    assert_int_equal(gyre_heap_destroy(other), GYRE_OK);
}

/* Covers docs/design/cycle.md .cycle.trace .fail, docs/design/concurrent.md
 * .prove.over: garbage that is named more often than it has references
 * is named by PROVE. */
static void
test_what_is_named_too_often_is_told(void **state)
{
    (void)state;
    for (unsigned mode = 0; mode < 2; mode++)
        for (unsigned which = 0; which < 2; which++) {
            struct fixture fx;
            struct teller *a;
            struct node *x, *y;
            open_heap(&fx, mode);
            a = teller_ring(&fx, which, NULL);
            a->also = gyre_slot_peek(&a->mate);
            gyre_decref(&a->head);
            assert_collection_says(&fx, "1 references, and slots that name "
                                        "it 2 times");
            a->also = NULL;
            /* and by slots alone */
            x = plain_node_new(&fx);
            y = plain_node_new(&fx);
            gyre_slot_set(&y->head, &y->left, &x->head);
            gyre_slot_move(&x->head, &x->left, &y->head);
            gyre_slot_move(&x->head, &x->right, &y->head);
            node_drop(x);
            assert_collection_says(&fx, "1 references, and slots that name "
                                        "it 2 times");
            gyre_incref(&y->head); /* the one that was not counted */
            assert_int_equal(gyre_collect(fx.heap, GYRE_GEN_OLD), GYRE_OK);
            assert_int_equal(fixture_live(&fx), 0);
            fixture_close(&fx);
        }
}

#endif

int
main(void)
{
    const struct CMUnitTest tests[] = {
#if GYRE_CHECKING
        cmocka_unit_test(test_pointers_that_are_no_objects_are_named),
        cmocka_unit_test(test_what_is_named_too_often_is_told),
#else
        cmocka_unit_test(test_pointers_out_of_every_segment_are_no_edges),
        cmocka_unit_test(test_what_is_named_too_often_lives),
#endif
    };
    return cmocka_run_group_tests_name("trace", tests, NULL, NULL);
}
