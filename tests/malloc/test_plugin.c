/* A program that knows nothing of gyre, and loads plugins that do.
 *   test_plugin PLUGIN...    each is loaded, run on several threads, unloaded
 */
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

static int (*run)(void);

static void *
run_it(void *arg)
{
    int *status = arg;
    *status = run();
    return NULL;
}

static void
use(const char *path)
{
    void *plugin = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    pthread_t threads[3];
    int statuses[3], i;
    if (plugin == NULL) {
        fprintf(stderr, "%s\n", dlerror());
        exit(1);
    }
    *(void **)&run = dlsym(plugin, "plugin_run");
    if (run == NULL || run() != 0) {
        fprintf(stderr, "%s does not run\n", path);
        exit(2);
    }
    for (i = 0; i < 3; i++)
        pthread_create(&threads[i], NULL, run_it, &statuses[i]);
    for (i = 0; i < 3; i++) {
        pthread_join(threads[i], NULL);
        if (statuses[i] != 0) {
            fprintf(stderr, "%s: status %d\n", path, statuses[i]);
            exit(3);
        }
    }
}

int
main(int argc, char **argv)
{
    int i;
    for (i = 1; i < argc; i++)
        use(argv[i]);
    return 0;
}
