/* Misuse of the interface is named, and fatal through the hook. What the
 * inline functions find, they find in checking builds only. */
#include "support/fixture.h"

#include <string.h>

/* Everything a misuse may need. */
struct misuse {
    struct fixture *fx;
    struct node *a, *b;
    struct gyre_thread *thread;
};

static void
assert_named(void (*act)(void *), struct misuse *misuse, const char *words)
{
    const char *message = fatal_message(act, misuse);
    assert_non_null(message);
    if (strstr(message, words) == NULL)
        fail_msg("\"%s\" does not say \"%s\"", message, words);
}

static void
needs_checking(void)
{
    if (!GYRE_CHECKING)
        skip();
}

static void
do_incref(void *arg)
{
    gyre_incref(&((struct misuse *)arg)->a->head);
}

static void
do_decref(void *arg)
{
    gyre_decref(&((struct misuse *)arg)->a->head);
}

/* Covers docs/design/report.md .report.fatal */
static void
test_a_decref_too_many_is_named(void **state)
{
    struct misuse misuse = {.fx = *state};
    struct node *keeps_the_page = node_new(*state);
    needs_checking();
    misuse.a = node_new(*state);
    node_drop(misuse.a);
    assert_named(do_decref, &misuse, "decref of 0x");
    assert_named(do_incref, &misuse, "incref of 0x");
    node_drop(keeps_the_page);
}

/* Covers docs/design/report.md .report.fatal */
static void
test_a_count_in_a_detached_region_is_named(void **state)
{
    struct fixture *fx = *state;
    struct misuse misuse = {.fx = fx};
    needs_checking();
    misuse.a = node_new(fx);
    gyre_detach_begin(fx->self);
    assert_named(do_incref, &misuse, "detached region");
    gyre_detach_end(fx->self);
    node_drop(misuse.a);
}

static void
do_new(void *arg)
{
    (void)arg;
    assert_null(gyre_new(&node_type));
}

static void *
misuse_unattached(void *arg)
{
    assert_named(do_incref, arg, "not attached");
    assert_named(do_new, arg, "not attached");
    return NULL;
}

/* Covers docs/design/report.md .report.fatal */
static void
test_use_by_a_thread_that_is_not_attached_is_named(void **state)
{
    struct misuse misuse = {.fx = *state};
    pthread_t thread;
    needs_checking();
    misuse.a = node_new(*state);
    assert_int_equal(pthread_create(&thread, NULL, misuse_unattached, &misuse),
                     0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    node_drop(misuse.a);
}

static void
do_set_foreign_slot(void *arg)
{
    struct misuse *misuse = arg;
    gyre_slot_set(&misuse->a->head, &misuse->b->left, NULL);
}

/* Covers docs/design/object.md .slot */
static void
test_a_slot_of_another_holder_is_named(void **state)
{
    struct misuse misuse = {.fx = *state};
    needs_checking();
    misuse.a = node_new(*state);
    misuse.b = node_new(*state);
    assert_named(do_set_foreign_slot, &misuse, "slot");
    node_drop(misuse.a);
    node_drop(misuse.b);
}

static void
do_detach(void *arg)
{
    gyre_detach_begin(((struct misuse *)arg)->thread);
}

static void
do_return(void *arg)
{
    gyre_detach_end(((struct misuse *)arg)->thread);
}

static void
do_leave(void *arg)
{
    gyre_thread_leave(((struct misuse *)arg)->thread);
}

/* Covers docs/design/threads.md .thread */
static void
test_detached_regions_that_nest_or_miss_are_named(void **state)
{
    struct fixture *fx = *state;
    struct misuse misuse = {.fx = fx, .thread = fx->self};
    needs_checking();
    assert_named(do_return, &misuse, "gyre_detach_end");
    gyre_detach_begin(fx->self);
    assert_named(do_detach, &misuse, "gyre_detach_begin");
    assert_named(do_leave, &misuse, "gyre_thread_leave");
    gyre_detach_end(fx->self);
}

static void
use_handle(struct fixture *fx, struct gyre_thread *self, void *arg)
{
    struct misuse misuse = {.fx = fx, .thread = fx->self};
    (void)self;
    (void)arg;
    assert_named(do_detach, &misuse, "not this thread's handle");
    assert_named(do_leave, &misuse, "gyre_thread_leave");
}

/* Covers docs/design/threads.md .thread */
static void
test_another_threads_handle_is_named(void **state)
{
    struct fixture *fx = *state;
    struct worker worker;
    needs_checking();
    worker_start(&worker, fx, use_handle, NULL);
    worker_join(&worker);
}

static void
do_unlock(void *arg)
{
    gyre_unlock(&((struct misuse *)arg)->a->head);
}

/* Covers docs/design/object.md .lock */
static void
test_an_unlock_without_a_lock_is_named(void **state)
{
    struct misuse misuse = {.fx = *state};
    misuse.a = node_new(*state);
    assert_named(do_unlock, &misuse, "not locked");
    gyre_lock(&misuse.a->head);
    gyre_unlock(&misuse.a->head);
    assert_named(do_unlock, &misuse, "not locked");
    node_drop(misuse.a);
}

static void
do_enable(void *arg)
{
    gyre_collect_enable(((struct misuse *)arg)->fx->heap);
}

/* Covers docs/design/report.md .report.fatal */
static void
test_an_enable_without_a_disable_is_named(void **state)
{
    struct misuse misuse = {.fx = *state};
    assert_named(do_enable, &misuse, "gyre_collect_enable");
}

int
main(void)
{
#define TEST(name) \
    cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_a_decref_too_many_is_named),
        TEST(test_a_count_in_a_detached_region_is_named),
        TEST(test_use_by_a_thread_that_is_not_attached_is_named),
        TEST(test_a_slot_of_another_holder_is_named),
        TEST(test_detached_regions_that_nest_or_miss_are_named),
        TEST(test_another_threads_handle_is_named),
        TEST(test_an_unlock_without_a_lock_is_named),
        TEST(test_an_enable_without_a_disable_is_named),
    };
    return cmocka_run_group_tests_name("misuse", tests, NULL, NULL);
}
