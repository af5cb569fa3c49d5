// KERNEL   engine_convolution — a convolution as an implicit matrix product on tensor cores; with a kernel of 1 × 1 over 1 × 1 pictures, a matrix product
// MATH     out[n, y, x, o] = finished(Σ in[n, y · stride − pad_top + i, x · stride − pad_left + j, c] · weights[o, i, j, c]); outside the picture in is 0; finished
//          adds bias and residual and applies the activation (layer.cuh)
// SHAPES   one Layer; out may not overlap in, weights or residual
// UNITS    none
// LAUNCH   grid (⌈batch · out_height · out_width / 64⌉, ⌈out_channels / 64⌉), block 128, no dynamic shared memory
// BYTES    in, weights, out once if the second-level cache holds what tiles share: 56 × 56 × 64 → 64, 3 × 3, batch 32: 25.8 MB → 7.7 µs at 3.35 TB/s
// ARITH    2 · 9 · 64 FLOP an output: the same layer 7.4 GFLOP, 287 a byte: bound by memory on an H100 (989 TFLOP/s: 7.5 µs), by tensor cores with more channels
// NUMERICS fp16 factors, f32 sums in tiles of 16 products (a device may add them in another order), one rounding to fp16 at the end: 2⁻¹¹ of the value, and
//          10⁻⁵ of the sum of the products' sizes
// LIMITS   in_channels and out_channels multiples of 8; batch · out_height · out_width < 2³¹; stride at least 1; a tile of 64 × 64 and no split of the sum: small
//          pictures with many channels do not fill a large device; sm_75 on (below sm_80 copies are not in the background)
// TWIN     tests/kernels/layers.rs (the definition; on the processor ONNX Runtime convolves)   TEST tests/kernels/layers.rs   BENCH none yet
// MEASURED not yet measured
#include "layer.cuh"

constexpr uint32_t kTileRows = 64, kTileColumns = 64;
// Halves of a tile's row in shared memory: 32, and 8 more, so that the 8 rows of a matrix lie in different banks.
constexpr uint32_t kDepth = 32, kPitch = 40, kStages = 3;
constexpr uint32_t kThreads = 128;
constexpr uint32_t kPieces = kDepth / 8;  // of 16 bytes in a row
constexpr uint32_t kRowsEach = kTileRows * kPieces / kThreads;

// Where one row of the product, an output pixel, draws from.
struct Source {
  const Half* picture;
  int32_t y, x;
  bool is_there;
};

static __device__ __forceinline__ Source source_of(const Layer& layer, uint32_t row, uint32_t rows) {
  const uint32_t x = row % layer.out_width, y = row / layer.out_width % layer.out_height, n = row / layer.out_width / layer.out_height;
  const bool is_there = row < rows;
  const size_t picture = size_t(layer.in_height) * layer.in_width * layer.in_channels;
  return {layer.in + (is_there ? n * picture : 0), int32_t(y * layer.stride) - int32_t(layer.pad_top), int32_t(x * layer.stride) - int32_t(layer.pad_left), is_there};
}

// Begins to copy one stage: `chunk` counts kDepth values of the sum.
static __device__ __forceinline__ void fetch(const Layer& layer, const Source (&sources)[kRowsEach], Half* rows, Half* columns, uint32_t chunk, uint32_t first_column) {
  const uint32_t piece = threadIdx.x % kPieces, line = threadIdx.x / kPieces;
  const uint32_t per_tap = layer.in_channels / 8, pieces = layer.kernel_height * layer.kernel_width * per_tap;
  const uint32_t at = chunk * kPieces + piece, tap = at / per_tap, channel = at % per_tap * 8;
  const int32_t ky = int32_t(tap / layer.kernel_width), kx = int32_t(tap % layer.kernel_width);
#pragma unroll
  for (uint32_t i = 0; i < kRowsEach; i++) {
    const Source& source = sources[i];
    const int32_t y = source.y + ky, x = source.x + kx;
    const bool is_inside =
        source.is_there && at < pieces && y >= 0 && x >= 0 && uint32_t(y) < layer.in_height && uint32_t(x) < layer.in_width;
    const Half* from = is_inside ? source.picture + (size_t(y) * layer.in_width + size_t(x)) * layer.in_channels + channel : layer.in;
    copy_async16(rows + (line + i * (kThreads / kPieces)) * kPitch + piece * 8, from, is_inside);
  }
#pragma unroll
  for (uint32_t i = 0; i < kTileColumns * kPieces / kThreads; i++) {
    const uint32_t column = line + i * (kThreads / kPieces);
    const bool is_there = at < pieces && first_column + column < layer.out_channels;
    const Half* from = is_there ? layer.weights + (size_t(first_column + column) * pieces + at) * 8 : layer.weights;
    copy_async16(columns + column * kPitch + piece * 8, from, is_there);
  }
}

