// KERNEL   detect_prepare — a batch of frames in device memory → the detector's tensor: area mask, crop, letterbox or stretch, colour, normalisation
// MATH     tensor pixel x draws on the samples under a box one step wide, at least one sample, about (x + ½) · step − ½: bilinear where the picture grows, the average
//          where it shrinks. Outside the area luma is black and chroma neutral; then matrix, clamp to 0…255, (pixel − mean) · scale. Padding is pixel 0
// SHAPES   frames: [batch] FrameView, planes of any pitch, unaligned · out: [batch][height][width][channels] fp16, aligned to 16 B; no plane overlaps it
//          normalise: one Normalise
// UNITS    pixels; a sample covers i − ½ … i + ½ of its plane; 4:2:0 chroma sited left, and midway between rows
// LAUNCH   grid (⌈width / 32⌉, ⌈height / 8⌉, batch), block (32, 8), no shared memory
// BYTES    the area's planes once, the tensor once: 1080p → 640 × 640, 8 channels: 3.1 MB + 6.6 MB → 2.9 µs a frame at 3.35 TB/s
// ARITH    a tap: 2 FLOP, a coverage (conversions and a division, computed anew for each tap) and a word of the mask; 1080p → 640: 16 + 9 taps a pixel. Stores of 2 B. It is
//          rather bound by instructions than by memory
// NUMERICS positions and coverages are whole numbers; sums in f32. The processor's are in fixed point: they differ by at most 0.25 of a pixel value before rounding to
//          fp16 (2⁻¹¹ of the value)
// LIMITS   sides 1…8192, channels 3, 4 or 8; bits of a mask beyond the picture are ignored; sm_75 on
// TWIN     src/detect/preprocess   TEST tests/kernels/prepare.rs   BENCH none yet
// MEASURED not yet measured
#include "frame.cuh"

// Samples under a box, in whole numbers: sample i covers [i · unit, (i + 1) · unit).
struct Cover {
  int32_t low, high, unit;
  __device__ __forceinline__ uint32_t first() const { return uint32_t(low / unit); }
  __device__ __forceinline__ uint32_t end() const { return uint32_t((high + unit - 1) / unit); }
  __device__ __forceinline__ float share(uint32_t i) const {
    const int32_t begin = int32_t(i) * unit;
    return float(min(high, begin + unit) - max(low, begin)) / float(high - low);
  }
};

// `outputs` tensor pixels draw on `inputs` luma pixels. Luma: shared 1. Chroma: shared 2, and `late` is 1 where a sample stands midway between two.
static __device__ __forceinline__ Cover cover(uint32_t x, uint32_t inputs, uint32_t outputs, int32_t shared, int32_t late) {
  const int32_t in = int32_t(inputs), out = int32_t(outputs), unit = 4 * out, samples = (in + shared - 1) / shared;
  // Centre and width in samples, times 4 · outputs.
  int32_t centre = (2 * ((2 * int32_t(x) + 1) * in - out) - 2 * out * late) / shared;
  const int32_t width = max(4 * in / shared, unit);
  centre = min(max(centre, 0), unit * (samples - 1));
  const int32_t middle = centre + unit / 2;
  return {max(middle - width / 2, 0), min(middle + width / 2, unit * samples), unit};
}

extern "C" __global__ void __launch_bounds__(256)
    detect_prepare(const FrameView* __restrict__ frames, const Normalise* __restrict__ how, Half* __restrict__ out, uint32_t width, uint32_t height) {
  const uint32_t x = blockIdx.x * 32 + threadIdx.x, y = blockIdx.y * 8 + threadIdx.y;
  if (x >= width || y >= height) return;
  const FrameView frame = frames[blockIdx.z];
  const Normalise normalise = *how;
  Half* to = out + ((size_t(blockIdx.z) * height + y) * width + x) * normalise.channels;
  if (!frame.luma || x >= frame.picture_width || y >= frame.picture_height) {
    write_pixel(to, normalise, 0.f, 0.f, 0.f);
    return;
  }
  const Cover across = cover(x, frame.crop_width, frame.picture_width, 1, 0), down = cover(y, frame.crop_height, frame.picture_height, 1, 0);
  float luma = 0.f;
  for (uint32_t row = down.first(); row < down.end(); row++) {
    float sum = 0.f;
    for (uint32_t column = across.first(); column < across.end(); column++) {
      sum += across.share(column) * luma_at(frame, frame.x0 + column, frame.y0 + row);
    }
    luma += down.share(row) * sum;
  }
  const Cover beside = cover(x, frame.crop_width, frame.picture_width, 2, 0), below = cover(y, frame.crop_height, frame.picture_height, 2, 1);
  float2 chroma = make_float2(0.f, 0.f);
  for (uint32_t row = below.first(); row < below.end(); row++) {
    float2 sum = make_float2(0.f, 0.f);
    for (uint32_t column = beside.first(); column < beside.end(); column++) {
      const float share = beside.share(column);
      const float2 sample = chroma_at(frame, frame.x0 / 2 + column, frame.y0 / 2 + row);
      sum.x += share * sample.x;
      sum.y += share * sample.y;
    }
    const float share = below.share(row);
    chroma.x += share * sum.x;
    chroma.y += share * sum.y;
  }
  write_colour(to, normalise, frame, luma, chroma);
}
KERNEL(detect_prepare)
