/* A writer of JSON text into a bounded buffer, with snprintf's bargain: what
 * does not fit is counted and dropped. Knows nothing of heaps. */
#ifndef GYRE_SRC_JSON_H
#define GYRE_SRC_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* One writer's state; the caller's alone. Start with gyre_json_begin(). */
struct json {
    char *buffer; /* may be NULL when size is 0 */
    size_t size;
    size_t length; /* of the whole text, also of what did not fit */
    bool comma;    /* a member precedes at this depth */
};

void gyre_json_begin(struct json *json, char *buffer, size_t size);
/* Terminate the text and return its full length, NUL not counted. */
size_t gyre_json_end(struct json *json);

/* Open and close; `key` is NULL in an array and at the top. */
void gyre_json_object(struct json *json, const char *key);
void gyre_json_object_end(struct json *json);
void gyre_json_array(struct json *json, const char *key);
void gyre_json_array_end(struct json *json);

/* Values. Text is UTF-8 and gets escaped; NULL is null. */
void gyre_json_uint(struct json *json, const char *key, uint64_t value);
void gyre_json_text(struct json *json, const char *key, const char *value);

#endif
