// KERNEL   gallery_scan_nibble, gallery_scan_byte — which rows each query has to look at, from the codes of a plane
// MATH     sum = start + Σ code · q;  a row passes if (sum · rise) · scale + residual ≥ floor and its tag has the filter's zones and ends after now
// SHAPES   plane: [blocks] of [32 u16 scales | 32 u16 residuals | lines of 128 B], aligned to 128 B; 4 bits: lines = pairs, 8 bits: 2 · pairs
//          packed: [queries][2 · pairs] i32, four i8 codes each · limits: [queries] Limit
//          summaries: [blocks] · zones: [rows] u64 · ends: [rows] i64, ns · counts: [queries] u32, 0 before · rows_out: [queries][capacity] u32
//          No array overlaps another. Blocks first, first + step, … are looked at.
// UNITS    bound: 2⁻¹⁶ of a cosine, see src/gallery/scan/mod.rs
// LAUNCH   grid (any x, ⌈queries / 8⌉), block 32…256 and a multiple of 32, no dynamic shared memory
// BYTES    4 bits, 512 values: 8,320 a block once per 8 queries; 1 M rows: 260 MB → 78 µs at 3.35 TB/s
// ARITH    2 operations a code and query; 8 queries: 32 a byte of the 4-bit plane: bound by memory
// NUMERICS sums are whole numbers and exact; the bound may be fused or not: the limit's slack covers both (scan/mod.rs). The same rows may be listed as
//          by the processor or a hair more; the exact scores decide. The order of a list is not defined.
// LIMITS   pairs 1…128 (1,024 values); rows < 2³²; more than `capacity` rows for a query: the counter tells it, the list holds `capacity`; sm_75 on
// TWIN     src/gallery/scan/portable.rs, filter.rs   TEST tests/kernels/gallery.rs   BENCH none yet
// MEASURED not yet measured
#include "hit.cuh"

constexpr uint32_t kTile = 8;
constexpr uint32_t kMostGroups = 256;

// A bit for each row of the block that the filter takes. Asked by a whole warp.
static __device__ __forceinline__ uint32_t taken(const Summary* summaries, const uint64_t* zones, const int64_t* ends, uint32_t block,
                                                 uint32_t rows, uint64_t want, int64_t now, uint32_t lane) {
  const Summary all = summaries[block];
  if ((all.any_zones & want) != want || all.last_end <= now) return 0;
  if ((all.all_zones & want) == want && all.first_end > now) return all.present;
  uint32_t row = block * kBlockRows + lane;
  bool takes = row < rows && (zones[row] & want) == want && ends[row] > now;
  return __ballot_sync(kWarp, takes) & all.present;
}

template <bool kNibble>
static __device__ __forceinline__ void add(uint32_t word, const int32_t* codes, int32_t (&sums)[kTile]) {
  if (kNibble) {
    uint32_t low = word & 0x0f0f0f0fu, high = word >> 4 & 0x0f0f0f0fu;
#pragma unroll
    for (uint32_t q = 0; q < kTile; q++) {
      sums[q] = dot4_unsigned_signed(low, codes[q], sums[q]);
      sums[q] = dot4_unsigned_signed(high, codes[kTile + q], sums[q]);
    }
  } else {
#pragma unroll
    for (uint32_t q = 0; q < kTile; q++) sums[q] = dot4_unsigned_signed(word, codes[q], sums[q]);
  }
}

