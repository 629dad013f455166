/* Clocks, CPUs and memory readings. See harness.h. */
#define _GNU_SOURCE
#include "harness.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

struct bench_settings bench_settings = {.timeout_seconds = 120, .seconds = 10};

/* ---- CPUs ---- */

void
bench_settings_preset(void)
{
    struct bench_settings *set = &bench_settings;
    int limit = (int)(sizeof set->cpus / sizeof set->cpus[0]);
    cpu_set_t mask;
    set->cpu_count = 0;
    if (sched_getaffinity(0, sizeof mask, &mask) == 0) {
        for (int cpu = 0; cpu < CPU_SETSIZE && set->cpu_count < limit; cpu++)
            if (CPU_ISSET(cpu, &mask))
                set->cpus[set->cpu_count++] = cpu;
    }
    set->pinned = set->cpu_count > 0;
}

static bool
cpu_allowed(long cpu)
{
    cpu_set_t mask;
    return cpu >= 0 && cpu < CPU_SETSIZE &&
           sched_getaffinity(0, sizeof mask, &mask) == 0 &&
           CPU_ISSET((int)cpu, &mask);
}

bool
bench_settings_pin(const char *text)
{
    struct bench_settings *set = &bench_settings;
    int limit = (int)(sizeof set->cpus / sizeof set->cpus[0]);
    if (strcmp(text, "no") == 0) {
        set->pinned = false;
        return true;
    }
    set->cpu_count = 0;
    for (;;) {
        char *end;
        long cpu = strtol(text, &end, 10);
        if (end == text || !cpu_allowed(cpu) || set->cpu_count == limit)
            return false;
        set->cpus[set->cpu_count++] = (int)cpu;
        if (*end == '\0')
            break;
        if (*end != ',')
            return false;
        text = end + 1;
    }
    set->pinned = true;
    return true;
}

void
bench_pin(int index)
{
    cpu_set_t mask;
    int cpu;
    if (!bench_settings.pinned)
        return;
    cpu = bench_settings.cpus[index % bench_settings.cpu_count];
    CPU_ZERO(&mask);
    CPU_SET(cpu, &mask);
    if (sched_setaffinity(0, sizeof mask, &mask) != 0)
        bench_fail("can't pin to CPU %d: %s", cpu, strerror(errno));
}

void
bench_unpin(void)
{
    cpu_set_t mask;
    if (!bench_settings.pinned)
        return;
    CPU_ZERO(&mask);
    for (int i = 0; i < bench_settings.cpu_count; i++)
        CPU_SET(bench_settings.cpus[i], &mask);
    if (sched_setaffinity(0, sizeof mask, &mask) != 0)
        bench_fail("can't run on all CPUs: %s", strerror(errno));
}

/* ---- clocks and threads ---- */

static uint64_t
clock_ns(clockid_t clock)
{
    struct timespec time;
    clock_gettime(clock, &time);
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

uint64_t
bench_now(void)
{
    return clock_ns(bench_settings.clock == BENCH_CPU ? CLOCK_THREAD_CPUTIME_ID
                                                      : CLOCK_MONOTONIC);
}

uint64_t
bench_process_cpu(void)
{
    return clock_ns(CLOCK_PROCESS_CPUTIME_ID);
}

uint64_t
bench_thread_cpu(void)
{
    return clock_ns(CLOCK_THREAD_CPUTIME_ID);
}

uint64_t
bench_now_all(void)
{
    return bench_settings.clock == BENCH_CPU ? bench_process_cpu()
                                             : bench_now();
}

pthread_t
bench_thread(void *(*body)(void *), void *arg)
{
    pthread_t thread;
    int error = pthread_create(&thread, NULL, body, arg);
    if (error != 0)
        bench_fail("no thread: %s", strerror(error));
    return thread;
}

/* ---- memory ---- */

/* A line "Key:   123 kB" of a file under /proc/self, in bytes. */
static bool
proc_kilobytes(const char *path, const char *key, uint64_t *bytes)
{
    char line[256];
    bool found = false;
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return false;
    while (!found && fgets(line, sizeof line, file) != NULL) {
        size_t length = strlen(key);
        if (strncmp(line, key, length) == 0 && line[length] == ':') {
            *bytes = strtoull(line + length + 1, NULL, 10) * 1024;
            found = true;
        }
    }
    fclose(file);
    return found;
}

uint64_t
bench_rss(void)
{
    uint64_t bytes;
    /* smaps_rollup walks the page tables, so it is exact; the counters that
     * status shows may lag by some pages a CPU. */
    if (!proc_kilobytes("/proc/self/smaps_rollup", "Rss", &bytes) &&
        !proc_kilobytes("/proc/self/status", "VmRSS", &bytes))
        bench_fail("no resident size in /proc/self");
    return bytes;
}

uint64_t
bench_rss_peak(void)
{
    uint64_t bytes;
    /* A forked child starts at its size then, not at its parent's peak. */
    if (!proc_kilobytes("/proc/self/status", "VmHWM", &bytes))
        bench_fail("no peak resident size in /proc/self/status");
    return bytes;
}

void *
bench_map(size_t bytes)
{
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        bench_fail("no memory for %zu bytes of the bench's own", bytes);
    return memory;
}

void
bench_unmap(void *memory, size_t bytes)
{
    munmap(memory, bytes);
}

/* ---- random numbers ---- */

uint64_t
bench_random(uint64_t bound)
{
    /* splitmix64; the bias of the multiplication is below 1 in 2^32 */
    static _Thread_local uint64_t state = UINT64_C(0x67797265);
    uint64_t z = (state += UINT64_C(0x9e3779b97f4a7c15));
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    z ^= z >> 31;
    return (uint64_t)(((unsigned __int128)z * bound) >> 64);
}

void
bench_shuffle(void **pointers, size_t count)
{
    for (size_t i = count; i > 1; i--) {
        size_t j = (size_t)bench_random(i);
        void *swap = pointers[i - 1];
        pointers[i - 1] = pointers[j];
        pointers[j] = swap;
    }
}
