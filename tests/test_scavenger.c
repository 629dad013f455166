/* Memory that goes back to the system by itself: when, how much, and by whom.
 * Covers docs/design/memory.md .mem.return. Linked with
 * --wrap=pthread_create. */
#include "support/fixture.h"

#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "heap.h"
#include "memory/poison.h"

#define MIB (UINT64_C(1) << 20)
#define QUIET "gc.automatic=0,gc.thread=0,memory.thread_cache=0"
#define NEVER ",memory.return_delay=86400000"
#define DEADLINE_NS (UINT64_C(20) * 1000000000)

/* What is in memory of a process under a sanitizer says little. */
#if GYRE_TSAN || MEMORY_POISON
#define RESIDENT_IS_OURS 0
#else
#define RESIDENT_IS_OURS 1
#endif

/* ---- threads that can't be had ---- */

int __real_pthread_create(pthread_t *thread, const pthread_attr_t *attr,
                          void *(*body)(void *), void *arg);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attr,
                          void *(*body)(void *), void *arg);

static int refuse_threads; /* atomic */

int
__wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attr,
                      void *(*body)(void *), void *arg)
{
    if (gyre_load_relaxed(&refuse_threads) != 0)
        return EAGAIN;
    return __real_pthread_create(thread, attr, body, arg);
}

/* ---- looking ---- */

static struct gyre_statistics
statistics(const struct fixture *fx)
{
    struct gyre_statistics out;
    gyre_statistics_get(fx->heap, &out);
    return out;
}

static uint64_t
resident_bytes(void)
{
    unsigned long long all, resident = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    assert_non_null(file);
    assert_int_equal(fscanf(file, "%llu %llu", &all, &resident), 2);
    fclose(file);
    return resident * (uint64_t)sysconf(_SC_PAGESIZE);
}

/* Look again in a while. */
static void
wait_ms(int ms)
{
    (void)poll(NULL, 0, ms);
}

static bool
nothing_is_cached(const struct fixture *fx)
{
    return statistics(fx).heap_cached == 0;
}

/* Until it is so, or the deadline is over. */
static bool
comes_true(bool (*it)(const struct fixture *), const struct fixture *fx)
{
    uint64_t begun = gyre_clock_ns();
    while (!it(fx)) {
        if (gyre_clock_ns() - begun > DEADLINE_NS)
            return false;
        wait_ms(2);
    }
    return true;
}

/* The system's number of the scavenger's thread; 0: there is none. */
static int
scavenger_task(void)
{
    DIR *tasks = opendir("/proc/self/task");
    struct dirent *entry;
    int found = 0;
    assert_non_null(tasks);
    while (found == 0 && (entry = readdir(tasks)) != NULL) {
        char path[300], name[32] = "";
        FILE *file;
        snprintf(path, sizeof path, "/proc/self/task/%s/comm", entry->d_name);
        file = fopen(path, "r");
        if (file == NULL)
            continue;
        if (fgets(name, sizeof name, file) != NULL &&
            strcmp(name, "gyre scavenger\n") == 0)
            found = atoi(entry->d_name);
        fclose(file);
    }
    closedir(tasks);
    return found;
}

/* How often a thread went to sleep so far. */
static long
task_sleeps(int task)
{
    char path[64], line[256];
    long sleeps = -1;
    FILE *file;
    snprintf(path, sizeof path, "/proc/self/task/%d/status", task);
    file = fopen(path, "r");
    assert_non_null(file);
    while (fgets(line, sizeof line, file) != NULL)
        if (sscanf(line, "voluntary_ctxt_switches: %ld", &sleeps) == 1)
            break;
    fclose(file);
    return sleeps;
}

/* ---- filling ---- */

/* Use `bytes` of memory and free them again. */
static void
fill_and_free(uint64_t bytes)
{
    enum { SIZE = 4096 };
    size_t count = bytes / SIZE, i;
    void **blocks = malloc(count * sizeof *blocks);
    assert_non_null(blocks);
    for (i = 0; i < count; i++) {
        blocks[i] = gyre_mem_alloc(SIZE);
        assert_non_null(blocks[i]);
        memset(blocks[i], 0xa5, SIZE);
    }
    for (i = 0; i < count; i++)
        gyre_mem_free(blocks[i]);
    free(blocks);
}

/* ---- by time ---- */

