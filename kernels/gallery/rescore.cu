// KERNEL   gallery_rescore — the exact scores of the rows that a scan let pass
// MATH     16 partial sums, one for each place in a line of 16 values, each added up from the first line to the last, then folded pairwise
// SHAPES   values: [rows][lines][16] f32, aligned to 64 B · queries: [queries][lines][16] f32 · owners: [rows] u32 · counts: [queries] u32
//          listed: [queries][capacity] u32 rows · least: [queries] f32 · keys: [queries][capacity] u64 (hit.cuh), 0: below least or NaN
// UNITS    cosines
// LAUNCH   grid (any x, queries), block 32…256 and a multiple of 32, no shared memory
// BYTES    a row of 512 values: 2,048; 300 rows a query: nothing beside the scan
// ARITH    2 FLOP a value, 0.5 a byte: bound by memory (latency: rows lie apart)
// NUMERICS f32, no operation fused with another: the processor's score bit for bit
// LIMITS   counts above capacity: nothing of the list is read or scored, and gallery_best refuses it; sm_75 on
// TWIN     src/gallery/scan/portable.rs (dot)   TEST tests/kernels/gallery.rs   BENCH none yet
// MEASURED not yet measured
#include "hit.cuh"

constexpr uint32_t kLanes = 16;

extern "C" __global__ void __launch_bounds__(256)
    gallery_rescore(const float* __restrict__ values, const float* __restrict__ queries, const uint32_t* __restrict__ owners,
                    const uint32_t* __restrict__ counts, const uint32_t* __restrict__ listed, const float* __restrict__ least,
                    uint64_t* __restrict__ keys, uint32_t lines, uint32_t capacity) {
  const uint32_t query = blockIdx.y, lane = threadIdx.x % kLanes;
  // A list that overflowed, or was never begun, may hold anything.
  const uint32_t count = counts[query] > capacity ? 0 : counts[query];
  const uint32_t pairs = blockDim.x / kLanes;
  const float* wanted = queries + size_t(query) * lines * kLanes;
  const size_t list = size_t(query) * capacity;
  // Both halves of a warp go round as often, so that all its lanes meet at the shuffles.
  const uint32_t rounds = (count + 1) / 2 * 2;
  for (uint32_t i = blockIdx.x * pairs + threadIdx.x / kLanes; i < rounds; i += gridDim.x * pairs) {
    const uint32_t row = listed[list + min(i, count - 1)];
    const float* there = values + size_t(row) * lines * kLanes;
    float sum = 0.f;
    for (uint32_t line = 0; line < lines; line++) {
      sum = __fadd_rn(sum, __fmul_rn(wanted[line * kLanes + lane], there[line * kLanes + lane]));
    }
    for (uint32_t width = kLanes / 2; width > 0; width /= 2) {
      sum = __fadd_rn(sum, __shfl_down_sync(kWarp, sum, width, kLanes));
    }
    // A NaN is not at least anything.
    if (lane == 0 && i < count) keys[list + i] = sum >= least[query] ? key_of(sum, owners[row]) : 0;
  }
}
KERNEL(gallery_rescore)
