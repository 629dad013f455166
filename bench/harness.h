/* What every measurement stands on: clocks, CPUs and memory readings. Used by
 * the groups and by main.c. */
#ifndef GYRE_BENCH_HARNESS_H
#define GYRE_BENCH_HARNESS_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ---- the parent's side ---- */

enum bench_clock {
    BENCH_WALL, /* as a user sees it; for a quiet machine */
    BENCH_CPU   /* of the measuring thread; for a machine shared with others */
};

struct bench_settings {
    enum bench_clock clock;
    bool pinned;
    int cpus[64]; /* to pin to, in this order */
    int cpu_count;
    unsigned timeout_seconds; /* of one run; 0: none */
    double seconds;           /* that a run of pauses takes */
    const char *heap_file;    /* a heap snapshot to drop, or NULL */
};

/* Constant once the first run has begun. */
extern struct bench_settings bench_settings;

/* Pin to every CPU this process may use, in order. */
void bench_settings_preset(void);
/* Take "0,2,5" as the CPUs to pin to, or "no" for no pinning. False: neither
 * of these, or a CPU that this process may not use. */
bool bench_settings_pin(const char *text);

/* ---- the child's side ---- */

/* Nanoseconds by the chosen clock, of the calling thread. */
uint64_t bench_now(void);
/* CPU nanoseconds of all threads of this process. */
uint64_t bench_process_cpu(void);
/* CPU nanoseconds of the calling thread. */
uint64_t bench_thread_cpu(void);
/* As bench_now(), for work of several threads: of the process by the CPU
 * clock. */
uint64_t bench_now_all(void);

/* End this run as failed; the message is the reason the parent reports. */
void bench_fail(const char *format, ...)
    __attribute__((format(printf, 1, 2), noreturn));

/* Pin the calling thread to the `index`th of the chosen CPUs. */
void bench_pin(int index);
/* Have the calling thread, and those it starts, run on any of them. */
void bench_unpin(void);

/* Start a thread, or fail the run. */
pthread_t bench_thread(void *(*body)(void *), void *arg);

/* Resident bytes of this process, now and the most it ever had. */
uint64_t bench_rss(void);
uint64_t bench_rss_peak(void);

/* Zeroed memory straight from the system, or fail the run. */
void *bench_map(size_t bytes);
void bench_unmap(void *memory, size_t bytes);

/* A random number below `bound`; the same sequence in every run and thread. */
uint64_t bench_random(uint64_t bound);
/* Put `count` pointers in a random order. */
void bench_shuffle(void **pointers, size_t count);

/* A measured loop: a function of its own, to be found in a disassembly. */
#define BENCH_LOOP __attribute__((noinline))

/* The compiler may assume nothing about memory across this. */
static inline void
bench_fence(void)
{
    __asm__ volatile("" ::: "memory");
}

/* Nor about what `pointer` is used for. */
static inline void
bench_keep(const void *pointer)
{
    __asm__ volatile("" ::"r"(pointer) : "memory");
}

#endif
