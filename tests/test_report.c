/* Statistics, JSON, events, statuses and the fatal hook. */
#include "support/fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "report/json.h"
#include "threads/threads.h"

/* ---- the writer ---- */

/* Covers docs/design/report.md .report.json */
static void
test_json_nests_and_escapes(void **state)
{
    char text[200];
    struct json json;
    size_t length;
    (void)state;
    gyre_json_begin(&json, text, sizeof text);
    gyre_json_object(&json, NULL);
    gyre_json_uint(&json, "n", UINT64_MAX);
    gyre_json_array(&json, "a");
    gyre_json_uint(&json, NULL, 1);
    gyre_json_uint(&json, NULL, 2);
    gyre_json_object(&json, NULL);
    gyre_json_object_end(&json);
    gyre_json_array_end(&json);
    gyre_json_text(&json, "t", "a\"b\\c\nd\x01");
    gyre_json_text(&json, "z", NULL);
    gyre_json_object_end(&json);
    length = gyre_json_end(&json);
    assert_int_equal(length, strlen(text));
    assert_string_equal(text, "{\"n\":18446744073709551615,\"a\":[1,2,{}],"
                              "\"t\":\"a\\\"b\\\\c\\u000ad\\u0001\","
                              "\"z\":null}");
}

/* Covers docs/design/report.md .report.json: snprintf's bargain. */
static void
test_json_is_cut_at_the_buffer_and_counted_on(void **state)
{
    char text[16];
    struct json json;
    size_t size;
    (void)state;
    for (size = 0; size <= 10; size++) {
        memset(text, '#', sizeof text);
        gyre_json_begin(&json, size ? text : NULL, size);
        gyre_json_text(&json, NULL, "abcdef");
        assert_int_equal(gyre_json_end(&json), 8);
        assert_int_equal(text[size], '#');
        if (size > 0) {
            assert_int_equal(strlen(text), size - 1 < 8 ? size - 1 : 8);
            assert_memory_equal(text, "\"abcdef\"", strlen(text));
        }
    }
}

/* ---- statistics ---- */

/* A reader of JSON that knows what is well formed: the end, or NULL. */
static const char *json_skip(const char *at);

static const char *
skip_string(const char *at)
{
    if (*at++ != '"')
        return NULL;
    for (; *at != '"'; at++) {
        if (*at == '\0')
            return NULL;
        if (*at == '\\')
            at++;
    }
    return at + 1;
}

static const char *
skip_members(const char *at, char end, bool keys)
{
    if (*++at == end)
        return at + 1;
    for (;;) {
        if (keys) {
            at = skip_string(at);
            if (at == NULL || *at++ != ':')
                return NULL;
        }
        at = json_skip(at);
        if (at == NULL)
            return NULL;
        if (*at == end)
            return at + 1;
        if (*at++ != ',')
            return NULL;
    }
}

static const char *
json_skip(const char *at)
{
    size_t digits;
    if (*at == '{')
        return skip_members(at, '}', true);
    if (*at == '[')
        return skip_members(at, ']', false);
    if (*at == '"')
        return skip_string(at);
    if (strncmp(at, "null", 4) == 0)
        return at + 4;
    digits = strspn(at, "0123456789");
    return digits > 0 ? at + digits : NULL;
}

/* Covers docs/design/report.md .report.statistics */
static void
test_statistics_count_what_happened(void **state)
{
    struct fixture *fx = *state;
    struct gyre_statistics before, after;
    struct node *a, *b;
    gyre_statistics_get(fx->heap, &before);
    assert_int_equal(before.threads_attached, 1);
    assert_int_equal(before.threads_attached_ever, 1);
    a = node_new(fx);
    b = node_new(fx);
    node_link(a, b);
    node_link(b, a);
    gyre_statistics_get(fx->heap, &after);
    assert_int_equal(after.blocks_in_use[GYRE_PAGE_CONTAINER],
                     before.blocks_in_use[GYRE_PAGE_CONTAINER] + 2);
    assert_true(after.mapped > 0);
    assert_true(after.mapped_peak >= after.mapped);
    node_drop(a);
    node_drop(b);
    assert_int_equal(gyre_collect(fx->heap, GYRE_GEN_OLD), GYRE_OK);
    gyre_statistics_get(fx->heap, &after);
    assert_int_equal(after.blocks_in_use[GYRE_PAGE_CONTAINER],
                     before.blocks_in_use[GYRE_PAGE_CONTAINER]);
    assert_int_equal(after.collections[GYRE_GEN_OLD], 1);
    assert_int_equal(after.collected, 2);
    assert_int_equal(after.finalizers_run, 2);
}

