/* Allocate until memory is out, at most 256 MiB; free it all; and do so once
 * more. Exit status 0 when it was refused as it should, and had again. For
 * test_malloc.c, which starts it with GYRE_OPTIONS. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static size_t
fill(size_t size)
{
    static void *blocks[256 * 1024];
    size_t count = 0, most = ((size_t)256 << 20) / size, i;
    errno = 0;
    while (count < most && (blocks[count] = malloc(size)) != NULL)
        memset(blocks[count++], 1, size > 4096 ? 4096 : size);
    if (count < most && errno != ENOMEM)
        exit(2);
    for (i = 0; i < count; i++)
        free(blocks[i]);
    return count * size;
}

int
main(void)
{
    static const size_t sizes[] = {1024, 20000, 300000, 5000000};
    size_t i;
    int limited = getenv("GYRE_OPTIONS") != NULL &&
                  strstr(getenv("GYRE_OPTIONS"), "hard_limit") != NULL;
    for (i = 0; i < 8; i++) {
        size_t bytes = fill(sizes[i % 4]);
        printf("%zu bytes of %zu each\n", bytes, sizes[i % 4]);
        if (limited && (bytes > 64 << 20 || bytes < 32 << 20))
            return 1;
    }
    return 0;
}
