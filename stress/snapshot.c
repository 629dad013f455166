/* Reading V8 heap snapshots, the format that Node and Chrome write.
 *
 * yajl hands out the values of the JSON text one by one; what we keep goes
 * straight into the graph's arrays, which grow with what was really read,
 * never with what the file claims. Where a field lies in a node or an edge
 * is told by snapshot.meta, by name. Names and strings are not kept. */
#include "snapshot.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <yajl/yajl_parse.h>
#include <zlib.h>

#define DEPTH_MOST 32
#define FIELDS_MOST 64
#define TYPES_MOST 255
#define NAME_MOST 64
#define CHUNK (256 * 1024)

/* Where in the document the next value stands. */
enum place {
    PLACE_TOP,         /* before the outermost value */
    PLACE_DOCUMENT,    /* in it */
    PLACE_SNAPSHOT,    /* snapshot */
    PLACE_META,        /* snapshot.meta */
    PLACE_NODE_FIELDS, /* snapshot.meta.node_fields */
    PLACE_NODE_TYPES,  /* snapshot.meta.node_types */
    PLACE_NODE_NAMES,  /* an array in it */
    PLACE_EDGE_FIELDS,
    PLACE_EDGE_TYPES,
    PLACE_EDGE_NAMES,
    PLACE_NODES,
    PLACE_EDGES,
    PLACE_SKIP /* what is of no use here */
};

struct fields {
    unsigned count;
    int type, id, self_size, edge_count, to_node; /* -1: not seen */
};

struct reader {
    const char *path;
    struct graph *graph;
    yajl_handle parser;
    uint64_t offset; /* bytes of text before the chunk being parsed */
    bool failed;     /* the one line has been written */

    enum place places[DEPTH_MOST];
    unsigned depth;
    char key[NAME_MOST];

    struct fields node, edge;
    unsigned node_type_entries, edge_type_entries;
    unsigned edge_type_count;
    int weak_type;
    bool meta_seen, nodes_seen, edges_seen;
    bool has_node_count, has_edge_count;
    uint64_t node_count, edge_count; /* as claimed */

    unsigned column;    /* of the value being read in its node or edge */
    uint64_t edges_due; /* sum of edge_count of the nodes read */
    uint32_t node_room, edge_room;
    uint32_t edge_target;
    bool edge_weak;
};

static uint64_t
reader_offset(const struct reader *r)
{
    return r->offset + (r->parser ? yajl_get_bytes_consumed(r->parser) : 0);
}

/* Write the one line, and end the parse. */
__attribute__((format(printf, 2, 3))) static int
flaw(struct reader *r, const char *format, ...)
{
    va_list args;
    if (r->failed)
        return 0;
    r->failed = true;
    fprintf(stderr, "gyre-stress: %s: byte %" PRIu64 ": ", r->path,
            reader_offset(r));
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
    return 0;
}

static enum place
place_now(const struct reader *r)
{
    return r->places[r->depth];
}

static int
place_enter(struct reader *r, enum place place)
{
    if (r->depth + 1 == DEPTH_MOST)
        return flaw(r, "nested more than %d deep", DEPTH_MOST);
    r->places[++r->depth] = place;
    return 1;
}

static bool
key_is(const struct reader *r, const char *name)
{
    return strcmp(r->key, name) == 0;
}

/* Make room for one more entry, doubling. */
static bool
grow(struct reader *r, void **array, uint32_t room, size_t size)
{
    void *larger = realloc(*array, (size_t)room * size);
    if (larger == NULL) {
        flaw(r, "no memory for %" PRIu32 " entries", room);
        return false;
    }
    *array = larger;
    return true;
}

static bool
nodes_reserve(struct reader *r)
{
    struct graph *graph = r->graph;
    if (graph->node_count < r->node_room)
        return true;
    r->node_room = r->node_room == 0 ? 16384 : r->node_room * 2;
    return grow(r, (void **)&graph->first, r->node_room + 1,
                sizeof *graph->first) &&
           grow(r, (void **)&graph->size, r->node_room, sizeof *graph->size) &&
           grow(r, (void **)&graph->id, r->node_room, sizeof *graph->id) &&
           grow(r, (void **)&graph->type, r->node_room, sizeof *graph->type);
}

static bool
edges_reserve(struct reader *r)
{
    struct graph *graph = r->graph;
    if (graph->edge_count < r->edge_room)
        return true;
    r->edge_room = r->edge_room == 0 ? 65536 : r->edge_room * 2;
    return grow(r, (void **)&graph->to, r->edge_room, sizeof *graph->to);
}