/* Covers docs/design/report.md .report.statistics */
static void
test_statistics_json_is_well_formed(void **state)
{
    struct fixture *fx = *state;
    size_t length = gyre_statistics_json(fx->heap, NULL, 0);
    /* room for counters that grow a digit meanwhile */
    size_t size = length + 100;
    char *text = malloc(size);
    const char *end;
    assert_non_null(text);
    assert_true(gyre_statistics_json(fx->heap, text, size) < size);
    end = json_skip(text);
    assert_non_null(end);
    assert_int_equal(*end, '\0');
    assert_non_null(strstr(text, "\"threads_attached\":1,"));
    assert_non_null(strstr(text, "\"saturated_type\":null"));
    assert_non_null(strstr(text, "\"stop_ns\":{\"p50\":"));
    free(text);
}

/* Covers docs/design/report.md .report.histogram */
static void
test_a_collection_is_in_the_histograms(void **state)
{
    struct fixture *fx = *state;
    struct gyre_histogram *h = malloc(sizeof *h);
    struct node *node;
    assert_non_null(h);
    node = node_new(fx);
    node_link(node, node);
    node_drop(node);
    assert_int_equal(gyre_collect(fx->heap, GYRE_GEN_YOUNG), GYRE_OK);
    gyre_statistics_histogram(fx->heap, GYRE_HIST_CYCLE, h);
    assert_int_equal(h->count, 1);
    assert_true(h->max > 0);
    gyre_statistics_histogram(fx->heap, GYRE_HIST_STOP, h);
    assert_true(h->count >= 1);
    free(h);
}

struct held_up {
    uint32_t polling, over; /* atomic */
};

static void
poll_until_over(struct fixture *fx, struct gyre_thread *self, void *arg)
{
    struct held_up *held_up = arg;
    (void)fx;
    /* relaxed, both: seen late they cost a round */
    gyre_store_relaxed(&held_up->polling, 1);
    while (gyre_load_relaxed(&held_up->over) == 0)
        gyre_safepoint(self);
}

#define VISIT_NS 3000000

static int
take_a_while(struct gyre_object *obj, void *arg)
{
    uint64_t until = gyre_clock_ns() + VISIT_NS;
    (void)obj;
    while (gyre_clock_ns() < until)
        ++*(uint64_t *)arg;
    return 1;
}

/* Covers docs/design/report.md .report.account */
static void
test_a_stop_is_on_the_account_of_who_is_stopped(void **state)
{
    struct fixture *fx = *state;
    struct gyre_histogram *h = malloc(sizeof *h);
    struct held_up held_up = {0, 0};
    struct node *node = node_new(fx);
    struct worker worker;
    uint64_t looks = 0;
    assert_non_null(h);
    worker_start(&worker, fx, poll_until_over, &held_up);
    while (gyre_load_relaxed(&held_up.polling) == 0)
        gyre_safepoint(fx->self);
    assert_int_equal(gyre_heap_walk(fx->heap, take_a_while, &looks), GYRE_OK);
    gyre_store_relaxed(&held_up.over, 1);
    worker_join(&worker);
    assert_true(looks > 0);
    gyre_statistics_histogram(fx->heap, GYRE_HIST_VISIT, h);
    assert_int_equal(h->count, 1);
    assert_true(h->max >= VISIT_NS);
    gyre_statistics_histogram(fx->heap, GYRE_HIST_MUTATOR, h);
    assert_true(h->count >= 1);
    assert_true(h->max >= VISIT_NS);
    /* it was no collection */
    gyre_statistics_histogram(fx->heap, GYRE_HIST_STOP, h);
    assert_int_equal(h->count, 0);
    node_drop(node);
    free(h);
}

static uint64_t accounts_in_finalizer;

static void
count_accounts(struct gyre_object *obj)
{
    struct gyre_histogram *h = malloc(sizeof *h);
    (void)obj;
    assert_non_null(h);
    gyre_statistics_histogram(gyre_self->heap, GYRE_HIST_MUTATOR, h);
    accounts_in_finalizer = h->count;
    free(h);
}

