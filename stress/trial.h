/* One measured point: a load in a child process of its own, with options in
 * its environment as a user would set them. */
#ifndef GYRE_STRESS_TRIAL_H
#define GYRE_STRESS_TRIAL_H

#include <stddef.h>

#include "load.h"

/* Fork, measure, wait. False, with a line in out->reason: it failed. The
 * replay takes run.graph as it is loaded. The caller has no other thread. */
bool trial_measure(const struct trial *trial, struct measurement *out);

/* Does gyre take `options` as GYRE_OPTIONS? False, and gyre's line in
 * `reason`: it does not. Asked in a child as well. */
bool trial_options(const char *options, char *reason, size_t size);

#endif