// One stage's products for a warp's 32 × 32 part of the tile.
static __device__ __forceinline__ void multiply(const Half* rows, const Half* columns, float (&sums)[2][4][4]) {
  const uint32_t lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const Half* my_rows = rows + (warp / 2 * 32) * kPitch;
  const Half* my_columns = columns + (warp % 2 * 32) * kPitch;
#pragma unroll
  for (uint32_t k = 0; k < kDepth; k += 16) {
    uint32_t a[2][4], b[2][4];
#pragma unroll
    for (uint32_t i = 0; i < 2; i++) {
      // Matrices: rows 0…7 and 8…15 of the first 8 values, then of the second 8.
      load_matrix_x4(a[i], my_rows + (i * 16 + lane % 16) * kPitch + k + lane / 16 * 8);
      // Columns 0…7 of both eights of values, then columns 8…15.
      load_matrix_x4(b[i], my_columns + (i * 16 + lane / 16 * 8 + lane % 8) * kPitch + k + lane / 8 % 2 * 8);
    }
#pragma unroll
    for (uint32_t i = 0; i < 2; i++) {
#pragma unroll
      for (uint32_t j = 0; j < 4; j++) {
        const uint32_t of_column[2] = {b[j / 2][j % 2 * 2], b[j / 2][j % 2 * 2 + 1]};
        mma_16x8x16(sums[i][j], a[i], of_column);
      }
    }
  }
}

extern "C" __global__ void __launch_bounds__(128) engine_convolution(const Layer* __restrict__ how) {
  SHARED(Half, rows, kStages * kTileRows * kPitch);
  SHARED(Half, columns, kStages * kTileColumns * kPitch);
  const Layer layer = *how;
  const uint32_t row_count = layer.batch * layer.out_height * layer.out_width;
  const uint32_t first_row = blockIdx.x * kTileRows, first_column = blockIdx.y * kTileColumns;
  Source sources[kRowsEach];
#pragma unroll
  for (uint32_t i = 0; i < kRowsEach; i++) {
    sources[i] = source_of(layer, first_row + threadIdx.x / kPieces + i * (kThreads / kPieces), row_count);
  }
  const uint32_t depth = layer.kernel_height * layer.kernel_width * layer.in_channels, chunks = (depth + kDepth - 1) / kDepth;
  float sums[2][4][4] = {};
  for (uint32_t chunk = 0; chunk < kStages - 1; chunk++) {
    if (chunk < chunks) fetch(layer, sources, rows + chunk * kTileRows * kPitch, columns + chunk * kTileColumns * kPitch, chunk, first_column);
    copy_commit();
  }
  for (uint32_t chunk = 0; chunk < chunks; chunk++) {
    // This stage is there as far as this thread copied it …
    copy_wait<kStages - 2>();
    // … and now as far as all did; and nobody works any more on the stage that is overwritten next.
    __syncthreads();
    const uint32_t next = chunk + kStages - 1, stage = next % kStages;
    if (next < chunks) fetch(layer, sources, rows + stage * kTileRows * kPitch, columns + stage * kTileColumns * kPitch, next, first_column);
    // Also where nothing was copied, so that the wait counts the same groups.
    copy_commit();
    multiply(rows + chunk % kStages * kTileRows * kPitch, columns + chunk % kStages * kTileColumns * kPitch, sums);
  }
  const uint32_t lane = threadIdx.x % 32, warp = threadIdx.x / 32;
#pragma unroll
  for (uint32_t i = 0; i < 2; i++) {
#pragma unroll
    for (uint32_t j = 0; j < 4; j++) {
      const uint32_t column = first_column + warp % 2 * 32 + j * 8 + lane % 4 * 2;
#pragma unroll
      for (uint32_t half = 0; half < 2; half++) {
        const uint32_t row = first_row + warp / 2 * 32 + i * 16 + lane / 4 + half * 8;
        if (row < row_count && column < layer.out_channels) write_two(layer, row, column, sums[i][j][2 * half], sums[i][j][2 * half + 1]);
      }
    }
  }
}
KERNEL(engine_convolution)
