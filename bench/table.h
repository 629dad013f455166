/* How rows and their figures are printed. */
#ifndef GYRE_BENCH_TABLE_H
#define GYRE_BENCH_TABLE_H

#include "row.h"

/* One JSON object, no newline. */
void bench_print_json(FILE *to, const struct bench_tally *tallies, size_t count,
                      const struct bench_tally *tally);
/* The readable tables of what was selected. */
void bench_print_table(FILE *to, const struct bench_tally *tallies,
                       size_t count);
/* Groups and rows with their goals. */
void bench_print_list(FILE *to, const struct bench_tally *tallies,
                      size_t count);

#endif
