/* How far a long command is, and how long it still takes, on standard error:
 * a bar on a terminal, elsewhere a line for each tenth. One at a time. */
#ifndef GYRE_STRESS_PROGRESS_H
#define GYRE_STRESS_PROGRESS_H

/* `steps` are to be done, in about `seconds`. */
void progress_begin(unsigned steps, double seconds);
/* What is being done now; before progress_begin() shown on a terminal only. */
void progress_show(const char *stage, const char *load, unsigned threads,
                   const char *options);
void progress_step(void);
/* Steps that won't be done after all. */
void progress_drop(unsigned steps);
/* Clear the bar, before other output. */
void progress_end(void);

#endif
