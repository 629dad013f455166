/* A plugin that uses libgyre, for test_plugin.c: loaded by dlopen. */
#include <gyre/gyre.h>

/* 0: a heap was made, used by two kinds of memory, and ended. */
GYRE_API int plugin_run(void);

int
plugin_run(void)
{
    static struct gyre_type leaf = {
        .name = "leaf", .size = 32, .flags = GYRE_TYPE_LEAF};
    struct gyre_heap *heap;
    struct gyre_thread *self;
    int i;
    if (gyre_type_ready(&leaf) != GYRE_OK ||
        gyre_heap_create("gc.automatic=0", &heap) != GYRE_OK)
        return 1;
    if (gyre_thread_attach(heap, &self) != GYRE_OK)
        return 2;
    for (i = 0; i < 1000; i++) {
        struct gyre_object *obj = gyre_new(&leaf);
        void *block = gyre_mem_alloc((size_t)i);
        if (obj == NULL || block == NULL)
            return 3;
        gyre_mem_free(block);
        gyre_decref(obj);
        gyre_safepoint(self);
    }
    if (gyre_heap_check(heap) != GYRE_OK)
        return 4;
    gyre_thread_leave(self);
    return gyre_heap_destroy(heap) == GYRE_OK ? 0 : 5;
}
