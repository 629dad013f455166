/* Keeping a run's figures: one JSON file with the machine and the commit. */
#ifndef GYRE_BENCH_RECORD_H
#define GYRE_BENCH_RECORD_H

#include "row.h"

/* Write what was measured to a new file in `directory`, named for the time
 * and the commit, and say its name on standard error. False, with a line
 * there, when it can't be written. */
bool bench_record(const char *directory, const struct bench_tally *tallies,
                  size_t count);

#endif