/* Covers docs/design/report.md .report.account */
static void
test_a_finalizer_is_not_on_the_collectors_account(void **state)
{
    static struct gyre_type type = {.name = "counting",
                                    .size = sizeof(struct gyre_object),
                                    .flags = GYRE_TYPE_LEAF,
                                    .finalize = count_accounts};
    struct fixture *fx = *state;
    struct gyre_object *obj;
    assert_int_equal(gyre_type_ready(&type), GYRE_OK);
    obj = gyre_new(&type);
    assert_non_null(obj);
    accounts_in_finalizer = 0;
    gyre_decref(obj);
    assert_int_equal(accounts_in_finalizer, 0);
    gyre_safepoint(fx->self);
    /* the safepoint's, which has ended */
    assert_true(accounts_in_finalizer >= 1);
}

/* ---- events ---- */

struct heard {
    int count;
    enum gyre_event events[16];
    uint64_t values[16];
};

static void
listen(enum gyre_event event, uint64_t value, void *arg)
{
    struct heard *heard = arg;
    assert_true(heard->count < 16);
    heard->events[heard->count] = event;
    heard->values[heard->count] = value;
    heard->count++;
}

static int
heard_at(const struct heard *heard, enum gyre_event event)
{
    int i;
    for (i = 0; i < heard->count; i++)
        if (heard->events[i] == event)
            return i;
    return -1;
}

/* Covers docs/design/report.md .report.event */
static void
test_a_listener_hears_the_edges_in_order(void **state)
{
    struct fixture *fx = *state;
    struct heard heard = {0};
    struct node *a = node_new(fx);
    int stop, end;
    node_link(a, a);
    node_drop(a);
    gyre_events_listen(fx->heap, listen, &heard);
    assert_int_equal(gyre_collect(fx->heap, GYRE_GEN_MIDDLE), GYRE_OK);
    gyre_events_listen(fx->heap, NULL, NULL);
    assert_int_equal(heard.events[0], GYRE_EVENT_COLLECT_BEGIN);
    assert_int_equal(heard.values[0], GYRE_GEN_MIDDLE);
    stop = heard_at(&heard, GYRE_EVENT_STOP_BEGIN);
    end = heard_at(&heard, GYRE_EVENT_STOP_END);
    assert_true(0 < stop && stop < end);
    assert_int_equal(heard.events[heard.count - 1], GYRE_EVENT_COLLECT_END);
    assert_int_equal(heard.values[heard.count - 1], 1);
    assert_int_equal(heard.values[heard_at(&heard, GYRE_EVENT_FINALIZE)], 1);
    assert_int_equal(heard.values[heard_at(&heard, GYRE_EVENT_RECLAIM)], 1);

    heard.count = 0;
    assert_int_equal(gyre_collect(fx->heap, GYRE_GEN_YOUNG), GYRE_OK);
    assert_int_equal(heard.count, 0);
}

/* ---- while threads run ---- */

static void
make_garbage(struct fixture *fx, struct gyre_thread *self, void *arg)
{
    int i;
    (void)arg;
    for (i = 0; i < 20000; i++) {
        struct node *node = node_new(fx);
        node_link(node, node);
        node_drop(node);
        gyre_safepoint(self);
    }
    assert_int_equal(gyre_collect(fx->heap, GYRE_GEN_OLD), GYRE_OK);
}

static void
count_begins(enum gyre_event event, uint64_t value, void *arg)
{
    (void)value;
    /* relaxed: read after a join */
    if (event == GYRE_EVENT_COLLECT_BEGIN)
        gyre_fetch_add_relaxed((int *)arg, 1);
}

/* Covers docs/design/report.md .report.statistics, .report.event: any thread
 * may look, listen and set options while others work and collect. */