static bool
much_was_returned(const struct fixture *fx)
{
    return statistics(fx).returned >= 60 * MIB;
}

/* Covers .mem.return: the timer is one; nobody calls anything. */
static void
test_memory_comes_back_in_a_process_that_makes_no_call(void **state)
{
    struct fixture fx;
    uint64_t before, begun;
    (void)state;
    fixture_open(&fx, QUIET ",memory.heap_cache=1g,memory.return_delay=100");
    before = resident_bytes();
    fill_and_free(64 * MIB);
    begun = gyre_clock_ns();
    while (RESIDENT_IS_OURS && resident_bytes() > before + 8 * MIB) {
        assert_true(gyre_clock_ns() - begun < DEADLINE_NS);
        wait_ms(2);
    }
    assert_true(comes_true(much_was_returned, &fx));
    assert_true(comes_true(nothing_is_cached, &fx));
    fixture_close(&fx);
}

static void
fill_and_leave(struct fixture *fx, struct gyre_thread *self, void *arg)
{
    (void)fx;
    (void)self;
    (void)arg;
    fill_and_free(32 * MIB);
}

static bool
little_is_mapped(const struct fixture *fx)
{
    return statistics(fx).mapped < 12 * MIB;
}

/* Covers .mem.return: and its address space with it. */
static void
test_segments_of_a_thread_that_left_are_unmapped_by_time(void **state)
{
    struct worker worker;
    struct fixture fx;
    (void)state;
    fixture_open(&fx, QUIET ",memory.heap_cache=1g,memory.return_delay=50");
    worker_start(&worker, &fx, fill_and_leave, NULL);
    worker_join(&worker);
    assert_true(comes_true(nothing_is_cached, &fx));
    assert_true(comes_true(little_is_mapped, &fx));
    assert_int_equal(gyre_heap_check(fx.heap), GYRE_OK);
    fixture_close(&fx);
}

/* Covers .mem.return: what was emptied just now is kept for half the delay at
 * least. */
static void
test_memory_is_not_returned_before_half_the_delay(void **state)
{
    struct fixture fx;
    uint64_t begun;
    (void)state;
    fixture_open(&fx, QUIET ",memory.heap_cache=1g,memory.return_delay=400");
    begun = gyre_clock_ns();
    fill_and_free(16 * MIB);
    assert_true(comes_true(nothing_is_cached, &fx));
    assert_true(gyre_clock_ns() - begun >= 200000000);
    fixture_close(&fx);
}

/* Covers .mem.return: nothing is returned that is used again and again. */
static void
test_pages_that_are_used_again_are_not_returned(void **state)
{
    struct fixture fx;
    uint64_t begun;
    (void)state;
    fixture_open(&fx, QUIET ",memory.heap_cache=1g,memory.return_delay=2000");
    fill_and_free(8 * MIB);
    begun = gyre_clock_ns();
    while (gyre_clock_ns() - begun < 300000000)
        fill_and_free(8 * MIB);
    assert_int_equal(statistics(&fx).returned, 0);
    fixture_close(&fx);
}

/* ---- the thread ---- */

/* Covers .mem.return: no thread without something to return, and none that
 * wakes up. */
static void
test_the_scavenger_sleeps_while_there_is_nothing_to_return(void **state)
{
    struct fixture fx;
    void *block;
    int task;
    long sleeps;
    uint64_t begun;
    (void)state;
    fixture_open(&fx, QUIET ",memory.return_delay=20");
    block = gyre_mem_alloc(100);
    assert_non_null(block);
    assert_int_equal(gyre_scavenger_threads(), 0);
    assert_int_equal(scavenger_task(), 0);
    fill_and_free(16 * MIB);
    assert_int_equal(gyre_scavenger_threads(), 1);
    assert_true(comes_true(nothing_is_cached, &fx));
    assert_true(comes_true(little_is_mapped, &fx));
    task = scavenger_task();
    assert_int_not_equal(task, 0);
    /* The last look finds nothing, a period later. */
    begun = gyre_clock_ns();
    do {
        assert_true(gyre_clock_ns() - begun < DEADLINE_NS);
        sleeps = task_sleeps(task);
        wait_ms(200); /* for ten periods it does not wake up */
    } while (task_sleeps(task) != sleeps);
    /* It wakes up when there is something again. */
    fill_and_free(16 * MIB);
    assert_true(comes_true(nothing_is_cached, &fx));
    assert_int_equal(gyre_scavenger_threads(), 1);
    gyre_mem_free(block);
    fixture_close(&fx);
    assert_int_equal(gyre_scavenger_threads(), 0);
}

