/* gyre-bench-libgc THREADS: GCBench over libgc (bdwgc), as gcbench.c does it
 * over gyre. Prints one JSON object: seconds and the peak resident size. */
#define _GNU_SOURCE
#define GC_THREADS
#include <gc/gc.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "gcbench.h"

struct tree {
    struct tree *left, *right;
    int i, j;
};

static _Noreturn void
fail(const char *why)
{
    fprintf(stderr, "gyre-bench-libgc: %s\n", why);
    exit(1);
}

static struct tree *
tree_new(void)
{
    /* its fast path, from a list of the thread's own, cleared */
    struct tree *tree = GC_MALLOC(sizeof *tree);
    if (tree == NULL)
        fail("out of memory");
    return tree;
}

static void
populate(int depth, struct tree *tree)
{
    if (depth <= 0)
        return;
    tree->left = tree_new();
    tree->right = tree_new();
    populate(depth - 1, tree->left);
    populate(depth - 1, tree->right);
}

static struct tree *
make_tree(int depth)
{
    struct tree *tree;
    if (depth <= 0) {
        tree = tree_new();
    } else {
        struct tree *left = make_tree(depth - 1);
        struct tree *right = make_tree(depth - 1);
        tree = tree_new();
        tree->left = left;
        tree->right = right;
    }
    return tree;
}

/* The compiler may not do without what is made. */
static void
keep(const void *pointer)
{
    __asm__ volatile("" ::"r"(pointer) : "memory");
}

static void
construct(int depth)
{
    for (size_t n = gcbench_trees(depth); n > 0; n--) {
        struct tree *tree = tree_new();
        populate(depth, tree);
        keep(tree);
    }
    for (size_t n = gcbench_trees(depth); n > 0; n--)
        keep(make_tree(depth));
}

static size_t
tree_count(const struct tree *tree)
{
    return tree == NULL ? 0
                        : 1 + tree_count(tree->left) + tree_count(tree->right);
}

static void *
gcbench(void *arg)
{
    struct tree *long_lived;
    double *array;
    (void)arg;
    keep(make_tree(GCBENCH_STRETCH));
    long_lived = tree_new();
    populate(GCBENCH_LONG_LIVED, long_lived);
    array = GC_MALLOC_ATOMIC(GCBENCH_ARRAY * sizeof *array);
    if (array == NULL)
        fail("out of memory");
    memset(array, 0, GCBENCH_ARRAY * sizeof *array);
    for (size_t i = 0; i < GCBENCH_ARRAY / 2; i++)
        array[i] = 1.0 / (double)(i + 1);
    for (int depth = GCBENCH_LEAST; depth <= GCBENCH_MOST; depth += 2)
        construct(depth);
    if (tree_count(long_lived) != gcbench_tree_size(GCBENCH_LONG_LIVED) ||
        array[1000] != 1.0 / 1001)
        fail("what lived long has changed");
    return NULL;
}

static double
now(clockid_t clock)
{
    struct timespec time;
    clock_gettime(clock, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

/* Bytes, of "VmHWM:  123 kB". */
static unsigned long long
peak_bytes(void)
{
    unsigned long long kilobytes = 0;
    char line[256];
    FILE *file = fopen("/proc/self/status", "re");
    while (file != NULL && fgets(line, sizeof line, file) != NULL)
        if (sscanf(line, "VmHWM: %llu", &kilobytes) == 1)
            break;
    if (file == NULL || kilobytes == 0)
        fail("no peak resident size in /proc/self/status");
    fclose(file);
    return kilobytes * 1024;
}

int
main(int argc, char **argv)
{
    pthread_t threads[GCBENCH_THREADS_MOST];
    unsigned count = argc == 2 ? (unsigned)strtoul(argv[1], NULL, 10) : 0;
    double wall, cpu;
    if (count == 0 || count > GCBENCH_THREADS_MOST)
        fail("give the number of threads");
    GC_INIT();
    GC_allow_register_threads();
    wall = now(CLOCK_MONOTONIC);
    cpu = now(CLOCK_PROCESS_CPUTIME_ID);
    for (unsigned i = 1; i < count; i++)
        if (pthread_create(&threads[i], NULL, gcbench, NULL) != 0)
            fail("no thread");
    gcbench(NULL);
    for (unsigned i = 1; i < count; i++)
        pthread_join(threads[i], NULL);
    wall = now(CLOCK_MONOTONIC) - wall;
    cpu = now(CLOCK_PROCESS_CPUTIME_ID) - cpu;
    printf("{\"threads\":%u,\"seconds\":%.6f,\"cpu_seconds\":%.6f,"
           "\"peak_bytes\":%llu,\"collections\":%lu}\n",
           count, wall, cpu, peak_bytes(), (unsigned long)GC_get_gc_no());
    return 0;
}
