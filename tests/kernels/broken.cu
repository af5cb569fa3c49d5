// broken.cu: kernels that are wrong, each in one way, to see that the shim and the sanitizers say so (tests/kernels/shim.rs). Not built for devices.
#include "../../kernels/detect/frame.cuh"

extern "C" __global__ void broken_write_behind(uint32_t* out, uint32_t count) { out[threadIdx.x + count - blockDim.x + 1] = threadIdx.x; }
KERNEL(broken_write_behind)

extern "C" __global__ void broken_read_before(const uint8_t* in, uint32_t* out) { out[threadIdx.x] = *(in + threadIdx.x - 1); }
KERNEL(broken_read_before)

extern "C" __global__ void broken_shared_behind(uint32_t* out) {
  SHARED(uint32_t, values, 32);
  SHARED(uint32_t, others, 32);
  values[threadIdx.x + 1] = threadIdx.x;
  others[threadIdx.x] = 0;
  __syncthreads();
  out[threadIdx.x] = values[threadIdx.x] + others[threadIdx.x];
}
KERNEL(broken_shared_behind)

extern "C" __global__ void broken_overflow(uint32_t* out, uint32_t start) { out[threadIdx.x] = uint32_t(int32_t(start) + int32_t(threadIdx.x)); }
KERNEL(broken_overflow)

extern "C" __global__ void broken_misaligned(const uint8_t* in, uint32_t* out) { out[threadIdx.x] = *reinterpret_cast<const uint32_t*>(in + 1 + 4 * threadIdx.x); }
KERNEL(broken_misaligned)

// Half of the block never comes to the barrier.
extern "C" __global__ void broken_divergent_barrier(uint32_t* out) {
  if (threadIdx.x < 16) __syncthreads();
  out[threadIdx.x] = threadIdx.x;
}
KERNEL(broken_divergent_barrier)

extern "C" __global__ void broken_two_barriers(uint32_t* out) {
  if (threadIdx.x < 16) {
    __syncthreads();
  } else {
    __syncthreads();
  }
  out[threadIdx.x] = threadIdx.x;
}
KERNEL(broken_two_barriers)

// One warp waits at a barrier, the other for a lane that is at the barrier.
extern "C" __global__ void broken_deadlock(uint32_t* out) {
  if (threadIdx.x % 2) {
    __syncthreads();
  } else {
    __syncwarp();
  }
  out[threadIdx.x] = threadIdx.x;
}
KERNEL(broken_deadlock)

extern "C" __global__ void broken_mixed_collectives(uint32_t* out) {
  out[threadIdx.x] = threadIdx.x < 16 ? __ballot_sync(~0u, 1) : __shfl_xor_sync(~0u, threadIdx.x, 1);
}
KERNEL(broken_mixed_collectives)

extern "C" __global__ void broken_ended_lane(uint32_t* out) {
  if (threadIdx.x == 5) return;
  out[threadIdx.x] = __ballot_sync(~0u, 1);
}
KERNEL(broken_ended_lane)

extern "C" __global__ void broken_foreign_lane(uint32_t* out) {
  if (threadIdx.x < 16) out[threadIdx.x] = __shfl_sync(0xffffu, threadIdx.x, 20);
}
KERNEL(broken_foreign_lane)

extern "C" __global__ void broken_copy_without_wait(const uint8_t* in, uint8_t* out) {
  SHARED(uint8_t, line, 512);
  copy_async16(line + 16 * threadIdx.x, in + 16 * threadIdx.x, true);
  copy_commit();
  __syncthreads();
  out[threadIdx.x] = line[threadIdx.x];
}
KERNEL(broken_copy_without_wait)

// Right but for the barrier: what a neighbour wrote is read too early.
extern "C" __global__ void broken_race(uint32_t* out) {
  SHARED(uint32_t, values, 64);
  values[threadIdx.x] = threadIdx.x;
  out[threadIdx.x] = values[(threadIdx.x + 1) % 64];
}
KERNEL(broken_race)

