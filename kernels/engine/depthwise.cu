// KERNEL   engine_depthwise — a depthwise convolution: each channel with a kernel of its own
// MATH     out[n, y, x, c] = finished(Σ in[n, y · stride − pad_top + i, x · stride − pad_left + j, c] · weights[i, j, c]); outside the picture in is 0
// SHAPES   one Layer with out_channels = in_channels; out may not overlap in, weights or residual
// UNITS    none
// LAUNCH   grid ⌈batch · out_height · out_width · channels / 8 / block⌉, block 1…256, no shared memory
// BYTES    in and out once, if the caches hold what neighbours share: 112 × 112 × 64, batch 32: 102.8 MB → 31 µs at 3.35 TB/s
// ARITH    18 FLOP an output with 3 × 3, 4.5 a byte: bound by memory
// NUMERICS fp16 factors, f32 sum row by row, which may be fused; one rounding to fp16: 2⁻¹¹ of the value, and 10⁻⁶ of the sum of the products' sizes
// LIMITS   channels a multiple of 8; batch · out_height · out_width · channels / 8 < 2³²; sm_75 on
// TWIN     tests/kernels/layers.rs (the definition; on the processor ONNX Runtime and src/engine/fused convolve)   TEST tests/kernels/layers.rs   BENCH none yet
// MEASURED not yet measured
#include "layer.cuh"

extern "C" __global__ void __launch_bounds__(256) engine_depthwise(const Layer* __restrict__ how) {
  const Layer layer = *how;
  const uint32_t eights = layer.in_channels / 8, index = blockIdx.x * blockDim.x + threadIdx.x;
  const uint32_t pixel = index / eights, channel = index % eights * 8;
  if (pixel >= layer.batch * layer.out_height * layer.out_width) return;
  const uint32_t x = pixel % layer.out_width, y = pixel / layer.out_width % layer.out_height, n = pixel / layer.out_width / layer.out_height;
  float sums[8] = {};
  for (uint32_t i = 0; i < layer.kernel_height; i++) {
    const int32_t row = int32_t(y * layer.stride + i) - int32_t(layer.pad_top);
    if (row < 0 || uint32_t(row) >= layer.in_height) continue;
    for (uint32_t j = 0; j < layer.kernel_width; j++) {
      const int32_t column = int32_t(x * layer.stride + j) - int32_t(layer.pad_left);
      if (column < 0 || uint32_t(column) >= layer.in_width) continue;
      const size_t at = ((size_t(n) * layer.in_height + size_t(row)) * layer.in_width + size_t(column)) * layer.in_channels + channel;
      const uint4 values = *reinterpret_cast<const uint4*>(layer.in + at);
      const uint4 weights = *reinterpret_cast<const uint4*>(layer.weights + (i * layer.kernel_width + j) * layer.in_channels + channel);
      const uint32_t of_values[4] = {values.x, values.y, values.z, values.w}, of_weights[4] = {weights.x, weights.y, weights.z, weights.w};
#pragma unroll
      for (uint32_t k = 0; k < 4; k++) {
        const float2 value = floats_of(of_values[k]), weight = floats_of(of_weights[k]);
        sums[2 * k] += value.x * weight.x;
        sums[2 * k + 1] += value.y * weight.y;
      }
    }
  }
#pragma unroll
  for (uint32_t k = 0; k < 8; k += 2) write_two(layer, pixel, channel + k, sums[k], sums[k + 1]);
}
KERNEL(engine_depthwise)
