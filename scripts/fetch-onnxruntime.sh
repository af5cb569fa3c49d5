#!/usr/bin/env bash
# Puts ONNX Runtime's shared library (MIT) and its notices into lib/. The version and digest are pinned: a different file is refused.
set -euo pipefail

version=1.31.1
library=lib/libonnxruntime.so.$version
sha256=fc44112fbe06d7d689c57e11d3862031f64711007e4ee020f8eed5185fd2c1d3

check() { echo "$sha256  $library" | sha256sum --check --status; }

cd "$(dirname "$0")/.."
if [ -f "$library" ] && check; then
  echo "onnxruntime: $version is in lib/"
  exit 0
fi
download=$(mktemp -d)
trap 'rm -rf "$download"' EXIT
echo "onnxruntime: fetching $version"
python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: --python-version 3.11 \
  --platform manylinux_2_28_x86_64 --platform manylinux_2_27_x86_64 --dest "$download" "onnxruntime==$version"
mkdir -p lib
unzip -o -q -j "$download"/onnxruntime-*.whl 'onnxruntime/capi/libonnxruntime.so*' onnxruntime/LICENSE onnxruntime/ThirdPartyNotices.txt -d lib
check || { echo "onnxruntime: $library is not the pinned file (sha256 $sha256)" >&2; exit 1; }