/* ---- nodes and edges ---- */

static int
node_finish(struct reader *r)
{
    struct graph *graph = r->graph;
    uint32_t edges = graph->first[graph->node_count];
    if (graph->node_count + 1 > GRAPH_NODES_MOST)
        return flaw(r, "more than %" PRIu32 " nodes", GRAPH_NODES_MOST);
    graph->first[graph->node_count] = (uint32_t)r->edges_due;
    r->edges_due += edges;
    if (r->edges_due > GRAPH_EDGES_MOST)
        return flaw(r,
                    "nodes up to %" PRIu32 " claim %" PRIu64 " edges: absurd",
                    graph->node_count, r->edges_due);
    if (edges > graph->longest)
        graph->longest = edges;
    if (graph->type[graph->node_count] == graph->synthetic_type)
        graph->synthetic_count++;
    graph->node_count++;
    return 1;
}

static int
node_value(struct reader *r, uint64_t value)
{
    struct graph *graph = r->graph;
    uint32_t node = graph->node_count;
    int column = (int)r->column;
    if (column == 0 && !nodes_reserve(r))
        return 0;
    if (column == r->node.type) {
        if (value >= graph->type_count)
            return flaw(r,
                        "node %" PRIu32 ": type %" PRIu64
                        " is out of range, there are %" PRIu32,
                        node, value, graph->type_count);
        graph->type[node] = (uint8_t)value;
    } else if (column == r->node.id) {
        graph->id[node] = value;
    } else if (column == r->node.self_size) {
        if (value > GRAPH_SIZE_MOST)
            return flaw(r, "node %" PRIu32 ": self_size %" PRIu64 " is absurd",
                        node, value);
        graph->size[node] = (uint32_t)value;
    } else if (column == r->node.edge_count) {
        if (value > GRAPH_EDGES_MOST)
            return flaw(r, "node %" PRIu32 ": edge_count %" PRIu64 " is absurd",
                        node, value);
        graph->first[node] = (uint32_t)value; /* until node_finish() */
    }
    if (++r->column < r->node.count)
        return 1;
    r->column = 0;
    return node_finish(r);
}

static int
edge_finish(struct reader *r)
{
    struct graph *graph = r->graph;
    if (graph->edge_count >= r->edges_due)
        return flaw(
            r, "edge %" PRIu32 ": the nodes have only %" PRIu64 " edges in all",
            graph->edge_count, r->edges_due);
    if (!edges_reserve(r))
        return 0;
    if (r->edge_weak)
        graph->weak_count++;
    graph->to[graph->edge_count++] =
        r->edge_target | (r->edge_weak ? GRAPH_EDGE_WEAK : 0);
    return 1;
}

static int
edge_value(struct reader *r, uint64_t value)
{
    struct graph *graph = r->graph;
    int column = (int)r->column;
    if (column == r->edge.type) {
        if (value >= r->edge_type_count)
            return flaw(r,
                        "edge %" PRIu32 ": type %" PRIu64
                        " is out of range, there are %u",
                        graph->edge_count, value, r->edge_type_count);
        r->edge_weak = (int)value == r->weak_type;
    } else if (column == r->edge.to_node) {
        if (value % r->node.count != 0)
            return flaw(r,
                        "edge %" PRIu32 ": to_node %" PRIu64
                        " is not the start of a node of %u fields",
                        graph->edge_count, value, r->node.count);
        if (value / r->node.count >= graph->node_count)
            return flaw(r,
                        "edge %" PRIu32 ": to_node %" PRIu64
                        " is out of range, there are %" PRIu32 " nodes",
                        graph->edge_count, value, graph->node_count);
        r->edge_target = (uint32_t)(value / r->node.count);
    }
    if (++r->column < r->edge.count)
        return 1;
    r->column = 0;
    return edge_finish(r);
}

/* ---- meta ---- */

static int
field_name(struct reader *r, struct fields *fields, const char *name)
{
    int at = (int)fields->count;
    if (fields->count == FIELDS_MOST)
        return flaw(r, "more than %d fields", FIELDS_MOST);
    fields->count++;
    if (strcmp(name, "type") == 0)
        fields->type = at;
    else if (strcmp(name, "id") == 0)
        fields->id = at;
    else if (strcmp(name, "self_size") == 0)
        fields->self_size = at;
    else if (strcmp(name, "edge_count") == 0)
        fields->edge_count = at;
    else if (strcmp(name, "to_node") == 0)
        fields->to_node = at;
    return 1;
}

