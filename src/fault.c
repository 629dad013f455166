/* The fault of a build in which it is chosen at run time. */
#include "fault.h"

#if GYRE_FAULT == FAULT_CHOSEN

#include <stdlib.h>

int gyre_fault_chosen;

static void __attribute__((constructor)) choose(void)
{
    const char *number = getenv("GYRE_FAULT");
    if (number != NULL)
        gyre_fault_chosen = atoi(number);
}

#else

/* ISO C wants a declaration in every file. */
typedef int no_fault_is_chosen;

#endif
