/* Events at the collector's phase edges. Design: docs/design/report.md
 * .report.event */
#include "../heap.h"

void
gyre_events_listen(struct gyre_heap *heap, gyre_event_fn fn, void *arg)
{
    struct report_heap *report = &heap->report;
    pthread_mutex_lock(&report->lock);
    report->listener.fn = fn;
    report->listener.arg = arg;
    pthread_mutex_unlock(&report->lock);
}

void
gyre_event_fire(struct gyre_heap *heap, enum gyre_event event, uint64_t value)
{
    struct report_heap *report = &heap->report;
    struct report_listener listener;
    /* One listener hears a whole collection: the copy is taken when it
     * begins, and belongs to whoever collects, so no edge within the stop
     * waits for a lock. */
    if (event == GYRE_EVENT_COLLECT_BEGIN) {
        pthread_mutex_lock(&report->lock);
        report->current = report->listener;
        pthread_mutex_unlock(&report->lock);
    }
    listener = report->current;
    if (listener.fn != NULL)
        listener.fn(event, value, listener.arg);
}
