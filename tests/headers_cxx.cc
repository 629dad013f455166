/* The public headers are valid C++17, and their inline functions work there.
 * Covers docs/design/report.md .report.cxx. */
#include <cstdio>

#include <gyre/gyre.h>

namespace
{

struct pair {
    struct gyre_object head;
    struct gyre_slot first, second;
};

const uint32_t pair_slots[] = {offsetof(struct pair, first),
                               offsetof(struct pair, second)};

int
use()
{
    struct gyre_type type = {};
    type.name = "pair";
    type.size = sizeof(struct pair);
    type.slot_count = 2;
    type.slots = pair_slots;
    struct gyre_heap *heap = nullptr;
    struct gyre_thread *self = nullptr;
    if (gyre_type_ready(&type) != GYRE_OK ||
        gyre_heap_create(nullptr, &heap) != GYRE_OK ||
        gyre_thread_attach(heap, &self) != GYRE_OK)
        return 1;
    struct pair *one = GYRE_NEW(struct pair, &type);
    if (one == nullptr)
        return 1;
    gyre_slot_set(&one->head, &one->first, &one->head);
    gyre_incref(&one->head);
    gyre_decref(&one->head);
    gyre_decref(&one->head);
    gyre_safepoint(self);
    enum gyre_status collected = gyre_collect(heap, GYRE_GEN_OLD);
    gyre_thread_leave(self);
    enum gyre_status destroyed = gyre_heap_destroy(heap);
    return collected == GYRE_OK && destroyed == GYRE_OK ? 0 : 1;
}

} // namespace

int
main()
{
    int failed = use();
    std::printf("gyre %s from C++: %s\n", gyre_version(),
                failed ? "failed" : "works");
    return failed;
}
