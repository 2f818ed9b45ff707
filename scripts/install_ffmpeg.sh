#!/bin/sh
# ffmpeg, ffprobe and ffplay for `parsing-rcnn annotate` and `stream`: the distribution's own package.
set -eu
sudo=""
[ "$(id -u)" -eq 0 ] || sudo="sudo"
if command -v apt-get >/dev/null; then
    $sudo apt-get update && $sudo apt-get install --yes --no-install-recommends ffmpeg
elif command -v dnf >/dev/null; then
    $sudo dnf install --assumeyes ffmpeg-free
elif command -v apk >/dev/null; then
    $sudo apk add ffmpeg
elif command -v brew >/dev/null; then
    brew install ffmpeg
else
    echo "error: no apt-get, dnf, apk or brew here: install ffmpeg by hand (https://ffmpeg.org/download.html)" >&2
    exit 1
fi
ffmpeg -hide_banner -version | head -n 1
# ffmpeg-free of Fedora has neither libx264 nor libx265
if ! ffmpeg -hide_banner -encoders 2>/dev/null | grep -qE ' (libx264|libopenh264) '; then
    echo "note: this ffmpeg has no encoder of H.264, so it only reads video: on Fedora either" \
        "'sudo dnf install openh264', or the ffmpeg of RPM Fusion (https://rpmfusion.org/Configuration):" \
        "'sudo dnf swap ffmpeg-free ffmpeg --allowerasing'" >&2
fi
