// KERNEL   engine_pool_most, engine_pool_mean — the largest, or the mean, of the values under a window
// MATH     over the window's pixels that lie in the picture: most, or sum / how many; a NaN under the window is the most
// SHAPES   one Layer with out_channels = in_channels and no weights; its end (bias, activation, residual) applies; out may not overlap in
// UNITS    none
// LAUNCH   grid ⌈batch · out_height · out_width · channels / 2 / block⌉, block 1…256, no shared memory
// BYTES    in and out once: 320 × 320 × 16, batch 32, 2 × 2: 131 MB → 39 µs at 3.35 TB/s      ARITH one compare or addition a value: bound by memory
// NUMERICS most: exact; mean: f32 sum, one division, one rounding to fp16
// LIMITS   channels a multiple of 8; a window that lies wholly outside gives −∞, or NaN: plans have none; sm_75 on
// TWIN     tests/kernels/layers.rs (the definition; on the processor ONNX Runtime and src/engine/fused pool)   TEST tests/kernels/layers.rs   BENCH none yet
// MEASURED not yet measured
#include "layer.cuh"

template <bool kMost>
static __device__ __forceinline__ void pool(const Layer* how) {
  const Layer layer = *how;
  const uint32_t pairs = layer.in_channels / 2, index = blockIdx.x * blockDim.x + threadIdx.x;
  const uint32_t pixel = index / pairs, channel = index % pairs * 2;
  if (pixel >= layer.batch * layer.out_height * layer.out_width) return;
  const uint32_t x = pixel % layer.out_width, y = pixel / layer.out_width % layer.out_height, n = pixel / layer.out_width / layer.out_height;
  const float lowest = __uint_as_float(0xff800000u);
  float2 all = kMost ? make_float2(lowest, lowest) : make_float2(0.f, 0.f);
  uint32_t count = 0;
  for (uint32_t i = 0; i < layer.kernel_height; i++) {
    const int32_t row = int32_t(y * layer.stride + i) - int32_t(layer.pad_top);
    if (row < 0 || uint32_t(row) >= layer.in_height) continue;
    for (uint32_t j = 0; j < layer.kernel_width; j++) {
      const int32_t column = int32_t(x * layer.stride + j) - int32_t(layer.pad_left);
      if (column < 0 || uint32_t(column) >= layer.in_width) continue;
      const size_t at = ((size_t(n) * layer.in_height + size_t(row)) * layer.in_width + size_t(column)) * layer.in_channels + channel;
      const float2 value = floats_of(*reinterpret_cast<const uint32_t*>(layer.in + at));
      if (kMost) {
        // A NaN is not at most anything; once there, nothing is above it.
        all.x = value.x <= all.x ? all.x : all.x != all.x ? all.x : value.x;
        all.y = value.y <= all.y ? all.y : all.y != all.y ? all.y : value.y;
      } else {
        all.x += value.x;
        all.y += value.y;
      }
      count++;
    }
  }
  if (!kMost) all = make_float2(__fdiv_rn(all.x, float(count)), __fdiv_rn(all.y, float(count)));
  write_two(layer, pixel, channel, all.x, all.y);
}

extern "C" __global__ void __launch_bounds__(256) engine_pool_most(const Layer* __restrict__ how) { pool<true>(how); }
KERNEL(engine_pool_most)
extern "C" __global__ void __launch_bounds__(256) engine_pool_mean(const Layer* __restrict__ how) { pool<false>(how); }
KERNEL(engine_pool_mean)
