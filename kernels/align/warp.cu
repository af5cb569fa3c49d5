// KERNEL   align_warp — five landmarks → an aligned crop from the full-resolution frame
// MATH     the least-squares similarity from the landmarks to the template (Umeyama in the plane, without reflection): with centred points p, q
//          a = Σ p·q / Σ|p|², b = Σ p×q / Σ|p|²; its inverse takes crop pixels to the frame; planes are sampled bilinearly, outside the area and the picture black
// SHAPES   frames: [batch] FrameView (detect/frame.cuh) · faces: [capacity] FaceView · count: [1] u32, on the device · out: [capacity][112][112][channels] fp16,
//          aligned to 16 B · is_sound: [capacity] u32 · how: one Normalise
// UNITS    pixels; pixel (i, j) stands at (i, j), as the embedders were trained; chroma 4:2:0 sited left and midway
// LAUNCH   grid capacity, block 32…256 and a multiple of 32, no dynamic shared memory
// BYTES    a face: what of the frame lies under it (about 12,544 · 1.5 to 4 ×), 100 to 200 kB written (4 or 8 channels): 32 faces 6.4 MB → 2 µs at 3.35 TB/s
// ARITH    about 60 FLOP a pixel, 8 of them f64: 12,544 · 8 · 32 faces = 3.2 MFLOP f64
// NUMERICS matrix and positions f64, each operation rounded by itself: the processor's; samples f32, which may be fused: 0.01 of a pixel value before fp16
// LIMITS   is_sound 0 and a crop of pixel 0: landmarks that define no similarity, a face's frame without a permit (luma null) or beyond the batch, and every place
//          from `count` on, so that nothing of an earlier batch stays; a count above the grid (a list that overflowed) is none; sm_75 on
// TWIN     src/align/similarity.rs, warp.rs   TEST tests/kernels/align.rs   BENCH none yet
// MEASURED not yet measured
#include "../detect/frame.cuh"

constexpr uint32_t kSide = 112;

struct FaceView {
  uint32_t frame;
  float points[10];
};

// From crop to frame: x' = a·x − b·y + tx, y' = b·x + a·y + ty.
struct ToFrame {
  double a, b, tx, ty;
  uint32_t is_sound;
};

static __device__ __forceinline__ double add(double a, double b) { return __dadd_rn(a, b); }
static __device__ __forceinline__ double mul(double a, double b) { return __dmul_rn(a, b); }
static __device__ __forceinline__ bool is_finite(double value) { return fabs(value) <= 1.7976931348623157e308; }

// The least-squares similarity, inverted.
static __device__ ToFrame fit(const float* points) {
  const float template_points[10] = {38.2946f, 51.6963f, 73.5318f, 51.5014f, 56.0252f, 71.7366f, 41.5493f, 92.3655f, 70.7299f, 92.2041f};
  double p[2] = {0.0, 0.0}, q[2] = {0.0, 0.0};
  for (int i = 0; i < 10; i++) {
    p[i % 2] = add(p[i % 2], points[i]);
    q[i % 2] = add(q[i % 2], template_points[i]);
  }
  for (int i = 0; i < 2; i++) p[i] = __ddiv_rn(p[i], 5.0), q[i] = __ddiv_rn(q[i], 5.0);
  double spread = 0.0, dot = 0.0, cross = 0.0;
  for (int i = 0; i < 5; i++) {
    const double px = add(points[2 * i], -p[0]), py = add(points[2 * i + 1], -p[1]);
    const double qx = add(template_points[2 * i], -q[0]), qy = add(template_points[2 * i + 1], -q[1]);
    spread = add(spread, add(mul(px, px), mul(py, py)));
    dot = add(dot, add(mul(px, qx), mul(py, qy)));
    cross = add(cross, add(mul(px, qy), -mul(py, qx)));
  }
  const double a = __ddiv_rn(dot, spread), b = __ddiv_rn(cross, spread), square = add(mul(a, a), mul(b, b));
  const double tx = add(add(q[0], -mul(a, p[0])), mul(b, p[1])), ty = add(add(q[1], -mul(b, p[0])), -mul(a, p[1]));
  // Spread of at least half a pixel about the centre; a scale above 10⁻⁴. A NaN fails each comparison.
  if (!(spread > 5.0 * 0.5 * 0.5) || !is_finite(square) || !(square > 1e-8)) return {0.0, 0.0, 0.0, 0.0, 0};
  const double ia = __ddiv_rn(a, square), ib = __ddiv_rn(-b, square);
  return {ia, ib, -add(mul(ia, tx), -mul(ib, ty)), -add(mul(ib, tx), mul(ia, ty)), 1};
}

