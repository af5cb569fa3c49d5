#!/usr/bin/env bash
# Compiles every kernel for every architecture with a pinned nvcc and a pinned NVRTC; any warning, and any register that spills, fails. Needs no GPU.
# The compilers come as Python packages (300 MB, NVIDIA's licence) into target/kernels-check: a tool for checking, never shipped.
set -euo pipefail
cd "$(dirname "$0")/.."

architectures=(75 80 86 89 90 100 120)
# What every kernel is compiled with, here and where it is shipped.
flags=(-std=c++17 -O3 -lineinfo -Werror all-warnings -Xptxas "-v,-Werror,--warn-on-spills,--warn-on-local-memory-usage")
packages=(nvidia-cuda-nvcc==13.0.88 nvidia-cuda-crt==13.0.88 nvidia-nvvm==13.0.88 nvidia-cuda-runtime==13.0.96 nvidia-cuda-cccl==13.0.85 nvidia-cuda-nvrtc==13.0.88)

work=target/kernels-check
if [ "$(cat "$work/packages" 2>/dev/null)" != "${packages[*]}" ]; then
  rm -rf "$work"
  python3 -m venv "$work/venv"
  "$work/venv/bin/pip" install --quiet --no-deps --only-binary=:all: "${packages[@]}"
  echo "${packages[*]}" > "$work/packages"
fi
CUDA_HOME=$(echo "$work"/venv/lib/python3*/site-packages/nvidia/cu13)
export CUDA_HOME
chmod +x "$CUDA_HOME"/bin/* "$CUDA_HOME"/nvvm/bin/* 2>/dev/null || true
"$CUDA_HOME/bin/nvcc" --version | grep release

failed=0
mapfile -t sources < <(find kernels -name '*.cu' | sort)
mkdir -p "$work/out"
printf '%-28s %-7s %9s %8s %7s\n' kernel arch registers shared spills
for source in "${sources[@]}"; do
  for architecture in "${architectures[@]}"; do
    log=$work/out/log
    if ! "$CUDA_HOME/bin/nvcc" "${flags[@]}" -gencode "arch=compute_$architecture,code=sm_$architecture" -cubin -o "$work/out/cubin" "$source" > "$log" 2>&1; then
      echo "FAILED: $source for sm_$architecture" >&2
      cat "$log" >&2
      failed=1
      continue
    fi
    # ptxas names a kernel, then its spills, then its registers.
    awk -v architecture="sm_$architecture" '
      /Function properties for/ { kernel = $NF }
      /Compiling entry function/ { split($0, quoted, "\x27"); kernel = quoted[2] }
      /spill stores/ { spills = 0; for (i = 1; i <= NF; i++) if ($(i + 1) == "bytes" && $(i + 2) == "spill") spills += $i }
      /Used [0-9]+ registers/ {
        registers = $0; sub(/.*Used /, "", registers); sub(/ registers.*/, "", registers)
        shared = 0; if (match($0, /[0-9]+ bytes smem/)) { shared = substr($0, RSTART, RLENGTH); sub(/ .*/, "", shared) }
        printf "%-28s %-7s %9d %8d %7d\n", kernel, architecture, registers, shared, spills
        if (spills > 0) bad = 1
        seen = 1
      }
      END { exit bad || !seen }' "$log" || { echo "FAILED: $source for sm_$architecture spills, or holds no kernel" >&2; failed=1; }
  done
done

"$work/venv/bin/python" scripts/kernels_nvrtc.py "$CUDA_HOME" "${architectures[@]}" -- "${sources[@]}" || failed=1
[ "$failed" -eq 0 ] && echo "kernels: ${#sources[@]} files, ${#architectures[@]} architectures, nvcc and NVRTC: no warning, no spill"
exit "$failed"