// Each thread waits for its own copy, but no barrier says that its neighbour has.
extern "C" __global__ void broken_copy_without_barrier(const uint8_t* in, uint8_t* out) {
  SHARED(uint8_t, line, 512);
  copy_async16(line + 16 * threadIdx.x, in + 16 * threadIdx.x, true);
  copy_commit();
  copy_wait<0>();
  out[threadIdx.x] = line[16 * ((threadIdx.x + 1) % 32)];
}
KERNEL(broken_copy_without_barrier)

// Copies and matrices know shared memory only.
extern "C" __global__ void broken_copy_to_global(const uint8_t* in, uint32_t* out) {
  if (threadIdx.x < 16) copy_async16(out + 4 * threadIdx.x, in + 16 * threadIdx.x, true);
  copy_commit();
  copy_wait<0>();
}
KERNEL(broken_copy_to_global)

extern "C" __global__ void broken_matrix_from_global(uint32_t* out) {
  uint32_t r[4];
  load_matrix_x4(r, out + threadIdx.x % 16 * 4);
  out[threadIdx.x] = r[0];
}
KERNEL(broken_matrix_from_global)

extern "C" __global__ void __launch_bounds__(32) broken_bound(uint32_t* out) { out[threadIdx.x % 32] = 1; }
KERNEL(broken_bound)

extern "C" __global__ void broken_much_shared(uint32_t* out) {
  SHARED(uint32_t, some, 8192);
  SHARED(uint32_t, others, 4097);
  some[threadIdx.x] = others[threadIdx.x] = threadIdx.x;
  out[threadIdx.x] = some[threadIdx.x] + others[threadIdx.x];
}
KERNEL(broken_much_shared)

// A flag that nobody has written.
extern "C" __global__ void broken_unwritten_flag(uint32_t* out) {
  SHARED(uint8_t, flags, 32);
  out[threadIdx.x] = flags[threadIdx.x] != 0;
}
KERNEL(broken_unwritten_flag)

// Wrong on a device, and the shim cannot see it: an increment that is no atomicAdd.
extern "C" __global__ void unseen_lost_update(uint32_t* out) { out[0] += 1; }
KERNEL(unseen_lost_update)

// The device's least and most of a NaN and a number; and what a pixel becomes.
extern "C" __global__ void whole_least_and_most(float* out, float value) {
  out[0] = min(value, 1.f), out[1] = min(1.f, value), out[2] = max(value, 1.f), out[3] = max(1.f, value);
  out[4] = pixel_of(value), out[5] = pixel_of(-3.f), out[6] = pixel_of(300.f), out[7] = pixel_of(77.f);
}
KERNEL(whole_least_and_most)

// Right, all of it: what every primitive does, for shim.rs to compare with.
extern "C" __global__ void whole_primitives(const uint8_t* in, float* products, uint32_t* others) {
  SHARED(uint16_t, tile, 4 * 64);
  const uint32_t lane = threadIdx.x;
  copy_async16(tile + 8 * lane, in + 16 * lane, true);
  copy_commit();
  copy_async16(tile + 8 * lane, in + 16 * lane, lane != 31);
  copy_commit();
  copy_wait<1>();
  copy_wait<0>();
  __syncthreads();
  uint32_t a[4], transposed[4];
  load_matrix_x4(a, tile + 8 * lane);
  load_matrix_x4_trans(transposed, tile + 8 * lane);
  const uint32_t b[2] = {transposed[0], transposed[2]};
  float d[4] = {1.f, 2.f, 3.f, 4.f};
  mma_16x8x16(d, a, b);
  for (int i = 0; i < 4; i++) products[4 * lane + i] = d[i];
  others[4 * lane] = __ballot_sync(~0u, lane % 3 == 0);
  others[4 * lane + 1] = __shfl_down_sync(~0u, lane, 4, 16);
  others[4 * lane + 2] = __shfl_xor_sync(~0u, lane, 5);
  others[4 * lane + 3] = uint32_t(dot4_unsigned_signed(0xff01807fu, int32_t(0x80ff7f01u), int32_t(lane)));
}
KERNEL(whole_primitives)