static int
node_type_name(struct reader *r, const char *name)
{
    struct graph *graph = r->graph;
    char **names;
    if (graph->type_count == TYPES_MOST)
        return flaw(r, "more than %d node types", TYPES_MOST);
    names = realloc(graph->type_names, (graph->type_count + 1) * sizeof *names);
    if (names == NULL)
        return flaw(r, "no memory for type names");
    graph->type_names = names;
    if ((names[graph->type_count] = strdup(name)) == NULL)
        return flaw(r, "no memory for type names");
    if (strcmp(name, "synthetic") == 0)
        graph->synthetic_type = graph->type_count;
    graph->type_count++;
    return 1;
}

/* Before the first node or edge: is all known that reading them needs? */
static int
meta_complete(struct reader *r)
{
    if (!r->meta_seen)
        return flaw(r, "no snapshot.meta before \"%s\"", r->key);
    if (r->node.type < 0 || r->node.id < 0 || r->node.self_size < 0 ||
        r->node.edge_count < 0)
        return flaw(r, "snapshot.meta.node_fields lacks type, id, self_size "
                       "or edge_count");
    if (r->edge.type < 0 || r->edge.to_node < 0)
        return flaw(r, "snapshot.meta.edge_fields lacks type or to_node");
    if (r->graph->type_count == 0 || r->edge_type_count == 0)
        return flaw(r, "snapshot.meta names no node or edge types");
    if (!r->has_node_count || !r->has_edge_count)
        return flaw(r, "snapshot.node_count or edge_count is missing");
    return 1;
}

static int
snapshot_count(struct reader *r, uint64_t value)
{
    if (key_is(r, "node_count")) {
        if (value > GRAPH_NODES_MOST)
            return flaw(r, "node_count %" PRIu64 " is absurd", value);
        r->node_count = value;
        r->has_node_count = true;
    } else if (key_is(r, "edge_count")) {
        if (value > GRAPH_EDGES_MOST)
            return flaw(r, "edge_count %" PRIu64 " is absurd", value);
        r->edge_count = value;
        r->has_edge_count = true;
    }
    return 1;
}

/* ---- what yajl calls ---- */

/* A value of a kind that does not belong where it stands. */
static int
on_other(struct reader *r, const char *what)
{
    switch (place_now(r)) {
    case PLACE_TOP:
        return flaw(r, "not a heap snapshot: the outermost value is %s", what);
    case PLACE_NODES:
        return flaw(r, "node %" PRIu32 ": %s is no whole number",
                    r->graph->node_count, what);
    case PLACE_EDGES:
        /* name_or_index may be a string in snapshots of other writers */
        if ((int)r->column != r->edge.type && (int)r->column != r->edge.to_node)
            return edge_value(r, 0);
        return flaw(r, "edge %" PRIu32 ": %s is no whole number",
                    r->graph->edge_count, what);
    case PLACE_NODE_FIELDS:
    case PLACE_EDGE_FIELDS:
    case PLACE_NODE_NAMES:
    case PLACE_EDGE_NAMES:
        return flaw(r, "snapshot.meta: %s where a name is due", what);
    case PLACE_NODE_TYPES:
        r->node_type_entries++;
        return 1;
    case PLACE_EDGE_TYPES:
        r->edge_type_entries++;
        return 1;
    case PLACE_DOCUMENT:
        if (key_is(r, "snapshot") || key_is(r, "nodes") || key_is(r, "edges"))
            return flaw(r, "\"%s\" is %s", r->key, what);
        return 1;
    case PLACE_SNAPSHOT:
        if (key_is(r, "meta") || key_is(r, "node_count") ||
            key_is(r, "edge_count"))
            return flaw(r, "snapshot.%s is %s", r->key, what);
        return 1;
    default:
        return 1;
    }
}

static int
on_null(void *context)
{
    return on_other(context, "null");
}

static int
on_boolean(void *context, int value)
{
    return on_other(context, value ? "true" : "false");
}

