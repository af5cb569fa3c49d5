// KERNEL   detect_decode_yunet — YuNet's twelve outputs → candidate faces
// MATH     score √(cls · obj), each clamped to 0…1; cell (col, row) of stride s: centre (col + b0, row + b1) · s, size (e^b2, e^b3) · s, point (k2i + col, k2i+1 + row) · s
// SHAPES   levels: [3] Level, each output [batch][rows · columns][1, 1, 4, 10] f32 · faces: [batch][capacity] Candidate · counts: [batch] u32, 0 before
// UNITS    network pixels, (0, 0) the first pixel's corner; a cell stands at (col · s, row · s)
// LAUNCH   grid (⌈cells / block⌉, batch), any block, no shared memory
// BYTES    640 × 640: 8,400 cells · 8 B (boxes and points of few cells only) = 67 kB a frame → 0.02 µs at 3.35 TB/s
// ARITH    4 FLOP a cell: bound by memory and launch
// NUMERICS f32; expf is within 2 units in the last place of the processor's: a box differs by at most 1e-6 of its size
// LIMITS   a candidate that is not finite or has no extent is dropped; more than `capacity` candidates of a frame: the counter tells it; sm_75 on
// TWIN     src/detect/decode.rs   TEST tests/kernels/faces.rs   BENCH none yet
// MEASURED not yet measured
#include "face.cuh"

struct Level {
  const float *classes, *objects, *boxes, *points;
  uint32_t columns, rows, stride, first;  // `first`: number of its first cell
};

static __device__ __forceinline__ float clamped(float value) {
  // A NaN stays one, as the processor's clamp leaves it.
  return value < 0.f ? 0.f : value > 1.f ? 1.f : value;
}

extern "C" __global__ void detect_decode_yunet(const Level* __restrict__ levels, Candidate* __restrict__ faces, uint32_t* __restrict__ counts,
                                               uint32_t cells, uint32_t capacity, float min_score) {
  const uint32_t number = blockIdx.x * blockDim.x + threadIdx.x, frame = blockIdx.y;
  if (number >= cells) return;
  uint32_t level = 0;
  while (level < 2 && number >= levels[level + 1].first) level++;
  const Level of = levels[level];
  const uint32_t cell = number - of.first;
  const size_t at = size_t(frame) * of.columns * of.rows + cell;
  const float score = __fsqrt_rn(__fmul_rn(clamped(of.classes[at]), clamped(of.objects[at])));
  if (!(score >= min_score)) return;
  const float column = float(cell % of.columns), row = float(cell / of.columns), s = float(of.stride);
  const float* b = of.boxes + 4 * at;
  const float x = __fmul_rn(__fadd_rn(column, b[0]), s), y = __fmul_rn(__fadd_rn(row, b[1]), s);
  const float w = __fmul_rn(expf(b[2]), s), h = __fmul_rn(expf(b[3]), s);
  Candidate face;
  face.x0 = __fadd_rn(x, -__fmul_rn(0.5f, w)), face.y0 = __fadd_rn(y, -__fmul_rn(0.5f, h));
  face.x1 = __fadd_rn(x, __fmul_rn(0.5f, w)), face.y1 = __fadd_rn(y, __fmul_rn(0.5f, h));
  face.score = score, face.number = number;
#pragma unroll
  for (uint32_t i = 0; i < 10; i++) face.points[i] = __fmul_rn(__fadd_rn(of.points[10 * at + i], i % 2 ? row : column), s);
  append(face, faces, counts, frame, capacity);
}
KERNEL(detect_decode_yunet)
