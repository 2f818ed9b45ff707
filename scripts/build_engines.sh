#!/bin/sh
# TensorRT engines of the model repository for this machine's GPU, into a volume: what the image `engines` runs.
#
#   build_engines.sh [FROM [TO]]     FROM/repository: graphs; FROM/trtexec.txt: a command an engine; TO: what Triton reads
#
# The commands name the files that they write: TO is the folder that the graphs were exported for (--out TO/repository).
#
# Engines hold for one kind of GPU and one TensorRT: they are built again when either, or a graph, has changed.
set -eu
from=${1:-/opt/engines}
to=${2:-/models}

fail() {
    echo "error: $*" >&2
    exit 1
}
# the file that a command of trtexec.txt writes
engine_of() {
    eval "set -- $1"
    for word; do
        case $word in --saveEngine=*) echo "${word#--saveEngine=}" ;; esac
    done
}
command -v trtexec >/dev/null || fail "no trtexec on PATH: run this in an image of TensorRT"
gpu=$(nvidia-smi --query-gpu=name,compute_cap --format=csv,noheader 2>/dev/null) ||
    fail "no GPU: start the container with --gpus all (NVIDIA's container toolkit)"
[ -w "$to" ] || fail "$to cannot be written by user $(id -u)"
to=$(cd "$to" && pwd)

# trtexec names its version first, whatever it is asked
machine="$(trtexec --help | sed -n 's/.*\[TensorRT v\([0-9]*\)\].*/\1/p' | head -n 1) $gpu"
made_of=$({ echo "$machine"; cd "$from" && find . -type f | sort | xargs sha256sum; } | sha256sum)
missing=
while read -r command; do
    engine=$(engine_of "$command")
    case $engine in
        "$to"/?*) ;;
        *) fail "$from/trtexec.txt writes ${engine:-no engine}, which is not in $to: give the folder of its commands as TO," \
            "or export with --out $to/repository --print-trtexec" ;;
    esac
    [ -s "$engine" ] || missing="$missing $engine"
done <"$from/trtexec.txt"
if [ -z "$missing" ] && [ "$(cat "$to/made_of" 2>/dev/null)" = "$made_of" ]; then
    echo "the engines in $to are those of this GPU, this TensorRT and these graphs"
    exit 0
fi

rm -rf "$to/repository" "$to/build" "$to/made_of"
# timings of kernels make the next build quick, but they are those of one GPU and one TensorRT
if [ "$(cat "$to/cache/machine" 2>/dev/null)" != "$machine" ]; then
    rm -rf "$to/cache"
    mkdir -p "$to/cache"
    echo "$machine" >"$to/cache/machine"
fi
cp -R "$from/repository" "$from/build" "$to/"
# the first process of a container gets no signal that it does not ask for, and trtexec would go on for minutes
child=
trap '[ -z "$child" ] || { kill "$child" || :; wait "$child" || :; }; exit 143' INT TERM
built=0
missing=
while read -r command; do
    echo "$command"
    # the file is this image's own, and is written as a command line
    eval "exec $command" </dev/null &
    child=$!
    wait "$child" || fail "trtexec failed; its reason stands above"
    child=
    engine=$(engine_of "$command")
    [ -s "$engine" ] || missing="$missing $engine"
    built=$((built + 1))
done <"$from/trtexec.txt"
[ "$built" -gt 0 ] || fail "$from/trtexec.txt has no commands"
[ -z "$missing" ] || fail "trtexec reports success, but did not write$missing; its words stand above"
echo "$made_of" >"$to/made_of"
echo "$built engines in $to for $gpu"