/* Covers .mem.return: without a thread memory is returned at once. */
static void
test_memory_is_returned_at_once_when_no_thread_can_be_had(void **state)
{
    struct fixture fx;
    (void)state;
    fixture_open(&fx, QUIET ",memory.heap_cache=1g" NEVER);
    gyre_store_relaxed(&refuse_threads, 1);
    fill_and_free(16 * MIB);
    gyre_store_relaxed(&refuse_threads, 0);
    assert_int_equal(gyre_scavenger_threads(), 0);
    assert_true(statistics(&fx).heap_cached <= 65536);
    assert_true(statistics(&fx).returned >= 12 * MIB);
    fill_and_free(16 * MIB);
    assert_int_equal(gyre_scavenger_threads(), 1);
    assert_true(statistics(&fx).heap_cached >= 12 * MIB);
    fixture_close(&fx);
}

/* ---- options at run time ---- */

/* Covers .mem.return */
static void
test_a_delay_that_is_shortened_counts_at_once(void **state)
{
    struct fixture fx;
    (void)state;
    fixture_open(&fx, QUIET ",memory.heap_cache=1g" NEVER);
    fill_and_free(16 * MIB);
    assert_true(statistics(&fx).heap_cached >= 12 * MIB);
    assert_int_equal(gyre_option_set(fx.heap, GYRE_OPT_MEMORY_RETURN_DELAY, 30),
                     GYRE_OK);
    assert_true(comes_true(nothing_is_cached, &fx));
    assert_int_equal(
        gyre_options_parse(fx.heap, "memory.return_delay=86400000"), GYRE_OK);
    fill_and_free(16 * MIB);
    assert_true(statistics(&fx).heap_cached >= 12 * MIB);
    assert_int_equal(gyre_option_set(fx.heap, GYRE_OPT_MEMORY_RETURN_DELAY, 0),
                     GYRE_OK);
    assert_int_equal(statistics(&fx).heap_cached, 0);
    fill_and_free(16 * MIB);
    assert_int_equal(statistics(&fx).heap_cached, 0);
    assert_int_equal(gyre_heap_check(fx.heap), GYRE_OK);
    fixture_close(&fx);
}

/* Covers .mem.return */
static void
test_a_heap_cache_that_is_lowered_is_obeyed_at_once(void **state)
{
    struct fixture fx;
    (void)state;
    fixture_open(&fx, QUIET ",memory.heap_cache=1g" NEVER);
    fill_and_free(32 * MIB);
    assert_true(statistics(&fx).heap_cached > 24 * MIB);
    assert_int_equal(
        gyre_option_set(fx.heap, GYRE_OPT_MEMORY_HEAP_CACHE, 12 * MIB),
        GYRE_OK);
    assert_true(statistics(&fx).heap_cached <= 12 * MIB);
    assert_true(statistics(&fx).heap_cached > 0);
    fill_and_free(32 * MIB);
    assert_true(statistics(&fx).heap_cached <= 12 * MIB);
    assert_int_equal(gyre_option_set(fx.heap, GYRE_OPT_MEMORY_HEAP_CACHE, 0),
                     GYRE_OK);
    assert_int_equal(statistics(&fx).heap_cached, 0);
    assert_int_equal(gyre_heap_check(fx.heap), GYRE_OK);
    fixture_close(&fx);
}

/* ---- collections ---- */

/* Covers .mem.stable: while a collection is open memory is purged, but no
 * segment goes. */
static void
test_no_segment_is_unmapped_while_a_collection_is_open(void **state)
{
    struct fixture fx;
    uint64_t mapped;
    (void)state;
    fixture_open(&fx, QUIET ",memory.heap_cache=1g" NEVER);
    fill_and_free(32 * MIB);
    mapped = statistics(&fx).mapped;
    gyre_memory_pin(fx.heap);
    assert_int_equal(gyre_option_set(fx.heap, GYRE_OPT_MEMORY_RETURN_DELAY, 20),
                     GYRE_OK);
    assert_true(comes_true(nothing_is_cached, &fx));
    wait_ms(60);
    assert_int_equal(statistics(&fx).mapped, mapped);
    gyre_memory_unpin(fx.heap);
    assert_true(comes_true(little_is_mapped, &fx));
    fixture_close(&fx);
}

