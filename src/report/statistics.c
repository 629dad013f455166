/* Counters of all layers in one struct, and as JSON. Any thread. Design:
 * docs/design/report.md .report.statistics */
#include <string.h>

#include "../heap.h"
#include "json.h"

enum gyre_status
gyre_report_heap_init(struct gyre_heap *heap)
{
    struct report_heap *report = &heap->report;
    memset(report, 0, sizeof *report);
    if (pthread_mutex_init(&report->lock, NULL) != 0)
        return GYRE_ERR_NOMEM;
    return GYRE_OK;
}

void
gyre_report_heap_destroy(struct gyre_heap *heap)
{
    pthread_mutex_destroy(&heap->report.lock);
}

void
gyre_report_heap_forked(struct gyre_heap *heap)
{
    /* Nothing waits under the lock. The old mutex can't be destroyed while it
     * is locked; glibc's own nothing. */
    pthread_mutex_init(&heap->report.lock, NULL);
}

void
gyre_statistics_get(struct gyre_heap *heap, struct gyre_statistics *out)
{
    memset(out, 0, sizeof *out);
    gyre_memory_statistics(heap, out);
    gyre_object_statistics(heap, out);
    gyre_collector_statistics(heap, out);
    gyre_world_statistics(&heap->world, out);
    /* relaxed: a count */
    out->threads_attached += gyre_load_relaxed(&heap->raw.attached);
}

void
gyre_statistics_histogram(struct gyre_heap *heap, enum gyre_histogram_id id,
                          struct gyre_histogram *out)
{
    GYRE_CHECK((size_t)id < GYRE_HIST_COUNT,
               "gyre_statistics_histogram: no histogram has the number %u",
               (unsigned)id);
    gyre_report_histogram_copy(&heap->report.histograms[id], out);
}

/* ---- JSON ---- */

static void
write_numbers(struct json *json, const char *key, const uint64_t *values,
              size_t count)
{
    size_t i;
    gyre_json_array(json, key);
    for (i = 0; i < count; i++)
        gyre_json_uint(json, NULL, values[i]);
    gyre_json_array_end(json);
}

static void
write_counters(struct json *json, const struct gyre_statistics *s)
{
#define COUNTER(member) gyre_json_uint(json, #member, s->member)
    COUNTER(mapped);
    COUNTER(mapped_peak);
    COUNTER(pages_in_use);
    COUNTER(pages_cached);
    COUNTER(page_refills);
    COUNTER(pages_adopted);
    COUNTER(thread_cached);
    COUNTER(heap_cached);
    COUNTER(returned);
    write_numbers(json, "blocks_in_use", s->blocks_in_use, GYRE_PAGE_KINDS);
    COUNTER(saturated);
    gyre_json_text(json, "saturated_type", s->saturated_type);
    COUNTER(spills);
    COUNTER(merges);
    COUNTER(merges_by_proxy);
    COUNTER(queued);
    COUNTER(cascade_deferred);
    COUNTER(finalizers_run);
    COUNTER(weak_callbacks_run);
    COUNTER(weak_gets_refused);
    COUNTER(lock_waits);
    COUNTER(threads_attached);
    COUNTER(threads_attached_ever);
    COUNTER(stop_timeouts);
    COUNTER(slowest_stop_ns);
    gyre_json_text(json, "slowest_thread", s->slowest_thread);
    write_numbers(json, "collections", s->collections, GYRE_GENERATIONS);
    COUNTER(collected);
    COUNTER(uncollectable);
    COUNTER(resurrected);
    COUNTER(abandoned);
    COUNTER(emergencies);
    COUNTER(paced_waits);
    COUNTER(paced_ns);
    COUNTER(slices);
    COUNTER(suspected);
    COUNTER(suspected_falsely);
    COUNTER(limbo_peak);
#undef COUNTER
}

static void
write_class(struct json *json, enum gyre_page_kind kind,
            const struct gyre_class_statistics *s)
{
    static const char *const kinds[GYRE_PAGE_KINDS] = {
        [GYRE_PAGE_CONTAINER] = "container",
        [GYRE_PAGE_LEAF] = "leaf",
        [GYRE_PAGE_RAW] = "raw",
    };
    gyre_json_object(json, NULL);
    gyre_json_text(json, "kind", kinds[kind]);
    gyre_json_uint(json, "bytes", s->block_bytes);
    gyre_json_uint(json, "allocations", s->allocations);
    gyre_json_uint(json, "frees", s->frees);
    gyre_json_uint(json, "refills", s->refills);
    gyre_json_uint(json, "remote_frees", s->remote_frees);
    gyre_json_uint(json, "pages", s->pages);
    gyre_json_uint(json, "blocks_in_use", s->blocks_in_use);
    gyre_json_uint(json, "cached", s->cached);
    gyre_json_uint(json, "fragmented", s->fragmented);
    gyre_json_object_end(json);
}

/* Those that were ever used. */
static void
write_classes(struct json *json, struct gyre_heap *heap)
{
    unsigned kind;
    uint32_t size_class;
    gyre_json_array(json, "classes");
    for (kind = 0; kind < GYRE_PAGE_KINDS; kind++)
        for (size_class = 0; size_class < GYRE_SIZE_CLASSES; size_class++) {
            struct gyre_class_statistics s;
            (void)gyre_statistics_class(heap, (enum gyre_page_kind)kind,
                                        size_class, &s);
            if (s.allocations > 0 || s.pages > 0)
                write_class(json, (enum gyre_page_kind)kind, &s);
        }
    gyre_json_array_end(json);
}

/* A histogram by the values that people ask for. */
static void
write_histogram(struct json *json, const char *key,
                const struct gyre_histogram *h)
{
    gyre_json_object(json, key);
    gyre_json_uint(json, "p50", gyre_histogram_quantile(h, 0.5));
    gyre_json_uint(json, "p99", gyre_histogram_quantile(h, 0.99));
    gyre_json_uint(json, "p999", gyre_histogram_quantile(h, 0.999));
    gyre_json_uint(json, "max", h->max);
    gyre_json_uint(json, "sum", h->sum);
    gyre_json_uint(json, "count", h->count);
    gyre_json_object_end(json);
}

size_t
gyre_statistics_json(struct gyre_heap *heap, char *buffer, size_t size)
{
    static const char *const names[GYRE_HIST_COUNT] = {
        [GYRE_HIST_STOP] = "stop_ns",   [GYRE_HIST_SAFEPOINT] = "safepoint_ns",
        [GYRE_HIST_CYCLE] = "cycle_ns", [GYRE_HIST_MUTATOR] = "mutator_ns",
        [GYRE_HIST_VISIT] = "visit_ns",
    };
    struct gyre_statistics statistics;
    struct gyre_histogram histogram;
    struct json json;
    size_t i;
    gyre_statistics_get(heap, &statistics);
    gyre_json_begin(&json, buffer, size);
    gyre_json_object(&json, NULL);
    write_counters(&json, &statistics);
    write_classes(&json, heap);
    for (i = 0; i < GYRE_HIST_COUNT; i++) {
        gyre_statistics_histogram(heap, (enum gyre_histogram_id)i, &histogram);
        write_histogram(&json, names[i], &histogram);
    }
    gyre_json_object_end(&json);
    return gyre_json_end(&json);
}
