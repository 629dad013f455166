/* What memcheck.py runs under memcheck: one mistake for each name, or none.
 * Each is made in a function of its own, so that reports can be told apart.
 * Covers docs/design/memory.md .mem.poison */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include <gyre/gyre.h>

#define OUT_OF_LINE __attribute__((noinline))

struct cell {
    struct gyre_object head;
    struct gyre_slot next;
    uint32_t value[5]; /* its last byte is no word's last */
};
#define CELL_BYTES 44

static const uint32_t cell_slots[] = {offsetof(struct cell, next)};
static struct gyre_type cell_type = {
    .name = "cell", .size = CELL_BYTES, .slot_count = 1, .slots = cell_slots};

static struct gyre_heap *heap;
static volatile uint32_t sink;
static void *volatile kept;

/* ---- what is right ---- */

static OUT_OF_LINE void *
take_raw(size_t size)
{
    return gyre_mem_alloc(size);
}

static OUT_OF_LINE struct cell *
take_cell(void)
{
    struct cell *cell = gyre_new(&cell_type);
    if (cell == NULL)
        exit(3);
    return cell;
}

static OUT_OF_LINE void
give_raw(void *block)
{
    gyre_mem_free(block);
}

static OUT_OF_LINE void
give_cell(struct cell *cell)
{
    gyre_decref(&cell->head);
}

static void
use_raw_memory(void)
{
    static const size_t sizes[] = {1, 40, 1000, 32760, 40000, 3 << 20};
    size_t i, k;
    for (i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        unsigned char *block = gyre_mem_calloc(1, sizes[i]);
        for (k = 0; k < sizes[i]; k++)
            if (block[k] != 0) /* a report, if it were not defined */
                exit(3);
        block = gyre_mem_realloc(block, sizes[i] * 2);
        block[sizes[i] * 2 - 1] = 1;
        block = gyre_mem_realloc(block, sizes[i] / 2 + 1);
        if (block[sizes[i] / 2] != 0)
            exit(3);
        gyre_mem_free(block);
        gyre_mem_retire(gyre_mem_alloc_aligned(4096, sizes[i]));
    }
}

/* Cycles, chains, and deaths while a collection is open. */
static void
use_objects(void)
{
    struct cell *first = NULL, *ring;
    int i;
    for (i = 0; i < 3000; i++) {
        struct cell *cell = take_cell();
        gyre_slot_move(&cell->head, &cell->next,
                       first != NULL ? &first->head : NULL);
        first = i % 50 == 49 ? NULL : cell;
        if (first == NULL)
            give_cell(cell);
        ring = take_cell();
        gyre_slot_move(&ring->head, &ring->next, &ring->head);
        gyre_safepoint(gyre_self);
    }
    if (first != NULL)
        give_cell(first);
}

static void *
work(void *arg)
{
    struct gyre_thread *self;
    void **shared = arg;
    int i;
    if (gyre_thread_attach(heap, &self) != GYRE_OK)
        exit(3);
    for (i = 0; i < 2000; i++) {
        void *block = gyre_mem_alloc((size_t)(i % 200) + 1);
        /* acq_rel; pairs: work(). The block and what is in it. */
        gyre_mem_free(gyre_exchange_acq_rel(&shared[i % 16], block));
        gyre_safepoint(self);
    }
    use_objects();
    gyre_thread_leave(self);
    return NULL;
}

static OUT_OF_LINE void
clean(void)
{
    void *shared[16] = {NULL};
    pthread_t threads[2];
    int i;
    use_raw_memory();
    use_objects();
    gyre_detach_begin(gyre_self);
    for (i = 0; i < 2; i++)
        if (pthread_create(&threads[i], NULL, work, shared) != 0)
            exit(3);
    for (i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    gyre_detach_end(gyre_self);
    for (i = 0; i < 16; i++)
        gyre_mem_free(shared[i]);
}

/* ---- mistakes ---- */

static OUT_OF_LINE void
use_raw_after_free(void)
{
    uint32_t *block = take_raw(40);
    kept = take_raw(40);
    give_raw(block);
    sink = block[6];
    gyre_mem_free(kept);
}

static OUT_OF_LINE void
use_object_after_death(void)
{
    struct cell *cell = take_cell();
    give_cell(cell);
    sink = cell->value[1];
}

static OUT_OF_LINE void
overrun_raw(void)
{
    char *block = take_raw(40);
    block[40] = 1;
    give_raw(block);
}

static OUT_OF_LINE void
overrun_large(void)
{
    char *block = take_raw(100000);
    block[100000] = 1;
    give_raw(block);
}

static OUT_OF_LINE void
overrun_object(void)
{
    struct cell *cell = take_cell();
    ((volatile char *)cell)[CELL_BYTES] = 1;
    give_cell(cell);
}

static OUT_OF_LINE void
use_uninitialised(void)
{
    uint32_t *block = take_raw(40);
    if (block[3] == 7)
        sink = 1;
    give_raw(block);
}

static OUT_OF_LINE void
leak_raw(void)
{
    kept = take_raw(40);
    kept = NULL;
}

static OUT_OF_LINE void
leak_object(void)
{
    kept = take_cell();
    kept = NULL;
}

static OUT_OF_LINE void
free_twice(void)
{
    void *block = take_raw(40);
    kept = take_raw(40);
    give_raw(block);
    give_raw(block);
}

static OUT_OF_LINE void
free_foreign(void)
{
    kept = malloc(40);
    give_raw(kept);
}

static const struct {
    const char *name;
    void (*run)(void);
} cases[] = {
    {"clean", clean},
    {"use_raw_after_free", use_raw_after_free},
    {"use_object_after_death", use_object_after_death},
    {"overrun_raw", overrun_raw},
    {"overrun_large", overrun_large},
    {"overrun_object", overrun_object},
    {"use_uninitialised", use_uninitialised},
    {"leak_raw", leak_raw},
    {"leak_object", leak_object},
    {"free_twice", free_twice},
    {"free_foreign", free_foreign},
};

int
main(int count, char **arguments)
{
    struct gyre_thread *self;
    size_t i;
    for (i = 0; i < sizeof cases / sizeof cases[0]; i++)
        if (count == 2 && strcmp(arguments[1], cases[i].name) == 0)
            break;
    if (i == sizeof cases / sizeof cases[0]) {
        fprintf(stderr, "usage: %s CASE\n", arguments[0]);
        return 2;
    }
    if (gyre_type_ready(&cell_type) != GYRE_OK ||
        gyre_heap_create(NULL, &heap) != GYRE_OK ||
        gyre_thread_attach(heap, &self) != GYRE_OK)
        return 3;
    cases[i].run();
    if (gyre_collect(heap, GYRE_GEN_OLD) != GYRE_OK)
        return 3;
    gyre_thread_leave(self);
    return gyre_heap_destroy(heap) == GYRE_OK ? 0 : 3;
}
