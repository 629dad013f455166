#include <gyre/gyre.h>
#include <stdio.h>

struct pair {
    struct gyre_object head;
    struct gyre_slot left, right;
};
static const uint32_t slots[] = {offsetof(struct pair, left),
                                 offsetof(struct pair, right)};
static struct gyre_type type = {.name = "pair",
                                .size = sizeof(struct pair),
                                .slots = slots,
                                .slot_count = 2};

int
main(void)
{
    struct gyre_heap *heap;
    struct gyre_thread *self;
    struct gyre_statistics seen;
    if (gyre_type_ready(&type) || gyre_heap_create(NULL, &heap) ||
        gyre_thread_attach(heap, &self))
        return 1;
    struct pair *a = GYRE_NEW(struct pair, &type);
    struct pair *b = GYRE_NEW(struct pair, &type);
    gyre_slot_set(&a->head, &a->left, &b->head); /* the slot counts too */
    gyre_slot_set(&b->head, &b->left, &a->head);
    gyre_decref(&a->head); /* now each lives by the other alone */
    gyre_decref(&b->head);
    gyre_collect(heap, GYRE_GEN_OLD);
    gyre_statistics_get(heap, &seen);
    printf("%d objects were collected\n", (int)seen.collected);
    gyre_thread_leave(self);
    return gyre_heap_destroy(heap);
}
