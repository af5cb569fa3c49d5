// KERNEL   engine_resize — a picture enlarged by a whole factor, each value repeated; another picture may be added
// MATH     out[n, y, x, c] = finished(in[n, ⌊y / stride⌋, ⌊x / stride⌋, c]); the residual is what is added
// SHAPES   one Layer with out_height = stride · in_height, out_width = stride · in_width, out_channels = in_channels, no weights; out may be the residual
// UNITS    none
// LAUNCH   grid ⌈batch · out_height · out_width · channels / 2 / block⌉, block 1…256, no shared memory
// BYTES    in, residual and out once: 80 × 80 × 64, batch 32: 59 MB → 18 µs at 3.35 TB/s      ARITH one addition a value: bound by memory
// NUMERICS one addition in f32, one rounding to fp16
// LIMITS   channels a multiple of 8; stride at least 1; sm_75 on
// TWIN     tests/kernels/layers.rs (the definition; on the processor ONNX Runtime and src/engine/fused resize)   TEST tests/kernels/layers.rs   BENCH none yet
// MEASURED not yet measured
#include "layer.cuh"

extern "C" __global__ void __launch_bounds__(256) engine_resize(const Layer* __restrict__ how) {
  const Layer layer = *how;
  const uint32_t pairs = layer.in_channels / 2, index = blockIdx.x * blockDim.x + threadIdx.x;
  const uint32_t pixel = index / pairs, channel = index % pairs * 2;
  if (pixel >= layer.batch * layer.out_height * layer.out_width) return;
  const uint32_t x = pixel % layer.out_width, y = pixel / layer.out_width % layer.out_height, n = pixel / layer.out_width / layer.out_height;
  const size_t from = (size_t(n) * layer.in_height + y / layer.stride) * layer.in_width + x / layer.stride;
  const float2 value = floats_of(*reinterpret_cast<const uint32_t*>(layer.in + from * layer.in_channels + channel));
  write_two(layer, pixel, channel, value.x, value.y);
}
KERNEL(engine_resize)
