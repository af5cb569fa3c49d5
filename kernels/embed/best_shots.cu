// KERNEL   embed_best_shots — the normalised mean of each track's shots; of one shot, that shot normalised
// MATH     sum over the shots in order, then divided by its norm
// SHAPES   values: [shots][dim] f32 · starts: [tracks + 1] u32, rising: track t has shots starts[t]…starts[t + 1] − 1 · out: [tracks][dim] f32 · is_sound: [tracks] u32
// UNITS    none; out has norm 1
// LAUNCH   grid tracks, block 32…1024 and a multiple of 32, no dynamic shared memory
// BYTES    shots · dim · 4 read, tracks · dim · 4 written: 128 tracks of 5 shots of 512: 1.6 MB → 0.5 µs at 3.35 TB/s
// ARITH    1 FLOP a value, 2 more in f64: bound by memory
// NUMERICS the sum in f32 in the shots' order, as the processor adds; squares and norm in f64, in another order: the result differs by at most one unit in the last place
// LIMITS   a track without shots, with a value that is not finite, or with norm below 10⁻⁶: zeros and is_sound 0; dim 1…4,096; sm_75 on
// TWIN     src/embedding.rs   TEST tests/kernels/embed.rs   BENCH none yet
// MEASURED not yet measured
#include "../primitives.cuh"

extern "C" __global__ void __launch_bounds__(1024)
    embed_best_shots(const float* __restrict__ values, const uint32_t* __restrict__ starts, float* __restrict__ out, uint32_t* __restrict__ is_sound,
                     uint32_t dim) {
  SHARED(double, of_warp, 32);
  const uint32_t track = blockIdx.x, first = starts[track], end = starts[track + 1], lane = threadIdx.x % 32, warps = blockDim.x / 32;
  float* mean = out + size_t(track) * dim;
  double squares = 0.0;
  for (uint32_t i = threadIdx.x; i < dim; i += blockDim.x) {
    float sum = first < end ? values[size_t(first) * dim + i] : 0.f;
    for (uint32_t shot = first + 1; shot < end; shot++) sum = __fadd_rn(sum, values[size_t(shot) * dim + i]);
    mean[i] = sum;
    // Squared in f64, a finite sum stays finite, and what is not finite makes the whole so.
    squares += double(sum) * double(sum);
  }
  for (int lanes = 16; lanes > 0; lanes /= 2) squares += __shfl_xor_sync(0xffffffffu, squares, lanes);
  if (lane == 0) of_warp[threadIdx.x / 32] = squares;
  __syncthreads();
  double all = 0.0;
  for (uint32_t warp = 0; warp < warps; warp++) all += of_warp[warp];
  const double norm = sqrt(all);
  // A NaN and an infinity are no norm.
  const bool is_direction = norm >= 1e-6 && norm <= 1e300;
  // Each thread divides what it wrote itself.
  for (uint32_t i = threadIdx.x; i < dim; i += blockDim.x) mean[i] = is_direction ? float(double(mean[i]) / norm) : 0.f;
  if (threadIdx.x == 0) is_sound[track] = is_direction;
}
KERNEL(embed_best_shots)
