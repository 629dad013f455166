/* Seeded random numbers: one stream per thread, and hashes of a number. */
#ifndef GYRE_STRESS_RANDOM_H
#define GYRE_STRESS_RANDOM_H

#include <stdint.h>

static inline uint64_t
random_mix(uint64_t x)
{
    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}

/* A number that depends on `seed` and `value` alone. */
static inline uint64_t
random_hash(uint64_t seed, uint64_t value)
{
    return random_mix(random_mix(seed + UINT64_C(0x9e3779b97f4a7c15)) + value);
}

/* splitmix64 */
static inline uint64_t
random_next(uint64_t *state)
{
    return random_mix(*state += UINT64_C(0x9e3779b97f4a7c15));
}

/* 0 to limit - 1; limit > 0. */
static inline uint32_t
random_below(uint64_t *state, uint32_t limit)
{
    return (uint32_t)(((random_next(state) >> 32) * limit) >> 32);
}

#endif
