/* The option table: presets, bounds, text, environment. */
#include "support/fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A heap needs no thread for its options. */
static int
setup(void **state)
{
    struct gyre_heap *heap;
    unsetenv("GYRE_OPTIONS");
    assert_int_equal(gyre_heap_create(NULL, &heap), GYRE_OK);
    *state = heap;
    return 0;
}

static int
teardown(void **state)
{
    unsetenv("GYRE_OPTIONS");
    assert_int_equal(gyre_heap_destroy(*state), GYRE_OK);
    return 0;
}

/* Covers docs/design/report.md .report.table */
static void
test_a_new_heap_has_every_preset(void **state)
{
    struct gyre_heap *heap = *state;
    int i;
    for (i = 0; i < GYRE_OPTION_COUNT; i++) {
        const struct gyre_option_info *info =
            gyre_option_info((enum gyre_option)i);
        assert_non_null(info);
        assert_true(info->preset >= info->least);
        assert_true(info->preset <= info->most);
        assert_true(strlen(info->help) > 0);
        assert_true(gyre_option_get(heap, (enum gyre_option)i) == info->preset);
    }
    assert_null(gyre_option_info(GYRE_OPTION_COUNT));
}

/* Covers docs/design/report.md .report.table: not clamped, refused. */
static void
test_a_value_out_of_bounds_is_refused_and_named(void **state)
{
    struct gyre_heap *heap = *state;
    enum gyre_option option = GYRE_OPT_THREAD_STOP_TIMEOUT;
    assert_int_equal(gyre_option_set(heap, option, 250), GYRE_OK);
    assert_int_equal(gyre_option_set(heap, option, 0), GYRE_ERR_ARGUMENT);
    assert_string_equal(gyre_option_error(),
                        "thread.stop_timeout=0: must be a number from 1 to "
                        "86400000, unit: ms");
    assert_int_equal(gyre_option_set(heap, option, 86400001),
                     GYRE_ERR_ARGUMENT);
    assert_int_equal(gyre_option_get(heap, option), 250);
}

/* Covers docs/design/report.md .report.table */
static void
test_options_fixed_at_creation_are_refused_later(void **state)
{
    struct gyre_heap *heap = *state;
    assert_int_equal(gyre_option_set(heap, GYRE_OPT_THREAD_NUMBERS, 5),
                     GYRE_ERR_STATE);
    assert_int_equal(gyre_options_parse(heap, "gc.save_all=1,gc.thread=0"),
                     GYRE_ERR_STATE);
    assert_string_equal(gyre_option_error(),
                        "gc.thread: fixed when the heap is made");
    assert_int_equal(gyre_option_get(heap, GYRE_OPT_GC_SAVE_ALL), 0);
    assert_int_equal(
        gyre_option_set(heap, (enum gyre_option)GYRE_OPTION_COUNT, 0),
        GYRE_ERR_UNKNOWN);
}

/* Covers docs/design/report.md .report.text */
static void
test_text_sets_numbers_suffixes_and_bools(void **state)
{
    struct gyre_heap *heap = *state;
    assert_int_equal(
        gyre_options_parse(heap, " gc.threshold0 = 700 ,"
                                 "memory.hard_limit=3g,memory.heap_cache=2m,"
                                 "memory.thread_cache=5k,gc.save_all=yes,"
                                 "gc.automatic=no,"),
        GYRE_OK);
    assert_int_equal(gyre_option_get(heap, GYRE_OPT_GC_THRESHOLD0), 700);
    assert_int_equal(gyre_option_get(heap, GYRE_OPT_MEMORY_HARD_LIMIT),
                     UINT64_C(3) << 30);
    assert_int_equal(gyre_option_get(heap, GYRE_OPT_MEMORY_HEAP_CACHE),
                     2 << 20);
    assert_int_equal(gyre_option_get(heap, GYRE_OPT_MEMORY_THREAD_CACHE),
                     5 << 10);
    assert_int_equal(gyre_option_get(heap, GYRE_OPT_GC_SAVE_ALL), 1);
    assert_int_equal(gyre_option_get(heap, GYRE_OPT_GC_AUTOMATIC), 0);
    assert_int_equal(gyre_options_parse(heap, ""), GYRE_OK);
    assert_int_equal(
        gyre_options_parse(heap, "memory.hard_limit=18446744073709551615"),
        GYRE_OK);
    assert_true(gyre_option_get(heap, GYRE_OPT_MEMORY_HARD_LIMIT) ==
                UINT64_MAX);
}

