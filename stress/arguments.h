/* Arguments that the commands have in common; a bad one ends the program
 * with a line on standard error and status 2. */
#ifndef GYRE_STRESS_ARGUMENTS_H
#define GYRE_STRESS_ARGUMENTS_H

#include <argp.h>
#include <stdint.h>

#define STATUS_BAD_INPUT 2

/* A whole number from `least` to `most`; `what` names the argument. */
uint64_t argument_number(struct argp_state *state, const char *text,
                         uint64_t least, uint64_t most, const char *what);
/* A length of time, above 0. */
double argument_seconds(struct argp_state *state, const char *text,
                        const char *what);
/* A seed for when none is given: by the clock. */
uint64_t argument_seed(void);

#endif
