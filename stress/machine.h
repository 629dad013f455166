/* The machine and this process on it: processors, memory, and their names. */
#ifndef GYRE_STRESS_MACHINE_H
#define GYRE_STRESS_MACHINE_H

#include <stdbool.h>
#include <stdint.h>

struct machine {
    char processor[96];  /* its name */
    char system[96];     /* kernel, and its version */
    unsigned processors; /* that this process may use */
    unsigned nodes;      /* of memory */
    uint64_t memory;     /* bytes */
};
void machine_describe(struct machine *machine);

/* Bind the calling thread to the `index`th of the processors that it may
 * use. False: there is no such one, and the thread goes on unbound. */
bool machine_pin(unsigned index);

/* Resident bytes of this process; 0: the system does not say. The first is
 * quick and may lag by some pages, the second walks the page tables. */
uint64_t machine_resident(void);
uint64_t machine_resident_exact(void);
/* The most since the process began, or since machine_peak_restart() when the
 * system can do that; otherwise the most that was seen by a call of this. */
uint64_t machine_peak(void);
void machine_peak_restart(void);

#endif
