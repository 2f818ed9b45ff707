#!/bin/sh
# Chromium and its driver for the tests of the page: the distribution's own packages.
set -eu
sudo=""
[ "$(id -u)" -eq 0 ] || sudo="sudo"
if command -v apt-get >/dev/null; then
    $sudo apt-get update && $sudo apt-get install --yes --no-install-recommends chromium chromium-driver
elif command -v dnf >/dev/null; then
    $sudo dnf install --assumeyes chromium chromedriver
elif command -v apk >/dev/null; then
    $sudo apk add chromium chromium-chromedriver
else
    echo "error: no apt-get, dnf or apk here: install chromium and chromedriver by hand" >&2
    exit 1
fi
chromium --version