/* ---- with others ---- */

static void
churn(struct fixture *fx, struct gyre_thread *self, void *arg)
{
    int i;
    (void)arg;
    for (i = 0; i < FIXTURE_SCALED(60); i++) {
        fill_and_free((uint64_t)(1 + i % 5) * MIB);
        gyre_safepoint(self);
        if (i % 8 == 0)
            assert_int_equal(gyre_heap_check(fx->heap), GYRE_OK);
    }
}

/* Covers .mem.return .mem.check: pages go and come under threads that use
 * them, check them and change the options. */
static void
test_memory_is_returned_under_threads_that_need_it(void **state)
{
    struct worker workers[3];
    struct fixture fx;
    int i;
    (void)state;
    fixture_open(&fx, QUIET ",memory.return_delay=1");
    for (i = 0; i < 3; i++)
        worker_start(&workers[i], &fx, churn, NULL);
    for (i = 0; i < 40; i++) {
        gyre_detach_begin(fx.self);
        wait_ms(2);
        gyre_detach_end(fx.self);
        assert_int_equal(gyre_option_set(fx.heap, GYRE_OPT_MEMORY_RETURN_DELAY,
                                         (uint64_t)(i % 3)),
                         GYRE_OK);
        assert_int_equal(gyre_option_set(fx.heap, GYRE_OPT_MEMORY_HEAP_CACHE,
                                         (uint64_t)(i % 5) * 3 * MIB),
                         GYRE_OK);
    }
    for (i = 0; i < 3; i++)
        worker_join(&workers[i]);
    assert_int_equal(gyre_option_set(fx.heap, GYRE_OPT_MEMORY_RETURN_DELAY, 1),
                     GYRE_OK);
    assert_true(comes_true(nothing_is_cached, &fx));
    assert_int_equal(gyre_heap_check(fx.heap), GYRE_OK);
    fixture_close(&fx);
}

/* ---- fork ---- */

static int
in_child(struct fixture *fx)
{
    int failed = 0;
    fill_and_free(16 * MIB);
    failed |= comes_true(nothing_is_cached, fx) ? 0 : 1;
    failed |= gyre_heap_check(fx->heap) == GYRE_OK ? 0 : 2;
    failed |= gyre_scavenger_threads() == (GYRE_TSAN ? 0 : 1) ? 0 : 4;
    return failed;
}

/* Covers .mem.return: a child starts a thread of its own when it has
 * something to return. */
static void
test_a_forked_child_returns_memory_too(void **state)
{
    struct fixture fx;
    int i;
    (void)state;
    fixture_open(&fx, QUIET ",memory.heap_cache=1g,memory.return_delay=5");
    for (i = 0; i < 5; i++) {
        pid_t child;
        int status;
        fill_and_free(16 * MIB);
        child = fork();
        if (child == 0)
            _exit(in_child(&fx));
        assert_true(child > 0);
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_int_equal(status, 0);
    }
    assert_true(comes_true(nothing_is_cached, &fx));
    assert_int_equal(gyre_heap_check(fx.heap), GYRE_OK);
    fixture_close(&fx);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(
            test_memory_comes_back_in_a_process_that_makes_no_call),
        cmocka_unit_test(
            test_segments_of_a_thread_that_left_are_unmapped_by_time),
        cmocka_unit_test(test_memory_is_not_returned_before_half_the_delay),
        cmocka_unit_test(test_pages_that_are_used_again_are_not_returned),
        cmocka_unit_test(
            test_the_scavenger_sleeps_while_there_is_nothing_to_return),
        cmocka_unit_test(
            test_memory_is_returned_at_once_when_no_thread_can_be_had),
        cmocka_unit_test(test_a_delay_that_is_shortened_counts_at_once),
        cmocka_unit_test(test_a_heap_cache_that_is_lowered_is_obeyed_at_once),
        cmocka_unit_test(
            test_no_segment_is_unmapped_while_a_collection_is_open),
        cmocka_unit_test(test_memory_is_returned_under_threads_that_need_it),
        cmocka_unit_test(test_a_forked_child_returns_memory_too),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
