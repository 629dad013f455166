/* Other programs of this build, that some rows run and measure as a whole. */
#ifndef GYRE_BENCH_PROGRAM_H
#define GYRE_BENCH_PROGRAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Whether a program of that name lies in the build that we are of. */
bool bench_program_is_there(const char *name);

/* ---- in a child of gyre-bench ---- */

/* What one run of a program gave. */
struct bench_program {
    uint64_t wall_ns;    /* from its start to its end */
    uint64_t peak_bytes; /* the most that was resident of it */
    char output[16384];  /* what it printed, cut */
};
/* Run it with `arguments`, of which the first is its name and the last NULL.
 * Fails the run unless it ends with status 0. */
void bench_program_run(char *const *arguments, struct bench_program *out);
/* The number behind `"key":` in its output, the first of that name, or a
 * failed run. */
double bench_program_number(const struct bench_program *program,
                            const char *key);

/* The path of a file of our own build, from the folder that this program is
 * in: `folder` is "" or ends with a slash. False: it can't be read. */
bool bench_path_beside(const char *folder, const char *name, char *path,
                       size_t size);

#endif
