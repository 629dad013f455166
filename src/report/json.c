/* The JSON writer. One thread at a time for one writer. Design:
 * docs/design/report.md .report.json */
#include "json.h"

#include <inttypes.h>
#include <stdio.h>

static void
put(struct json *json, char c)
{
    /* one byte stays for the terminator */
    if (json->length + 1 < json->size)
        json->buffer[json->length] = c;
    json->length++;
}

static void
put_plain(struct json *json, const char *text)
{
    while (*text != '\0')
        put(json, *text++);
}

static void
put_string(struct json *json, const char *text)
{
    put(json, '"');
    for (; *text != '\0'; text++) {
        unsigned char c = (unsigned char)*text;
        if (c < 0x20) {
            char escape[8];
            snprintf(escape, sizeof escape, "\\u%04x", c);
            put_plain(json, escape);
        } else {
            if (c == '"' || c == '\\')
                put(json, '\\');
            put(json, (char)c);
        }
    }
    put(json, '"');
}

static void
put_key(struct json *json, const char *key)
{
    if (json->comma)
        put(json, ',');
    if (key != NULL) {
        put_string(json, key);
        put(json, ':');
    }
}

static void
open_with(struct json *json, const char *key, char bracket)
{
    put_key(json, key);
    put(json, bracket);
    json->comma = false;
}

static void
close_with(struct json *json, char bracket)
{
    put(json, bracket);
    json->comma = true; /* what was closed is a member of what is around it */
}

void
gyre_json_begin(struct json *json, char *buffer, size_t size)
{
    json->buffer = buffer;
    json->size = size;
    json->length = 0;
    json->comma = false;
}

size_t
gyre_json_end(struct json *json)
{
    if (json->size > 0) {
        size_t last = json->size - 1;
        json->buffer[json->length < last ? json->length : last] = '\0';
    }
    return json->length;
}

void
gyre_json_object(struct json *json, const char *key)
{
    open_with(json, key, '{');
}

void
gyre_json_object_end(struct json *json)
{
    close_with(json, '}');
}

void
gyre_json_array(struct json *json, const char *key)
{
    open_with(json, key, '[');
}

void
gyre_json_array_end(struct json *json)
{
    close_with(json, ']');
}

void
gyre_json_uint(struct json *json, const char *key, uint64_t value)
{
    char digits[24];
    put_key(json, key);
    snprintf(digits, sizeof digits, "%" PRIu64, value);
    put_plain(json, digits);
    json->comma = true;
}

void
gyre_json_text(struct json *json, const char *key, const char *value)
{
    put_key(json, key);
    if (value != NULL)
        put_string(json, value);
    else
        put_plain(json, "null");
    json->comma = true;
}
