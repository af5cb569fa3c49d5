// frame.cuh: a frame in device memory, and the only way to a sample of it: through the mask of the signed area.
#pragma once
#include "../primitives.cuh"

// One 8-bit 4:2:0 picture. NV12: cr = cb + 1 and chroma_step 2; I420: planes of their own and chroma_step 1. A table of these is a batch.
// `luma` null: a frame without a permit. Nothing of it is read; its place in the batch is padding.
struct FrameView {
  const uint8_t *luma, *cb, *cr;
  // A bit for each 2 × 2 block, rows of blocks `mask_words` apart: set where the block lies inside the area.
  const uint32_t* mask;
  uint32_t luma_pitch, chroma_pitch, chroma_step, mask_words;
  uint32_t width, height;                 // of the picture, pixels
  uint32_t x0, y0, crop_width, crop_height;  // the area's bounding box: x0, y0 even
  uint32_t picture_width, picture_height;    // what the crop becomes, tensor pixels
  // R'G'B' (0…255) = luma_gain · (Y − black) + … · (Cb − neutral) + … · (Cr − neutral)
  float black, neutral, luma_gain, red_cr, green_cb, green_cr, blue_cb, unused;
};

// How pixels become a network's values: (pixel − mean) · scale for each tensor channel; red first unless is_bgr.
struct Normalise {
  float mean[3], scale[3];
  uint32_t is_bgr, channels;
};

static __device__ __forceinline__ bool is_inside(const FrameView& frame, uint32_t block_x, uint32_t block_y) {
  return frame.mask[size_t(block_y) * frame.mask_words + block_x / 32] >> (block_x % 32) & 1;
}

// A sample about black, 0 outside the area: what is outside is not loaded.
static __device__ __forceinline__ float luma_at(const FrameView& frame, uint32_t x, uint32_t y) {
  if (!is_inside(frame, x / 2, y / 2)) return 0.f;
  return float(frame.luma[size_t(y) * frame.luma_pitch + x]) - frame.black;
}
static __device__ __forceinline__ float2 chroma_at(const FrameView& frame, uint32_t x, uint32_t y) {
  if (!is_inside(frame, x, y)) return make_float2(0.f, 0.f);
  const size_t at = size_t(y) * frame.chroma_pitch + size_t(x) * frame.chroma_step;
  return make_float2(float(frame.cb[at]) - frame.neutral, float(frame.cr[at]) - frame.neutral);
}

// A NaN stays one, and the detector drops what it makes of it; a device's min and max would make a black of it.
static __device__ __forceinline__ float pixel_of(float value) { return value < 0.f ? 0.f : value > 255.f ? 255.f : value; }

// Writes one pixel of an NHWC tensor: three channels, and zeros up to `channels` (3, 4 or 8).
static __device__ __forceinline__ void write_pixel(Half* to, const Normalise& normalise, float red, float green, float blue) {
  const float first = normalise.is_bgr ? blue : red, last = normalise.is_bgr ? red : blue;
  to[0] = half_from((first - normalise.mean[0]) * normalise.scale[0]);
  to[1] = half_from((green - normalise.mean[1]) * normalise.scale[1]);
  to[2] = half_from((last - normalise.mean[2]) * normalise.scale[2]);
  for (uint32_t c = 3; c < normalise.channels; c++) to[c] = half_from(0.f);
}

static __device__ __forceinline__ void write_colour(Half* to, const Normalise& normalise, const FrameView& frame, float luma, float2 chroma) {
  const float grey = frame.luma_gain * luma;
  write_pixel(to, normalise, pixel_of(grey + frame.red_cr * chroma.y), pixel_of(grey + frame.green_cb * chroma.x + frame.green_cr * chroma.y),
              pixel_of(grey + frame.blue_cb * chroma.x));
}
