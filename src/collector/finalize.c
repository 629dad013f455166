/* FINALIZE: run the finalizers of the set, with the world running and weak
 * references answering, as at count zero.
 *   entry   ARM's exit
 *   exit    each ran once, its object's reference given back
 * Design: docs/design/weakref.md .final */
#include "cycle.h"

void
gyre_phase_finalize(struct cycle *cycle)
{
    struct object_thread *mine = &cycle->self->object;
    gyre_event_fire(cycle->heap, GYRE_EVENT_FINALIZE, cycle->finalizable.count);
    for (size_t i = 0; i < cycle->finalizable.count; i++) {
        struct gyre_object *obj = cycle->finalizable.items[i];
        mine->in_callback++;
        count_one(&mine->counters.finalizers_run);
        gyre_type_of(obj)->finalize(obj);
        mine->in_callback--;
        gyre_decref(obj);
    }
    /* so that what they gave up is merged in the coming stop at the latest */
    gyre_merge_publish(cycle->self);
    gyre_cascade_run(cycle->self, true);
}
