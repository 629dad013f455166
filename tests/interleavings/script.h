/* Interleavings that are made certain: what is done when a thread comes to
 * one of the library's yield points for the nth time. */
#ifndef GYRE_TESTS_INTERLEAVINGS_SCRIPT_H
#define GYRE_TESTS_INTERLEAVINGS_SCRIPT_H

#include "support/fixture.h"

/* A heap that collects when it is told to, beside the program, on the test's
 * own thread; no scripts. */
int script_setup(void **state);
int script_teardown(void **state);

/* Have the calling thread do `act` when it comes to `point` for the nth time
 * from now on; 0: each time, if ever. On the collecting thread it stands for
 * any other thread that runs then: between the points the collector holds
 * nothing of it. An act may plan others. */
void script_plan(const char *point, unsigned nth, void (*act)(void));
/* Asserts that all that was planned was done, and forgets it. */
void script_end(void);

/* In an act, where a failed assertion would jump out of the library with its
 * locks held: fatal, and named. */
#define SCRIPT_MUST(condition) \
    GYRE_CHECK(condition, "interleaving: not so: %s", #condition)

/* ---- two threads meet ---- */

/* Wait, at a safepoint or not, until the other says so. Flags are 0 before. */
void script_wait(const uint32_t *flag);
void script_poll_until(struct gyre_thread *self, const uint32_t *flag);
void script_say(uint32_t *flag);

/* ---- what most tests are about ---- */

/* A weak reference to `named`, which is garbage with its mate or without, and
 * what an act took. Given up by script_teardown(). */
struct cast {
    struct gyre_object *weak;
    struct node *named, *mate;
    struct gyre_object *held;
};
extern struct cast cast;

/* A ring of two that nothing names but a weak reference to the first. */
void cast_ring(struct node *named, struct node *mate);
/* One that names itself, and its mate. */
void cast_loop_with_tail(struct node *named, struct node *mate);

/* Acts. */
void cast_get(void);
void cast_get_and_take_mate(void);
void cast_get_and_let_it_die(void);

/* Collect, and check the heap. */
void script_collect(struct fixture *fx);
/* All that was made is garbage, and is collected. */
void script_collect_the_rest(struct fixture *fx);

#endif
