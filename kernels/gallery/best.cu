// KERNEL   gallery_best — the best top_k subjects of each query's list, best first, each once, with its best row
// MATH     keys fall from hit to hit (score, then slot rising); a slot that is there already is passed over
// SHAPES   keys: [queries][capacity] u64 (hit.cuh) · counts: [queries] u32 · hits: [queries][top_k] u64 · found: [queries] u32
// UNITS    cosines
// LAUNCH   grid queries, block 32…1024 and a multiple of 32, no dynamic shared memory
// BYTES    8 · count for each hit, from the second-level cache after the first      ARITH compares only
// NUMERICS none: whole numbers
// LIMITS   top_k ≤ 256; time grows with top_k times the rows of a subject; a list that overflowed, and any list where top_k is more, gives found = 0xffffffff and no
//          hit; sm_75 on
// TWIN     src/gallery/scan/best.rs   TEST tests/kernels/gallery.rs   BENCH none yet
// MEASURED not yet measured
#include "hit.cuh"

constexpr uint32_t kMostHits = 256;

extern "C" __global__ void __launch_bounds__(1024)
    gallery_best(const uint64_t* __restrict__ keys, const uint32_t* __restrict__ counts, uint64_t* __restrict__ hits,
                 uint32_t* __restrict__ found, uint32_t capacity, uint32_t top_k) {
  SHARED(uint64_t, of_warp, 32);
  SHARED(uint64_t, winner, 1);
  SHARED(uint32_t, is_there, 1);
  SHARED(uint32_t, slots, kMostHits);
  const uint32_t query = blockIdx.x, lane = threadIdx.x % 32, warps = blockDim.x / 32;
  const uint32_t count = counts[query];
  if (count > capacity || top_k > kMostHits) {
    if (threadIdx.x == 0) found[query] = kOverflow;
    return;
  }
  const uint64_t* list = keys + size_t(query) * capacity;
  if (threadIdx.x == 0) is_there[0] = 0;
  uint64_t last = ~uint64_t(0);
  uint32_t taken = 0;
  while (taken < top_k) {
    uint64_t best = 0;
    for (uint32_t i = threadIdx.x; i < count; i += blockDim.x) {
      const uint64_t key = list[i];
      if (key < last && key > best) best = key;
    }
    for (int lanes = 16; lanes > 0; lanes /= 2) best = max(best, __shfl_xor_sync(kWarp, best, lanes));
    if (lane == 0) of_warp[threadIdx.x / 32] = best;
    __syncthreads();
    if (threadIdx.x == 0) {
      uint64_t most = 0;
      for (uint32_t warp = 0; warp < warps; warp++) most = max(most, of_warp[warp]);
      winner[0] = most;
    }
    __syncthreads();
    last = winner[0];
    // Nobody is left: everybody sees it.
    if (last == 0) break;
    for (uint32_t i = threadIdx.x; i < taken; i += blockDim.x) {
      if (slots[i] == slot_of(last)) is_there[0] = 1;
    }
    __syncthreads();
    const bool is_new = is_there[0] == 0;
    __syncthreads();
    if (threadIdx.x == 0) {
      is_there[0] = 0;
      if (is_new) {
        slots[taken] = slot_of(last);
        hits[size_t(query) * top_k + taken] = last;
      }
    }
    taken += is_new;
  }
  if (threadIdx.x == 0) found[query] = taken;
}
KERNEL(gallery_best)
