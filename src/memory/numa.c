/* Memory nodes, by the system's own files and calls; no library for it. Any
 * thread. Design: docs/design/memory.md .mem.numa */
#define _GNU_SOURCE 1 /* syscall */
#include "numa.h"

#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "../heap.h"

#define ONLINE "/sys/devices/system/node/online"
#define PREFERRED 1 /* MPOL_PREFERRED: others when it has none */

static uint32_t nodes_known;    /* atomic; 0: not read yet */
static uint32_t nodes_injected; /* atomic; 0: none */
static GYRE_THREAD_LOCAL unsigned here_injected;

/* The highest number in a list like "0-1,4", plus one; at least 1. */
static unsigned
nodes_of_list(const char *text)
{
    unsigned most = 0, number = 0;
    for (; *text != '\0'; text++) {
        if (*text >= '0' && *text <= '9' && number < 100000)
            number = number * 10 + (unsigned)(*text - '0');
        else
            number = 0;
        if (number > most)
            most = number;
    }
    return most + 1;
}

static unsigned
nodes_read(void)
{
    char text[256];
    ssize_t length;
    int file = open(ONLINE, O_RDONLY | O_CLOEXEC);
    if (file < 0)
        return 1;
    length = read(file, text, sizeof text - 1);
    close(file);
    if (length < 0)
        return 1;
    text[length] = '\0';
    return nodes_of_list(text);
}

static unsigned
nodes(void)
{
    /* relaxed, all: numbers that order nothing; every thread would read the
     * same from the system */
    uint32_t count = gyre_load_relaxed(&nodes_injected);
    if (GYRE_UNLIKELY(count != 0))
        return count;
    count = gyre_load_relaxed(&nodes_known);
    if (GYRE_UNLIKELY(count == 0)) {
        count = nodes_read();
        gyre_store_relaxed(&nodes_known, count);
    }
    return count;
}

void
gyre_numa_inject(unsigned count, unsigned here)
{
    gyre_store_relaxed(&nodes_injected, count); /* relaxed: as above */
    here_injected = here;
}

/* The system's number of the calling thread's node. */
static unsigned
node_here(void)
{
    unsigned node = 0;
    if (GYRE_UNLIKELY(gyre_load_relaxed(&nodes_injected) != 0))
        return here_injected;
#ifdef SYS_getcpu
    if (syscall(SYS_getcpu, NULL, &node, NULL) != 0)
        return 0;
#endif
    return node;
}

bool
gyre_numa_matters(const struct gyre_heap *heap)
{
    return heap_option(heap, GYRE_OPT_MEMORY_NUMA) != 0 && nodes() > 1;
}

unsigned
gyre_numa_here(const struct gyre_heap *heap)
{
    return gyre_numa_matters(heap) ? node_here() % MEMORY_NODES : 0;
}

void
gyre_numa_bind(const struct gyre_heap *heap, void *address, size_t bytes)
{
#ifdef SYS_mbind
    unsigned node;
    unsigned long mask[16] = {0};
    if (!gyre_numa_matters(heap))
        return;
    node = node_here();
    if (node >= sizeof mask * 8 - 1)
        return;
    mask[node / (sizeof mask[0] * 8)] |= 1ul << (node % (sizeof mask[0] * 8));
    (void)syscall(SYS_mbind, address, bytes, PREFERRED, mask, sizeof mask * 8,
                  0);
#else
    (void)heap;
    (void)address;
    (void)bytes;
#endif
}
