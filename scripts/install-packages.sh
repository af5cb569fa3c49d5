#!/usr/bin/env bash
# Installs what Placard needs to build, run and be tested on Debian or Ubuntu. Does nothing where all is there.
set -euo pipefail

packages=(
  # building: C compiler, bindgen's libclang, GStreamer headers
  build-essential pkg-config cmake clang libclang-dev
  libgstreamer1.0-dev libgstreamer-plugins-base1.0-dev libgstrtspserver-1.0-dev
  # running: the elements that cameras and files need
  gstreamer1.0-tools gstreamer1.0-plugins-base gstreamer1.0-plugins-good gstreamer1.0-plugins-bad
  gstreamer1.0-plugins-ugly gstreamer1.0-libav
  # running: cameras over TLS
  glib-networking
  # fetching ONNX Runtime's library
  python3 python3-pip unzip
  # testing: a real MQTT broker
  mosquitto mosquitto-clients
  # testing: certificates of cameras
  openssl
)

# What else a target of the Makefile asks for.
packages+=("$@")

missing=()
for package in "${packages[@]}"; do
  dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'install ok installed' || missing+=("$package")
done
if [ ${#missing[@]} -eq 0 ]; then
  echo "packages: all ${#packages[@]} are installed"
  exit 0
fi

sudo=()
if [ "$(id -u)" -ne 0 ]; then
  command -v sudo >/dev/null || { echo "run as root, or install: ${missing[*]}" >&2; exit 1; }
  sudo=(sudo)
fi
echo "packages: installing ${missing[*]}"
"${sudo[@]}" apt-get update -qq
DEBIAN_FRONTEND=noninteractive "${sudo[@]}" apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
