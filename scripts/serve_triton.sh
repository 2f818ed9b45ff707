#!/usr/bin/env bash
# A Triton server on the shipped models and the gateway before it; Ctrl-C ends both, the gateway first. Whichever of the two
# is killed is started again; one that ends by itself, or is asked to, takes the other along.
#
# PYTHON is the interpreter of the serving environment (default: .venv/bin/python); further arguments go to the gateway.
set -uom pipefail # m: a process group for each `keep`, so that a terminal's Ctrl-C reaches this shell alone
cd "$(dirname "$0")/.."
python=${PYTHON:-.venv/bin/python}
grpc=${TRITON_GRPC_PORT:-8001}

# keep PORT COMMAND...: starts the command again as long as signals end it that mean no stop, once nobody listens on PORT
keep() {
	local port=$1 child='' status stopping=''
	shift
	trap 'stopping=yes; kill -TERM $child 2>/dev/null' TERM
	while [ -z "$stopping" ]; do
		"$@" &
		child=$!
		wait "$child"
		status=$?
		if [ -n "$stopping" ]; then # the signal ended that wait, not the command; a second one ends the next
			while kill -0 "$child" 2>/dev/null; do wait "$child"; done
			exit
		fi
		case $status in
		130 | 143) exit "$status" ;; # SIGINT, SIGTERM
		*) [ "$status" -gt 128 ] || exit "$status" ;;
		esac
		echo "error: $* was killed by signal $((status - 128)) and is started again" >&2
		for _ in {1..100}; do # a moment, in which what it had started ends; 20 s at the most
			(: <"/dev/tcp/127.0.0.1/$port") 2>/dev/null && [ -z "$stopping" ] || break
			sleep 0.2
		done
	done
}

keep "$grpc" "$python" -m parsing_rcnn triton --grpc-port "$grpc" --http-port "${TRITON_HTTP_PORT:-8000}" \
	--metrics-port "${TRITON_METRICS_PORT:-8002}" &
triton=$!
keep "${PARSING_RCNN_PORT:-8080}" "$python" -m parsing_rcnn serve --engine triton --triton-url "127.0.0.1:$grpc" "$@" &
gateway=$!
stop() {
	kill -TERM "$gateway" 2>/dev/null
	wait "$gateway"
	kill -TERM "$triton" 2>/dev/null
	wait "$triton"
}
trap 'stop; exit 0' INT TERM HUP
wait -n "$triton" "$gateway"
status=$?
stop
exit "$status"