static __device__ __forceinline__ float between(float a, float b, float c, float d, float fx, float fy) {
  const float upper = a + (b - a) * fx, lower = c + (d - c) * fx;
  return upper + (lower - upper) * fy;
}

// 0 outside the picture.
static __device__ __forceinline__ float luma_near(const FrameView& frame, int32_t x, int32_t y) {
  const bool is_there = x >= 0 && y >= 0 && uint32_t(x) < frame.width && uint32_t(y) < frame.height;
  return is_there ? luma_at(frame, uint32_t(x), uint32_t(y)) : 0.f;
}
static __device__ __forceinline__ float2 chroma_near(const FrameView& frame, int32_t x, int32_t y) {
  const bool is_there = x >= 0 && y >= 0 && uint32_t(x) < (frame.width + 1) / 2 && uint32_t(y) < (frame.height + 1) / 2;
  return is_there ? chroma_at(frame, uint32_t(x), uint32_t(y)) : make_float2(0.f, 0.f);
}

extern "C" __global__ void __launch_bounds__(256, 2)
    align_warp(const FrameView* __restrict__ frames, const FaceView* __restrict__ faces, const uint32_t* __restrict__ count,
               const Normalise* __restrict__ how, Half* __restrict__ out, uint32_t* __restrict__ is_sound, uint32_t batch) {
  SHARED(ToFrame, shared, 1);
  const uint32_t face = blockIdx.x;
  // Nothing of a place that is no face is read: it may be another batch's.
  const bool is_there = *count <= gridDim.x && face < *count && faces[face].frame < batch;
  FrameView frame = {};
  if (is_there) frame = frames[faces[face].frame];
  const Normalise normalise = *how;
  if (threadIdx.x == 0) {
    shared[0] = {0.0, 0.0, 0.0, 0.0, 0};
    if (frame.luma) shared[0] = fit(faces[face].points);
    is_sound[face] = shared[0].is_sound;
  }
  __syncthreads();
  const ToFrame to_frame = shared[0];
  for (uint32_t i = threadIdx.x; i < kSide * kSide; i += blockDim.x) {
    const uint32_t x = i % kSide, y = i / kSide;
    Half* to = out + (size_t(face) * kSide * kSide + i) * normalise.channels;
    if (!to_frame.is_sound) {
      write_pixel(to, normalise, 0.f, 0.f, 0.f);
      continue;
    }
    const float sx = __double2float_rn(add(add(mul(to_frame.a, x), -mul(to_frame.b, y)), to_frame.tx));
    const float sy = __double2float_rn(add(add(mul(to_frame.b, x), mul(to_frame.a, y)), to_frame.ty));
    const float left = floorf(sx), top = floorf(sy), fx = sx - left, fy = sy - top;
    // Far outside either way: saturated, and never the largest number.
    const int32_t l = min(__float2int_rd(left), 0x7ffffffe), t = min(__float2int_rd(top), 0x7ffffffe);
    const float luma = between(luma_near(frame, l, t), luma_near(frame, l + 1, t), luma_near(frame, l, t + 1), luma_near(frame, l + 1, t + 1), fx, fy);
    const float cx = 0.5f * sx, cy = 0.5f * sy - 0.25f;
    const float cleft = floorf(cx), ctop = floorf(cy), gx = cx - cleft, gy = cy - ctop;
    const int32_t cl = min(__float2int_rd(cleft), 0x7ffffffe), ct = min(__float2int_rd(ctop), 0x7ffffffe);
    const float2 a = chroma_near(frame, cl, ct), b = chroma_near(frame, cl + 1, ct), c = chroma_near(frame, cl, ct + 1), d = chroma_near(frame, cl + 1, ct + 1);
    write_colour(to, normalise, frame, luma, make_float2(between(a.x, b.x, c.x, d.x, gx, gy), between(a.y, b.y, c.y, d.y, gx, gy)));
  }
}
KERNEL(align_warp)