static int
on_number(void *context, const char *text, size_t length)
{
    struct reader *r = context;
    enum place place = place_now(r);
    uint64_t value = 0;
    if (place != PLACE_NODES && place != PLACE_EDGES && place != PLACE_SNAPSHOT)
        return on_other(r, "a number");
    for (size_t i = 0; i < length; i++) {
        unsigned digit = (unsigned)(text[i] - '0');
        if (digit > 9 || value > (UINT64_MAX - digit) / 10) {
            char what[40];
            snprintf(what, sizeof what, "%.*s", length > 32 ? 32 : (int)length,
                     text);
            return on_other(r, what);
        }
        value = value * 10 + digit;
    }
    if (place == PLACE_NODES)
        return node_value(r, value);
    if (place == PLACE_EDGES)
        return edge_value(r, value);
    return snapshot_count(r, value);
}

static int
on_string(void *context, const unsigned char *text, size_t length)
{
    struct reader *r = context;
    char name[NAME_MOST];
    size_t kept = length < sizeof name ? length : sizeof name - 1;
    memcpy(name, text, kept);
    name[kept] = '\0';
    switch (place_now(r)) {
    case PLACE_NODE_FIELDS:
        return field_name(r, &r->node, name);
    case PLACE_EDGE_FIELDS:
        return field_name(r, &r->edge, name);
    case PLACE_NODE_NAMES:
        return node_type_name(r, name);
    case PLACE_EDGE_NAMES:
        if (strcmp(name, "weak") == 0)
            r->weak_type = (int)r->edge_type_count;
        r->edge_type_count++;
        return 1;
    default:
        return on_other(r, "a string");
    }
}

static int
on_start_map(void *context)
{
    struct reader *r = context;
    switch (place_now(r)) {
    case PLACE_TOP:
        return place_enter(r, PLACE_DOCUMENT);
    case PLACE_DOCUMENT:
        if (key_is(r, "snapshot"))
            return place_enter(r, PLACE_SNAPSHOT);
        break;
    case PLACE_SNAPSHOT:
        if (key_is(r, "meta")) {
            if (r->meta_seen)
                return flaw(r, "snapshot.meta stands twice");
            r->meta_seen = true;
            return place_enter(r, PLACE_META);
        }
        break;
    default:
        break;
    }
    return on_other(r, "an object") && place_enter(r, PLACE_SKIP);
}

static int
on_map_key(void *context, const unsigned char *text, size_t length)
{
    struct reader *r = context;
    size_t kept = length < sizeof r->key ? length : sizeof r->key - 1;
    memcpy(r->key, text, kept);
    r->key[kept] = '\0';
    return 1;
}

static int
on_start_array(void *context)
{
    struct reader *r = context;
    switch (place_now(r)) {
    case PLACE_DOCUMENT:
        if (key_is(r, "nodes")) {
            if (r->nodes_seen)
                return flaw(r, "\"nodes\" stands twice");
            r->nodes_seen = true;
            r->column = 0;
            return meta_complete(r) && place_enter(r, PLACE_NODES);
        }
        if (key_is(r, "edges")) {
            if (r->edges_seen)
                return flaw(r, "\"edges\" stands twice");
            if (!r->nodes_seen)
                return flaw(r, "\"edges\" stands before \"nodes\"");
            r->edges_seen = true;
            r->column = 0;
            return place_enter(r, PLACE_EDGES);
        }
        break;
    case PLACE_META:
        if (key_is(r, "node_fields"))
            return place_enter(r, PLACE_NODE_FIELDS);
        if (key_is(r, "node_types"))
            return place_enter(r, PLACE_NODE_TYPES);
        if (key_is(r, "edge_fields"))
            return place_enter(r, PLACE_EDGE_FIELDS);
        if (key_is(r, "edge_types"))
            return place_enter(r, PLACE_EDGE_TYPES);
        break;
    case PLACE_NODE_TYPES:
        /* the names of types stand where the fields have "type" */
        if ((int)r->node_type_entries++ == r->node.type)
            return place_enter(r, PLACE_NODE_NAMES);
        return place_enter(r, PLACE_SKIP);
    case PLACE_EDGE_TYPES:
        if ((int)r->edge_type_entries++ == r->edge.type)
            return place_enter(r, PLACE_EDGE_NAMES);
        return place_enter(r, PLACE_SKIP);
    default:
        break;
    }
    return on_other(r, "an array") && place_enter(r, PLACE_SKIP);
}

static int
on_end_map(void *context)
{
    struct reader *r = context;
    r->depth--;
    return 1;
}