template <bool kNibble>
static __device__ __forceinline__ void scan(const uint8_t* __restrict__ plane, const int32_t* __restrict__ packed, const Limit* __restrict__ limits,
                                            const Summary* __restrict__ summaries, const uint64_t* __restrict__ zones,
                                            const int64_t* __restrict__ ends, uint32_t* __restrict__ counts, uint32_t* __restrict__ rows_out,
                                            uint32_t rows, uint32_t pairs, uint32_t queries, uint32_t capacity, uint32_t step, uint64_t want,
                                            int64_t now) {
  SHARED(int32_t, codes, kMostGroups * kTile);
  SHARED(Limit, tile, kTile);
  const uint32_t groups = 2 * pairs, first = blockIdx.y * kTile;
  for (uint32_t i = threadIdx.x; i < groups * kTile; i += blockDim.x) {
    uint32_t query = first + i % kTile;
    codes[i] = query < queries ? packed[size_t(query) * groups + i / kTile] : 0;
  }
  if (threadIdx.x < kTile) {
    // A query that is not there passes nowhere.
    const Limit nobody = {0.f, __uint_as_float(0x7f800000u), 0};
    tile[threadIdx.x] = first + threadIdx.x < queries ? limits[first + threadIdx.x] : nobody;
  }
  __syncthreads();

  const uint32_t lane = threadIdx.x % 32, warps = blockDim.x / 32;
  const uint32_t lines = kNibble ? pairs : 2 * pairs, blocks = (rows + kBlockRows - 1) / kBlockRows;
  const size_t block_bytes = kHeadBytes + size_t(lines) * 128;
  for (uint64_t at = (uint64_t(blockIdx.x) * warps + threadIdx.x / 32) * step; at < blocks; at += uint64_t(gridDim.x) * warps * step) {
    const uint32_t block = uint32_t(at);
    const uint32_t mask = taken(summaries, zones, ends, block, rows, want, now, lane);
    if (mask == 0) continue;
    const uint8_t* bytes = plane + block * block_bytes;
    const uint32_t* words = reinterpret_cast<const uint32_t*>(bytes + kHeadBytes) + lane;
    int32_t sums[kTile];
#pragma unroll
    for (uint32_t q = 0; q < kTile; q++) sums[q] = tile[q].start;
#pragma unroll 8
    for (uint32_t line = 0; line < lines; line++) {
      add<kNibble>(__ldcs(words + line * 32), codes + line * (kNibble ? 2 : 1) * kTile, sums);
    }
    const uint16_t* head = reinterpret_cast<const uint16_t*>(bytes);
    const float scale = float(head[lane]), residual = float(head[kBlockRows + lane]);
    for (uint32_t q = 0; q < kTile; q++) {
      const float bound = float(sums[q]) * tile[q].rise * scale + residual;
      const bool passes = bound >= tile[q].floor && (mask >> lane & 1);
      const uint32_t votes = __ballot_sync(kWarp, passes);
      if (votes == 0) continue;
      uint32_t place = 0;
      if (lane == 0) place = atomicAdd(counts + first + q, uint32_t(__popc(votes)));
      place = __shfl_sync(kWarp, place, 0) + uint32_t(__popc(votes & ((1u << lane) - 1)));
      if (passes && place < capacity) rows_out[size_t(first + q) * capacity + place] = block * kBlockRows + lane;
    }
  }
}

extern "C" __global__ void __launch_bounds__(256)
    gallery_scan_nibble(const uint8_t* plane, const int32_t* packed, const Limit* limits, const Summary* summaries, const uint64_t* zones,
                        const int64_t* ends, uint32_t* counts, uint32_t* rows_out, uint32_t rows, uint32_t pairs, uint32_t queries,
                        uint32_t capacity, uint32_t step, uint64_t want, int64_t now) {
  scan<true>(plane, packed, limits, summaries, zones, ends, counts, rows_out, rows, pairs, queries, capacity, step, want, now);
}
KERNEL(gallery_scan_nibble)

extern "C" __global__ void __launch_bounds__(256)
    gallery_scan_byte(const uint8_t* plane, const int32_t* packed, const Limit* limits, const Summary* summaries, const uint64_t* zones,
                      const int64_t* ends, uint32_t* counts, uint32_t* rows_out, uint32_t rows, uint32_t pairs, uint32_t queries,
                      uint32_t capacity, uint32_t step, uint64_t want, int64_t now) {
  scan<false>(plane, packed, limits, summaries, zones, ends, counts, rows_out, rows, pairs, queries, capacity, step, want, now);
}
KERNEL(gallery_scan_byte)
