/* What most tests begin with: a heap, this thread attached to it, a node
 * type with two slots, and counts of what its callbacks saw.
 *
 * Give fixture_setup and fixture_teardown to cmocka_unit_test_setup_teardown;
 * the test finds its struct fixture in *state. */
#ifndef GYRE_TESTS_FIXTURE_H
#define GYRE_TESTS_FIXTURE_H

/* cmocka.h wants these first */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <stdbool.h>

#include <gyre/gyre.h>

/* 1 where everything takes ten times as long, so that a test may do less. */
#if defined(__SANITIZE_THREAD__)
#define FIXTURE_IS_SLOW 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define FIXTURE_IS_SLOW 1
#endif
#endif
#ifndef FIXTURE_IS_SLOW
#define FIXTURE_IS_SLOW 0
#endif
/* A number of rounds: a tenth of `n` where all is slow. */
#define FIXTURE_SCALED(n) (FIXTURE_IS_SLOW ? (n) / 10 : (n))

/* Bytes of a page of 64 KiB that hold blocks. */
#define FIXTURE_PAGE_ROOM (GYRE_PAGE_BYTES - (GYRE_HARDENED ? 4096 : 0))

struct node;

struct fixture {
    struct gyre_heap *heap;
    struct gyre_thread *self; /* the test's own thread */
    /* any thread, atomic: written by the callbacks */
    int live;      /* nodes made less nodes deallocated */
    int finalized; /* finalizers run */
    /* const while other threads run */
    void (*on_finalize)(struct node *node); /* NULL, or called as well */
};

/* With a prompt finalizer when made by node_new(), with one that waits for a
 * safepoint by late_node_new(). */
struct node {
    struct gyre_object head;
    struct gyre_slot left, right;
    struct fixture *fx;
    uint64_t payload;
};

/* Of the types the first two have a finalizer, prompt and not; the last has no
 * slots. */
extern struct gyre_type node_type, late_node_type, plain_node_type,
    leaf_node_type;

/* A heap with these options, and this thread attached; asserts success. */
void fixture_open(struct fixture *fx, const char *options);
/* Leave and destroy; asserts success. What still lives is deallocated. */
void fixture_close(struct fixture *fx);

int fixture_setup(void **state); /* gc.automatic=0 */
int fixture_teardown(void **state);

/* A node with a reference; asserts that there was memory. */
struct node *node_new(struct fixture *fx);
struct node *late_node_new(struct fixture *fx);
struct node *plain_node_new(struct fixture *fx);
struct node *leaf_node_new(struct fixture *fx);
/* Let `from`'s first empty slot refer to `to`; asserts that there is one. */
void node_link(struct node *from, struct node *to);
void node_drop(struct node *node); /* decref; NULL is fine */
/* A ring of `count` nodes, each the next one's `left`: `first` and plain ones.
 * Returns `first`. */
struct node *ring_through(struct fixture *fx, struct node *first, int count);
struct node *ring_new(struct fixture *fx, int count); /* plain nodes */

/* Atomic reads of the counts. */
int fixture_live(const struct fixture *fx);
int fixture_finalized(const struct fixture *fx);

/* Run `act` with a fatal hook that jumps back here: the message, or NULL
 * when `act` returned. The text is overwritten by the next call. One thread
 * at a time. What `act` held stays held. */
const char *fatal_message(void (*act)(void *arg), void *arg);

/* ---- other threads ---- */

typedef void (*worker_fn)(struct fixture *fx, struct gyre_thread *self,
                          void *arg);
struct worker {
    struct fixture *fx;
    worker_fn body;
    void *arg;
    pthread_t thread;
};

/* Run `body` on a thread of its own, attached; it leaves when body returns,
 * unless body left already and set gyre_self to NULL that way. */
void worker_start(struct worker *worker, struct fixture *fx, worker_fn body,
                  void *arg);
/* Wait for it, detached when the caller is attached. */
void worker_join(struct worker *worker);

/* A door that opens once. Zeroed by GATE_INIT. Waiting is detached. */
struct gate {
    pthread_mutex_t lock;
    pthread_cond_t opened;
    bool open; /* under lock */
};
#define GATE_INIT                                                  \
    {                                                              \
        PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, false \
    }
void gate_open(struct gate *gate);
void gate_wait(struct gate *gate);

#endif