static int
on_end_array(void *context)
{
    struct reader *r = context;
    struct graph *graph = r->graph;
    if (place_now(r) == PLACE_NODES) {
        if (r->column != 0)
            return flaw(r, "node %" PRIu32 " ends after %u of %u fields",
                        graph->node_count, r->column, r->node.count);
        if (graph->node_count != r->node_count)
            return flaw(r, "%" PRIu32 " nodes, but node_count says %" PRIu64,
                        graph->node_count, r->node_count);
        if (r->edges_due != r->edge_count)
            return flaw(r,
                        "the nodes have %" PRIu64
                        " edges, but edge_count says %" PRIu64,
                        r->edges_due, r->edge_count);
    } else if (place_now(r) == PLACE_EDGES) {
        if (r->column != 0)
            return flaw(r, "edge %" PRIu32 " ends after %u of %u fields",
                        graph->edge_count, r->column, r->edge.count);
        if (graph->edge_count != r->edge_count)
            return flaw(r, "%" PRIu32 " edges, but edge_count says %" PRIu64,
                        graph->edge_count, r->edge_count);
    }
    r->depth--;
    return 1;
}

static const yajl_callbacks callbacks = {
    .yajl_null = on_null,
    .yajl_boolean = on_boolean,
    .yajl_number = on_number,
    .yajl_string = on_string,
    .yajl_start_map = on_start_map,
    .yajl_map_key = on_map_key,
    .yajl_end_map = on_end_map,
    .yajl_start_array = on_start_array,
    .yajl_end_array = on_end_array,
};

static void
parser_complaint(struct reader *r)
{
    unsigned char *text = yajl_get_error(r->parser, 0, NULL, 0);
    char *end = text ? strchr((char *)text, '\n') : NULL;
    if (end != NULL)
        *end = '\0';
    flaw(r, "not JSON: %s", text ? (char *)text : "parse error");
    yajl_free_error(r->parser, text);
}

static void
read_text(struct reader *r, gzFile file, unsigned char *chunk)
{
    for (;;) {
        int length = gzread(file, chunk, CHUNK);
        int code;
        const char *complaint = gzerror(file, &code);
        if (length < 0 || (code != Z_OK && code != Z_STREAM_END)) {
            if (code == Z_ERRNO)
                complaint = strerror(errno);
            /* what came before the end of a cut file may be flawed first */
            flaw(r, "cannot read on: %s",
                 code == Z_BUF_ERROR ? "the compressed file is cut short"
                                     : complaint);
            return;
        }
        if (length == 0)
            break;
        if (yajl_parse(r->parser, chunk, (size_t)length) != yajl_status_ok) {
            parser_complaint(r);
            return;
        }
        r->offset += yajl_get_bytes_consumed(r->parser);
    }
    if (yajl_complete_parse(r->parser) != yajl_status_ok) {
        r->offset -= yajl_get_bytes_consumed(r->parser);
        parser_complaint(r);
    } else if (!r->meta_seen || !r->nodes_seen || !r->edges_seen) {
        flaw(r, "not a heap snapshot: no %s",
             !r->meta_seen    ? "snapshot.meta"
             : !r->nodes_seen ? "nodes"
                              : "edges");
    } else if (r->graph->node_count == 0) {
        flaw(r, "no nodes");
    }
}

bool
snapshot_load(const char *path, struct graph *graph)
{
    static const struct fields unknown = {0, -1, -1, -1, -1, -1};
    struct reader r = {.path = path,
                       .graph = graph,
                       .node = unknown,
                       .edge = unknown,
                       .weak_type = -1};
    unsigned char *chunk = malloc(CHUNK);
    gzFile file;
    memset(graph, 0, sizeof *graph);
    graph->synthetic_type = UINT32_MAX;
    errno = 0;
    file = gzopen(path, "rbe");
    if (file == NULL || chunk == NULL) {
        fprintf(stderr, "gyre-stress: %s: cannot open: %s\n", path,
                strerror(errno ? errno : ENOMEM));
        r.failed = true;
    } else {
        gzbuffer(file, CHUNK);
        r.parser = yajl_alloc(&callbacks, NULL, &r);
        if (r.parser == NULL) {
            flaw(&r, "no memory for a parser");
        } else {
            yajl_config(r.parser, yajl_dont_validate_strings, 1);
            read_text(&r, file, chunk);
            yajl_free(r.parser);
        }
    }
    if (file != NULL)
        gzclose_r(file);
    free(chunk);
    if (r.failed)
        graph_free(graph);
    else
        graph->first[graph->node_count] = graph->edge_count;
    return !r.failed;
}
