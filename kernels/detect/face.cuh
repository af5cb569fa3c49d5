// face.cuh: a candidate face as detection's kernels hand it on, in network pixels.
#pragma once
#include "../primitives.cuh"

struct Candidate {
  float x0, y0, x1, y1, score;
  float points[10];  // x, y of the left eye, right eye, nose, mouth's left and right corner
  uint32_t number;   // of the cell or anchor, over all levels: which of two equal ones comes first
};

// Rises with the value as total_cmp orders it.
static __device__ __forceinline__ uint32_t rank_of(float value) {
  const uint32_t bits = __float_as_uint(value);
  return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

// A NaN and an infinity are not; no fast-math flag may take this away.
static __device__ __forceinline__ bool is_finite(float value) { return (__float_as_uint(value) & 0x7f800000u) != 0x7f800000u; }

// Puts a candidate into its frame's list, if its every number is finite and it has an extent.
static __device__ __forceinline__ void append(const Candidate& face, Candidate* faces, uint32_t* counts, uint32_t frame, uint32_t capacity) {
  bool is_sound = is_finite(face.x0) && is_finite(face.y0) && is_finite(face.x1) && is_finite(face.y1) && is_finite(face.x1 - face.x0) &&
                  is_finite(face.y1 - face.y0) && is_finite(face.score) && face.x0 < face.x1 && face.y0 < face.y1;
#pragma unroll
  for (uint32_t i = 0; i < 10; i++) is_sound = is_sound && is_finite(face.points[i]);
  if (!is_sound) return;
  const uint32_t place = atomicAdd(counts + frame, 1u);
  if (place < capacity) faces[size_t(frame) * capacity + place] = face;
}