/* Covers docs/design/report.md .report.text */
static void
test_text_with_one_error_sets_nothing(void **state)
{
    static const struct {
        const char *text;
        enum gyre_status status;
        const char *names; /* must occur in the error */
    } bad[] = {
        {"gc.threshold1", GYRE_ERR_ARGUMENT, "gc.threshold1="},
        {"gc.threshold1=", GYRE_ERR_ARGUMENT, "gc.threshold1="},
        {"gc.threshold1=-1", GYRE_ERR_ARGUMENT, "gc.threshold1=-1"},
        {"gc.threshold1=+1", GYRE_ERR_ARGUMENT, "gc.threshold1=+1"},
        {"gc.threshold1=0x10", GYRE_ERR_ARGUMENT, "gc.threshold1=0x10"},
        {"gc.threshold1=1 2", GYRE_ERR_ARGUMENT, "gc.threshold1=1 2"},
        {"gc.threshold1=5k", GYRE_ERR_ARGUMENT, "gc.threshold1=5k"},
        {"gc.threshold1=18446744073709551616", GYRE_ERR_ARGUMENT, "=1844"},
        {"memory.hard_limit=k", GYRE_ERR_ARGUMENT, "unit: bytes"},
        {"memory.hard_limit=18014398509481984k", GYRE_ERR_ARGUMENT, "bytes"},
        {"memory.hard_limit=1kk", GYRE_ERR_ARGUMENT, "1kk"},
        {"gc.save_all=2", GYRE_ERR_ARGUMENT, "0, 1, no or yes"},
        {"gc.save_all=true", GYRE_ERR_ARGUMENT, "0, 1, no or yes"},
        {"gc.treshold1=5", GYRE_ERR_UNKNOWN, "\"gc.treshold1\""},
        {"gc.threshold=5", GYRE_ERR_UNKNOWN, "\"gc.threshold\""},
        {"gc.threshold11=5", GYRE_ERR_UNKNOWN, "\"gc.threshold11\""},
        {"=5", GYRE_ERR_UNKNOWN, "\"\""},
    };
    struct gyre_heap *heap = *state;
    size_t i;
    for (i = 0; i < sizeof bad / sizeof *bad; i++) {
        char text[200];
        snprintf(text, sizeof text, "gc.threshold0=1,%s,gc.threshold2=3",
                 bad[i].text);
        assert_int_equal(gyre_options_parse(heap, text), bad[i].status);
        assert_non_null(strstr(gyre_option_error(), bad[i].names));
        assert_null(strchr(gyre_option_error(), '\n'));
        assert_int_equal(gyre_option_get(heap, GYRE_OPT_GC_THRESHOLD0), 50000);
        assert_int_equal(gyre_option_get(heap, GYRE_OPT_GC_THRESHOLD1), 10);
        assert_int_equal(gyre_option_get(heap, GYRE_OPT_GC_THRESHOLD2), 10);
    }
}

/* Covers docs/design/report.md .report.text: a text of any length is safe. */
static void
test_a_long_name_is_cut_in_the_error(void **state)
{
    struct gyre_heap *heap = *state;
    char text[4000];
    memset(text, 'x', sizeof text);
    text[sizeof text - 1] = '\0';
    assert_int_equal(gyre_options_parse(heap, text), GYRE_ERR_UNKNOWN);
    assert_true(strlen(gyre_option_error()) < 100);
}

/* Covers docs/design/report.md .report.text */
static void
test_the_environment_wins_over_the_program(void **state)
{
    struct gyre_heap *heap;
    (void)state;
    setenv("GYRE_OPTIONS", "gc.threshold0=7,gc.thread=no", 1);
    assert_int_equal(gyre_heap_create("gc.threshold0=5,gc.threshold1=6", &heap),
                     GYRE_OK);
    assert_int_equal(gyre_option_get(heap, GYRE_OPT_GC_THRESHOLD0), 7);
    assert_int_equal(gyre_option_get(heap, GYRE_OPT_GC_THRESHOLD1), 6);
    assert_int_equal(gyre_option_get(heap, GYRE_OPT_GC_THREAD), 0);
    assert_int_equal(gyre_heap_destroy(heap), GYRE_OK);
}

/* Covers docs/design/report.md .report.text */
static void
test_a_heap_with_a_wrong_option_is_not_made(void **state)
{
    struct gyre_heap *heap = *state;
    assert_int_equal(gyre_heap_create("gc.threshold0=x", &heap),
                     GYRE_ERR_ARGUMENT);
    assert_null(heap);
    assert_int_equal(gyre_heap_create("what=1", &heap), GYRE_ERR_UNKNOWN);
    assert_null(heap);
    setenv("GYRE_OPTIONS", "gc.threads=1", 1);
    assert_int_equal(gyre_heap_create(NULL, &heap), GYRE_ERR_UNKNOWN);
    assert_null(heap);
    assert_string_equal(gyre_option_error(),
                        "GYRE_OPTIONS: no option is called \"gc.threads\"");
}

static void *
read_error(void *arg)
{
    *(size_t *)arg = strlen(gyre_option_error());
    return NULL;
}

/* Covers docs/design/report.md .report.text */
static void
test_errors_are_the_calling_threads_own(void **state)
{
    struct gyre_heap *heap = *state;
    pthread_t other;
    size_t length = 1;
    assert_int_equal(gyre_options_parse(heap, "x=1"), GYRE_ERR_UNKNOWN);
    assert_int_equal(pthread_create(&other, NULL, read_error, &length), 0);
    assert_int_equal(pthread_join(other, NULL), 0);
    assert_int_equal(length, 0);
    assert_true(strlen(gyre_option_error()) > 0);
}

int
main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_a_new_heap_has_every_preset),
        TEST(test_a_value_out_of_bounds_is_refused_and_named),
        TEST(test_options_fixed_at_creation_are_refused_later),
        TEST(test_text_sets_numbers_suffixes_and_bools),
        TEST(test_text_with_one_error_sets_nothing),
        TEST(test_a_long_name_is_cut_in_the_error),
        TEST(test_the_environment_wins_over_the_program),
        TEST(test_a_heap_with_a_wrong_option_is_not_made),
        TEST(test_errors_are_the_calling_threads_own),
    };
    return cmocka_run_group_tests_name("options", tests, NULL, NULL);
}
