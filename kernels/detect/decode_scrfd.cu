// KERNEL   detect_decode_scrfd — SCRFD's nine outputs → candidate faces
// MATH     two anchors a cell; cell (col, row) of stride s: box ((col − l) · s, (row − t) · s, (col + r) · s, (row + b) · s), point (col + k2i, row + k2i+1) · s; the score as
//          given, at most 1
// SHAPES   levels: [3] Level, each output [batch][rows · columns · 2][1, 4, 10] f32 · faces: [batch][capacity] Candidate · counts: [batch] u32, 0 before
// UNITS    network pixels, (0, 0) the first pixel's corner; a cell stands at (col · s, row · s)
// LAUNCH   grid (⌈anchors / block⌉, batch), any block, no shared memory
// BYTES    640 × 640: 16,800 anchors · 4 B (boxes and points of few only) = 67 kB a frame → 0.02 µs at 3.35 TB/s
// ARITH    1 compare an anchor: bound by memory and launch
// NUMERICS f32, each operation rounded by itself: the processor's bit for bit
// LIMITS   a candidate that is not finite or has no extent is dropped; more than `capacity` candidates of a frame: the counter tells it; sm_75 on
// TWIN     src/detect/decode.rs   TEST tests/kernels/faces.rs   BENCH none yet
// MEASURED not yet measured
#include "face.cuh"

struct Level {
  const float *scores, *boxes, *points;
  uint32_t columns, rows, stride, first;  // `first`: number of its first anchor
};

extern "C" __global__ void detect_decode_scrfd(const Level* __restrict__ levels, Candidate* __restrict__ faces, uint32_t* __restrict__ counts,
                                               uint32_t anchors, uint32_t capacity, float min_score) {
  const uint32_t number = blockIdx.x * blockDim.x + threadIdx.x, frame = blockIdx.y;
  if (number >= anchors) return;
  uint32_t level = 0;
  while (level < 2 && number >= levels[level + 1].first) level++;
  const Level of = levels[level];
  const uint32_t anchor = number - of.first, cell = anchor / 2;
  const size_t at = size_t(frame) * of.columns * of.rows * 2 + anchor;
  const float score = of.scores[at];
  // Neither is a NaN.
  if (!(score >= min_score)) return;
  const float column = float(cell % of.columns), row = float(cell / of.columns), s = float(of.stride);
  const float* b = of.boxes + 4 * at;
  Candidate face;
  face.x0 = __fmul_rn(__fadd_rn(column, -b[0]), s), face.y0 = __fmul_rn(__fadd_rn(row, -b[1]), s);
  face.x1 = __fmul_rn(__fadd_rn(column, b[2]), s), face.y1 = __fmul_rn(__fadd_rn(row, b[3]), s);
  face.score = min(score, 1.f), face.number = number;
#pragma unroll
  for (uint32_t i = 0; i < 10; i++) face.points[i] = __fmul_rn(__fadd_rn(i % 2 ? row : column, of.points[10 * at + i]), s);
  append(face, faces, counts, frame, capacity);
}
KERNEL(detect_decode_scrfd)
