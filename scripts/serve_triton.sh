#!/usr/bin/env bash
# A Triton server on the shipped models and the gateway before it; Ctrl-C ends both, the gateway first.
#
# PYTHON is the interpreter of the serving environment (default: .venv/bin/python); further arguments go to the gateway.
set -uo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-.venv/bin/python}
grpc=${TRITON_GRPC_PORT:-8001}

"$python" -m parsing_rcnn triton --grpc-port "$grpc" --http-port "${TRITON_HTTP_PORT:-8000}" \
	--metrics-port "${TRITON_METRICS_PORT:-8002}" &
triton=$!
"$python" -m parsing_rcnn serve --engine triton --triton-url "127.0.0.1:$grpc" "$@" &
gateway=$!
stop() {
	kill -TERM "$gateway" 2>/dev/null
	wait "$gateway"
	kill -TERM "$triton" 2>/dev/null
	wait "$triton"
}
trap 'stop; exit 0' INT TERM
wait -n "$triton" "$gateway"
status=$?
stop
exit "$status"
