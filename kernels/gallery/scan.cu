// KERNEL   gallery_scan_nibble, gallery_scan_byte — which rows each query has to look at, from the codes of a plane
// MATH     sum = start + Σ code · q;  a row passes if (sum · rise) · scale + residual ≥ floor and its tag has the query's zones and ends after its now
// SHAPES   plane: [blocks] of [32 u16 scales | 32 u16 residuals | lines of 128 B], aligned to 128 B; 4 bits: lines = pairs, 8 bits: 2 · pairs
//          packed: [queries][2 · pairs] i32, four i8 codes each · limits: [queries] Limit
//          filters: [queries] Filter · count: [1] u32, on the device: queries that are there
//          summaries: [blocks] · zones: [rows] u64 · ends: [rows] i64, ns · counts: [queries] u32, 0 before · rows_out: [queries][capacity] u32
//          No array overlaps another. Blocks first, first + step, … are looked at.
// UNITS    bound: 2⁻¹⁶ of a cosine, see src/gallery/scan/mod.rs
// LAUNCH   grid (any x, ⌈queries / 8⌉), block 32…256 and a multiple of 32, no dynamic shared memory
// BYTES    4 bits, 512 values: 8,320 a block once per 8 queries; 1 M rows: 260 MB → 78 µs at 3.35 TB/s
// ARITH    2 operations a code and query; 8 queries: 32 a byte of the 4-bit plane. One query does the work of eight (16 dp4a and four shared loads of 16 bytes for 4 bytes of
//          plane), so that few queries may be bound by arithmetic
// NUMERICS sums are whole numbers and exact; the bound is f32, each operation rounded by itself: the rows that the portable scan lists. The order of a list is not defined
// LIMITS   pairs 1…128 (1,024 values) and rows ≤ 2³² − 32, or every counter is 0xffffffff; more than `capacity` rows for a query: the counter tells it, the list holds
//          `capacity`; places from `count` on list nobody and make no work; sm_75 on
// TWIN     src/gallery/scan/portable.rs, filter.rs   TEST tests/kernels/gallery.rs   BENCH none yet
// MEASURED not yet measured
#include "hit.cuh"

constexpr uint32_t kTile = 8;
constexpr uint32_t kMostGroups = 256;
constexpr uint32_t kMostRows = 0xffffffffu - (kBlockRows - 1);

// A bit for each query of the tile whose filter takes this lane's row of the block.
static __device__ __forceinline__ uint32_t taken(const Summary& all, const Filter* filters, const uint64_t* zones, const int64_t* ends, uint32_t block,
                                                 uint32_t rows, uint32_t lane) {
  if (!(all.present >> lane & 1)) return 0;
  const uint32_t row = block * kBlockRows + lane;
  uint32_t takes = 0;
  for (uint32_t q = 0; q < kTile; q++) {
    const uint64_t want = filters[q].zones;
    const int64_t now = filters[q].now;
    if ((all.any_zones & want) != want || all.last_end <= now) continue;
    const bool takes_all = (all.all_zones & want) == want && all.first_end > now;
    if (takes_all || (row < rows && (zones[row] & want) == want && ends[row] > now)) takes |= 1u << q;
  }
  return takes;
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
                                            const Filter* __restrict__ filters, const uint32_t* __restrict__ count,
                                            const Summary* __restrict__ summaries, const uint64_t* __restrict__ zones,
                                            const int64_t* __restrict__ ends, uint32_t* __restrict__ counts, uint32_t* __restrict__ rows_out,
                                            uint32_t rows, uint32_t pairs, uint32_t places, uint32_t capacity, uint32_t step) {
  SHARED(int32_t, codes, kMostGroups * kTile);
  SHARED(Limit, tile, kTile);
  SHARED(Filter, wanted, kTile);
  const uint32_t groups = 2 * pairs, first = blockIdx.y * kTile, queries = min(*count, places);
  if (pairs > kMostGroups / 2 || rows > kMostRows) {
    if (blockIdx.x == 0 && threadIdx.x < kTile && first + threadIdx.x < queries) counts[first + threadIdx.x] = kOverflow;
    return;
  }
  if (first >= queries) return;
  for (uint32_t i = threadIdx.x; i < groups * kTile; i += blockDim.x) {
    uint32_t query = first + i % kTile;
    codes[i] = query < queries ? packed[size_t(query) * groups + i / kTile] : 0;
  }
  if (threadIdx.x < kTile) {
    // A query that is not there passes nowhere.
    const Limit nobody = {0.f, __uint_as_float(0x7f800000u), 0};
    const Filter none = {0, 0x7fffffffffffffffLL, 0.f, 0};
    const bool is_there = first + threadIdx.x < queries;
    tile[threadIdx.x] = is_there ? limits[first + threadIdx.x] : nobody;
    wanted[threadIdx.x] = is_there ? filters[first + threadIdx.x] : none;
  }
  __syncthreads();

  const uint32_t lane = threadIdx.x % 32, warps = blockDim.x / 32;
  const uint32_t lines = kNibble ? pairs : 2 * pairs, blocks = (rows + kBlockRows - 1) / kBlockRows;
  const size_t block_bytes = kHeadBytes + size_t(lines) * 128;
  for (uint64_t at = (uint64_t(blockIdx.x) * warps + threadIdx.x / 32) * step; at < blocks; at += uint64_t(gridDim.x) * warps * step) {
    const uint32_t block = uint32_t(at);
    const uint32_t takes = taken(summaries[block], wanted, zones, ends, block, rows, lane);
    if (__ballot_sync(kWarp, takes != 0) == 0) continue;
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
      const float bound = __fadd_rn(__fmul_rn(__fmul_rn(float(sums[q]), tile[q].rise), scale), residual);
      const bool passes = bound >= tile[q].floor && (takes >> q & 1);
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
    gallery_scan_nibble(const uint8_t* plane, const int32_t* packed, const Limit* limits, const Filter* filters, const uint32_t* count,
                        const Summary* summaries, const uint64_t* zones, const int64_t* ends, uint32_t* counts, uint32_t* rows_out,
                        uint32_t rows, uint32_t pairs, uint32_t places, uint32_t capacity, uint32_t step) {
  scan<true>(plane, packed, limits, filters, count, summaries, zones, ends, counts, rows_out, rows, pairs, places, capacity, step);
}
KERNEL(gallery_scan_nibble)

extern "C" __global__ void __launch_bounds__(256)
    gallery_scan_byte(const uint8_t* plane, const int32_t* packed, const Limit* limits, const Filter* filters, const uint32_t* count,
                      const Summary* summaries, const uint64_t* zones, const int64_t* ends, uint32_t* counts, uint32_t* rows_out,
                      uint32_t rows, uint32_t pairs, uint32_t places, uint32_t capacity, uint32_t step) {
  scan<false>(plane, packed, limits, filters, count, summaries, zones, ends, counts, rows_out, rows, pairs, places, capacity, step);
}
KERNEL(gallery_scan_byte)
