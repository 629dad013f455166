/* Histograms: resolution, quantiles, merging. */
#include "support/fixture.h"

#include <stdlib.h>

static struct gyre_histogram *
histogram_new(void)
{
    struct gyre_histogram *h = calloc(1, sizeof *h);
    assert_non_null(h);
    return h;
}

/* What the histogram remembers of one value among greater ones. */
static uint64_t
remembered(uint64_t value)
{
    struct gyre_histogram *h = histogram_new();
    uint64_t answer;
    gyre_histogram_add(h, value);
    gyre_histogram_add(h, UINT64_MAX);
    answer = gyre_histogram_quantile(h, 0.5);
    free(h);
    return answer;
}

/* Covers docs/design/report.md .report.histogram */
static void
test_an_empty_histogram_answers_zero(void **state)
{
    struct gyre_histogram *h = histogram_new();
    (void)state;
    assert_int_equal(gyre_histogram_quantile(h, 0.5), 0);
    assert_int_equal(gyre_histogram_quantile(h, 1), 0);
    free(h);
}

/* Covers docs/design/report.md .report.histogram */
static void
test_values_below_128_are_exact(void **state)
{
    uint64_t value;
    (void)state;
    for (value = 0; value < 128; value++)
        assert_int_equal(remembered(value), value);
}

/* Covers docs/design/report.md .report.histogram: never below the value, and
 * above it by less than a 64th. Values around every power of two. */
static void
test_every_value_is_known_to_a_64th(void **state)
{
    unsigned top;
    int64_t near;
    (void)state;
    for (top = 7; top < 64; top++) {
        for (near = -70; near <= 70; near++) {
            uint64_t value = (UINT64_C(1) << top) + (uint64_t)near;
            uint64_t answer = remembered(value);
            assert_true(answer >= value);
            assert_true(answer - value <= value / 64);
        }
    }
    assert_true(remembered(UINT64_MAX) == UINT64_MAX);
}

/* Covers docs/design/report.md .report.histogram */
static void
test_quantiles_of_1_to_100_are_the_numbers_themselves(void **state)
{
    struct gyre_histogram *h = histogram_new();
    uint64_t value;
    (void)state;
    for (value = 1; value <= 100; value++)
        gyre_histogram_add(h, value);
    assert_int_equal(gyre_histogram_quantile(h, 0), 1);
    assert_int_equal(gyre_histogram_quantile(h, 0.01), 1);
    assert_int_equal(gyre_histogram_quantile(h, 0.5), 50);
    assert_int_equal(gyre_histogram_quantile(h, 0.501), 51);
    assert_int_equal(gyre_histogram_quantile(h, 0.99), 99);
    assert_int_equal(gyre_histogram_quantile(h, 1), 100);
    assert_int_equal(gyre_histogram_quantile(h, 7), 100);
    assert_int_equal(h->count, 100);
    assert_int_equal(h->sum, 5050);
    assert_int_equal(h->max, 100);
    free(h);
}

/* Covers docs/design/report.md .report.histogram */
static void
test_a_quantile_never_exceeds_the_maximum(void **state)
{
    struct gyre_histogram *h = histogram_new();
    (void)state;
    gyre_histogram_add(h, 1000001);
    assert_int_equal(gyre_histogram_quantile(h, 0.5), 1000001);
    assert_int_equal(gyre_histogram_quantile(h, 1), 1000001);
    free(h);
}

/* Covers docs/design/report.md .report.histogram */
static void
test_merging_equals_adding_to_one(void **state)
{
    struct gyre_histogram *a = histogram_new(), *b = histogram_new();
    struct gyre_histogram *all = histogram_new();
    uint64_t i, value = 1;
    (void)state;
    for (i = 0; i < 10000; i++) {
        value = value * UINT64_C(6364136223846793005) + 1442695040888963407;
        gyre_histogram_add(i % 3 == 0 ? a : b, value >> (value & 63));
        gyre_histogram_add(all, value >> (value & 63));
    }
    gyre_histogram_merge(a, b);
    assert_memory_equal(a, all, sizeof *all);
    free(a);
    free(b);
    free(all);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_an_empty_histogram_answers_zero),
        cmocka_unit_test(test_values_below_128_are_exact),
        cmocka_unit_test(test_every_value_is_known_to_a_64th),
        cmocka_unit_test(test_quantiles_of_1_to_100_are_the_numbers_themselves),
        cmocka_unit_test(test_a_quantile_never_exceeds_the_maximum),
        cmocka_unit_test(test_merging_equals_adding_to_one),
    };
    return cmocka_run_group_tests_name("histogram", tests, NULL, NULL);
}