static void
test_reports_may_be_read_while_threads_work(void **state)
{
    struct fixture *fx = *state;
    struct worker workers[2];
    struct gyre_statistics statistics;
    char text[64];
    int begins = 0, i;
    assert_int_equal(gyre_options_parse(fx->heap, "gc.threshold0=1000,"
                                                  "gc.automatic=1"),
                     GYRE_OK);
    gyre_events_listen(fx->heap, count_begins, &begins);
    for (i = 0; i < 2; i++)
        worker_start(&workers[i], fx, make_garbage, NULL);
    for (i = 0; i < 50; i++) {
        gyre_statistics_get(fx->heap, &statistics);
        assert_true(statistics.threads_attached >= 1);
        assert_true(gyre_statistics_json(fx->heap, text, sizeof text) >
                    sizeof text);
        gyre_events_listen(fx->heap, count_begins, &begins);
        assert_int_equal(gyre_option_set(fx->heap, GYRE_OPT_GC_THRESHOLD1,
                                         (uint64_t)(i % 5 + 1)),
                         GYRE_OK);
        gyre_safepoint(fx->self);
    }
    for (i = 0; i < 2; i++)
        worker_join(&workers[i]);
    /* a collection that heard the listener may be under way: this waits */
    assert_int_equal(gyre_collect(fx->heap, GYRE_GEN_OLD), GYRE_OK);
    gyre_events_listen(fx->heap, NULL, NULL);
    assert_int_equal(gyre_collect(fx->heap, GYRE_GEN_OLD), GYRE_OK);
    gyre_statistics_get(fx->heap, &statistics);
    assert_true(statistics.threads_attached_ever >= 3);
    assert_true(begins >= 3);
    assert_int_equal(fixture_live(fx), 0);
    assert_int_equal(fixture_finalized(fx), 40000);
}

/* ---- statuses and fatal errors ---- */

/* Covers docs/design/report.md .report.fatal */
static void
test_every_status_has_a_text_of_its_own(void **state)
{
    int i, j;
    (void)state;
    for (i = 0; i < GYRE_STATUS_COUNT; i++)
        for (j = 0; j < i; j++)
            assert_string_not_equal(gyre_status_text((enum gyre_status)i),
                                    gyre_status_text((enum gyre_status)j));
    assert_string_equal(gyre_status_text(GYRE_STATUS_COUNT), "unknown status");
}

/* Covers docs/design/report.md .report.fatal */
static void
test_the_version_is_that_of_the_headers(void **state)
{
    char text[32];
    (void)state;
    snprintf(text, sizeof text, "%d.%d.%d", GYRE_VERSION_MAJOR,
             GYRE_VERSION_MINOR, GYRE_VERSION_PATCH);
    assert_string_equal(gyre_version(), text);
}

static void
fail_with_number(void *arg)
{
    gyre_fatal("the number is %d", *(int *)arg);
}

static void
do_nothing(void *arg)
{
    (void)arg;
}

/* Covers docs/design/report.md .report.fatal */
static void
test_a_fatal_error_goes_to_the_hook(void **state)
{
    int number = 42;
    (void)state;
    assert_string_equal(fatal_message(fail_with_number, &number),
                        "the number is 42");
    assert_null(fatal_message(do_nothing, NULL));
}

static void
ask_for_no_option(void *arg)
{
    struct fixture *fx = arg;
    gyre_option_get(fx->heap, (enum gyre_option)GYRE_OPTION_COUNT);
}

/* Covers docs/design/report.md .report.fatal */
static void
test_reading_no_option_is_named(void **state)
{
    const char *message = fatal_message(ask_for_no_option, *state);
    assert_non_null(message);
    assert_non_null(strstr(message, "gyre_option_get"));
}

int
main(void)
{
#define TEST(name) \
    cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_json_nests_and_escapes),
        cmocka_unit_test(test_json_is_cut_at_the_buffer_and_counted_on),
        TEST(test_statistics_count_what_happened),
        TEST(test_statistics_json_is_well_formed),
        TEST(test_a_collection_is_in_the_histograms),
        TEST(test_a_stop_is_on_the_account_of_who_is_stopped),
        TEST(test_a_finalizer_is_not_on_the_collectors_account),
        TEST(test_a_listener_hears_the_edges_in_order),
        TEST(test_reports_may_be_read_while_threads_work),
        cmocka_unit_test(test_every_status_has_a_text_of_its_own),
        cmocka_unit_test(test_the_version_is_that_of_the_headers),
        cmocka_unit_test(test_a_fatal_error_goes_to_the_hook),
        TEST(test_reading_no_option_is_named),
    };
    return cmocka_run_group_tests_name("report", tests, NULL, NULL);
}
