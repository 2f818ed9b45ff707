#!/bin/sh
# A Triton server for the CPU profile and perf_analyzer, from their pinned wheels, into .triton (Linux x86-64, glibc 2.35).
#
#     scripts/install_triton.sh [FOLDER]
#
# FOLDER is made anew when the pins have changed; one with anything else in it is refused.
#
# PYTHON is the interpreter whose packages the models run with (default: .venv/bin/python). Nothing is installed into it:
# the server's stub reads arrays of numpy 1 only (of numpy 2 it gets every stride wrong), so it gets an environment of its
# own with numpy 1.26 in front of PYTHON's packages, all of which run on either.
set -eu
case ${1:-} in
'') folder=.triton ;;
/*) folder=$1 ;;
*) folder=$PWD/$1 ;;
esac
cd "$(dirname "$0")/.."
python=${PYTHON:-.venv/bin/python}

fail() { printf 'error: %s\n' "$*" >&2; exit 1; }

# .installing: of a run that was cut off
[ ! -e "$folder" ] || [ -d "$folder" ] || fail "$folder: not a folder"
[ ! -d "$folder" ] || [ -z "$(ls -A "$folder")" ] || ls "$folder"/.installed-* >/dev/null 2>&1 || [ -e "$folder/.installing" ] ||
	fail "$folder: not empty and not made by this script; name another, or remove it"
[ "$(uname -s)-$(uname -m)" = Linux-x86_64 ] || fail "$(uname -s) $(uname -m): the server's wheel is for Linux x86-64 only; use an image of tritonserver"
[ -x "$(command -v "$python")" ] || fail "$python: no such interpreter; run \`make serve\` once, or set PYTHON"
# Triton's Python backend puts the paths of its own program and of the models into a command line of bash, unquoted
plain() {
	case $1 in
	*[]\ \'\"\\\$\`\&\|\;\<\>\(\)\*\?[]*) fail "$1: Triton cannot start its models in a folder with a space, a quote or another sign of the shell in its path; $2" ;;
	esac
}
plain "$PWD" 'move this clone'
plain "$folder" 'name another folder'
version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
case $version in
3.11 | 3.12) ;;
*) fail "$python is Python $version: the server's stub needs numpy 1.26, which has no wheel for it; use 3.11 or 3.12 (make serve-triton PYTHON=python3.12 in a new clone, or set PYTHON)" ;;
esac
# the stub that runs the models is linked against this library
"$python" - <<'PY' || fail "libpython$version.so.1.0 is not on this machine; on Debian and Ubuntu: apt-get install libpython$version"
import ctypes, sys, sysconfig
from pathlib import Path
name = f"libpython{sys.version_info[0]}.{sys.version_info[1]}.so.1.0"
if not (Path(sysconfig.get_config_var("LIBDIR") or "/") / name).is_file():
    try:
        ctypes.CDLL(name)
    except OSError:
        sys.exit(1)
PY
packages=$("$python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
pins=$(cat requirements/triton.txt requirements/triton_python.txt requirements/perf_analyzer.txt scripts/install_triton.sh)
stamp="$folder/.installed-$version-$(printf '%s' "$pins $packages" | cksum | cut -d ' ' -f 1)"
[ -e "$stamp" ] && { echo "$folder: already there"; exit 0; }

wheels=$(mktemp -d)
trap 'rm -rf "$wheels"' EXIT
trap 'exit 1' INT TERM HUP
download() {
	"$python" -m pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: -d "$wheels" "$@"
}
download --require-hashes -r requirements/triton.txt
download --require-hashes --platform manylinux1_x86_64 -r requirements/perf_analyzer.txt
download -r requirements/triton_python.txt

# only now: without a network, what was there stays
mkdir -p "$folder"
touch "$folder/.installing"
find "$folder" -mindepth 1 -maxdepth 1 ! -name .installing -exec rm -rf {} +
mkdir -p "$folder/backends/python" "$folder/perf_analyzer"
"$python" -m zipfile -e "$wheels"/nvidia_pytriton-*.whl "$folder/server"
"$python" -m zipfile -e "$wheels"/tritonclient-*.whl "$wheels/tritonclient"

server=$folder/server/pytriton/tritonserver
[ -f "$server/python_backend_stubs/$version/triton_python_backend_stub" ] || fail "the wheel has no stub for Python $version"
cp "$server/backends/python/libtriton_python.so" "$server/backends/python/triton_python_backend_utils.py" "$folder/backends/python/"
cp "$server/python_backend_stubs/$version/triton_python_backend_stub" "$folder/backends/python/"
cp "$wheels"/tritonclient/*.data/data/bin/perf_analyzer "$folder/perf_analyzer/"
chmod +x "$server/bin/tritonserver" "$folder/backends/python/triton_python_backend_stub" "$folder/perf_analyzer/perf_analyzer"
libraries=$(cd "$folder/server/nvidia_pytriton.libs" && pwd)
ln -sf "$libraries"/libb64-*.so.0d "$folder/perf_analyzer/libb64.so.0d"
ln -sf "$libraries"/libcudart-*.so.12* "$folder/perf_analyzer/libcudart.so.12"
"$python" -m venv --without-pip "$folder/python"
site=$("$folder/python/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
"$python" -m pip install --quiet --disable-pip-version-check --no-deps --only-binary=:all: --no-index --find-links "$wheels" \
	--target "$site" -r requirements/triton_python.txt
# the path as Python writes it: it may hold a quote
"$python" -c 'import sys; print(f"import site; site.addsitedir({sys.argv[1]!a})")' "$packages" >"$site/serving.pth"
touch "$stamp"
rm "$folder/.installing"
echo "$folder: Triton 2.51.0 and perf_analyzer; start it with: parsing-rcnn triton"
