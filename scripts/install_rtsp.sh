#!/bin/sh
# What the tests of live video need beside ffmpeg: an RTSP server (GStreamer's, for the system's own Python) and a screen
# without a monitor (Xvfb, xdotool). The tests that need them are left out where they are not. To read or write RTSP
# nobody needs this: ffmpeg does it.
set -eu
sudo=""
[ "$(id -u)" -eq 0 ] || sudo="sudo"
if ! command -v apt-get >/dev/null; then
    echo "error: this script knows apt-get only: install gst-rtsp-server with its Python bindings, and Xvfb" >&2
    exit 1
fi
$sudo apt-get update
$sudo apt-get install --yes --no-install-recommends \
    python3-gi gir1.2-gst-rtsp-server-1.0 gstreamer1.0-plugins-good gstreamer1.0-plugins-bad xvfb xdotool
