/* Runs of `gyre-stress latency`, each a process of its own, and the figures in
 * what it prints. */
#ifndef GYRE_BENCH_LATENCY_H
#define GYRE_BENCH_LATENCY_H

#include <stdbool.h>

#include "child.h"

/* One run's JSON, or NULL. */
struct latency_result;

/* Run it with these arguments, the last one NULL, besides --json. NULL, with
 * one line that says why in `reason` (BENCH_REASON bytes). */
struct latency_result *latency_measure(const char *const *arguments,
                                       char *reason);
void latency_free(struct latency_result *result);

/* The number at `object`.`key`, or at `key` when `object` is NULL. False: there
 * is none, or it is one of no events. */
bool latency_figure(const struct latency_result *result, const char *object,
                    const char *key, double *figure);

#endif
