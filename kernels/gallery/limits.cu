// KERNEL   gallery_limits — from a query's reach and the least score that counts to the limit that a scan compares with
// MATH     floor = ((least − e_q · (1 + 10⁻⁴) − s) / |q̃| − s) / 2⁻¹⁶, s = 8 · 10⁻⁶;  rise = step / |q̃| · unit / 2⁻¹⁶;  start = the codes' middle · total.
//          least = the query's threshold, or the score of the top_k-th hit so far, if there are so many and it is higher
// SHAPES   reaches: [queries] Reach · hits: [queries][top_k] u64 keys, counts: [queries] u32, both may be null · limits: [queries] Limit · least: [queries] f32
//          filters: [queries] Filter · count: [1] u32, on the device: queries that are there
// UNITS    cosines; unit is 2⁻¹⁸ for 4 bits, 2⁻²² for 8
// LAUNCH   grid ⌈queries / block⌉, any block, no shared memory
// BYTES    44 a query: nothing       ARITH 10 in f64 a query
// NUMERICS f64, each operation rounded by itself, as the processor does it: bit for bit the same
// LIMITS   a place from `count` on gets a limit that nobody reaches, and what is in it is not read; hits of a query whose counter is an overflow raise nothing
// TWIN     src/gallery/scan/query.rs (Reach::limit)   TEST tests/kernels/gallery.rs   BENCH none yet
// MEASURED not yet measured
#include "hit.cuh"

extern "C" __global__ void gallery_limits(const Reach* reaches, const uint64_t* hits, const uint32_t* counts, const Filter* filters, const uint32_t* count,
                                          Limit* limits, float* least, uint32_t queries, uint32_t top_k, uint32_t is_nibble) {
  const uint32_t query = blockIdx.x * blockDim.x + threadIdx.x;
  if (query >= queries) return;
  const Limit nobody = {0.f, __uint_as_float(0x7f800000u), 0};
  if (query >= *count) {
    least[query] = nobody.floor, limits[query] = nobody;
    return;
  }
  float bar = filters[query].threshold;
  if (hits && top_k > 0 && counts[query] == top_k) {
    const float worst = score_of(hits[size_t(query) * top_k + top_k - 1]);
    bar = worst > bar ? worst : bar;
  }
  least[query] = bar;
  const Reach reach = reaches[query];
  if (reach.size == 0.0) {
    limits[query] = nobody;
    return;
  }
  const double slack = 8e-6, residual_unit = 1.0 / 65536.0;
  const double unit = is_nibble ? 1.0 / 262144.0 : 1.0 / 4194304.0;
  const double reached = __dadd_rn(__dadd_rn(double(bar), -__dmul_rn(reach.residual, 1.0 + 1e-4)), -slack);
  const double floor_value = __dadd_rn(__ddiv_rn(reached, reach.size), -slack);
  const double rise = __dmul_rn(__ddiv_rn(reach.step, reach.size), unit);
  // Of −15 · total + 1, half, rounded down: the sum is never too low.
  const int32_t start = is_nibble ? (-15 * reach.total + 1) >> 1 : -128 * reach.total;
  limits[query] = {__double2float_rn(__ddiv_rn(rise, residual_unit)), __double2float_rn(__ddiv_rn(floor_value, residual_unit)), start};
}
KERNEL(gallery_limits)
