#!/bin/sh
# Files that are no snapshot, or a broken one, and wrong usage: one line on
# standard error that names the file and the place, status 2, no report.
# bad_input.sh PROGRAM HEAP
set -u
program=$1
heap=$2
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
failed=0

complain()
{
    echo "bad_input: $1: $2" >&2
    failed=1
}

# refuse NAME FILE PATTERN: the file is refused with a line like PATTERN
refuse()
{
    timeout 60 "$program" replay "$2" --rounds 1 --seed 1 \
        >"$work/out" 2>"$work/err"
    status=$?
    [ $status -eq 2 ] || complain "$1" "status $status, not 2"
    [ -s "$work/out" ] && complain "$1" "there is a report"
    [ "$(wc -l <"$work/err")" -eq 1 ] ||
        complain "$1" "not one line: $(cat "$work/err")"
    grep -qF "$2" "$work/err" ||
        complain "$1" "the file is not named: $(cat "$work/err")"
    grep -qE "$3" "$work/err" ||
        complain "$1" "no /$3/ in: $(cat "$work/err")"
}

# snapshot NODE_COUNT EDGE_COUNT NODES EDGES: a small one, fields in an order
# of its own
snapshot()
{
    cat <<END
{"snapshot":{"meta":{"node_fields":["id","type","edge_count","self_size"],
"node_types":["number",["object","synthetic","string"],"number","number"],
"edge_fields":["to_node","type"],
"edge_types":["node",["property","weak"]]},
"node_count":$1,"edge_count":$2},
"nodes":[$3],
"edges":[$4],
"strings":["a"]}
END
}
three='1,1,2,0, 3,0,1,40, 5,2,0,16'

# case NAME PATTERN NODE_COUNT EDGE_COUNT NODES EDGES
case_of()
{
    snapshot "$3" "$4" "$5" "$6" >"$work/small.heapsnapshot"
    refuse "$1" "$work/small.heapsnapshot" "$2"
}

# ---- what is no file, no JSON, no snapshot ----
refuse missing "$work/none" 'cannot open'
refuse directory "$work" 'cannot'
: >"$work/empty"
refuse empty "$work/empty" 'byte 0: not JSON'
head -c 4096 "$program" >"$work/binary"
refuse binary "$work/binary" 'byte [0-9]+: not JSON'
echo '{"a":1}' >"$work/other"
refuse other "$work/other" 'not a heap snapshot'
echo '[1,2,3]' >"$work/array"
refuse array "$work/array" 'not a heap snapshot'
echo '{"nodes":[1],"edges":[]}' >"$work/bare"
refuse bare "$work/bare" 'no snapshot.meta'
printf '{"snapshot":' >"$work/deep"
i=0
while [ $i -lt 100 ]; do printf '['; i=$((i + 1)); done >>"$work/deep"
refuse deep "$work/deep" 'is an array|nested'
printf '{"x":' >"$work/deeper"
i=0
while [ $i -lt 100 ]; do printf '['; i=$((i + 1)); done >>"$work/deeper"
refuse deeper "$work/deeper" 'nested more than'

# ---- cut and damaged ----
size=$(wc -c <"$heap")
for part in 1 2 3 4 5 6 7 8 9; do
    head -c $((size * part / 10)) "$heap" >"$work/cut.gz"
    refuse "cut at $part/10" "$work/cut.gz" 'byte [0-9]+: .*cut short'
done
gzip -dc "$heap" >"$work/whole"
size=$(wc -c <"$work/whole")
for part in 1 3 5 7 9; do
    head -c $((size * part / 10)) "$work/whole" >"$work/cut"
    refuse "text cut at $part/10" "$work/cut" 'byte [0-9]+: '
done
{
    head -c 200000 "$heap"
    printf 'damaged'
    tail -c +200008 "$heap"
} >"$work/damaged.gz"
refuse damaged "$work/damaged.gz" 'byte [0-9]+: '

# ---- nodes and edges ----
edges='4,0, 8,1, 8,0'
case_of 'edge out of range' 'edge 1: to_node 12 is out of range' \
    3 3 "$three" '4,0, 12,1, 8,0'
case_of 'edge amid a node' 'edge 0: to_node 5 is not the start' \
    3 3 "$three" '5,0, 8,1, 8,0'
case_of 'huge edge' 'edge 2: to_node 18446744073709551612 is out of range' \
    3 3 "$three" '4,0, 8,1, 18446744073709551612,0'
case_of 'edge type' 'edge 1: type 2 is out of range' \
    3 3 "$three" '4,0, 8,2, 8,0'
case_of 'node type' 'node 1: type 3 is out of range' \
    3 3 '1,1,2,0, 3,3,1,40, 5,2,0,16' "$edges"
case_of 'absurd size' 'node 1: self_size 99999999999999 is absurd' \
    3 3 '1,1,2,0, 3,0,1,99999999999999, 5,2,0,16' "$edges"
case_of 'overflowing size' 'node 1: 99999999999999999999999 is no whole' \
    3 3 '1,1,2,0, 3,0,1,99999999999999999999999, 5,2,0,16' "$edges"
