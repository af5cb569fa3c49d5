// hit.cuh: what the gallery's kernels hand to each other. Layouts as in src/gallery/scan/twin.rs.
#pragma once
#include "../primitives.cuh"

// Rows of a block of a plane, and bytes of its scales and residuals.
constexpr uint32_t kBlockRows = 32;
constexpr uint32_t kHeadBytes = 4 * kBlockRows;
// Of the counter of a list that overflowed: whoever reads it must search otherwise.
constexpr uint32_t kOverflow = 0xffffffffu;
constexpr unsigned kWarp = 0xffffffffu;

// One query's part in the bound: size 0 is a query that finds nobody.
struct Reach {
  double size, residual, step;
  int32_t total;
  uint32_t unused;
};

// (sum · rise) · scale + residual ≥ floor; the sum begins with start.
struct Limit {
  float rise, floor;
  int32_t start;
};

// Whom one query may find: rows with all of `zones` that end after `now`, of at least this score. In device memory, so that a captured graph has each batch's own.
struct Filter {
  uint64_t zones;
  int64_t now;  // ns
  float threshold;
  uint32_t unused;
};

// What all and what any rows of a block have.
struct Summary {
  uint64_t all_zones, any_zones;
  int64_t first_end, last_end;
  uint32_t present, unused;
};

// A score and a slot as one number, larger is better: score rising, then slot falling. 0 is nobody.
static __device__ __forceinline__ uint64_t key_of(float score, uint32_t slot) {
  uint32_t bits = __float_as_uint(score);
  uint32_t rank = bits & 0x80000000u ? ~bits : bits | 0x80000000u;
  return uint64_t(rank) << 32 | uint32_t(~slot);
}
static __device__ __forceinline__ float score_of(uint64_t key) {
  uint32_t rank = uint32_t(key >> 32);
  return __uint_as_float(rank & 0x80000000u ? rank & 0x7fffffffu : ~rank);
}
static __device__ __forceinline__ uint32_t slot_of(uint64_t key) { return ~uint32_t(key); }
