/* `gyre-stress latency`: how long a program that does small work is held up
 * while many objects live and garbage cycles are made at a set rate. */
#ifndef GYRE_STRESS_LATENCY_H
#define GYRE_STRESS_LATENCY_H

/* The command; argv[0] names it. The program's exit status. */
int latency(int argc, char **argv);

#endif