case_of 'absurd edge count' 'node 0: edge_count 4000000000 is absurd' \
    3 3 '1,1,4000000000,0, 3,0,1,40, 5,2,0,16' "$edges"
case_of 'absurd sum of edges' 'claim [0-9]+ edges' \
    3 3 '1,1,1000000000,0, 3,0,1000000000,40, 5,2,0,16' "$edges"
case_of 'negative number' 'node 1: -40 is no whole number' \
    3 3 '1,1,2,0, 3,0,1,-40, 5,2,0,16' "$edges"
case_of 'fraction' 'node 2: 1.5 is no whole number' \
    3 3 '1,1,2,0, 3,0,1,40, 5,2,0,1.5' "$edges"
case_of 'text for a number' 'node 2: a string is no whole number' \
    3 3 '1,1,2,0, 3,0,1,40, 5,2,0,"x"' "$edges"
case_of 'too few nodes' '3 nodes, but node_count says 4' 4 3 "$three" "$edges"
case_of 'too many nodes' '3 nodes, but node_count says 2' 2 3 "$three" "$edges"
case_of 'node cut' 'node 3 ends after 1 of 4 fields' \
    3 3 "$three,9" "$edges"
case_of 'edge count' 'have 3 edges, but edge_count says 5' \
    3 5 "$three" "$edges"
case_of 'too few edges' '2 edges, but edge_count says 3' \
    3 3 "$three" '4,0, 8,1'
case_of 'too many edges' 'edge 3: the nodes have only 3' \
    3 3 "$three" "$edges, 8,0"
case_of 'edge cut' 'edge 3 ends after 1 of 2 fields' 3 3 "$three" "$edges, 8"
case_of 'absurd node count' 'node_count 99999999999 is absurd' \
    99999999999 3 "$three" "$edges"
case_of 'no nodes' 'no nodes' 0 0 '' ''
snapshot 3 3 "$three" "$edges" | sed 's/"self_size"/"other"/' >"$work/field"
refuse 'field missing' "$work/field" 'node_fields lacks'
snapshot 3 3 "$three" "$edges" | sed 's/"strings"/"nodes"/' >"$work/twice"
refuse 'nodes twice' "$work/twice" '"nodes" stands twice'
snapshot 3 3 "$three" "$edges" | sed '/^"edges"/d' >"$work/half"
refuse 'no edges' "$work/half" 'no edges'
{ snapshot 3 3 "$three" "$edges"; echo x; } >"$work/more"
refuse 'something after it' "$work/more" 'byte [0-9]+: not JSON'

# ---- what is fine stays fine: fields in another order, other separators ----
snapshot 3 3 "$three" "$edges" >"$work/good"
timeout 60 "$program" replay "$work/good" --rounds 1 --threads 1 --seed 1 \
    --mix private --json >"$work/out" 2>"$work/err"
status=$?
[ $status -le 1 ] || complain good "status $status: $(cat "$work/err")"
grep -q '"freed_early":0' "$work/out" || complain good "$(cat "$work/out")"

# ---- usage ----
usage()
{
    timeout 60 "$program" "$@" >"$work/out" 2>"$work/err"
    status=$?
    [ $status -eq 2 ] || complain "usage: $*" "status $status, not 2"
    [ -s "$work/err" ] || complain "usage: $*" "nothing on standard error"
}
usage
usage replay
usage recall "$heap"
usage replay "$heap" "$heap"
usage replay "$heap" --threads 0
usage replay "$heap" --threads 2x
usage replay "$heap" --seconds -1
usage replay "$heap" --seconds soon
usage replay "$heap" --rounds 0
usage replay "$heap" --seed -3
usage replay "$heap" --mix none
usage replay "$heap" --nonsense
usage replay "$heap" --options no.such=1
usage replay "$heap" --options gc.threshold0=many

# ---- tune ----
usage tune
usage tune "$heap" "$heap"
usage tune "$work/none"
usage tune "$work/array"
usage tune "$heap" --threads 0
usage tune "$heap" --threads 1,x
usage tune "$heap" --threads 2,1
usage tune "$heap" --threads 1,2,3,4,5,6,7
usage tune "$heap" --threads ,
usage tune "$heap" --seconds 0
usage tune "$heap" --budget soon
usage tune "$heap" --budget 0.01
usage tune "$heap" --seed x
usage tune "$heap" --clock moon
usage tune "$heap" --options no.such=1
usage tune "$heap" --options memory.heap_cache=much
usage tune "$heap" --options memory.thread_cache=1m
usage tune "$heap" --options "$(printf 'memory.numa=yes,%.0s' $(seq 50))"
usage tune "$heap" --json "$work/none/there"
usage tune "$heap" --html "$work"
usage tune "$heap" --rounds 1
usage --threads 2 tune "$heap"

# ---- latency ----
usage latency "$heap"
usage latency --live 0
usage latency --threads 2 --live 1
usage latency --collector some
usage latency --stops-per-second 5
usage latency --island 1
usage latency --island 10 --heap "$heap"
usage latency --island 10 --weak 11
usage latency --weak 5
usage latency --heap "$work/none"
usage latency --pin 1000
usage latency --options no.such=1

exit $failed
