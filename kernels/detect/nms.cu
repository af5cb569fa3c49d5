// KERNEL   detect_nms — of candidates that overlap, the best stays; best first
// MATH     candidates in order (score falling, then x0, y0, x1, y1 rising, then number), the first 1,024 of them; each stays unless one that stayed overlaps it by
//          more than max_iou; iou = intersection / union, 0 where the union is not above 0
// SHAPES   faces: [batch][capacity] Candidate · counts: [batch] u32 · kept: [batch][room] Candidate · found: [batch] u32 · shed: [batch] u32
// UNITS    network pixels
// LAUNCH   grid batch, block 32…1024 and a multiple of 32, no dynamic shared memory
// BYTES    64 a candidate, read some times from the second-level cache      ARITH count² compares to order, kept · count ious
// NUMERICS f32, each operation rounded by itself: the processor's decisions bit for bit, given the same boxes
// LIMITS   candidates beyond 1,024 are counted in shed and not looked at; more than `room` that stay: found tells it, `room` are written; a list that overflowed,
//          or with more than 65,536 candidates, gives found = 0xffffffff and no face; sm_75 on
// TWIN     src/detect/nms.rs   TEST tests/kernels/faces.rs   BENCH none yet
// MEASURED not yet measured
#include "face.cuh"

constexpr uint32_t kLookedAt = 1024;
// A place has 16 bits; and each candidate is compared with each.
constexpr uint32_t kMostCandidates = 65536;
constexpr uint32_t kOverflow = 0xffffffffu;

// Whether a comes before b.
static __device__ __forceinline__ bool is_before(const Candidate& a, const Candidate& b) {
  const float of_a[5] = {b.score, a.x0, a.y0, a.x1, a.y1}, of_b[5] = {a.score, b.x0, b.y0, b.x1, b.y1};
#pragma unroll
  for (int i = 0; i < 5; i++) {
    const uint32_t ra = rank_of(of_a[i]), rb = rank_of(of_b[i]);
    if (ra != rb) return ra < rb;
  }
  return a.number < b.number;
}

static __device__ __forceinline__ float extent(float from, float to) { return max(__fadd_rn(to, -from), 0.f); }

static __device__ __forceinline__ float iou(const float4& a, const float4& b) {
  const float w = extent(max(a.x, b.x), min(a.z, b.z)), h = extent(max(a.y, b.y), min(a.w, b.w));
  const float both = __fmul_rn(w, h);
  const float area_a = __fmul_rn(extent(a.x, a.z), extent(a.y, a.w)), area_b = __fmul_rn(extent(b.x, b.z), extent(b.y, b.w));
  const float either = __fadd_rn(__fadd_rn(area_a, area_b), -both);
  return either > 0.f ? __fdiv_rn(both, either) : 0.f;
}

extern "C" __global__ void __launch_bounds__(1024)
    detect_nms(const Candidate* __restrict__ faces, const uint32_t* __restrict__ counts, Candidate* __restrict__ kept, uint32_t* __restrict__ found,
               uint32_t* __restrict__ shed, uint32_t capacity, uint32_t room, float max_iou) {
  SHARED(float4, boxes, kLookedAt);
  SHARED(uint16_t, places, kLookedAt);
  SHARED(uint8_t, is_out, kLookedAt);
  const uint32_t frame = blockIdx.x, count = counts[frame];
  if (count > capacity || count > kMostCandidates) {
    if (threadIdx.x == 0) found[frame] = kOverflow, shed[frame] = 0;
    return;
  }
  const Candidate* list = faces + size_t(frame) * capacity;
  // A candidate's place is the number of those before it.
  for (uint32_t i = threadIdx.x; i < count; i += blockDim.x) {
    const Candidate mine = list[i];
    uint32_t before = 0;
    for (uint32_t j = 0; j < count; j++) before += is_before(list[j], mine);
    if (before < kLookedAt) {
      boxes[before] = {mine.x0, mine.y0, mine.x1, mine.y1};
      places[before] = uint16_t(i);
      is_out[before] = 0;
    }
  }
  __syncthreads();
  const uint32_t looked_at = min(count, kLookedAt);
  uint32_t stayed = 0;
  for (uint32_t i = 0; i < looked_at; i++) {
    // Nobody writes between the barrier and here, so all threads see the same.
    if (is_out[i]) continue;
    const float4 best = boxes[i];
    for (uint32_t j = i + 1 + threadIdx.x; j < looked_at; j += blockDim.x) {
      if (!(iou(best, boxes[j]) <= max_iou)) is_out[j] = 1;
    }
    if (threadIdx.x == 0 && stayed < room) kept[size_t(frame) * room + stayed] = list[places[i]];
    stayed++;
    __syncthreads();
  }
  if (threadIdx.x == 0) found[frame] = stayed, shed[frame] = count - looked_at;
}
KERNEL(detect_nms)
